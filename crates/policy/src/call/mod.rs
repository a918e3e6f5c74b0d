//! `Call`: one upstream operation of one edge, from its first attempt to a committed answer or a typed failure.
//!
//! **Problem.** Timeouts, retries, hedges and budgets written as separate layers do not know of each other: the timeout
//! blinds the breaker, the retry multiplies the hedge, the budget is charged after the harm is done. Here they are
//! one machine with one list of attempts.
//!
//! **Model.** `New → Running → Committed → Done`, with `Parked` beside `Running`. While running there are up to
//! [`MAX_ATTEMPTS`] attempts, each waiting for its response head under its own limits; a resend that waits for its back-off;
//! and the moment of the hedge. Whatever ends badly goes through one decision (`Call::after`): wait for the other attempt,
//! send again, pass on the bad answer, or give up.
//!
//! **When is a request sent again?** With proof that it was not executed: always, and for free once per endpoint.
//! Without: only if it is safe or keyed, its body can be replayed, the budget has a token, an attempt is left, and the
//! usual duration of an attempt still fits before the deadline. The token is charged at this decision, before the back-off.
//!
//! **Rejected.** Retrying inside the transport (the pool would not see the attempts); a hedge as its own call (it could not
//! share the attempt list, so both might be sent to one endpoint).
//!
//! **Worked number.** Three replicas, one stops answering; p95 12 ms, p99 20 ms. A request there is hedged after 12 ms if the
//! hedges' share allows, else the stall rule sends it again after `max(200, 8 × 20)` = 200 ms.

mod attempt;
mod sets;
mod vocabulary;

pub use vocabulary::{
    AttemptId, AttemptKind, CallConfig, Cause, Class, Ended, Event, Failure, FailureKind, MAX_ATTEMPTS,
    Proof, Safety, Step, Trace,
};

use std::sync::Arc;
use std::time::Duration;

use crate::pool::{NoPermit, Permit, Pick, Pool};
use crate::rng::Rng;
use crate::time::Time;
use attempt::Attempt;
use sets::{Ids, Tried};

/// What a client is told when we have no better idea of when to come back.
pub const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// One upstream operation. See the module's documentation.
#[derive(Debug)]
pub struct Call {
    config: Arc<CallConfig>,
    lane: usize,
    safety: Safety,
    replayable: bool,
    deadline: Time,
    phase: Phase,
    attempts: Vec<Attempt>,
    trail: Vec<Trace>,
    /// Attempts begun for free, on proof; they do not count against `max_attempts`.
    free: u8,
    resend: Option<Resend>,
    hedge_at: Option<Time>,
    /// Some attempt may have been executed.
    maybe_executed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Running,
    /// Waits for an endpoint.
    Parked {
        /// When it gives up.
        until: Time,
        /// Its turn, once an endpoint is there.
        turn: Option<Time>,
    },
    Committed(AttemptId),
    Done,
}

/// A decided resend that waits for its back-off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Resend {
    at: Time,
    budgeted: bool,
}

/// How an attempt went wrong, for the one decision about it.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    kind: FailureKind,
    /// Surely not executed, and this endpoint has not been forgiven before.
    free: bool,
    /// Whether it may be sent again at all.
    again: bool,
    /// The answer asked for a pause.
    pause: Option<Duration>,
    /// The bad answer, which can be passed on instead.
    answer: Option<(AttemptId, Class)>,
}

/// Everything a transition works with.
struct Context<'a> {
    now: Time,
    rng: &'a mut Rng,
    pool: &'a mut Pool,
    steps: &'a mut Vec<Step>,
}

impl Call {
    /// A call in `lane` of its pool that must have its response head by `deadline`. `replayable` says whether the shell can
    /// send the body a second time.
    pub fn new(
        config: Arc<CallConfig>,
        lane: usize,
        safety: Safety,
        replayable: bool,
        deadline: Time,
    ) -> Self {
        Self {
            config,
            lane,
            safety,
            replayable,
            deadline,
            phase: Phase::New,
            attempts: Vec::new(),
            trail: Vec::new(),
            free: 0,
            resend: None,
            hedge_at: None,
            maybe_executed: false,
        }
    }

