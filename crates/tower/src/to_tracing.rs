//! Decisions as `tracing` events: constant message, values in fields.

use crate::observe::{Decision, Event, Observer};

/// Sends every decision to `tracing`, target `seaworthy`: changes of a circuit and rejections as warnings, the rest as
/// information.
#[derive(Clone, Copy, Debug, Default)]
pub struct ToTracing;

impl Observer for ToTracing {
    fn on_event(&self, event: &Event<'_>) {
        let policy = event.policy;
        let kind = event.decision.name();
        match event.decision {
            Decision::Retry { attempt, wait } => {
                tracing::info!(target: "seaworthy", policy, kind, attempt, wait_ms = millis(wait), "sending again");
            }
            Decision::NoRetry { attempt, why } => {
                tracing::info!(target: "seaworthy", policy, kind, attempt, why = why.as_str(), "not sending again");
            }
            Decision::Rejected(rejection) => {
                let (by, reason) = (rejection.by.as_str(), rejection.reason);
                let retry_after_ms = millis(rejection.retry_after);
                tracing::warn!(target: "seaworthy", policy, kind, by, reason, retry_after_ms, "rejected");
            }
            Decision::Timeout(timeout) => {
                let (which, after_ms) = (timeout.which.as_str(), millis(timeout.after));
                tracing::warn!(target: "seaworthy", policy, kind, which, after_ms, "timed out");
            }
            Decision::Transition(transition) => {
                let (from, to, reason) = (transition.from, transition.to, transition.reason);
                let key = event.key;
                tracing::warn!(target: "seaworthy", policy, kind, key, ?from, ?to, ?reason, "circuit changed");
            }
            Decision::Hedge { after } => {
                tracing::info!(target: "seaworthy", policy, kind, after_ms = millis(after), "sent a second copy");
            }
            Decision::HedgeWon => tracing::info!(target: "seaworthy", policy, kind, "second copy won"),
            Decision::Fallback => tracing::info!(target: "seaworthy", policy, kind, "fell back"),
            Decision::FallbackFailed => {
                tracing::warn!(target: "seaworthy", policy, kind, "the fallback failed too");
            }
            Decision::FallbackBusy => {
                tracing::warn!(target: "seaworthy", policy, kind, "the fallback is busy");
            }
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
