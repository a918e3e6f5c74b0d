//! Jobs, naively: a list that is searched from end to end for everything.

use std::time::Duration;

use seaworthy_store::{
    Attempt, Burial, Claim, Counts, DeadFilter, DeadLetter, Due, Enqueued, Holder, JobId, Nack, NewJob,
    PRIORITY_HEAD_START, REASON_EXPIRED, Receipt, Timestamp,
};

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) queue: String,
    order: Option<Vec<u8>>,
    priority: u8,
    due: Timestamp,
    deadline: Option<Timestamp>,
    enqueued: Timestamp,
    attempts: u32,
    note: Vec<u8>,
    body: Vec<u8>,
    /// The latest claim: token, end, and who has it.
    claim: Option<(u64, Timestamp, Holder)>,
    dead: Option<(String, Timestamp)>,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) jobs: Vec<Job>,
    /// Queue, key, until, job.
    dedupe: Vec<(String, Vec<u8>, Timestamp, JobId)>,
    pub(crate) paused: Vec<String>,
}

impl Job {
    fn is_leased(&self, now: Timestamp) -> bool {
        self.dead.is_none() && self.claim.is_some_and(|(_, until, _)| until > now)
    }
}

impl Model {
    pub(crate) fn enqueue(&mut self, now: Timestamp, new: &NewJob, said: Enqueued) {
        if let Some(dedupe) = &new.dedupe {
            let same = |(queue, key, until, _): &&(String, Vec<u8>, Timestamp, JobId)| {
                *queue == new.queue && *key == dedupe.key && *until > now
            };
            if let Some((.., id)) = self.dedupe.iter().find(same) {
                assert_eq!(said, Enqueued::Duplicate(*id), "the same within its window");
                return;
            }
            self.dedupe.push((new.queue.clone(), dedupe.key.clone(), now.after(dedupe.window), said.id()));
        }
        assert!(matches!(said, Enqueued::New(_)), "nothing is the same");
        assert!(self.jobs.iter().all(|job| job.id < said.id()), "names grow, and none is used twice");
        let due = match new.due {
            Due::Now => now,
            Due::After(delay) => now.after(delay),
            Due::At(time) => time.max(now),
        };
        self.jobs.push(Job {
            id: said.id(),
            queue: new.queue.clone(),
            order: new.order.clone(),
            priority: new.priority,
            due,
            deadline: new.deadline,
            enqueued: now,
            attempts: 0,
            note: Vec::new(),
            body: new.body.clone(),
            claim: None,
            dead: None,
        });
    }

    fn next(&self, queue: &str, now: Timestamp, taken: &[JobId]) -> Option<JobId> {
        let live = || self.jobs.iter().filter(|job| job.queue == queue && job.dead.is_none());
        let is_busy = |job: &Job| job.is_leased(now) || taken.contains(&job.id);
        let claimable = live().filter(|job| !is_busy(job) && job.due <= now).filter(|job| {
            let same = || live().filter(|other| job.order.is_some() && other.order == job.order);
            same().all(|other| !is_busy(other) && other.id >= job.id)
        });
        let head_start = PRIORITY_HEAD_START.as_millis() as i64;
        let rank = |job: &&Job| (job.due.0.cast_signed() - i64::from(job.priority) * head_start, job.id);
        claimable.min_by_key(rank).map(|job| job.id)
    }

    /// Who should be handed out, and with which attempt.
    pub(crate) fn claim(&mut self, now: Timestamp, claim: &Claim) -> Vec<(JobId, u32, Vec<u8>)> {
        let mut taken = Vec::new();
        while taken.len() < claim.max && !self.paused.contains(&claim.queue) {
            let Some(id) = self.next(&claim.queue, now, &taken) else { break };
            taken.push(id);
        }
        let mut handed = Vec::new();
        for id in taken {
            let job = self.job(id);
            if job.deadline.is_some_and(|deadline| deadline <= now) {
                job.dead = Some((REASON_EXPIRED.to_owned(), now));
                continue;
            }
            job.attempts += 1;
            handed.push((id, job.attempts, job.body.clone()));
        }
        handed
    }

    pub(crate) fn claimed(&mut self, receipt: Receipt, until: Timestamp, holder: Holder) {
        self.job(receipt.id).claim = Some((receipt.token, until, holder));
    }

