//! What an answer says about the backend. The one thing that only you can know.

use std::sync::Arc;
use std::time::Duration;

use crate::Error;

/// Reads the backend's answers. Rejections and timeouts of ours never come here.
///
/// Give the same classifier to every layer of a stack.
pub trait Classify<Response, E> {
    /// What this answer, or this error of the service, means.
    fn classify(&self, answer: Result<&Response, &E>) -> Verdict;
}

/// What an answer says about the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Success,
    /// It does not.
    Failure(Failure),
    /// Nothing: the request itself was at fault. Never sent again, never counted.
    Ignored,
}

/// A failure of the backend, and what may follow from it.
#[expect(clippy::struct_excessive_bools, reason = "independent questions to one answer")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether another attempt may go better.
    pub is_transient: bool,
    /// Whether the backend certainly did not execute the request (connection refused, for instance), so that even
    /// one that is not idempotent may be sent again.
    pub is_unexecuted: bool,
    /// Whether the backend asked for less (429, `RESOURCE_EXHAUSTED`): it is not down, so this counts for a breaker's
    /// failure rate, but not as one of a run of failures.
    pub is_throttled: bool,
    /// Whether the backend said that it is overloaded (503, `UNAVAILABLE`): a failure like others to a breaker, but the
    /// sign that a throttle and an adaptive limit look for.
    pub is_overloaded: bool,
    /// When the backend wants to hear from us again (`Retry-After`).
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// A failure that another attempt may heal, of a request that may have been executed.
    pub const TRANSIENT: Verdict = Verdict::Failure(Failure::TRANSIENT);
    /// A failure that another attempt cannot heal.
    pub const PERMANENT: Verdict = Verdict::Failure(Failure { is_transient: false, ..Failure::TRANSIENT });
    /// A failure before anything was executed.
    pub const UNEXECUTED: Verdict = Verdict::Failure(Failure { is_unexecuted: true, ..Failure::TRANSIENT });

    /// The backend said that it is overloaded; another attempt may find it less so.
    pub const OVERLOADED: Verdict = Verdict::Failure(Failure { is_overloaded: true, ..Failure::TRANSIENT });

    /// The backend asked for less. Sent again only when it said after how long.
    pub const fn throttled(retry_after: Option<Duration>) -> Verdict {
        let is_transient = retry_after.is_some();
        Verdict::Failure(Failure { is_transient, is_throttled: true, retry_after, ..Failure::TRANSIENT })
    }
}

impl Failure {
    /// Another attempt may heal it; the request may have been executed.
    pub const TRANSIENT: Failure = Failure {
        is_transient: true,
        is_unexecuted: false,
        is_throttled: false,
        is_overloaded: false,
        retry_after: None,
    };
}

/// Every answer is good and every error a transient failure: right for services whose `Err` means that the
/// backend failed. HTTP clients answer `Ok` with status 503; for these, bring a classifier of your own.
#[derive(Clone, Copy, Debug, Default)]
pub struct FailOnError;

impl<Response, E> Classify<Response, E> for FailOnError {
    fn classify(&self, answer: Result<&Response, &E>) -> Verdict {
        if answer.is_ok() { Verdict::Success } else { Verdict::TRANSIENT }
    }
}

impl<Response, E, F> Classify<Response, E> for F
where
    F: Fn(Result<&Response, &E>) -> Verdict,
{
    fn classify(&self, answer: Result<&Response, &E>) -> Verdict {
        self(answer)
    }
}

impl<Response, E> Classify<Response, E> for Arc<dyn Classify<Response, E> + Send + Sync> {
    fn classify(&self, answer: Result<&Response, &E>) -> Verdict {
        (**self).classify(answer)
    }
}

/// What a result of an inner layer means, our own errors included.
pub(crate) enum Meaning {
    Backend(Verdict),
    /// The backend was silent for too long.
    TimedOut,
    /// An inner policy of ours sent nothing.
    Rejected,
}

pub(crate) fn meaning<C, Response, E>(classifier: &C, result: &Result<Response, Error<E>>) -> Meaning
where
    C: Classify<Response, E>,
{
    match result {
        Ok(response) => Meaning::Backend(classifier.classify(Ok(response))),
        Err(Error::Inner(error)) => Meaning::Backend(classifier.classify(Err(error))),
        Err(Error::Timeout(_)) => Meaning::TimedOut,
        Err(Error::Rejected(_)) => Meaning::Rejected,
    }
}
