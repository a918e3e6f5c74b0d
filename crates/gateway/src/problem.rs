//! The answers that we make ourselves: a problem document (RFC 9457) and a Proxy-Status (RFC 9209), always both.
//!
//! Whoever reads them must be able to tell an answer of ours from one of the service, know which timer fired, and,
//! above all, whether the request may have been executed: the parameter `sent` of Proxy-Status is `?0` only when
//! surely nothing of it reached the service.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use seaworthy_policy::call::{CallConfig, Cause, Ended, Failure, FailureKind, Trace};

use crate::body::ResponseBody;
use crate::guard::Violation;
use crate::headers::PROXY_STATUS;

/// One answer of ours.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// Names the kind of problem, within `urn:seaworthy:problem:`.
    pub(crate) slug: &'static str,
    /// The kind of problem in words.
    pub(crate) title: &'static str,
    /// This one in words.
    pub(crate) detail: String,
    /// The error type of RFC 9209 §2.3.
    pub(crate) error: &'static str,
    /// The request, or a part of it, may have reached the service.
    pub(crate) sent: bool,
    /// How many attempts were made.
    pub(crate) attempts: usize,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) allow: Option<String>,
    /// The policy that said no, where one did: its place in the spec.
    pub(crate) policy: Option<String>,
    /// The connection cannot be used any further.
    pub(crate) close: bool,
}

impl Problem {
    /// The client's request is at fault and went nowhere.
    pub(crate) fn request(status: StatusCode, slug: &'static str, title: &'static str, detail: &str) -> Self {
        Self {
            status,
            slug,
            title,
            detail: detail.to_owned(),
            error: "http_request_error",
            sent: false,
            attempts: 0,
            retry_after: None,
            allow: None,
            policy: None,
            close: false,
        }
    }

    /// The request broke a rule of the wire.
    pub(crate) fn violation(violation: Violation) -> Self {
        let problem = Self::request(
            violation.status(),
            "bad-request",
            "The request is not acceptable HTTP",
            violation.details(),
        );
        Self { close: true, ..problem }
    }

    /// A call gave up.
    pub(crate) fn failure(failure: &Failure, status: u16, told: &Told<'_>) -> Self {
        let (mut slug, mut title, error) = words(failure.kind, told.trail);
        if failure.outcome_unknown {
            slug = "outcome-unknown";
            title = "The request was sent, but nobody knows whether it was executed";
        }
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY),
            slug,
            title,
            detail: detail(failure.kind, told),
            error,
            sent: told.maybe_executed,
            attempts: told.trail.len(),
            retry_after: failure.retry_after,
            allow: None,
            policy: None,
            close: false,
        }
    }

    /// The whole answer. `request_id` is told in the document too, because that is what people copy.
    pub(crate) fn into_response(self, request_id: &HeaderValue) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::full(self.document(request_id)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(PROXY_STATUS, self.proxy_status());
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after)));
        }
        if let Some(allow) = self.allow.and_then(|methods| HeaderValue::try_from(methods).ok()) {
            headers.insert(ALLOW, allow);
        }
        if self.close {
            headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn document(&self, request_id: &HeaderValue) -> Bytes {
        let mut document = serde_json::json!({
            "type": format!("urn:seaworthy:problem:{}", self.slug),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id.to_str().unwrap_or_default(),
        });
        if let Some(retry_after) = self.retry_after {
            document["retry_after_s"] = whole_seconds(retry_after).into();
        }
        if let Some(policy) = &self.policy {
            document["policy"] = policy.as_str().into();
        }
        Bytes::from(document.to_string())
    }

    fn proxy_status(&self) -> HeaderValue {
        let mut text = format!("seaworthy; error={}; details=\"", self.error);
        // A structured string is visible ASCII and spaces, with quotes and backslashes escaped.
        for character in self.detail.chars() {
            match character {
                '"' | '\\' => text.extend(['\\', character]),
                ' '..='~' => text.push(character),
                _ => text.push('?'),
            }
        }
        let _ = write!(text, "\"; sent=?{}", u8::from(self.sent));
        if self.attempts > 0 {
            let _ = write!(text, "; attempts={}", self.attempts);
        }
        HeaderValue::try_from(text).expect("visible ASCII and spaces")
    }
}

/// What a call can tell about its failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told<'a> {
    pub(crate) trail: &'a [Trace],
    pub(crate) maybe_executed: bool,
    pub(crate) config: &'a CallConfig,
    /// The deadline that this request had, from its start.
    pub(crate) limit: Duration,
}

