//! What an answer is worth to a user, and what it says about the effect of a write.
//!
//! *Good*: a status that the load expects, without a `Degraded` header. *Degraded*: marked as such on a 2xx or on
//! a status that the load admits, or a 202 that the load does not expect. *Failed*: all else, and what broke off
//! or did not come in time.
//!
//! A write is *acknowledged* by a whole 2xx answer, *refused* when it was surely not carried out, and *unknown*
//! otherwise. Only what was acknowledged can be lost.

use crate::record::{AGE_UNKNOWN, Class, WriteOutcome};

/// Name of the header that marks an answer as less than what was asked for.
pub const DEGRADED_HEADER: &str = "degraded";

/// The step of degradation that answers from a copy.
const STALE_STEP: &str = "stale";

/// Which answers a load asks for; see the plan's load.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// Statuses of a good answer; empty = any 2xx.
    pub expect: &'a [u16],
    /// Statuses that count as degraded when they are marked.
    pub degraded: &'a [u16],
}

/// What came back, as far as it matters here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// The value of its `Degraded` header.
    pub degraded: Option<&'a str>,
    /// The value of its `Age` header.
    pub age: Option<&'a str>,
    /// The value of its last `Proxy-Status` header.
    pub proxy_status: Option<&'a str>,
    /// Its body says that the outcome is unknown.
    pub outcome_unknown: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy)]
pub enum Ending<'a> {
    /// A whole answer.
    Answered(Answer<'a>),
    /// An answer that broke off or was not complete in time.
    BrokenOff {
        /// Its status.
        status: u16,
    },
    /// No answer, and not one byte of the request left: no connection, or it was never sent.
    NotSent,
    /// No answer, and nobody knows how far the request came.
    NoAnswer,
}

/// A judged request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Status of the answer; 0 without one.
    pub status: u16,
    /// How it looks to a user.
    pub class: Class,
    /// What is known about its effect.
    pub write: WriteOutcome,
    /// `Age` of an answer marked stale.
    pub stale_age: Option<u32>,
}