    /// Tells the call what happened and appends what to do to `steps`. Call under the edge's lock; act after unlocking.
    pub fn on(&mut self, now: Time, rng: &mut Rng, pool: &mut Pool, event: Event, steps: &mut Vec<Step>) {
        let mut context = Context { now, rng, pool, steps };
        match event {
            Event::Start => self.on_start(&mut context),
            Event::Head { attempt, class, retry_after } => {
                self.on_head(&mut context, attempt, class, retry_after);
            }
            Event::Failed { attempt, proof, cause } => self.on_failed(&mut context, attempt, proof, cause),
            Event::BodyEnded => self.on_body_end(&mut context, false),
            Event::BodyFailed => self.on_body_end(&mut context, true),
            Event::Timer => self.on_timer(&mut context),
            Event::Dropped => self.finish(&mut context, Ended::Cancelled),
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// When [`Event::Timer`] is due; `None` = nothing to wait for.
    pub fn next_deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Running => {
                let attempts = self.attempts.iter().filter_map(Attempt::next_deadline);
                let resend = self.resend.map(|resend| resend.at);
                attempts.chain(self.hedge_at).chain(resend).chain([self.deadline]).min()
            }
            Phase::Parked { until, turn } => Some(turn.unwrap_or(until)),
            Phase::New | Phase::Committed(_) | Phase::Done => None,
        }
    }

    /// True while the call waits for an endpoint to appear: wake it with [`Event::Timer`] on [`crate::pool::PoolEvent::Available`].
    pub fn is_parked(&self) -> bool {
        matches!(self.phase, Phase::Parked { .. })
    }

    /// The attempts so far, in order.
    pub fn trail(&self) -> &[Trace] {
        &self.trail
    }

    /// Some attempt may have been executed by an endpoint.
    pub fn maybe_executed(&self) -> bool {
        self.maybe_executed
    }

    /// Panics when the state contradicts itself.
    pub fn check_invariants(&self) {
        assert_eq!(self.attempts.len(), self.trail.len(), "one trace per attempt");
        assert!(self.attempts.len() <= usize::from(MAX_ATTEMPTS), "attempts are bounded");
        let open = self.attempts.iter().filter(|attempt| attempt.permit.is_some()).count();
        match self.phase {
            Phase::New | Phase::Parked { .. } | Phase::Done => {
                assert_eq!(open, 0, "no attempt is left open in {:?}", self.phase);
            }
            Phase::Committed(_) => assert!(open <= 1, "only the committed attempt is open"),
            Phase::Running => assert!(open > 0 || self.resend.is_some(), "something is under way: {self:?}"),
        }
    }

    fn on_start(&mut self, context: &mut Context<'_>) {
        debug_assert_eq!(self.phase, Phase::New, "a call starts once");
        context.pool.budget.on_request(context.now);
        self.phase = Phase::Running;
        if context.now >= self.deadline {
            return self.fail(context, FailureKind::TotalTimeout, None);
        }
        self.begin(context, AttemptKind::First, false);
    }

    fn on_head(
        &mut self,
        context: &mut Context<'_>,
        id: AttemptId,
        class: Class,
        retry_after: Option<Duration>,
    ) {
        let Some(permit) = self.permit_mut(id) else { return };
        context.pool.on_head(context.now, context.rng, permit, class);
        self.maybe_executed = true;
        if class == Class::Answered {
            context.pool.budget.on_success(context.now);
        }
        let kind = FailureKind::Reset;
        let answer = Some((id, class));
        let again = match class {
            Class::Answered | Class::Degraded => return self.commit(context, id, class),
            // A 500 is worth another try only where others do better; anything else would hammer a bug.
            Class::Error => context.pool.has_well(context.now, self.tried().as_slice()),
            Class::Throttled => retry_after.is_some(),
            Class::BadGateway | Class::Unavailable => true,
        };
        // `Retry-After` of a 429 speaks for the whole service, that of a 503 for the endpoint that sent it.
        let fresh = context.pool.has_fresh(context.now, self.tried().as_slice());
        let pause = retry_after.filter(|_| class == Class::Throttled || !fresh);
        self.after(context, Trouble { kind, free: false, again: again && self.resendable(), pause, answer });
    }

