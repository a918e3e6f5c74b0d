//! What policy decided, in words.

use std::time::Duration;

use seaworthy_policy::health::{DownReason, ProbeFailure};
use seaworthy_policy::restart::{Exit, HoldReason, StayDownReason};

/// How a process ended: `code 1`, `signal 9`.
pub(crate) fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

/// Why probes took an endpoint out, with numbers.
pub(crate) fn down(reason: DownReason, timeout: Duration) -> String {
    match reason {
        DownReason::Probe(ProbeFailure::Timeout) => format!("probe timed out after {timeout:?}"),
        other => other.to_string(),
    }
}

/// The same as one of a few fixed texts.
pub(crate) fn down_kind(reason: DownReason) -> &'static str {
    match reason {
        DownReason::Starting => "starting",
        DownReason::Refused => "connection refused",
        DownReason::Exited => "process exited",
        DownReason::Probe(ProbeFailure::Timeout) => "probe timed out",
        DownReason::Probe(ProbeFailure::Status(_)) => "probe answered with an error",
        DownReason::Probe(ProbeFailure::ExitCode(_)) => "probe command failed",
        DownReason::Probe(ProbeFailure::Connection) => "probe connection broke",
        DownReason::Probe(ProbeFailure::Malformed) => "probe answer not understood",
    }
}

/// Why a process is not started again.
pub(crate) fn stay_down(reason: StayDownReason) -> String {
    match reason {
        StayDownReason::Finished => "it finished, and only failures are followed by a restart".to_owned(),
        StayDownReason::NeverRestarted => "restarts are switched off".to_owned(),
        StayDownReason::PermanentExitCode(code) => format!("exit code {code} is declared permanent"),
    }
}

/// Why a process that fails its liveness probe is left alone.
pub(crate) fn hold(reason: HoldReason) -> &'static str {
    match reason {
        HoldReason::Dependency => "a service that it needs is down",
        HoldReason::Fleet => "several replicas are slow at once, which is overload",
        HoldReason::AnotherRestart => "another replica is being restarted",
    }
}
