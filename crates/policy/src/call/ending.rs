//! How attempts and calls end, and how that is booked.

use std::time::Duration;

use crate::call::{AttemptId, Call, Class, Context, Ended, Failure, FailureKind, Phase, Safety, Step};

/// How an attempt is taken off the pool's books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    /// The endpoint failed it.
    Failed { refused: bool },
    /// It did not answer in time.
    TimedOut,
    /// Another attempt of the call brought the answer.
    Overtaken,
    /// Nobody waits for it any more.
    Cancelled,
    /// It answered; the pool has heard of that.
    Answered,
}

impl Call {
    pub(super) fn commit(&mut self, context: &mut Context<'_>, id: AttemptId, class: Class) {
        self.phase = Phase::Committed(id);
        let how = if class.is_good() { Close::Overtaken } else { Close::Cancelled };
        for other in self.waiting_where(|_| true) {
            if other != id {
                context.steps.push(Step::Cancel { attempt: other });
                self.close(context, other, Ended::Cancelled, how);
            }
        }
        self.abandon_resend(context);
        if let Some(permit) = self.permit_mut(id) {
            context.pool.on_committed(permit);
        }
        self.trail[usize::from(id)].ended = Some((context.now, Ended::Committed(class)));
        context.steps.push(Step::Commit { attempt: id });
    }

    pub(super) fn fail(
        &mut self,
        context: &mut Context<'_>,
        kind: FailureKind,
        retry_after: Option<Duration>,
    ) {
        let running_out = kind == FailureKind::TotalTimeout;
        self.maybe_executed |= self.waiting_where(|_| true).next().is_some();
        self.finish(context, if running_out { Ended::TimedOut } else { Ended::Cancelled });
        let outcome_unknown = self.maybe_executed && self.safety != Safety::Safe;
        context.steps.push(Step::Fail(Failure { kind, retry_after, outcome_unknown }));
    }

    /// Ends everything that is still open.
    pub(super) fn finish(&mut self, context: &mut Context<'_>, how: Ended) {
        if let Phase::Committed(id) = self.phase
            && let Some(permit) = self.attempts[usize::from(id)].permit.take()
        {
            context.pool.release(permit);
        }
        for id in self.waiting_where(|_| true) {
            context.steps.push(Step::Cancel { attempt: id });
            let to_blame = how == Ended::TimedOut && self.had_fair_chance(context, id);
            let close = if to_blame { Close::TimedOut } else { Close::Cancelled };
            self.close(context, id, how, close);
        }
        if self.is_parked() {
            context.pool.parking.unpark();
        }
        self.abandon_resend(context);
        self.phase = Phase::Done;
    }

    fn had_fair_chance(&self, context: &mut Context<'_>, id: AttemptId) -> bool {
        let permit = self.attempts[usize::from(id)].permit.as_ref();
        permit.is_some_and(|permit| context.pool.had_fair_chance(context.now, permit))
    }

    fn abandon_resend(&mut self, context: &mut Context<'_>) {
        if let Some(resend) = self.resend.take()
            && resend.budgeted
        {
            context.pool.budget.release();
        }
        self.hedge_at = None;
    }

    pub(super) fn close(&mut self, context: &mut Context<'_>, id: AttemptId, ended: Ended, how: Close) {
        let Some(mut permit) = self.attempts[usize::from(id)].permit.take() else { return };
        match how {
            Close::Failed { refused } => {
                context.pool.on_failed(context.now, context.rng, &mut permit, refused);
            }
            Close::TimedOut => context.pool.on_timed_out(context.now, context.rng, &mut permit),
            Close::Overtaken => context.pool.on_cancelled(context.now, context.rng, &mut permit, true),
            Close::Cancelled => context.pool.on_cancelled(context.now, context.rng, &mut permit, false),
            Close::Answered => {}
        }
        context.pool.release(permit);
        self.trail[usize::from(id)].ended = Some((context.now, ended));
    }
}
