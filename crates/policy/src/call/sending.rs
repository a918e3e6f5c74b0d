//! Whether a request is sent again, where it goes, and what that costs.

use std::time::Duration;

use crate::call::attempt::Attempt;
use crate::call::ending::Close;
use crate::call::{
    AttemptId, AttemptKind, Call, Context, Ended, FailureKind, MAX_ATTEMPTS, Phase, RETRY_AFTER_DEFAULT,
    Resend, Step, Trace, Trouble,
};
use crate::pool::{NoPermit, Permit, Pick};
use crate::time::Time;

impl Call {
    /// The one decision about an attempt that went wrong.
    pub(super) fn after(&mut self, context: &mut Context<'_>, trouble: Trouble) {
        if self.phase != Phase::Running {
            return;
        }
        let answering = trouble.answer.map(|(id, _)| id);
        let waiting = self.waiting_where(|_| true).any(|id| Some(id) != answering);
        let other_under_way = waiting || self.resend.is_some();
        // A bad answer is passed on at once when it may not be sent again: the other attempt is the same request.
        if other_under_way && (trouble.answer.is_none() || trouble.again) {
            self.drop_answer(context, &trouble);
            // Failing is worse news than being slow, so what would have been hedged later is hedged now.
            if trouble.again && waiting && trouble.pause.is_none() && self.has_hedge_left() {
                self.hedge_at = Some(context.now);
                self.hedge_is_urgent = true;
                self.hedge(context);
            }
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
        // Where all are full, one more would be refused, and the budget is not spent on our own refusals.
        let leaving = trouble.answer.map(|(id, _)| self.trail[usize::from(id)].endpoint);
        if !room || context.pool.is_full(context.now, leaving) {
            return false;
        }
        let fresh = context.pool.has_fresh(context.now, self.tried().as_slice());
        let retry_index =
            u32::from(self.trail.iter().filter(|trace| trace.kind == AttemptKind::Retry).count() as u8);
        let backoff = if fresh {
            Duration::ZERO
        } else {
            self.config.backoff.delay(context.rng, retry_index, self.waited)
        };
        let wait = backoff.max(trouble.pause.unwrap_or(Duration::ZERO));
        if !self.fits(context, wait) {
            return false;
        }
        let budgeted = !trouble.free;
        if budgeted && !context.pool.budget.try_retry(context.now) {
            return false;
        }
        self.free += u8::from(trouble.free);
        self.waited = backoff;
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
    pub(super) fn begin(&mut self, context: &mut Context<'_>, kind: AttemptKind, budgeted: bool) {
        let tried = self.tried();
        let hedgeable = self.is_hedgeable(context);
        let (lane, affinity) = (self.lane, self.affinity);
        let pick = Pick { lane, kind, tried: tried.as_slice(), hedgeable, affinity };
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
            NoPermit::Full { retry_after } => self.fail(context, FailureKind::Full, Some(retry_after)),
            NoPermit::NoEndpoint if self.may_park() && context.pool.parking.try_park(context.now) => {
                self.phase = Phase::Parked { until: self.parked_until(context), turn: None };
            }
            NoPermit::NoEndpoint => self.fail(context, FailureKind::NoEndpoint, Some(RETRY_AFTER_DEFAULT)),
        }
    }

    fn open(&mut self, context: &mut Context<'_>, kind: AttemptKind, permit: Permit) {
        let id = self.attempts.len() as AttemptId;
        let endpoint = permit.endpoint;
        self.hedge_at = self.hedge_time(context, &permit, kind);
        self.hedge_is_urgent &= kind == AttemptKind::Hedge;
        let timeout_at = context.now.after(self.config.attempt_timeout);
        let stall_interval = context.pool.stall_check_interval();
        self.attempts.push(Attempt::new(permit, context.now, timeout_at, stall_interval));
        self.trail.push(Trace { endpoint, kind, started: context.now, ended: None });
        context.steps.push(Step::Attempt { attempt: id, endpoint, kind });
    }

    /// When the attempt that begins now is hedged, if nothing has come by then.
    fn hedge_time(&self, context: &mut Context<'_>, permit: &Permit, kind: AttemptKind) -> Option<Time> {
        let beginning = usize::from(kind == AttemptKind::Hedge);
        let left = usize::from(self.config.max_hedged_attempts) > self.hedges_sent() + beginning;
        if !self.resendable() || !left {
            return None;
        }
        let delay = match (self.config.hedge_delay, self.config.hedge_percentile) {
            (Some(fixed), _) => fixed,
            (None, Some(percentile)) => {
                let observed = context.pool.hedge_delay(context.now, self.lane, percentile);
                // A re-admission request is hedged even while the lane is too quiet to know its percentiles.
                let least = self.config.min_hedge_delay;
                observed.or(permit.readmission.then_some(least))?.max(least)
            }
            (None, None) => return None,
        };
        Some(context.now.after(delay))
    }

    /// An attempt that begins now could be hedged: allowed, an attempt left, and time for it.
    fn is_hedgeable(&self, context: &mut Context<'_>) -> bool {
        let spare = self.attempts.len() + 2 <= usize::from(self.attempts_allowed());
        self.resendable()
            && self.config.retry
            && self.config.hedges()
            && spare
            && self.fits(context, self.config.hedge_delay.unwrap_or(self.config.min_hedge_delay))
    }
}
