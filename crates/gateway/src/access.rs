//! One line of the access log per request, written when the last byte of its answer is out.

use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use seaworthy_policy::Time;
use seaworthy_policy::call::{AttemptKind, Cause, Class, Ended, Proof};
use seaworthy_policy::entrance::Reason;

use crate::connection::Client;
use crate::driver::Driver;

/// A path is logged up to this many bytes.
const PATH_LENGTH_MAX: usize = 1024;
/// The status that the log gives to requests whose client left before an answer.
const CLIENT_LEFT: u16 = 499;

/// What the log will say about a request.
pub(crate) struct Record {
    client: Rc<Client>,
    started: Time,
    method: Method,
    path: String,
    request_id: HeaderValue,
    /// The series of its metrics.
    target: usize,
    status: Option<StatusCode>,
    bytes: u64,
    degraded: Option<HeaderValue>,
    cache: Option<&'static str>,
    idempotency: Option<&'static str>,
    proxy_error: Option<&'static str>,
    /// How long it waited in front of gates.
    waited: Duration,
    /// Which gate said no, and why.
    refused: Option<(String, Reason)>,
    finished: bool,
}

impl Record {
    /// A request arrived.
    pub(crate) fn begin(
        client: Rc<Client>,
        method: Method,
        path: &str,
        request_id: HeaderValue,
    ) -> Box<Self> {
        client.set_busy();
        let started = client.worker.now();
        let path = path.get(..path.len().min(PATH_LENGTH_MAX)).unwrap_or_default().to_owned();
        let target = client.worker.shared.unrouted;
        client.worker.shared.metrics.request_began(client.worker.index, target);
        Box::new(Self {
            client,
            started,
            method,
            path,
            request_id,
            target,
            status: None,
            bytes: 0,
            degraded: None,
            cache: None,
            idempotency: None,
            proxy_error: None,
            waited: Duration::ZERO,
            refused: None,
            finished: false,
        })
    }

    /// It was found out what it wants.
    pub(crate) fn routed(&mut self, target: usize) {
        let (metrics, shard) = (&self.client.worker.shared.metrics, self.client.worker.index);
        metrics.request_moved(shard, self.target, target);
        self.target = target;
    }

    /// The series of its metrics.
    pub(crate) fn target(&self) -> usize {
        self.target
    }

    /// Its name through all hops.
    pub(crate) fn request_id(&self) -> &HeaderValue {
        &self.request_id
    }

    /// This is being answered.
    pub(crate) fn answered(&mut self, status: StatusCode, degraded: Option<HeaderValue>) {
        self.status = Some(status);
        self.degraded = degraded;
    }

    /// What the store of answers did for it.
    pub(crate) fn cached(&mut self, outcome: &'static str) {
        self.cache = Some(outcome);
    }

    /// What its idempotency key did for it.
    pub(crate) fn keyed(&mut self, outcome: &'static str) {
        self.idempotency = Some(outcome);
    }

    /// Why we answer, or do not answer, in the words of RFC 9209.
    pub(crate) fn broke_off(&mut self, error: &'static str) {
        self.proxy_error = Some(error);
    }

    /// It has waited so long in front of gates.
    pub(crate) fn waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// A gate said no.
    pub(crate) fn denied(&mut self, gate: &str, reason: Reason) {
        let worker = &self.client.worker;
        worker.shared.metrics.denied(worker.index, self.target, reason);
        self.refused = Some((gate.to_owned(), reason));
    }

    /// The client did not wait for the end.
    pub(crate) fn client_left(&mut self) {
        self.status = None;
    }

    /// So much of the body went out.
    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// The answer ended, with these attempts behind it.
    pub(crate) fn finish(&mut self, driver: &Driver) {
        self.write(Some(driver));
    }

    /// The answer ended; no service was asked.
    pub(crate) fn finish_unasked(&mut self) {
        self.write(None);
    }

    fn write(&mut self, driver: Option<&Driver>) {
        if self.finished {
            return;
        }
        self.finished = true;
        let worker = &self.client.worker;
        let now = worker.now();
        let duration = now.saturating_since(self.started);
        worker.shared.metrics.request_ended(worker.index, self.target, self.status, duration);
        self.client.set_idle(now);
        self.client.count_bytes();
        worker.log_line(now, |line| self.line(line, driver, duration));
    }

