//! What a call does when time has passed: time-outs, stalls, hedges, back-offs, the end of parking.

use std::time::Duration;

use crate::call::ending::Close;
use crate::call::{
    AttemptKind, Call, Context, Ended, FailureKind, Phase, RETRY_AFTER_DEFAULT, Step, Trouble, attempt,
};
use crate::time::Time;

impl Call {
    pub(super) fn on_timer(&mut self, context: &mut Context<'_>) {
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
            Phase::Parked { turn, .. } => self.look_again(context, turn),
            Phase::New | Phase::Committed(_) | Phase::Done => {}
        }
    }

    fn time_out_attempts(&mut self, context: &mut Context<'_>) {
        for id in self.waiting_where(|attempt| context.now >= attempt.timeout_at) {
            if self.permit_mut(id).is_none() {
                continue;
            }
            context.steps.push(Step::Cancel { attempt: id });
            self.close(context, id, Ended::TimedOut, Close::TimedOut);
            self.maybe_executed = true;
            let again = self.resendable();
            let kind = FailureKind::AttemptTimeout;
            self.after(context, Trouble { kind, free: false, again, pause: None, answer: None });
        }
    }

    fn give_up_stalled(&mut self, context: &mut Context<'_>) {
        let due = self.waiting_where(|attempt| attempt.stall_check_at.is_some_and(|at| context.now >= at));
        for id in due {
            let tried = self.tried();
            let attempt = &mut self.attempts[usize::from(id)];
            attempt.schedule_next_stall_check(context.now);
            let Some(permit) = &mut attempt.permit else { continue };
            let stalled = context.pool.check_stall(context.now, permit, tried.as_slice());
            if !stalled || !self.resendable() || !self.config.retry {
                continue;
            }
            // What cannot be sent again had better go on waiting: the endpoint may still wake up.
            let alone = self.waiting_where(|_| true).all(|other| other == id);
            if alone && !self.pays_for_a_move(context) {
                continue;
            }
            context.steps.push(Step::Cancel { attempt: id });
            self.close(context, id, Ended::Stalled, Close::Cancelled);
            self.maybe_executed = true;
            if alone {
                self.begin(context, AttemptKind::Retry, true);
            }
        }
    }

    /// Takes a token for sending again at once, if there is somewhere to send to and time for it.
    fn pays_for_a_move(&self, context: &mut Context<'_>) -> bool {
        self.has_attempt_left()
            && context.pool.has_fresh(context.now, self.tried().as_slice())
            && self.fits(context, Duration::ZERO)
            && context.pool.budget.try_retry(context.now)
    }

    pub(super) fn hedge(&mut self, context: &mut Context<'_>) {
        if self.phase != Phase::Running || self.hedge_at.is_none_or(|at| context.now < at) {
            return;
        }
        self.hedge_at = None;
        let readmission = self.attempts.iter().any(attempt::Attempt::is_readmission);
        let fits = self.fits(context, Duration::ZERO);
        let waiting = self.waiting_where(|_| true).next().is_some();
        let crowded = !readmission && self.config.is_crowded(context.pool.in_flight());
        if !waiting
            || !fits
            || crowded
            || !self.has_attempt_left()
            || !context.pool.has_fresh(context.now, self.tried().as_slice())
        {
            return;
        }
        let may_wait = !readmission && !self.hedge_is_urgent;
        if may_wait && !context.pool.budget.has_spare_hedges(context.now) {
            self.hedge_is_urgent = true;
            let unusual = context.pool.unusual_wait(context.now, self.lane);
            let sent = self.trail.last().map(|trace| trace.started);
            let urgent_at = sent.zip(unusual).map(|(sent, wait)| sent.after(wait));
            if urgent_at.is_none_or(|at| at > context.now) {
                self.hedge_at = urgent_at;
                return;
            }
        }
        // A re-admission request is always hedged: trying a bad endpoint is our idea, not the client's.
        let paid = context.pool.budget.try_hedge(context.now);
        if paid || readmission {
            self.begin(context, AttemptKind::Hedge, paid);
        } else if let Some(wait) = context.pool.unusual_wait(context.now, self.lane) {
            // The next second brings tokens, and whoever waits until then needs one most.
            self.hedge_at = Some(context.now.after(wait));
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
    fn look_again(&mut self, context: &mut Context<'_>, turn: Option<Time>) {
        let open = context.pool.parking.is_open();
        // Endpoints may have come and gone meanwhile, so the limit is that of the latest loss.
        let until = self.parked_until(context);
        if context.now >= until && !open {
            return self.fail(context, FailureKind::NoEndpoint, Some(RETRY_AFTER_DEFAULT));
        }
        let turn = open.then(|| turn.unwrap_or_else(|| context.pool.parking.next_turn(context.now)));
        if turn.is_none_or(|turn| context.now < turn.min(self.deadline)) {
            self.phase = Phase::Parked { until, turn };
            return;
        }
        if !self.fits(context, Duration::ZERO) {
            return self.fail(context, FailureKind::NoEndpoint, Some(RETRY_AFTER_DEFAULT));
        }
        context.pool.parking.unpark();
        self.phase = Phase::Running;
        let kind = if self.attempts.is_empty() { AttemptKind::First } else { AttemptKind::Retry };
        self.begin(context, kind, false);
    }
}