    fn on_failed(&mut self, context: &mut Context<'_>, id: AttemptId, proof: Proof, cause: Cause) {
        let endpoint = match self.permit_mut(id) {
            Some(permit) => permit.endpoint,
            None => return,
        };
        if cause == Cause::RequestBody {
            self.close(context, id, Ended::Failed(proof, cause), Close::Cancelled);
            self.maybe_executed |= proof == Proof::HeadSent || proof == Proof::BodySent;
            return self.fail(context, FailureKind::RequestBody, None);
        }
        let proven = matches!(proof, Proof::NotSent | Proof::Refused);
        self.maybe_executed |= !proven;
        let forgiven_before = self.trail.iter().enumerate().any(|(index, trace)| {
            index != usize::from(id) && trace.endpoint == endpoint && trace.is_proven_unexecuted()
        });
        self.close(
            context,
            id,
            Ended::Failed(proof, cause),
            Close::Failed { refused: proof == Proof::Refused },
        );
        let kind = match cause {
            Cause::Connect => FailureKind::Connect,
            Cause::ConnectTimeout => FailureKind::ConnectTimeout,
            Cause::Protocol => FailureKind::Protocol,
            Cause::Reset | Cause::RequestBody => FailureKind::Reset,
        };
        let again = proven || self.resendable();
        self.after(
            context,
            Trouble { kind, free: proven && !forgiven_before, again, pause: None, answer: None },
        );
    }

    fn on_body_end(&mut self, context: &mut Context<'_>, broken: bool) {
        let Phase::Committed(id) = self.phase else { return };
        self.phase = Phase::Done;
        if let Some(permit) = self.attempts[usize::from(id)].permit.take() {
            context.pool.release(context.now, permit, broken);
        }
    }

    fn on_timer(&mut self, context: &mut Context<'_>) {
        match self.phase {
            Phase::Running if context.now >= self.deadline => {
                self.fail(context, FailureKind::TotalTimeout, None);
            }
            Phase::Running => {
                self.time_out_attempts(context);
                self.give_up_stalled(context);
                self.hedge(context);
                self.resend_when_due(context);
            }
            Phase::Parked { until, turn } => self.look_again(context, until, turn),
            Phase::New | Phase::Committed(_) | Phase::Done => {}
        }
    }

    fn time_out_attempts(&mut self, context: &mut Context<'_>) {
        for id in self.waiting_where(|attempt| context.now >= attempt.timeout_at) {
            if self.permit_mut(id).is_none() {
                continue;
            }
            context.steps.push(Step::Cancel { attempt: id });
            self.close(context, id, Ended::TimedOut, Close::Failed { refused: false });
            self.maybe_executed = true;
            let again = self.resendable();
            let kind = FailureKind::AttemptTimeout;
            self.after(context, Trouble { kind, free: false, again, pause: None, answer: None });
        }
    }

    fn give_up_stalled(&mut self, context: &mut Context<'_>) {
        let due = self.waiting_where(|attempt| attempt.stall_check_at.is_some_and(|at| context.now >= at));
        for id in due {
            let attempt = &mut self.attempts[usize::from(id)];
            attempt.schedule_next_stall_check(context.now);
            let Some(permit) = &attempt.permit else { continue };
            let stalled = context.pool.check_stall(context.now, permit);
            // What cannot be sent again had better go on waiting: the endpoint may still wake up.
            let can_move = self.resendable() && self.config.retry && self.has_attempt_left();
            if !stalled || !can_move {
                continue;
            }
            context.steps.push(Step::Cancel { attempt: id });
            self.close(context, id, Ended::Stalled, Close::Cancelled);
            self.maybe_executed = true;
            let kind = FailureKind::AttemptTimeout;
            self.after(context, Trouble { kind, free: false, again: true, pause: None, answer: None });
        }
    }

