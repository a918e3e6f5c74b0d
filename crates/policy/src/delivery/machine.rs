//! The deliveries of one queue, or of one subscriber.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::config::DeliveryConfig;
use super::gate::{Gate, Gates};
use super::held::{Held, HeldJob, Phase, Started};
use super::order::Order;
use super::verdict::{Fate, THROTTLED_MIN, Verdict, after_failure, for_breaker, judge, spread};
use super::vocabulary::{Answer, Because, Job, JobId, Mode, Reason, Step, turn};
use crate::breaker::{self, Breaker};
use crate::{Rng, Time};

/// A gate that opens within this time is waited for; until one that opens later, jobs are given back.
pub const HOLD_MAX: Duration = Duration::from_secs(5);
/// The longest that all jobs rest because one was answered "not now". The job itself waits as long as it was asked to.
pub const ASKED_MAX: Duration = Duration::from_hours(1);
/// Jobs given back for the sake of order within a second, after which nothing is claimed for its rest: a store that
/// hands out a long line one by one would keep both sides busy with nothing.
pub const GIVEN_BACK_PER_SECOND: u32 = 1_000;

/// Which jobs are attempted now, which wait, and what becomes of each.
#[derive(Debug)]
pub struct Delivery {
    pub(super) config: Arc<DeliveryConfig>,
    pub(super) held: Held,
    pub(super) order: Order,
    pub(super) gates: Gates,
    paused: bool,
    disabled: bool,
    draining: bool,
    /// The present second, and how many were given back in it.
    second: Time,
    given_back: u32,
    pub(super) steps: VecDeque<Step>,
    latest: Time,
}

impl Delivery {
    /// Nothing claimed, everything open. The configuration is a valid one.
    pub fn new(config: impl Into<Arc<DeliveryConfig>>, now: Time, rng: &mut Rng) -> Self {
        let config = config.into();
        Delivery {
            held: Held::default(),
            order: Order::new(config.order_jobs_max),
            gates: Gates::new(&config, now, rng),
            paused: false,
            disabled: false,
            draining: false,
            second: now,
            given_back: 0,
            steps: VecDeque::new(),
            latest: now,
            config,
        }
    }

    /// How many jobs to claim now.
    pub fn wanted(&self, now: Time) -> u32 {
        let now = now.max(self.latest);
        let busy = self.given_back >= GIVEN_BACK_PER_SECOND && now < self.second + Duration::from_secs(1);
        if self.mode() != Mode::Running || busy || self.gates.shut(now).is_some() {
            return 0;
        }
        let room = self.config.held_max().saturating_sub(self.held.len());
        let ready = self.held.ready();
        self.gates.allowance(now).map_or(room, |allowed| room.min(allowed.saturating_sub(ready)))
    }

    /// Whether a job of this order key would be taken rather than given back: for a store that can choose.
    pub fn would_take(&self, order_key: u64, job: JobId) -> bool {
        self.order.would_take(order_key, job)
    }

    /// A job was claimed. One that is held already only gets a new lease.
    pub fn on_claimed(&mut self, now: Time, rng: &mut Rng, job: Job) {
        let now = self.advance(now, rng);
        if self.held.get(job.id).is_some() {
            self.renew(now, job.id, job.lease_until);
        } else {
            self.receive(now, job);
        }
        self.pump(now, rng);
    }

