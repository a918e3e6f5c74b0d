//! The shell of one lane: claims jobs, carries out what the policy decides, and tells it what came of that.
//!
//! One task owns the machine and never waits inside a decision: claims, attempts, extensions and settlements are tasks
//! of their own, whose ends are its events. While more settlements are on their way to the disk than jobs may be held,
//! nothing is claimed: a slow store slows deliveries down, and fills no memory.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use seaworthy_policy::delivery::{Answer, DeliveryConfig, Job, JobId, Proof, Step};
use seaworthy_policy::{Delivery, Rng, Time, breaker};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::push::{Message, Pushed, Receiver, push};
use crate::signature::Secret;
use crate::source::{Claimed, Receipt, Settlement, Source, SourceError};

/// What the clock shows when a lane begins: jobs are older than that, and nothing is before the beginning of time.
const BEGINNING: Time = Time::from_millis(100 * 366 * 86_400_000);
/// How long a claim that failed for no lasting reason waits before the next one; also how often is looked for what a
/// source forgot to announce.
const LOOK: Duration = Duration::from_secs(5);

/// Asks a running lane for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin no attempt until resumed.
    Pause,
    /// End a pause.
    Resume,
    /// Begin no attempt until enabled.
    Disable,
    /// The receiver is there again.
    Enable,
    /// Forget what was learnt about the receiver.
    Reset,
    /// A job was dropped, or finished by somebody else.
    Removed(u64),
    /// Begin no attempt any more, give up those that last longer than this, and return.
    Drain(Duration),
}

/// What a lane tells whoever watches it, for events, metrics and the log.
#[derive(Debug)]
pub enum Happened<'a> {
    /// This is done next.
    Decided(&'a Step),
    /// An attempt has ended; what follows from it is decided next.
    Answered {
        /// Of which job.
        job: u64,
        /// What came of it.
        pushed: &'a Pushed,
    },
    /// The circuit breaker changed its state.
    Breaker(breaker::Transition),
}

/// How a lane delivers.
#[derive(Clone, Debug)]
pub struct LaneConfig {
    /// When, and what answers mean.
    pub delivery: Arc<DeliveryConfig>,
    /// To whom.
    pub receiver: Receiver,
    /// Signed with these.
    pub secrets: Arc<[Secret]>,
    /// For jitter.
    pub seed: u64,
}

/// A job in our hands.
struct InHand {
    claimed: Arc<Claimed>,
    key: Option<u64>,
    attempt: Option<AbortHandle>,
    /// What came of its last attempt.
    last: Option<Pushed>,
}

/// The end of a task.
enum Ended {
    Claim(Result<Vec<Claimed>, SourceError>),
    Attempt(JobId, Receipt, Pushed),
    Extension(JobId, Receipt, Result<Duration, SourceError>),
    Settlement(Result<(), SourceError>),
}

/// A lane at work.
struct Lane<S, W> {
    config: LaneConfig,
    source: Arc<S>,
    watch: W,
    delivery: Delivery,
    rng: Rng,
    begun: Instant,
    in_hand: BTreeMap<JobId, InHand>,
    tasks: JoinSet<Ended>,
    is_claiming: bool,
    /// No claim before this: the last one found nothing.
    claim_after: Option<Instant>,
    settling: u32,
    give_up: Option<Instant>,
}

/// Delivers until it is told to drain, or nobody can command it any more; `watch` is told what happens, and must be brief.
///
/// # Errors
/// When the source is broken, or a task panicked: nothing more is acknowledged, and the process has to end.
pub async fn run<S: Source, W: Fn(Happened<'_>)>(
    config: LaneConfig,
    source: Arc<S>,
    mut commands: mpsc::Receiver<Command>,
    watch: W,
) -> Result<(), String> {
    let mut rng = Rng::seeded(config.seed);
    let mut lane = Lane {
        delivery: Delivery::new(Arc::clone(&config.delivery), BEGINNING, &mut rng),
        config,
        source,
        watch,
        rng,
        begun: Instant::now(),
        in_hand: BTreeMap::new(),
        tasks: JoinSet::new(),
        is_claiming: false,
        claim_after: None,
        settling: 0,
        give_up: None,
    };
    loop {
        lane.carry_out();
        if lane.delivery.is_drained() && lane.tasks.is_empty() {
            return Ok(());
        }
        lane.claim();
        let wake = lane.wakes_at();
        let source = Arc::clone(&lane.source);
        tokio::select! {
            biased;
            command = commands.recv(), if lane.give_up.is_none() => {
                lane.obey(command.unwrap_or(Command::Drain(Duration::ZERO)));
            }
            Some(ended) = lane.tasks.join_next() => {
                match ended {
                    Ok(ended) => lane.on_ended(ended)?,
                    Err(error) if error.is_panic() => return Err(format!("a task of a lane failed: {error}")),
                    // A task that was aborted has nothing to tell.
                    Err(_) => {}
                }
            }
            () = source.ready(), if !lane.is_claiming && lane.claim_after.is_some() => lane.claim_after = None,
            () = sleep_until(wake) => lane.on_time(),
        }
    }
}

