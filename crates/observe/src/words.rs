//! Events in words: a constant message for machines to group by, and a sentence for people to read.

use crate::event::EventKind;

impl EventKind {
    /// What happened, without any value: the `message` of the log line.
    pub fn message(&self) -> &'static str {
        match self {
            Self::NodeStarted { .. } => "node started",
            Self::NodeDraining => "node draining",
            Self::BuildStarted { .. } => "build started",
            Self::BuildEnded { ok: true, .. } => "build succeeded",
            Self::BuildEnded { ok: false, .. } => "build failed",
            Self::ProcessStarted { .. } => "process started",
            Self::ProcessStartFailed { .. } => "process could not be started",
            Self::ProcessExited { expected: true, .. } => "process stopped",
            Self::ProcessExited { expected: false, .. } => "process exited",
            Self::RestartScheduled { crash_loop: false, .. } => "restart scheduled",
            Self::RestartScheduled { crash_loop: true, .. } => "restart scheduled in a crash loop",
            Self::RestartDeclined { .. } => "process stays down",
            Self::CrashLoopEnded { .. } => "crash loop ended",
            Self::RestartHeld { .. } => "restart held back",
            Self::EndpointReady { .. } => "endpoint ready",
            Self::EndpointUnready { .. } => "endpoint not ready",
            Self::EndpointSuspected { .. } => "endpoint suspected",
            Self::EndpointEjected { .. } => "endpoint ejected",
            Self::EndpointReadmitting { .. } => "endpoint on trial",
            Self::EndpointReadmitted { .. } => "endpoint readmitted",
            Self::BreakerChanged { .. } => "circuit breaker changed",
            Self::EndpointOnProbation { .. } => "endpoint on probation",
            Self::EndpointProbationEnded { .. } => "endpoint off probation",
            Self::BreakerModeChanged { forced: true, .. } => "circuit breaker taken over",
            Self::BreakerModeChanged { forced: false, .. } => "circuit breaker given back",
            Self::SheddingBegan { .. } => "shedding began",
            Self::SheddingEnded { .. } => "shedding ended",
            Self::StandbyChanged { on: true, .. } => "standby endpoints serve",
            Self::StandbyChanged { on: false, .. } => "active endpoints serve alone again",
            Self::PanicChanged { on: true, .. } => "too few endpoints left, ejections ignored",
            Self::PanicChanged { on: false, .. } => "enough endpoints again, ejections obeyed",
            Self::DegradationBegan { .. } => "route degrades",
            Self::DegradationEnded { .. } => "route degrades no longer",
            Self::FaultRequested { .. } => "fault requested",
            Self::FaultApplied { .. } => "fault in effect",
            Self::FaultFailed { .. } => "fault could not be applied",
            Self::FaultEnded { .. } => "fault ended",
            Self::PolicyReset => "ejections, breakers and budgets reset",
            Self::StoreBroken { .. } => "the store is broken, the node ends",
        }
    }

    /// What happened, to whom and why, in one line.
    pub fn sentence(&self) -> String {
        let who = match self.subject() {
            Some((service, Some(replica))) => format!("{service}/{replica}: "),
            Some((service, None)) => format!("{service}: "),
            None => String::new(),
        };
        format!("{who}{}{}", self.message(), self.details())
    }

    fn details(&self) -> String {
        match self {
            Self::NodeStarted { pid } => format!(" (pid {pid})"),
            Self::ProcessStarted { pid, address, .. } => format!(" (pid {pid}, {address})"),
            Self::ProcessExited { pid, how, .. } => format!(" ({how}, pid {pid})"),
            Self::RestartScheduled { in_ms: 0, .. } => " (now)".to_owned(),
            Self::RestartScheduled { in_ms, .. } => format!(" (in {in_ms} ms)"),
            Self::ProcessStartFailed { reason, .. }
            | Self::RestartDeclined { reason, .. }
            | Self::RestartHeld { reason, .. }
            | Self::EndpointUnready { reason, .. }
            | Self::EndpointSuspected { reason, .. } => format!(" ({reason})"),
            Self::EndpointEjected { edge, reason, duration_ms, .. } => {
                format!(" from {edge} for {duration_ms} ms ({reason})")
            }
            Self::EndpointReadmitting { edge, .. }
            | Self::EndpointReadmitted { edge, .. }
            | Self::EndpointProbationEnded { edge, .. }
            | Self::StandbyChanged { edge, .. }
            | Self::PanicChanged { edge, .. } => format!(" on {edge}"),
            Self::BreakerModeChanged { edge, mode, .. } => format!(" on {edge} ({mode})"),
            Self::SheddingBegan { gate, reason, .. } => format!(" at {gate} ({reason})"),
            Self::SheddingEnded { gate, refused, .. } => format!(" at {gate} ({refused} refused)"),
            Self::BreakerChanged { edge, from, to, reason, .. } => {
                format!(" on {edge}: {from} -> {to} ({reason})")
            }
            Self::EndpointOnProbation { edge, reason, .. } => format!(" on {edge} ({reason})"),
            Self::DegradationBegan { route, step, .. } => format!(": {route} ({step})"),
            Self::DegradationEnded { route, .. } => format!(": {route}"),
            Self::FaultRequested { fault, what } => format!(": {what} ({fault})"),
            Self::FaultApplied { fault, what, proof } => format!(": {what} ({fault}; proof: {proof})"),
            Self::FaultFailed { fault, reason } => format!(": {fault} ({reason})"),
            Self::FaultEnded { fault, why } => format!(": {fault} ({why})"),
            Self::StoreBroken { reason } => format!(": {reason}"),
            Self::NodeDraining
            | Self::BuildStarted { .. }
            | Self::BuildEnded { .. }
            | Self::EndpointReady { .. }
            | Self::CrashLoopEnded { .. }
            | Self::PolicyReset => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_who_what_and_why() {
        let (service, replica) = (|| "api".to_owned(), || "a-1".to_owned());
        let cases = [
            (EventKind::NodeStarted { pid: 7 }, "node started (pid 7)"),
            (
                EventKind::ProcessExited {
                    service: service(),
                    replica: replica(),
                    pid: 9,
                    how: "signal 9".to_owned(),
                    expected: false,
                },
                "api/a-1: process exited (signal 9, pid 9)",
            ),
            (
                EventKind::RestartScheduled {
                    service: service(),
                    replica: replica(),
                    in_ms: 200,
                    crash_loop: true,
                },
                "api/a-1: restart scheduled in a crash loop (in 200 ms)",
            ),
            (EventKind::BuildEnded { service: service(), ok: false }, "api: build failed"),
            (
                EventKind::BreakerChanged {
                    edge: "egress:pay".to_owned(),
                    service: "pay".to_owned(),
                    replica: "1".to_owned(),
                    from: "closed".to_owned(),
                    to: "open".to_owned(),
                    reason: "5 failures in a row".to_owned(),
                },
                "pay/1: circuit breaker changed on egress:pay: closed -> open (5 failures in a row)",
            ),
            (EventKind::PolicyReset, "ejections, breakers and budgets reset"),
        ];
        for (kind, expected) in cases {
            assert_eq!(kind.sentence(), expected);
        }
    }
}