    /// An attempt has ended. One of a job that is not held any more changes nothing.
    pub fn on_answer(&mut self, now: Time, rng: &mut Rng, id: JobId, answer: Answer) {
        let now = self.advance(now, rng);
        if !self.held.is_started(id) {
            return;
        }
        let Some(Phase::Started(attempt)) = self.held.enter(id, Phase::Behind) else { return };
        let elapsed = now.saturating_since(attempt.at);
        self.gates.complete(now, rng, attempt.permit, for_breaker(answer, elapsed));
        let Some(HeldJob { job, .. }) = self.held.remove(id) else { return };
        let attempts = job.attempts.saturating_add(1);
        match judge(&self.config, answer) {
            Verdict::Delivered => self.end(&job, Step::Ack { job: id }),
            Verdict::Dead(reason) => self.end(&job, Step::Dead { job: id, attempts, reason }),
            Verdict::Failed { asked } => self.failed(now, rng, &job, asked),
            Verdict::NotNow { asked } => self.not_now(now, rng, &job, asked),
            Verdict::Again => self.return_to_store(now, &job, job.due, Because::Draining),
            Verdict::Gone => {
                self.disabled = true;
                self.steps.push_back(Step::Disabled { job: id });
                self.return_to_store(now, &job, job.due, Because::Disabled);
            }
        }
        self.pump(now, rng);
    }

    /// The store holds a claim until then.
    pub fn on_extended(&mut self, now: Time, rng: &mut Rng, id: JobId, until: Time) {
        let now = self.advance(now, rng);
        self.renew(now, id, until);
        self.pump(now, rng);
    }

    /// The store says that a claim is over.
    pub fn on_lost(&mut self, now: Time, rng: &mut Rng, id: JobId) {
        let now = self.advance(now, rng);
        self.lose(now, rng, id);
        self.pump(now, rng);
    }

    /// A job was dropped, or finished by somebody else, whether or not it is held.
    pub fn on_removed(&mut self, now: Time, rng: &mut Rng, id: JobId, order_key: Option<u64>) {
        let now = self.advance(now, rng);
        if let Some(held) = self.held.remove(id) {
            self.abandon(now, rng, held.phase);
            self.end(&held.job, Step::Lost { job: id });
        } else if let Some(key) = order_key {
            let next = self.order.forget(key, id);
            self.let_go(next);
        }
        self.pump(now, rng);
    }

    /// At the beginning: a job in the store is due again only then, and no later one of its order key may go before it.
    /// Answers false when there are too many to remember.
    pub fn on_waiting(&mut self, id: JobId, order_key: u64, until: Time) -> bool {
        self.bar(order_key, id, until)
    }

    /// Does what is due.
    pub fn on_timer(&mut self, now: Time, rng: &mut Rng) {
        let now = self.advance(now, rng);
        self.pump(now, rng);
    }

    /// Begins no attempt until resumed; those under way go on.
    pub fn pause(&mut self, now: Time, rng: &mut Rng) {
        self.paused = true;
        self.on_timer(now, rng);
    }

    /// Ends a pause.
    pub fn resume(&mut self, now: Time, rng: &mut Rng) {
        self.paused = false;
        self.on_timer(now, rng);
    }

    /// Begins no attempt until enabled, as after a 410.
    pub fn disable(&mut self, now: Time, rng: &mut Rng) {
        self.disabled = true;
        self.on_timer(now, rng);
    }

    /// The receiver is there again, and nothing is held against it.
    pub fn enable(&mut self, now: Time, rng: &mut Rng) {
        self.disabled = false;
        self.reset(now, rng);
    }

    /// Begins no attempt any more, for good.
    pub fn drain(&mut self, now: Time, rng: &mut Rng) {
        self.draining = true;
        self.on_timer(now, rng);
    }

    /// Whether nothing is held any more after [`Delivery::drain`].
    pub fn is_drained(&self) -> bool {
        self.draining && self.held.len() == 0
    }

    /// Forgets what was learnt about the receiver: breaker, and pauses that it asked for.
    pub fn reset(&mut self, now: Time, rng: &mut Rng) {
        let now = self.advance(now, rng);
        self.gates.reset(now);
        self.pump(now, rng);
    }