    fn hedge(&mut self, context: &mut Context<'_>) {
        if self.phase != Phase::Running || self.hedge_at.is_none_or(|at| context.now < at) {
            return;
        }
        self.hedge_at = None;
        let readmission = self.attempts.iter().any(attempt::Attempt::is_readmission);
        let fits = self.fits(context, Duration::ZERO);
        let waiting = self.waiting_where(|_| true).count() == 1;
        if !waiting
            || !fits
            || !self.has_attempt_left()
            || !context.pool.has_fresh(context.now, self.tried().as_slice())
        {
            return;
        }
        // A re-admission request is always hedged: trying a bad endpoint is our idea, not the client's.
        let paid = context.pool.budget.try_hedge(context.now);
        if paid || readmission {
            self.begin(context, AttemptKind::Hedge, paid);
        }
    }

    fn resend_when_due(&mut self, context: &mut Context<'_>) {
        let Some(resend) = self.resend.filter(|resend| context.now >= resend.at) else { return };
        if self.phase == Phase::Running {
            self.resend = None;
            self.begin(context, AttemptKind::Retry, resend.budgeted);
        }
    }

    /// A parked call was woken, its turn has come, or its time is up.
    fn look_again(&mut self, context: &mut Context<'_>, until: Time, turn: Option<Time>) {
        let open = context.pool.parking.is_open();
        if context.now >= until && !open {
            return self.fail(context, FailureKind::NoEndpoint, Some(RETRY_AFTER_DEFAULT));
        }
        let turn = open.then(|| turn.unwrap_or_else(|| context.pool.parking.next_turn(context.now)));
        if turn.is_none_or(|turn| context.now < turn.min(self.deadline)) {
            self.phase = Phase::Parked { until: self.parked_until(context), turn };
            return;
        }
        context.pool.parking.unpark();
        self.phase = Phase::Running;
        if context.now >= self.deadline {
            return self.fail(context, FailureKind::NoEndpoint, Some(RETRY_AFTER_DEFAULT));
        }
        let kind = if self.attempts.is_empty() { AttemptKind::First } else { AttemptKind::Retry };
        self.begin(context, kind, false);
    }

    /// The one decision about an attempt that went wrong.
    fn after(&mut self, context: &mut Context<'_>, trouble: Trouble) {
        if self.phase != Phase::Running {
            return;
        }
        let answering = trouble.answer.map(|(id, _)| id);
        let waiting = self.waiting_where(|_| true).any(|id| Some(id) != answering);
        let other_under_way = waiting || self.resend.is_some();
        // A bad answer is passed on at once when it may not be sent again: the other attempt is the same request.
        if other_under_way && (trouble.answer.is_none() || trouble.again) {
            self.drop_answer(context, &trouble);
            return;
        }
        if trouble.again && self.config.retry && self.schedule(context, &trouble) {
            return;
        }
        match trouble.answer {
            Some((id, class)) => self.commit(context, id, class),
            None => self.fail(context, trouble.kind, None),
        }
    }