/// Judges how a request ended.
pub fn classify(expectation: Expectation<'_>, ending: Ending<'_>) -> Judged {
    let failed = |status, write| Judged { status, class: Class::Failed, write, stale_age: None };
    match ending {
        Ending::Answered(answer) => Judged {
            status: answer.status,
            class: class(expectation, answer),
            write: write_outcome(answer),
            stale_age: stale_age(answer),
        },
        Ending::BrokenOff { status } => failed(status, WriteOutcome::Unknown),
        Ending::NotSent => failed(0, WriteOutcome::Refused),
        Ending::NoAnswer => failed(0, WriteOutcome::Unknown),
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn class(expectation: Expectation<'_>, answer: Answer<'_>) -> Class {
    let status = answer.status;
    if answer.degraded.is_some() {
        let admitted = is_success(status) || expectation.degraded.contains(&status);
        return if admitted { Class::Degraded } else { Class::Failed };
    }
    let expected =
        if expectation.expect.is_empty() { is_success(status) } else { expectation.expect.contains(&status) };
    match (expected, status) {
        (true, _) => Class::Good,
        (false, 202) => Class::Degraded,
        (false, _) => Class::Failed,
    }
}

fn write_outcome(answer: Answer<'_>) -> WriteOutcome {
    if is_success(answer.status) {
        return WriteOutcome::Acknowledged;
    }
    let sent = answer.proxy_status.and_then(says_whether_sent);
    if sent == Some(false) {
        return WriteOutcome::Refused;
    }
    let unknown = answer.outcome_unknown || sent == Some(true) || answer.status == 408;
    if (400..500).contains(&answer.status) && !unknown {
        WriteOutcome::Refused
    } else {
        WriteOutcome::Unknown
    }
}

fn stale_age(answer: Answer<'_>) -> Option<u32> {
    let step = answer.degraded?.split(';').next().unwrap_or_default().trim();
    if !step.eq_ignore_ascii_case(STALE_STEP) {
        return None;
    }
    let age = answer.age.and_then(|age| age.trim().parse::<u32>().ok());
    Some(age.unwrap_or(AGE_UNKNOWN))
}

/// What the last member of a `Proxy-Status` value, the proxy nearest to us, says about whether the request was
/// sent on. Members before it speak of hops behind an answer that arrived, and prove nothing about ours.
fn says_whether_sent(value: &str) -> Option<bool> {
    let member = split_unquoted(value, ',').pop()?;
    let parameters = split_unquoted(member, ';');
    let parameter = |name: &str| {
        let found = parameters.iter().skip(1).filter_map(|parameter| parameter.trim().split_once('='));
        found.rev().find(|(key, _)| *key == name).map(|(_, value)| value)
    };
    parameter("error")?;
    match parameter("sent") {
        Some("?0") => Some(false),
        Some("?1") => Some(true),
        // RFC 9209: these end before a connection to the next hop exists.
        _ => matches!(parameter("error"), Some("connection_refused" | "dns_error" | "destination_not_found"))
            .then_some(false),
    }
}

/// Splits at a separator that does not stand inside a quoted string.
fn split_unquoted(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{Degraded, Failed, Good};
    use WriteOutcome::{Acknowledged, Refused, Unknown};

    fn answer(status: u16) -> Answer<'static> {
        Answer { status, ..Answer::default() }
    }

    #[test]
    fn classes_of_answers() {
        let check = |expect: &[u16], degraded: &[u16], status, marked, expected| {
            let marked = if marked { Some("static") } else { None };
            let judged = classify(
                Expectation { expect, degraded },
                Ending::Answered(Answer { degraded: marked, ..answer(status) }),
            );
            assert_eq!(judged.class, expected, "{status} marked {marked:?}, expect {expect:?}");
        };
        check(&[], &[], 200, false, Good);
        check(&[], &[], 299, false, Good);
        check(&[], &[], 202, false, Good);
        check(&[], &[], 204, true, Degraded);
        check(&[], &[], 301, false, Failed);
        check(&[], &[], 404, false, Failed);
        check(&[], &[], 503, true, Failed);
        check(&[], &[503], 503, true, Degraded);
        check(&[], &[503], 503, false, Failed);
        check(&[201], &[], 201, false, Good);
        check(&[201], &[], 200, false, Failed);
        check(&[201], &[], 200, true, Degraded);
        check(&[201], &[], 201, true, Degraded);
        check(&[201], &[], 202, false, Degraded);
        check(&[202], &[], 202, false, Good);
        check(&[404], &[], 404, false, Good);
        check(&[404], &[], 404, true, Failed);
        check(&[404], &[], 200, false, Failed);
    }

    #[test]
    fn outcomes_of_writes() {
        let check = |status, proxy_status, outcome_unknown, expected| {
            let ending = Ending::Answered(Answer { proxy_status, outcome_unknown, ..answer(status) });
            let judged = classify(Expectation { expect: &[201], degraded: &[] }, ending);
            assert_eq!(judged.write, expected, "{status} {proxy_status:?}");
        };
        check(201, None, false, Acknowledged);
        check(200, None, false, Acknowledged);
        check(202, None, false, Acknowledged);
        check(302, None, false, Unknown);
        check(400, None, false, Refused);
        check(429, None, false, Refused);
        check(408, None, false, Unknown);
        check(408, Some("seaworthy; error=http_request_error; sent=?0"), false, Refused);
        check(409, None, true, Unknown);
        check(409, Some("seaworthy; error=http_response_timeout; sent=?1"), false, Unknown);
        check(500, None, false, Unknown);
        check(503, None, false, Unknown);
        check(
            503,
            Some("seaworthy; error=destination_unavailable; details=\"a, b; sent=?1\"; sent=?0"),
            false,
            Refused,
        );
        check(504, Some("seaworthy; error=http_response_timeout; sent=?1"), false, Unknown);
        check(502, Some("other; error=connection_refused"), false, Refused);
        check(502, Some("other; error=connection_terminated"), false, Unknown);
        // An answer that came from behind us: what an inner hop says about its own request is not proof.
        check(
            503,
            Some("seaworthy; error=connection_refused; sent=?0, seaworthy; attempts=2"),
            false,
            Unknown,
        );
        check(503, Some("seaworthy; attempts=2"), false, Unknown);
        check(503, Some("\"unclosed; sent=?0"), false, Unknown);
    }

    #[test]
    fn what_did_not_end_well_failed() {
        for (ending, status, write) in [
            (Ending::BrokenOff { status: 201 }, 201, Unknown),
            (Ending::NotSent, 0, Refused),
            (Ending::NoAnswer, 0, Unknown),
        ] {
            let judged = classify(Expectation { expect: &[], degraded: &[] }, ending);
            assert_eq!(judged, Judged { status, class: Failed, write, stale_age: None }, "{ending:?}");
        }
    }

    #[test]
    fn only_a_stale_answer_has_an_age() {
        for (degraded, age, expected) in [
            (Some("stale"), Some("12"), Some(12)),
            (Some("stale; ttl=2"), Some(" 0 "), Some(0)),
            (Some("Stale"), None, Some(AGE_UNKNOWN)),
            (Some("stale"), Some("-1"), Some(AGE_UNKNOWN)),
            (Some("static"), Some("12"), None),
            (None, Some("12"), None),
        ] {
            let ending = Ending::Answered(Answer { degraded, age, ..answer(200) });
            let judged = classify(Expectation { expect: &[], degraded: &[] }, ending);
            assert_eq!(judged.stale_age, expected, "{degraded:?} {age:?}");
        }
    }
}