    /// The next step that nobody has taken yet. Take all of them after each event.
    pub fn take_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Delivery::on_timer`] has something to do, or more may be [wanted](Delivery::wanted).
    pub fn next_deadline(&self) -> Option<Time> {
        let expiry = self.held.next_expiry().map(|(at, _)| at);
        let lease = self.held.next_lease().map(|(at, _)| at);
        let rest = (self.given_back >= GIVEN_BACK_PER_SECOND).then(|| self.second + Duration::from_secs(1));
        let own = [expiry, lease, self.order.next_fall(), rest.filter(|rest| *rest > self.latest)];
        own.into_iter().chain(self.gates.deadlines(self.latest)).flatten().min()
    }

    /// Whether anything is attempted, and if not, why.
    pub fn mode(&self) -> Mode {
        match (self.draining, self.disabled, self.paused) {
            (true, ..) => Mode::Draining,
            (_, true, _) => Mode::Disabled,
            (.., true) => Mode::Paused,
            _ => Mode::Running,
        }
    }

    /// What keeps jobs from being attempted at present, other than the mode, and until when.
    pub fn held_up(&self, now: Time) -> Option<(Because, Time)> {
        self.gates.shut(now.max(self.latest)).map(|gate| (gate.because, gate.until))
    }

    /// Jobs that are claimed.
    pub fn held(&self) -> u32 {
        self.held.len()
    }

    /// Attempts under way.
    pub fn under_way(&self) -> u32 {
        self.held.started()
    }

    /// Order keys that are known.
    pub fn order_keys(&self) -> usize {
        self.order.keys()
    }

    /// The circuit breaker, if there is one.
    pub fn breaker(&self) -> Option<&Breaker> {
        self.gates.breaker()
    }

    /// The circuit breaker, for its [transitions](Breaker::take_transition).
    pub fn take_transition(&mut self) -> Option<breaker::Transition> {
        self.gates.take_transition()
    }

    /// Panics when the state contradicts itself. Walks what is held.
    pub fn check_invariants(&self) {
        self.held.check_invariants();
        self.order.check_invariants();
        self.gates.check_invariants();
        assert!(self.held.len() <= self.config.held_max(), "more held than allowed");
        assert!(self.held.started() <= self.config.concurrency, "more under way than allowed");
        let waiting = self.held.len() - self.held.started();
        assert!(self.mode() == Mode::Running || waiting == 0, "jobs wait although nothing is attempted");
        let free = self.held.started() < self.config.concurrency;
        let idle = free && self.held.ready() > 0 && self.gates.shut(self.latest).is_none();
        assert!(!idle, "a job waits although it may go");
    }

    pub(super) fn turn_of(&self, job: &Job) -> Time {
        turn(job.due, job.priority, self.config.priority_patience)
    }

    /// The attempt failed and counts.
    fn failed(&mut self, now: Time, rng: &mut Rng, job: &Job, asked: Option<Duration>) {
        match after_failure(&self.config, now, rng, job, asked) {
            Fate::Dead { reason, attempts } => self.end(job, Step::Dead { job: job.id, attempts, reason }),
            Fate::Retry { until, attempts } => {
                self.steps.push_back(Step::Retry { job: job.id, until, attempts });
                self.leave(now, job, until);
            }
        }
    }

    /// The receiver takes nothing at present.
    fn not_now(&mut self, now: Time, rng: &mut Rng, job: &Job, asked: Duration) {
        self.gates.rest(now + asked.min(ASKED_MAX));
        let Job { id, attempts, .. } = *job;
        let until = now + spread(&self.config, rng, asked);
        let patience = self.config.schedule.span().max(THROTTLED_MIN);
        let reason = if job.deadline.is_some_and(|deadline| deadline <= until) {
            Reason::Expired
        } else if until >= job.born + patience {
            Reason::Throttled
        } else {
            return self.return_to_store(now, job, until, Because::Asked);
        };
        self.end(job, Step::Dead { job: id, attempts, reason });
    }

    /// A job that was held has found its end.
    fn end(&mut self, job: &Job, step: Step) {
        self.steps.push_back(step);
        let next = job.order_key.and_then(|key| self.order.leave(key, job.id, None));
        self.let_go(next);
    }

    /// A job that was held goes back to the store.
    fn return_to_store(&mut self, now: Time, job: &Job, until: Time, because: Because) {
        self.defer(now, job, until, because);
        self.leave(now, job, until);
    }

    /// A job that was held has gone back until then; those behind it follow when that is long.
    fn leave(&mut self, now: Time, job: &Job, until: Time) {
        let Some(key) = job.order_key else { return };
        let until = until.max(now);
        let next = self.order.leave(key, job.id, Some(until));
        self.let_go(next);
        if until <= now + HOLD_MAX {
            return;
        }
        for id in self.order.barred(key) {
            let Some(HeldJob { job, .. }) = self.held.remove(id) else { continue };
            self.defer(now, &job, until, Because::Order);
            let next = self.order.leave(key, id, Some(until));
            self.let_go(next);
        }
    }

    pub(super) fn defer(&mut self, now: Time, job: &Job, until: Time, because: Because) {
        let Job { id, attempts, .. } = *job;
        self.steps.push_back(Step::Defer { job: id, until, attempts, because });
        if now >= self.second + Duration::from_secs(1) {
            (self.second, self.given_back) = (now, 0);
        }
        if matches!(because, Because::Order | Because::Full) {
            self.given_back = self.given_back.saturating_add(1);
        }
    }

    /// The next one of an order key may go.
    pub(super) fn let_go(&mut self, next: Option<JobId>) {
        if let Some(held) = next.and_then(|next| self.held.get(next))
            && matches!(held.phase, Phase::Behind)
        {
            let (id, turn) = (held.job.id, self.turn_of(&held.job));
            self.held.enter(id, Phase::Ready(turn));
        }
    }

    /// Begins what may begin, and gives back what would wait for too long.
    fn pump(&mut self, now: Time, rng: &mut Rng) {
        match self.mode() {
            Mode::Running => self.begin(now, rng),
            Mode::Paused => self.give_all_back(now, None, Because::Paused),
            Mode::Disabled => self.give_all_back(now, None, Because::Disabled),
            Mode::Draining => self.give_all_back(now, None, Because::Draining),
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn begin(&mut self, now: Time, rng: &mut Rng) {
        while self.held.started() < self.config.concurrency
            && let Some(id) = self.held.next_ready()
            && let Some(permit) = self.gates.pass(now, rng)
        {
            let until = now + self.config.timeout;
            self.held.enter(id, Phase::Started(Started { at: now, until, permit }));
            let number = self.held.get(id).map_or(1, |held| held.job.attempts.saturating_add(1));
            self.steps.push_back(Step::Attempt { job: id, number, until });
        }
        self.gates.look(now);
        if let Some(Gate { until, because }) = self.gates.shut(now).filter(|gate| gate.until > now + HOLD_MAX)
        {
            self.give_all_back(now, Some(until), because);
        }
    }

    /// Gives back what is not under way: until then, or to where it stood.
    fn give_all_back(&mut self, now: Time, until: Option<Time>, because: Because) {
        if self.held.len() == self.held.started() {
            return;
        }
        for id in self.held.waiting() {
            let Some(HeldJob { job, .. }) = self.held.remove(id) else { continue };
            let until = until.unwrap_or(job.due);
            self.defer(now, &job, until, because);
            if let Some(key) = job.order_key {
                let next = self.order.leave(key, id, Some(until.max(now)));
                self.let_go(next);
            }
        }
    }

    /// Does what is due and returns the moment it is, which never lies before an earlier one.
    fn advance(&mut self, now: Time, rng: &mut Rng) -> Time {
        let now = self.latest.max(now);
        self.latest = now;
        self.gates.advance(now, rng);
        while let Some((at, id)) = self.held.next_expiry()
            && at <= now
        {
            let Some(HeldJob { job, .. }) = self.held.remove(id) else { break };
            let attempts = job.attempts;
            self.end(&job, Step::Dead { job: id, attempts, reason: Reason::Expired });
        }
        while let Some((at, id)) = self.held.next_lease()
            && at <= now
        {
            self.look_at_lease(now, rng, id);
        }
        while let Some(key) = self.order.take_fallen(now) {
            let next = self.order.settle(key);
            self.let_go(next);
        }
        now
    }
}
