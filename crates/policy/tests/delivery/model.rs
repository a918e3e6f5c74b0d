//! The machine against a naive one that keeps a list of what is held and looks through it anew each time. Breaker and rate
//! limit have models of their own; here there is none, and no jitter, so that every step can be foretold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::{
    Answer, BAR_GRACE, Because, DeliveryConfig, Guarantee, HOLD_MAX, Job, JobId, Mode, ORDER_RECHECK, Proof,
    Reason, Step, Verdict, judge, turn,
};
use seaworthy_policy::{Delivery, Rng, Time};

use crate::lane::{START, plain, waits};

struct Model {
    config: DeliveryConfig,
    /// Held jobs, and whether they are under way.
    held: Vec<(Job, bool)>,
    /// Jobs of a key that were given back, and when they are due.
    away: BTreeMap<(u64, JobId), Time>,
    asked_until: Time,
    paused: bool,
    disabled: bool,
    draining: bool,
    steps: Vec<Step>,
}

impl Model {
    fn mode(&self) -> Option<Because> {
        match (self.draining, self.disabled, self.paused) {
            (true, ..) => Some(Because::Draining),
            (_, true, _) => Some(Because::Disabled),
            (.., true) => Some(Because::Paused),
            _ => None,
        }
    }

    fn bar(&mut self, key: u64, id: JobId, until: Time) {
        self.away.insert((key, id), until);
    }

    fn unbar(&mut self, job: &Job) {
        if let Some(key) = job.order_key {
            self.away.remove(&(key, job.id));
        }
    }

    /// The first one of a key that was given back.
    fn first_away(&self, key: u64) -> Option<(JobId, Time)> {
        let mut away = self.away.iter().filter(|((other, _), _)| *other == key);
        away.next().map(|((_, id), until)| (*id, *until))
    }

    /// Whether nothing but a gate keeps it from going.
    fn may_go(&self, job: &Job) -> bool {
        let Some(key) = job.order_key else { return true };
        let barred = self.first_away(key).is_some_and(|(bar, _)| bar < job.id);
        let behind = |(other, started): &(Job, bool)| {
            other.order_key == Some(key) && other.id != job.id && (*started || other.id < job.id)
        };
        !barred && !self.held.iter().any(behind)
    }

    fn defer(&mut self, job: &Job, until: Time, because: Because) {
        self.steps.push(Step::Defer { job: job.id, until, attempts: job.attempts, because });
    }

    /// Back to the store, with those that have to wait for it.
    fn give_back(&mut self, now: Time, job: &Job, until: Time) {
        let Some(key) = job.order_key else { return };
        let until = until.max(now);
        self.bar(key, job.id, until);
        if until <= now + HOLD_MAX {
            return;
        }
        let bar = self.first_away(key).expect("it has just gone").0;
        let follow =
            |(other, started): &mut (Job, bool)| other.order_key == Some(key) && other.id > bar && !*started;
        let followers: Vec<(Job, bool)> = self.held.extract_if(.., follow).collect();
        for (follower, _) in followers {
            self.defer(&follower, until, Because::Order);
            self.bar(key, follower.id, until);
        }
    }

    fn claimed(&mut self, now: Time, job: Job) {
        if job.lease_until <= now {
            return self.steps.push(Step::Lost { job: job.id });
        }
        let interrupted = job.interrupted && self.config.guarantee == Guarantee::AtMostOnce;
        let reason = if interrupted {
            Some(Reason::OutcomeUnknown)
        } else if job.attempts >= self.config.schedule.attempts() {
            Some(Reason::Exhausted)
        } else {
            job.deadline.filter(|deadline| *deadline <= now).map(|_| Reason::Expired)
        };
        if let Some(reason) = reason {
            self.unbar(&job);
            return self.steps.push(Step::Dead { job: job.id, attempts: job.attempts, reason });
        }
        let full = (self.held.len() >= self.config.held_max() as usize).then_some(Because::Full);
        if let Some(because) = self.mode().or(full) {
            if let Some(key) = job.order_key {
                self.bar(key, job.id, now);
            }
            return self.defer(&job, job.due, because);
        }
        if let Some(key) = job.order_key {
            let recheck = now + ORDER_RECHECK;
            self.unbar(&job);
            if let Some((_, until)) = self.first_away(key).filter(|(first, _)| *first < job.id) {
                let until = recheck.max(until);
                self.bar(key, job.id, until);
                return self.defer(&job, until, Because::Order);
            }
            let is_behind = |(other, started): &&(Job, bool)| !started && !self.may_go(other);
            let behind = self.held.iter().filter(is_behind).count() as u32;
            if !self.may_go(&job) && behind >= (self.config.prefetch / 2).max(1) {
                self.bar(key, job.id, recheck);
                return self.defer(&job, recheck, Because::Order);
            }
        }
        self.held.push((job, false));
    }