impl<S: Source, W: Fn(Happened<'_>)> Lane<S, W> {
    fn now(&self) -> Time {
        BEGINNING + self.begun.elapsed()
    }

    fn instant_of(&self, time: Time) -> Instant {
        self.begun + time.saturating_since(BEGINNING)
    }

    fn wakes_at(&self) -> Instant {
        let machine = self.delivery.next_deadline().map(|at| self.instant_of(at));
        let look = Some(Instant::now() + LOOK);
        [machine, self.claim_after, self.give_up, look].into_iter().flatten().min().unwrap_or(self.begun)
    }

    fn on_time(&mut self) {
        let now = self.now();
        self.delivery.on_timer(now, &mut self.rng);
        if self.claim_after.is_some_and(|at| at <= Instant::now()) {
            self.claim_after = None;
        }
        if self.give_up.is_some_and(|at| at <= Instant::now()) {
            self.give_up_attempts();
        }
    }

    fn obey(&mut self, command: Command) {
        let (now, rng) = (self.now(), &mut self.rng);
        match command {
            Command::Pause => self.delivery.pause(now, rng),
            Command::Resume => self.delivery.resume(now, rng),
            Command::Disable => self.delivery.disable(now, rng),
            Command::Enable => self.delivery.enable(now, rng),
            Command::Reset => self.delivery.reset(now, rng),
            Command::Removed(id) => {
                let id = JobId(id);
                let key = self.in_hand.get(&id).and_then(|job| job.key);
                self.delivery.on_removed(now, rng, id, key);
            }
            Command::Drain(grace) => {
                self.delivery.drain(now, rng);
                self.give_up = Some(Instant::now() + grace);
            }
        }
        self.claim_after = None;
    }

    fn give_up_attempts(&mut self) {
        let now = self.now();
        for id in self.in_hand.keys().copied().collect::<Vec<_>>() {
            if let Some(attempt) = self.in_hand.get_mut(&id).and_then(|job| job.attempt.take()) {
                attempt.abort();
                let answer = Answer::Abandoned { proof: Proof::BodySent };
                self.delivery.on_answer(now, &mut self.rng, id, answer);
            }
        }
        // Once is enough; what remains is on its way to the disk.
        self.give_up = Some(Instant::now() + LOOK);
    }

    fn claim(&mut self) {
        let wanted = self.delivery.wanted(self.now());
        let waits = self.claim_after.is_some_and(|at| at > Instant::now());
        let slow = self.settling > self.config.delivery.held_max();
        if wanted == 0 || waits || slow || self.is_claiming {
            return;
        }
        self.is_claiming = true;
        let (source, lease) = (Arc::clone(&self.source), self.config.delivery.lease);
        self.tasks.spawn(async move { Ended::Claim(source.claim(wanted, lease).await) });
    }

    fn on_ended(&mut self, ended: Ended) -> Result<(), String> {
        match ended {
            Ended::Claim(result) => {
                self.is_claiming = false;
                let claimed = broken(result)?.unwrap_or_default();
                if claimed.is_empty() {
                    let due = self.source.next_due().filter(|due| !due.is_zero());
                    self.claim_after = Some(Instant::now() + due.unwrap_or(LOOK).min(LOOK));
                }
                for claimed in claimed {
                    self.on_claimed(claimed);
                }
            }
            Ended::Attempt(id, receipt, pushed) => {
                let Some(job) = self.in_hand.get_mut(&id).filter(|job| job.claimed.receipt == receipt) else {
                    return Ok(());
                };
                job.attempt = None;
                let answer = pushed.answer;
                (self.watch)(Happened::Answered { job: id.0, pushed: &pushed });
                job.last = Some(pushed);
                self.delivery.on_answer(self.now(), &mut self.rng, id, answer);
            }
            Ended::Extension(id, receipt, result) => {
                let is_ours = self.in_hand.get(&id).is_some_and(|job| job.claimed.receipt == receipt);
                let (now, lease) = (self.now(), broken(result)?);
                match lease {
                    _ if !is_ours => {}
                    Some(lease) => self.delivery.on_extended(now, &mut self.rng, id, now + lease),
                    None => self.delivery.on_lost(now, &mut self.rng, id),
                }
            }
            Ended::Settlement(result) => {
                self.settling -= 1;
                // Where the receipt was stale, whoever has the job by now settles it.
                broken(result)?;
                // The next one of an order key, or the same one again, may be due.
                self.claim_after = None;
            }
        }
        Ok(())
    }

    fn on_claimed(&mut self, claimed: Claimed) {
        let now = self.now();
        let ago = |age: Duration| {
            Time::from_nanos(now.as_nanos().saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)))
        };
        let id = JobId(claimed.receipt.id);
        let key = claimed.order_key.as_ref().map(|key| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish()
        });
        let job = Job {
            id,
            attempts: claimed.attempts,
            interrupted: claimed.interrupted,
            born: ago(claimed.age),
            due: now,
            deadline: claimed.deadline.map(|left| now + left),
            priority: claimed.priority,
            order_key: key,
            lease_until: now + claimed.lease,
        };
        let in_hand = InHand { claimed: Arc::new(claimed), key, attempt: None, last: None };
        if let Some(before) = self.in_hand.insert(id, in_hand) {
            // The source took it back and handed it out again: the earlier claim is over.
            before.attempt.inspect(AbortHandle::abort);
            self.delivery.on_removed(now, &mut self.rng, id, key);
            while let Some(step) = self.delivery.take_step() {
                if step != (Step::Lost { job: id }) {
                    self.carry_out_step(step);
                }
            }
        }
        self.delivery.on_claimed(now, &mut self.rng, job);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(transition) = self.delivery.take_transition() {
            (self.watch)(Happened::Breaker(transition));
        }
        while let Some(step) = self.delivery.take_step() {
            self.carry_out_step(step);
        }
    }

    fn carry_out_step(&mut self, step: Step) {
        (self.watch)(Happened::Decided(&step));
        let now = self.now();
        let delay = |until: Time| until.saturating_since(now);
        match step {
            Step::Attempt { job, .. } => self.attempt(job),
            Step::Ack { job } => self.settle(job, |_| Settlement::Done),
            Step::Retry { job, until, attempts } => {
                self.settle(job, |last| Settlement::Retry { delay: delay(until), attempts, last });
            }
            Step::Defer { job, until, attempts, .. } => {
                self.settle(job, |_| Settlement::Defer { delay: delay(until), attempts });
            }
            Step::Dead { job, attempts, reason } => {
                self.settle(job, |last| Settlement::Dead { reason, attempts, last });
            }
            Step::Extend { job, until } => self.extend(job, delay(until)),
            Step::Lost { job } => {
                let lost = self.in_hand.remove(&job).and_then(|job| job.attempt);
                lost.inspect(AbortHandle::abort);
            }
            Step::Disabled { .. } => {}
        }
    }

    fn attempt(&mut self, id: JobId) {
        let Some(job) = self.in_hand.get_mut(&id) else { return };
        let claimed = Arc::clone(&job.claimed);
        let (receiver, secrets) = (self.config.receiver.clone(), Arc::clone(&self.config.secrets));
        job.attempt = Some(self.tasks.spawn(async move {
            let message = Message {
                id: &claimed.name,
                headers: &claimed.headers,
                body: claimed.body.clone(),
                event: claimed.event.as_ref(),
                secrets: &secrets,
            };
            let pushed = push(&receiver, message, Timestamp::now()).await;
            Ended::Attempt(id, claimed.receipt, pushed)
        }));
    }

    fn settle(&mut self, id: JobId, settlement: impl FnOnce(Option<Pushed>) -> Settlement) {
        let Some(job) = self.in_hand.remove(&id) else { return };
        let (source, receipt) = (Arc::clone(&self.source), job.claimed.receipt);
        let settlement = settlement(job.last);
        self.settling += 1;
        self.tasks.spawn(async move { Ended::Settlement(source.settle(receipt, settlement).await) });
    }

    fn extend(&mut self, id: JobId, lease: Duration) {
        let Some(job) = self.in_hand.get(&id) else { return };
        let (source, receipt) = (Arc::clone(&self.source), job.claimed.receipt);
        self.tasks.spawn(async move { Ended::Extension(id, receipt, source.extend(receipt, lease).await) });
    }
}

/// What a source answered; `None` when the receipt was stale.
fn broken<T>(result: Result<T, SourceError>) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(SourceError::Stale) => Ok(None),
        Err(SourceError::Broken(why)) => Err(why),
    }
}