    fn job(&mut self, id: JobId) -> &mut Job {
        self.jobs.iter_mut().find(|job| job.id == id).unwrap()
    }

    /// Whether a receipt is the latest of a job that is neither done nor dead.
    pub(crate) fn is_good(&self, receipt: Receipt) -> bool {
        let job = self.jobs.iter().find(|job| job.id == receipt.id && job.dead.is_none());
        job.is_some_and(|job| job.claim.is_some_and(|(token, ..)| token == receipt.token))
    }

    pub(crate) fn ack(&mut self, receipt: Receipt) {
        self.jobs.retain(|job| job.id != receipt.id);
    }

    pub(crate) fn nack(&mut self, now: Timestamp, receipt: Receipt, nack: &Nack) {
        let job = self.job(receipt.id);
        job.claim = None;
        job.due = now.after(nack.delay);
        job.attempts -= u32::from(nack.attempt == Attempt::DoesNotCount);
        if !nack.note.is_empty() {
            job.note.clone_from(&nack.note);
        }
    }

    pub(crate) fn extend(&mut self, now: Timestamp, receipt: Receipt, lease: Duration) {
        self.job(receipt.id).claim.as_mut().unwrap().1 = now.after(lease);
    }

    pub(crate) fn bury(&mut self, now: Timestamp, receipt: Receipt, burial: &Burial) {
        let job = self.job(receipt.id);
        job.claim = None;
        job.dead = Some((burial.reason.clone(), now));
        if !burial.note.is_empty() {
            job.note.clone_from(&burial.note);
        }
    }

    pub(crate) fn dead(&self, filter: &DeadFilter) -> Vec<DeadLetter> {
        let mut letters = Vec::new();
        for job in &self.jobs {
            let Some((reason, died)) = &job.dead else { continue };
            let fits = filter.id.is_none_or(|id| id == job.id)
                && filter.queue.as_ref().is_none_or(|queue| *queue == job.queue)
                && filter.reason.as_ref().is_none_or(|wanted| wanted == reason)
                && filter.from.is_none_or(|from| *died >= from)
                && filter.until.is_none_or(|until| *died < until);
            if fits {
                letters.push(DeadLetter {
                    id: job.id,
                    queue: job.queue.clone(),
                    reason: reason.clone(),
                    died: *died,
                    enqueued: job.enqueued,
                    attempts: job.attempts,
                    note: job.note.clone(),
                    headers: Vec::new(),
                    body: job.body.clone(),
                });
            }
        }
        letters
    }

    pub(crate) fn retry(&mut self, now: Timestamp, filter: &DeadFilter) -> u64 {
        let letters = self.dead(filter);
        for letter in &letters {
            let job = self.job(letter.id);
            (job.dead, job.claim, job.deadline) = (None, None, None);
            (job.due, job.attempts) = (now, 0);
        }
        letters.len() as u64
    }

    pub(crate) fn drop_dead(&mut self, filter: &DeadFilter) -> u64 {
        let letters = self.dead(filter);
        self.jobs.retain(|job| letters.iter().all(|letter| letter.id != job.id));
        letters.len() as u64
    }

    /// Leases inside end with the process; those outside do not.
    pub(crate) fn restart(&mut self) {
        for job in &mut self.jobs {
            job.claim = job.claim.filter(|(_, _, holder)| *holder == Holder::Outside);
        }
    }

    pub(crate) fn counts(&self, now: Timestamp, queue: &str) -> Counts {
        let jobs = || self.jobs.iter().filter(|job| job.queue == queue);
        let live = || jobs().filter(|job| job.dead.is_none());
        let mut counts = Counts {
            dead: (jobs().count() - live().count()) as u64,
            leased: live().filter(|job| job.is_leased(now)).count() as u64,
            paused: self.paused.iter().any(|paused| paused == queue),
            complete: true,
            ..Counts::default()
        };
        for job in live().filter(|job| !job.is_leased(now)) {
            let mut same = live().filter(|other| job.order.is_some() && other.order == job.order);
            let has_to_wait = same.any(|other| other.is_leased(now) || other.id < job.id);
            match (has_to_wait, job.due > now) {
                (true, _) => counts.blocked += 1,
                (false, true) => counts.delayed += 1,
                (false, false) => counts.ready += 1,
            }
        }
        counts
    }
}