    fn answered(&mut self, now: Time, id: JobId, answer: Answer) {
        let Some(at) = self.held.iter().position(|(job, started)| job.id == id && *started) else { return };
        let (job, _) = self.held.remove(at);
        let attempts = job.attempts + 1;
        let late = |until| job.deadline.is_some_and(|deadline| deadline <= until);
        let step = match judge(&self.config, answer) {
            Verdict::Delivered => Step::Ack { job: id },
            Verdict::Dead(reason) => Step::Dead { job: id, attempts, reason },
            Verdict::Failed { asked } => match self.config.schedule.waits.get(attempts as usize) {
                None => Step::Dead { job: id, attempts, reason: Reason::Exhausted },
                Some(wait) => match now + asked.unwrap_or(*wait) {
                    until if late(until) => Step::Dead { job: id, attempts, reason: Reason::Expired },
                    until => Step::Retry { job: id, until, attempts },
                },
            },
            Verdict::NotNow { asked } => {
                self.asked_until = self.asked_until.max(now + asked);
                let (until, attempts) = (now + asked, job.attempts);
                if late(until) {
                    Step::Dead { job: id, attempts, reason: Reason::Expired }
                } else {
                    Step::Defer { job: id, until, attempts, because: Because::Asked }
                }
            }
            Verdict::Again => {
                Step::Defer { job: id, until: job.due, attempts: job.attempts, because: Because::Draining }
            }
            Verdict::Gone => {
                self.disabled = true;
                self.steps.push(Step::Disabled { job: id });
                Step::Defer { job: id, until: job.due, attempts: job.attempts, because: Because::Disabled }
            }
        };
        self.steps.push(step);
        if let Step::Retry { until, .. } | Step::Defer { until, .. } = step {
            self.give_back(now, &job, until);
        }
    }

    fn lost(&mut self, now: Time, id: JobId) {
        if let Some(at) = self.held.iter().position(|(job, _)| job.id == id) {
            let (job, _) = self.held.remove(at);
            self.steps.push(Step::Lost { job: id });
            if let Some(key) = job.order_key {
                self.bar(key, id, now);
            }
        }
    }

    fn due(&mut self, now: Time) {
        let is_late = |(job, started): &mut (Job, bool)| {
            !*started && job.deadline.is_some_and(|deadline| deadline <= now)
        };
        for (job, _) in self.held.extract_if(.., is_late).collect::<Vec<_>>() {
            self.steps.push(Step::Dead { job: job.id, attempts: job.attempts, reason: Reason::Expired });
        }
        let over: Vec<JobId> =
            self.held.iter().filter(|(job, _)| job.lease_until <= now).map(|(job, _)| job.id).collect();
        for id in over {
            self.lost(now, id);
        }
        self.away.retain(|_, until| *until + BAR_GRACE > now);
    }

    fn begin(&mut self, now: Time) {
        let mut back = self.mode().map(|because| (None, because));
        if back.is_none() {
            self.start(now);
            let far = self.asked_until > now + HOLD_MAX;
            back = far.then_some((Some(self.asked_until), Because::Asked));
        }
        let Some((until, because)) = back else { return };
        let mut waiting: Vec<(Job, bool)> = self.held.extract_if(.., |(_, started)| !*started).collect();
        waiting.sort_by_key(|(job, _)| job.id);
        for (job, _) in waiting {
            let until = until.unwrap_or(job.due);
            self.defer(&job, until, because);
            if let Some(key) = job.order_key {
                self.bar(key, job.id, until.max(now));
            }
        }
    }