    /// Decides a resend and pays for it; false when it is not to be.
    fn schedule(&mut self, context: &mut Context<'_>, trouble: &Trouble) -> bool {
        let room = if trouble.free {
            self.attempts.len() < usize::from(MAX_ATTEMPTS)
        } else {
            self.has_attempt_left()
        };
        if !room {
            return false;
        }
        let fresh = context.pool.has_fresh(context.now, self.tried().as_slice());
        let retry_index =
            u32::from(self.trail.iter().filter(|trace| trace.kind == AttemptKind::Retry).count() as u8);
        let backoff =
            if fresh { Duration::ZERO } else { self.config.backoff.delay(context.rng, retry_index) };
        let wait = backoff.max(trouble.pause.unwrap_or(Duration::ZERO));
        if !self.fits(context, wait) {
            return false;
        }
        let budgeted = !trouble.free;
        if budgeted && !context.pool.budget.try_retry(context.now) {
            return false;
        }
        self.free += u8::from(trouble.free);
        self.drop_answer(context, trouble);
        if wait.is_zero() {
            self.begin(context, AttemptKind::Retry, budgeted);
        } else {
            self.resend = Some(Resend { at: context.now.after(wait), budgeted });
        }
        true
    }

    fn drop_answer(&mut self, context: &mut Context<'_>, trouble: &Trouble) {
        if let Some((id, class)) = trouble.answer {
            context.steps.push(Step::Cancel { attempt: id });
            self.close(context, id, Ended::Rejected(class), Close::Answered);
        }
    }

    /// Begins an attempt, or parks, or gives up.
    fn begin(&mut self, context: &mut Context<'_>, kind: AttemptKind, budgeted: bool) {
        let tried = self.tried();
        let pick = Pick {
            lane: self.lane,
            kind,
            tried: tried.as_slice(),
            resendable: self.resendable() && self.config.retry,
        };
        match context.pool.pick(context.now, context.rng, &pick) {
            Ok(mut permit) => {
                permit.budgeted = budgeted;
                self.open(context, kind, permit);
            }
            Err(refusal) => {
                if budgeted {
                    context.pool.budget.release();
                }
                self.on_no_permit(context, refusal);
            }
        }
    }

    fn on_no_permit(&mut self, context: &mut Context<'_>, refusal: NoPermit) {
        if self.waiting_where(|_| true).next().is_some() || self.resend.is_some() {
            return;
        }
        match refusal {
            NoPermit::BreakerOpen { retry_after } => {
                self.fail(context, FailureKind::BreakerOpen, Some(retry_after));
            }
            NoPermit::NoEndpoint if self.may_park() && context.pool.parking.try_park(context.now) => {
                self.phase = Phase::Parked { until: self.parked_until(context), turn: None };
            }
            NoPermit::NoEndpoint => self.fail(context, FailureKind::NoEndpoint, Some(RETRY_AFTER_DEFAULT)),
        }
    }

    fn open(&mut self, context: &mut Context<'_>, kind: AttemptKind, permit: Permit) {
        let id = self.attempts.len() as AttemptId;
        let endpoint = permit.endpoint;
        if kind == AttemptKind::First {
            self.hedge_at = self.hedge_time(context, &permit);
        }
        let timeout_at = context.now.after(self.config.attempt_timeout);
        let stall_interval = context.pool.stall_check_interval();
        self.attempts.push(Attempt::new(permit, context.now, timeout_at, stall_interval));
        self.trail.push(Trace { endpoint, kind, started: context.now, ended: None });
        context.steps.push(Step::Attempt { attempt: id, endpoint, kind });
    }

    fn hedge_time(&self, context: &mut Context<'_>, permit: &Permit) -> Option<Time> {
        if !self.resendable() {
            return None;
        }
        let percentile = self.config.hedge_percentile;
        let observed = percentile.and_then(|q| context.pool.hedge_delay(context.now, self.lane, q));
        // A re-admission request is hedged even while the lane is too quiet to know its percentiles.
        let delay = observed
            .or((permit.readmission && percentile.is_some()).then_some(self.config.min_hedge_delay))?;
        Some(context.now.after(delay.max(self.config.min_hedge_delay)))
    }

    fn commit(&mut self, context: &mut Context<'_>, id: AttemptId, class: Class) {
        self.phase = Phase::Committed(id);
        for other in self.waiting_where(|_| true) {
            if other != id {
                context.steps.push(Step::Cancel { attempt: other });
                self.close(context, other, Ended::Cancelled, Close::Cancelled);
            }
        }
        self.abandon_resend(context);
        self.trail[usize::from(id)].ended = Some((context.now, Ended::Committed(class)));
        context.steps.push(Step::Commit { attempt: id });
    }

