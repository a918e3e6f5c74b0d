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
//! A server has the last word: "do not retry" ([`Pushback`]) and a pause longer than `max_retry_after` pass its answer on.
//!
//! **When is it hedged?** After a fixed delay or the lane's percentile, and at once when an attempt fails beside another one
//! that is under way; each hedge elsewhere, at most `max_hedged_attempts`, none without a token or above 70 % of the cap.
//!
//! **Rejected.** Retrying inside the transport (the pool would not see the attempts); a hedge as its own call (it could not
//! share the attempt list, so both might be sent to one endpoint).
//!
//! **Worked number.** Three replicas, one stops answering; p95 12 ms, p99 20 ms. A request there is hedged after 12 ms if the
//! hedges' share allows, else the stall rule sends it again after `max(200, 8 × 20)` = 200 ms.

mod attempt;
mod ending;
mod sending;
mod sets;
mod timers;
mod vocabulary;

pub use vocabulary::{
    AttemptId, AttemptKind, CallConfig, Cause, Class, Ended, Event, Failure, FailureKind, MAX_ATTEMPTS,
    Proof, Pushback, Safety, Step, Trace, attempt_number,
};

use std::sync::Arc;
use std::time::Duration;

use crate::pool::{Permit, Pool};
use crate::rng::Rng;
use crate::time::Time;
use attempt::Attempt;
use ending::Close;
use sets::{Ids, Tried};

/// What a client is told when we have no better idea of when to come back.
pub const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

/// One upstream operation. See the module's documentation.
#[derive(Debug)]
pub struct Call {
    config: Arc<CallConfig>,
    lane: usize,
    affinity: Option<u64>,
    safety: Safety,
    replayable: bool,
    deadline: Time,
    phase: Phase,
    attempts: Vec<Attempt>,
    trail: Vec<Trace>,
    /// Attempts begun for free, on proof; they do not count against `max_attempts`.
    free: u8,
    resend: Option<Resend>,
    /// The last back-off, which the next one may depend on.
    waited: Duration,
    hedge_at: Option<Time>,
    /// The hedges' reserve may be used: this request waits longer than any usual one.
    hedge_is_urgent: bool,
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
            affinity: None,
            safety,
            replayable,
            deadline,
            phase: Phase::New,
            attempts: Vec::new(),
            trail: Vec::new(),
            free: 0,
            resend: None,
            waited: Duration::ZERO,
            hedge_at: None,
            hedge_is_urgent: false,
            maybe_executed: false,
        }
    }

    /// The same call, sent to where others with this key go: the hash of a session's header or cookie.
    #[must_use]
    pub fn with_affinity(self, key: u64) -> Self {
        Self { affinity: Some(key), ..self }
    }

    /// Tells the call what happened and appends what to do to `steps`. Call under the edge's lock; act after unlocking.
    pub fn on(&mut self, now: Time, rng: &mut Rng, pool: &mut Pool, event: Event, steps: &mut Vec<Step>) {
        let mut context = Context { now, rng, pool, steps };
        match event {
            Event::Start => self.on_start(&mut context),
            Event::Head { attempt, class, retry_after, pushback } => {
                self.on_head(&mut context, attempt, (class, retry_after, pushback));
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
            Phase::Parked { until, turn } => Some(turn.map_or(until, |turn| turn.min(self.deadline))),
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
        if self.deadline.saturating_since(context.now) < self.config.min_remaining {
            return self.fail(context, FailureKind::DeadlineInsufficient, None);
        }
        self.begin(context, AttemptKind::First, false);
    }

    fn on_head(
        &mut self,
        context: &mut Context<'_>,
        id: AttemptId,
        (class, retry_after, pushback): (Class, Option<Duration>, Pushback),
    ) {
        if self.phase != Phase::Running {
            return;
        }
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
            Class::Error => {
                let other_waits = self.waiting_where(|_| true).any(|other| other != id);
                other_waits || context.pool.has_well(context.now, self.tried().as_slice())
            }
            Class::Throttled => retry_after.is_some() || pushback != Pushback::None,
            Class::BadGateway | Class::Unavailable => true,
        };
        let pause = match pushback {
            Pushback::Wait(pause) => Some(pause),
            // `Retry-After` of a 429 speaks for the whole service, that of a 503 for the endpoint that sent it.
            Pushback::None | Pushback::Never => {
                let fresh = context.pool.has_fresh(context.now, self.tried().as_slice());
                retry_after.filter(|_| class == Class::Throttled || !fresh)
            }
        };
        let tolerable = pause.is_none_or(|pause| pause <= self.config.max_retry_after);
        let again = again && tolerable && pushback != Pushback::Never && self.resendable();
        self.after(context, Trouble { kind, free: false, again, pause, answer });
    }

    fn on_failed(&mut self, context: &mut Context<'_>, id: AttemptId, proof: Proof, cause: Cause) {
        if self.phase != Phase::Running {
            return;
        }
        let Some(endpoint) = self.permit_mut(id).map(|permit| permit.endpoint) else { return };
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
            context.pool.on_body_end(context.now, &permit, broken);
            context.pool.release(permit);
        }
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
        self.attempts.len() < usize::from(self.attempts_allowed())
    }

    /// A hedge that was surely not executed does not count.
    fn has_hedge_left(&self) -> bool {
        self.config.hedges() && self.hedges_sent() < usize::from(self.config.max_hedged_attempts)
    }

    fn hedges_sent(&self) -> usize {
        let hedge = |trace: &&Trace| trace.kind == AttemptKind::Hedge && !trace.is_proven_unexecuted();
        self.trail.iter().filter(hedge).count()
    }

    /// What was begun for free does not count.
    fn attempts_allowed(&self) -> u8 {
        self.config.max_attempts.saturating_add(self.free).min(MAX_ATTEMPTS)
    }

    /// No attempt starts that cannot finish before the deadline.
    fn fits(&self, context: &mut Context<'_>, wait: Duration) -> bool {
        let usual = context.pool.expected(context.now, self.lane);
        let needed = wait.saturating_add(usual.max(self.config.min_remaining));
        context.now.after(needed) < self.deadline
    }

    fn parked_until(&self, context: &Context<'_>) -> Time {
        context.pool.parking.gives_up_at().map_or(self.deadline, |at| at.min(self.deadline))
    }
}