    fn start(&mut self, now: Time) {
        while self.asked_until <= now
            && self.held.iter().filter(|(_, started)| *started).count() < self.config.concurrency as usize
        {
            let patience = self.config.priority_patience;
            let able = self.held.iter().filter(|(job, started)| !started && self.may_go(job));
            let next = able.map(|(job, _)| (turn(job.due, job.priority, patience), job.id)).min();
            let Some((_, id)) = next else { break };
            let (job, started) = self.held.iter_mut().find(|(job, _)| job.id == id).expect("it is held");
            *started = true;
            let step = Step::Attempt { job: id, number: job.attempts + 1, until: now + self.config.timeout };
            self.steps.push(step);
        }
    }

    fn wanted(&self, now: Time) -> u32 {
        if self.mode().is_some() || self.asked_until > now {
            return 0;
        }
        self.config.held_max() - self.held.len() as u32
    }
}

struct Pair {
    delivery: Delivery,
    model: Model,
    rng: Rng,
    now: Time,
    next_id: u64,
    place: String,
}

fn config(rng: &mut Rng) -> DeliveryConfig {
    DeliveryConfig {
        schedule: waits(&[0, 1, 3, 20, 600]),
        concurrency: 1 + rng.below(4) as u32,
        prefetch: 1 + rng.below(6) as u32,
        lease: Duration::from_secs(1 + rng.below(60)),
        timeout: Duration::from_secs(1 + rng.below(60)),
        priority_patience: Duration::from_secs(rng.below(5)),
        guarantee: if rng.chance(0.3) { Guarantee::AtMostOnce } else { Guarantee::AtLeastOnce },
        ..plain()
    }
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let config = config(&mut rng);
        assert_eq!(config.validate(), Ok(()), "seed {seed}");
        let delivery = Delivery::new(config.clone(), START, &mut rng);
        let model = Model {
            config,
            held: Vec::new(),
            away: BTreeMap::new(),
            asked_until: Time::ZERO,
            paused: false,
            disabled: false,
            draining: false,
            steps: Vec::new(),
        };
        Pair { delivery, model, rng, now: START, next_id: 10, place: String::new() }
    }

    fn job(&mut self) -> Job {
        // Now and then an earlier one comes late.
        let back = self.rng.below(2) * self.rng.below(5);
        self.next_id += 1 + self.rng.below(2);
        let mut id = JobId(self.next_id - back);
        while self.model.held.iter().any(|(job, _)| job.id == id) {
            id = JobId(id.0 + 1);
        }
        self.next_id = self.next_id.max(id.0);
        let seconds = |rng: &mut Rng, most| Duration::from_secs(rng.below(most));
        let rng = &mut self.rng;
        Job {
            id,
            attempts: rng.below(6) as u32,
            interrupted: rng.chance(0.1),
            born: self.now,
            due: self.now,
            deadline: rng.chance(0.2).then(|| self.now + seconds(rng, 40)),
            priority: Priority::ALL[rng.below(4) as usize],
            order_key: rng.chance(0.7).then(|| rng.below(3)),
            lease_until: self.now + seconds(rng, 90),
        }
    }

    fn answer(&mut self) -> Answer {
        let after = self.rng.chance(0.3).then(|| Duration::from_secs(self.rng.below(15)));
        match self.rng.below(12) {
            0 => Answer::TimedOut,
            1 => Answer::Failed { proof: Proof::Refused },
            2 => Answer::Failed { proof: Proof::BodySent },
            3 => Answer::Abandoned { proof: Proof::HeadSent },
            4 if self.rng.chance(0.2) => Answer::Status { status: 410, retry_after: None },
            5 => Answer::Status { status: 429, retry_after: after },
            6 => Answer::Status { status: 503, retry_after: after },
            7 => Answer::Status { status: 422, retry_after: after },
            _ => Answer::Status { status: 200, retry_after: None },
        }
    }

    fn any_held(&mut self) -> Option<Job> {
        let count = self.model.held.len() as u64;
        (count > 0).then(|| self.model.held[self.rng.below(count) as usize].0)
    }

    fn event(&mut self) {
        let now = self.now;
        let kind = self.rng.below(100);
        match kind {
            0..45 => {
                let job = self.job();
                let _ = write!(self.place, ": {job:?}");
                self.delivery.on_claimed(now, &mut self.rng, job);
                self.model.claimed(now, job);
            }
            45..85 => {
                let Some(job) = self.any_held() else { return };
                let answer = self.answer();
                let _ = write!(self.place, ": {:?} {answer:?}", job.id);
                self.delivery.on_answer(now, &mut self.rng, job.id, answer);
                self.model.answered(now, job.id, answer);
            }
            85..88 => {
                let Some(job) = self.any_held() else { return };
                self.delivery.on_lost(now, &mut self.rng, job.id);
                self.model.lost(now, job.id);
            }
            88..91 => {
                let Some(job) = self.any_held() else { return };
                self.delivery.on_removed(now, &mut self.rng, job.id, job.order_key);
                self.model.held.retain(|(other, _)| other.id != job.id);
                self.model.steps.push(Step::Lost { job: job.id });
            }
            91..94 => self.switch(),
            _ => self.delivery.on_timer(now, &mut self.rng),
        }
    }

    fn switch(&mut self) {
        let now = self.now;
        match self.delivery.mode() {
            Mode::Running if self.rng.chance(0.5) => {
                self.delivery.disable(now, &mut self.rng);
                self.model.disabled = true;
            }
            Mode::Running => {
                self.delivery.pause(now, &mut self.rng);
                self.model.paused = true;
            }
            Mode::Disabled => {
                self.delivery.enable(now, &mut self.rng);
                self.model.disabled = false;
                self.model.asked_until = Time::ZERO;
            }
            Mode::Paused | Mode::Draining => {
                self.delivery.resume(now, &mut self.rng);
                self.model.paused = false;
            }
        }
    }

    /// What the machine said, extensions apart: half of those are confirmed.
    fn compare(&mut self) {
        self.delivery.check_invariants();
        let mut extensions = Vec::new();
        let mut steps = Vec::new();
        while let Some(step) = self.delivery.take_step() {
            match step {
                Step::Extend { job, until } => extensions.push((job, until)),
                other => steps.push(other),
            }
        }
        let mut expected = std::mem::take(&mut self.model.steps);
        let begun = |steps: &[Step]| -> Vec<Step> {
            steps.iter().filter(|step| matches!(step, Step::Attempt { .. })).copied().collect()
        };
        assert_eq!(begun(&steps), begun(&expected), "{}", self.place);
        steps.sort_by_key(|step| format!("{step:?}"));
        expected.sort_by_key(|step| format!("{step:?}"));
        assert_eq!(steps, expected, "{}", self.place);
        assert_eq!(self.delivery.wanted(self.now), self.model.wanted(self.now), "{}", self.place);
        assert_eq!(self.delivery.held() as usize, self.model.held.len(), "{}", self.place);
        for (id, until) in extensions {
            let (job, _) = self.model.held.iter_mut().find(|(job, _)| job.id == id).expect("it is held");
            assert!(until > job.lease_until.min(self.now), "{}", self.place);
            if self.rng.chance(0.5) {
                job.lease_until = until;
                self.delivery.on_extended(self.now, &mut self.rng, id, until);
            }
        }
        assert_eq!(self.delivery.take_step(), None, "{}: an extension changes nothing else", self.place);
    }

    fn pass_time(&mut self) {
        let Some(next) = self.delivery.next_deadline() else { return };
        assert!(next > self.now, "{}: due, and not done", self.place);
        let to = match self.rng.below(4) {
            // Nothing happens before something is due.
            0 => {
                let before = Time::from_nanos(next.as_nanos() - 1);
                self.delivery.on_timer(before, &mut self.rng);
                assert_eq!(self.delivery.take_step(), None, "{}: earlier than announced", self.place);
                before.max(self.now)
            }
            1 => next,
            _ => self.now + Duration::from_millis(self.rng.below(3_000)),
        };
        self.now = to;
    }
}

#[test]
fn behaves_like_a_naive_list() {
    for seed in 0..600 {
        let mut pair = Pair::new(seed);
        for step in 0..250 {
            pair.place = format!("seed {seed}, step {step}, at {:?}", pair.now);
            if pair.rng.chance(0.5) {
                pair.pass_time();
            }
            let now = pair.now;
            pair.model.due(now);
            // What is due comes before the event, as the machine has it.
            pair.delivery.on_timer(now, &mut pair.rng);
            pair.model.begin(now);
            pair.compare();
            pair.event();
            pair.model.begin(now);
            pair.compare();
        }
    }
}