    /// Everything behind the timestamp.
    fn line(&self, line: &mut String, driver: Option<&Driver>, duration: Duration) {
        let worker = &self.client.worker;
        let (edge, route) = &worker.shared.labels[self.target];
        let status = self.status.map_or(CLIENT_LEFT, |status| status.as_u16());
        let level = if self.proxy_error.is_some() || status >= 500 { "warn" } else { "info" };
        append(
            line,
            &[
                "\"level\":\"",
                level,
                "\",\"message\":\"request\",\"service\":\"seaworthy\",\"request_id\":\"",
            ],
        );
        escape(line, self.request_id.as_bytes());
        append(line, &["\",\"edge\":\"", edge, "\""]);
        if !route.is_empty() {
            append(line, &[",\"route\":\"", route, "\""]);
        }
        line.push_str(",\"client\":\"");
        escape(line, self.client.peer_value.as_bytes());
        append(line, &["\",\"method\":\"", self.method.as_str(), "\",\"path\":\""]);
        escape(line, self.path.as_bytes());
        line.push_str("\",\"status\":");
        number(line, u64::from(status));
        line.push_str(",\"duration_ms\":");
        millis(line, duration);
        line.push_str(",\"bytes\":");
        number(line, self.bytes);
        if let Some(degraded) = &self.degraded {
            line.push_str(",\"degraded\":\"");
            escape(line, degraded.as_bytes());
            line.push('"');
        }
        if let Some(cache) = self.cache {
            append(line, &[",\"cache\":\"", cache, "\""]);
        }
        if let Some(outcome) = self.idempotency {
            append(line, &[",\"idempotency\":\"", outcome, "\""]);
        }
        if let Some(error) = self.proxy_error {
            let _ = write!(line, ",\"proxy_error\":\"{error}\"");
        }
        if !self.waited.is_zero() {
            line.push_str(",\"waited_ms\":");
            millis(line, self.waited);
        }
        if let Some((gate, reason)) = &self.refused {
            append(line, &[",\"refused\":\"", reason.as_str(), "\",\"refused_by\":\"", gate, "\""]);
        }
        if let Some(driver) = driver {
            self.attempts(line, driver);
        }
        line.push('}');
    }

    fn attempts(&self, line: &mut String, driver: &Driver) {
        line.push_str(",\"attempts\":[");
        let mut zone = None;
        for (index, (trace, endpoint)) in driver.call().trail().iter().zip(driver.endpoints()).enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let (ended, outcome) =
                trace.ended.map_or((trace.started, "open"), |(at, ended)| (at, outcome(ended)));
            append(
                line,
                &[separator, "{\"endpoint\":\"", &endpoint.id.replica, "\",\"kind\":\"", kind(trace.kind)],
            );
            append(line, &["\",\"outcome\":\"", outcome, "\",\"start_ms\":"]);
            millis(line, trace.started.saturating_since(self.started));
            line.push_str(",\"ms\":");
            millis(line, ended.saturating_since(trace.started));
            line.push('}');
            zone = self.client.worker.shared.zones.get(usize::from(endpoint.zone));
        }
        line.push(']');
        if let Some(zone) = zone.filter(|zone| !zone.is_empty()) {
            let _ = write!(line, ",\"zone\":\"{zone}\"");
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.status = if self.finished { self.status } else { None };
        self.write(None);
    }
}

fn kind(kind: AttemptKind) -> &'static str {
    match kind {
        AttemptKind::First => "first",
        AttemptKind::Retry => "retry",
        AttemptKind::Hedge => "hedge",
    }
}

fn outcome(ended: Ended) -> &'static str {
    match ended {
        Ended::Committed(Class::Answered) => "answered",
        Ended::Committed(Class::Degraded) => "degraded",
        Ended::Committed(_) => "passed_on",
        Ended::Rejected(_) => "answered_badly",
        Ended::Failed(_, Cause::RequestBody) => "request_body_failed",
        Ended::Failed(Proof::Refused, _) => "refused",
        Ended::Failed(_, Cause::Connect) => "connect_failed",
        Ended::Failed(_, Cause::ConnectTimeout) => "connect_timeout",
        Ended::Failed(Proof::NotSent, _) => "not_sent",
        Ended::Failed(_, Cause::Reset) => "reset",
        Ended::Failed(_, Cause::Protocol) => "not_http",
        Ended::TimedOut => "attempt_timeout",
        Ended::Stalled => "stalled",
        Ended::Cancelled => "cancelled",
    }
}

/// Milliseconds with three decimals, without the detour over floating point.
fn millis(line: &mut String, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(line, micros / 1000);
    line.push('.');
    let fraction = micros % 1000;
    for digit in [fraction / 100, fraction / 10 % 10, fraction % 10] {
        line.push(char::from(b'0' + digit as u8));
    }
}

/// A number in decimal digits; `write!` costs several times as much, and there are a dozen of these in a line.
fn number(line: &mut String, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    line.extend(digits[start..].iter().copied().map(char::from));
}

fn append(line: &mut String, parts: &[&str]) {
    for part in parts {
        line.push_str(part);
    }
}

/// The inside of a JSON string. What comes in is visible ASCII or was never shown to be UTF-8.
fn escape(line: &mut String, bytes: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if let Some(plain) = std::str::from_utf8(bytes).ok().filter(|_| bytes.iter().all(is_plain)) {
        return line.push_str(plain);
    }
    for byte in bytes {
        match byte {
            b'"' | b'\\' => line.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => line.push(char::from(*byte)),
            _ => {
                let _ = write!(line, "\\u{byte:04x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_stay_json() {
        let mut line = String::from("\"");
        escape(&mut line, b"a\"b\\c\n\x80");
        line.push('"');
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), "a\"b\\c\n\u{80}");
    }

    #[test]
    fn durations_are_milliseconds() {
        let mut line = String::new();
        millis(&mut line, Duration::from_micros(12_003));
        assert_eq!(line, "12.003");
        line.clear();
        for value in [0, 7, 10, 1_000_000, u64::MAX] {
            number(&mut line, value);
            line.push(' ');
        }
        assert_eq!(line, "0 7 10 1000000 18446744073709551615 ");
    }
}