    fn fail(&mut self, context: &mut Context<'_>, kind: FailureKind, retry_after: Option<Duration>) {
        let running_out = kind == FailureKind::TotalTimeout;
        self.maybe_executed |= running_out && self.waiting_where(|_| true).next().is_some();
        self.finish(context, if running_out { Ended::TimedOut } else { Ended::Cancelled });
        let outcome_unknown = self.maybe_executed && self.safety != Safety::Safe;
        context.steps.push(Step::Fail(Failure { kind, retry_after, outcome_unknown }));
    }

    /// Ends everything that is still open.
    fn finish(&mut self, context: &mut Context<'_>, how: Ended) {
        for id in self.waiting_where(|_| true) {
            context.steps.push(Step::Cancel { attempt: id });
            self.close(context, id, how, Close::Cancelled);
        }
        if let Phase::Committed(id) = self.phase
            && let Some(permit) = self.attempts[usize::from(id)].permit.take()
        {
            context.pool.release(context.now, permit, false);
        }
        if self.is_parked() {
            context.pool.parking.unpark();
        }
        self.abandon_resend(context);
        self.phase = Phase::Done;
    }

    fn abandon_resend(&mut self, context: &mut Context<'_>) {
        if let Some(resend) = self.resend.take()
            && resend.budgeted
        {
            context.pool.budget.release();
        }
        self.hedge_at = None;
    }

    fn close(&mut self, context: &mut Context<'_>, id: AttemptId, ended: Ended, how: Close) {
        let Some(mut permit) = self.attempts[usize::from(id)].permit.take() else { return };
        match how {
            Close::Failed { refused } => {
                context.pool.on_failed(context.now, context.rng, &mut permit, refused);
            }
            Close::Cancelled => context.pool.on_cancelled(context.now, context.rng, &mut permit),
            Close::Answered => {}
        }
        context.pool.release(context.now, permit, false);
        self.trail[usize::from(id)].ended = Some((context.now, ended));
    }

    fn permit_mut(&mut self, id: AttemptId) -> Option<&mut Permit> {
        self.attempts.get_mut(usize::from(id))?.permit.as_mut()
    }

    fn waiting_where(&self, wanted: impl Fn(&Attempt) -> bool) -> Ids {
        let open = |attempt: &Attempt| attempt.permit.is_some() && wanted(attempt);
        let ids = (0..).zip(&self.attempts).filter(|(_, attempt)| open(attempt));
        ids.fold(Ids::default(), |ids, (id, _)| ids.with(id))
    }

    fn tried(&self) -> Tried {
        Tried::of(&self.trail)
    }

    /// May be executed twice without harm, as far as anybody promised.
    fn resendable(&self) -> bool {
        self.replayable && self.safety != Safety::Unsafe
    }

    /// Waiting for an endpoint is harmless when nothing was executed, or when sending again is.
    fn may_park(&self) -> bool {
        self.config.park && (!self.maybe_executed || self.resendable())
    }

    fn has_attempt_left(&self) -> bool {
        let limit = u16::from(self.config.max_attempts) + u16::from(self.free);
        (self.attempts.len() as u16) < limit.min(u16::from(MAX_ATTEMPTS))
    }

    /// No attempt starts that cannot finish before the deadline.
    fn fits(&self, context: &mut Context<'_>, wait: Duration) -> bool {
        let needed = wait.saturating_add(context.pool.expected(context.now, self.lane));
        context.now.after(needed) < self.deadline
    }

    fn parked_until(&self, context: &Context<'_>) -> Time {
        context.pool.parking.gives_up_at().map_or(self.deadline, |at| at.min(self.deadline))
    }
}

/// How an attempt is taken off the pool's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    Failed { refused: bool },
    Cancelled,
    Answered,
}