/// Slug, title and RFC 9209 error type.
fn words(kind: FailureKind, trail: &[Trace]) -> (&'static str, &'static str, &'static str) {
    match kind {
        FailureKind::NoEndpoint => {
            ("no-endpoint", "No endpoint of the service is available", "destination_unavailable")
        }
        FailureKind::Full => {
            ("endpoints-full", "The service has as many requests as it may", "connection_limit_reached")
        }
        FailureKind::BreakerOpen => {
            ("breaker-open", "The service fails too often and is given a rest", "destination_unavailable")
        }
        FailureKind::Connect if refused(trail) => {
            ("connection-refused", "The service refused the connection", "connection_refused")
        }
        FailureKind::Connect => {
            ("connect-failed", "The service could not be reached", "destination_unavailable")
        }
        FailureKind::ConnectTimeout => {
            ("connect-timeout", "The connection to the service was not made in time", "connection_timeout")
        }
        FailureKind::Reset => (
            "connection-terminated",
            "The service ended the connection before it answered",
            "connection_terminated",
        ),
        FailureKind::Protocol => {
            ("bad-response", "The service did not answer in HTTP", "http_protocol_error")
        }
        FailureKind::AttemptTimeout => {
            ("attempt-timeout", "The service did not answer in time", "http_response_timeout")
        }
        FailureKind::TotalTimeout => {
            ("total-timeout", "There was no answer before the deadline", "http_response_timeout")
        }
        FailureKind::DeadlineInsufficient => (
            "deadline-insufficient",
            "Too little of the deadline was left to begin",
            "proxy_internal_response",
        ),
        FailureKind::RequestBody => {
            ("request-body", "The body of the request did not arrive", "http_request_error")
        }
    }
}

fn refused(trail: &[Trace]) -> bool {
    use seaworthy_policy::call::Proof;
    matches!(
        trail.last().and_then(|trace| trace.ended),
        Some((_, Ended::Failed(Proof::Refused, Cause::Connect)))
    )
}

/// The timer that fired with its limit, or what went wrong; and how often we tried.
fn detail(kind: FailureKind, told: &Told<'_>) -> String {
    let mut text = match kind {
        FailureKind::AttemptTimeout => format!("attempt_timeout {:?}", told.config.attempt_timeout),
        FailureKind::ConnectTimeout => format!("connect_timeout {:?}", told.config.connect_timeout),
        FailureKind::TotalTimeout => format!("total_timeout {:?}", told.limit),
        FailureKind::DeadlineInsufficient => "min_remaining exceeds what is left".to_owned(),
        FailureKind::NoEndpoint => "no endpoint is ready".to_owned(),
        FailureKind::Full => "max_in_flight at every endpoint".to_owned(),
        FailureKind::BreakerOpen => "circuit_breaker open".to_owned(),
        FailureKind::Connect if refused(told.trail) => "connection refused".to_owned(),
        FailureKind::Connect => "no connection".to_owned(),
        FailureKind::Reset => "connection ended before the response".to_owned(),
        FailureKind::Protocol => "malformed response".to_owned(),
        FailureKind::RequestBody => "request body ended early or came too slowly".to_owned(),
    };
    let attempts = told.trail.len();
    let _ = write!(text, "; {attempts} attempt{}", if attempts == 1 { "" } else { "s" });
    text
}

/// Retry-After has no fractions, and 0 would be an invitation to hammer.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_rounds_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::from(u32::MAX));
    }

    #[test]
    fn an_answer_says_what_and_whether_it_was_sent() {
        let config = CallConfig::default();
        let told = Told { trail: &[], maybe_executed: true, config: &config, limit: Duration::from_secs(2) };
        let failure = Failure { kind: FailureKind::AttemptTimeout, retry_after: None, outcome_unknown: true };
        let problem = Problem { attempts: 2, ..Problem::failure(&failure, 504, &told) };
        let response = problem.into_response(&HeaderValue::from_static("id-1"));
        assert_eq!(response.status(), 504);
        assert_eq!(
            response.headers()[PROXY_STATUS],
            "seaworthy; error=http_response_timeout; details=\"attempt_timeout 5s; 0 attempts\"; sent=?1; attempts=2"
        );
    }

    #[test]
    fn details_are_escaped() {
        let problem = Problem::request(StatusCode::BAD_REQUEST, "x", "X", "a \"b\" \\ \u{e9}\n");
        assert_eq!(
            problem.proxy_status(),
            "seaworthy; error=http_request_error; details=\"a \\\"b\\\" \\\\ ??\"; sent=?0"
        );
    }
}
