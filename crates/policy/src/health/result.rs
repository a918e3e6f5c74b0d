//! What a probe finds, and what follows from it for routing.

use std::fmt;

/// Why a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// No answer in time.
    Timeout,
    /// An HTTP status that is not good.
    Status(u16),
    /// A command's exit code that is not good.
    ExitCode(i32),
    /// The connection broke, or could not be made for another reason than a refusal.
    Connection,
    /// An answer that could not be understood.
    Malformed,
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProbeFailure::Timeout => formatter.write_str("no answer in time"),
            ProbeFailure::Status(status) => write!(formatter, "answered {status}"),
            ProbeFailure::ExitCode(code) => write!(formatter, "the probe command exited with {code}"),
            ProbeFailure::Connection => formatter.write_str("the connection broke"),
            ProbeFailure::Malformed => formatter.write_str("the answer could not be understood"),
        }
    }
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// A good answer.
    Pass,
    /// No good answer.
    Fail {
        /// What was wrong.
        reason: ProbeFailure,
    },
    /// Nobody listens.
    Refused,
}

/// Why an endpoint is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// It has not proved itself since its start.
    Starting,
    /// Nobody listens.
    Refused,
    /// Its process is gone.
    Exited,
    /// Several probes in a row failed; the last one like this.
    Probe(ProbeFailure),
}

impl fmt::Display for DownReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DownReason::Starting => formatter.write_str("starting"),
            DownReason::Refused => formatter.write_str("connection refused"),
            DownReason::Exited => formatter.write_str("the process is gone"),
            DownReason::Probe(failure) => failure.fmt(formatter),
        }
    }
}

/// A change that routing must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Send it traffic.
    Up,
    /// Send it none.
    Down(DownReason),
}
