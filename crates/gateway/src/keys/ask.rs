//! Asks whoever keeps keys what is to become of a request, and says so to the client where it is not to be sent.

use std::rc::Rc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use seaworthy_observe::{KeyBegin, KeyBegun, KeyName, KeyOutcome, KeyToken, KeysError};
use seaworthy_policy::Time;
use seaworthy_policy::idempotency::{Dialect, IN_FLIGHT_RETRY_AFTER_MAX};
use tokio::sync::oneshot;

use super::metrics::Outcome;
use super::{KeptKeys, stored};
use crate::body::ResponseBody;
use crate::problem::Problem;
use crate::worker::Worker;

/// By which Stripe's clients are kept from sending again.
pub(super) const STRIPE_SHOULD_RETRY: HeaderName = HeaderName::from_static("stripe-should-retry");
/// When to ask again if keys cannot be kept.
const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What becomes of a request.
pub(super) enum Asked {
    /// It is executed.
    Execute(Execution, Outcome),
    /// It gets this answer, which was given before.
    Replay(Response<ResponseBody>),
    /// It is refused.
    Refuse(Box<Problem>, Outcome),
    /// Its client is gone, and nothing was begun.
    Left,
}

/// An execution under way. Whoever drops it before it has ended leaves the truth behind: unknown, or not executed as
/// long as nothing was sent.
pub(super) struct Execution {
    worker: Rc<Worker>,
    name: KeyName,
    token: KeyToken,
    sent: bool,
    ended: bool,
}

impl Execution {
    /// From here on nobody knows.
    pub(super) fn sending(&mut self) {
        self.sent = true;
    }

    /// It has ended so; answers once that is durable.
    pub(super) async fn end(mut self, outcome: KeyOutcome) -> Result<(), KeysError> {
        let keys = &self.worker.shared.keys;
        let Some(keeper) = &keys.keeper else { return Err(KeysError::Broken(String::new())) };
        let reply = keeper.finish(&self.name, self.token, outcome);
        self.ended = true;
        let result = reply.await;
        keys.turns.of(&self.name).notify_waiters();
        result
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let keys = &self.worker.shared.keys;
        let outcome = if self.sent { KeyOutcome::Unknown } else { KeyOutcome::NotExecuted };
        if let Some(keeper) = &keys.keeper {
            drop(keeper.finish(&self.name, self.token, outcome));
        }
        keys.turns.of(&self.name).notify_waiters();
    }
}

/// Begins, and waits for another execution where the route wants that.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    kept: &KeptKeys,
    name: KeyName,
    fingerprint: [u8; 32],
    deadline: Time,
    told: &mut oneshot::Sender<Response<ResponseBody>>,
) -> Asked {
    let keys = &worker.shared.keys;
    let Some(keeper) = &keys.keeper else {
        return Asked::Refuse(unavailable("nothing keeps keys here", false), Outcome::Unavailable);
    };
    loop {
        // Registered before it is asked, so that an end in between is not missed.
        let mut bell = std::pin::pin!(keys.turns.of(&name).notified());
        bell.as_mut().enable();
        let begin =
            KeyBegin { name: name.clone(), fingerprint, lease: kept.config.lease, resend: kept.resends() };
        let (token, outcome) = match keeper.begin(begin).await {
            Ok(KeyBegun::New(token)) => (token, Outcome::Executed),
            Ok(KeyBegun::Again(token)) => (token, Outcome::Resent),
            Ok(KeyBegun::InFlight { left }) => {
                let now = worker.tick();
                if !kept.waits || now >= deadline {
                    return Asked::Refuse(in_flight(left), Outcome::InFlight);
                }
                let until = now.after(left.max(Duration::from_millis(1))).min(deadline);
                tokio::select! {
                    () = bell => {}
                    () = tokio::time::sleep_until(worker.instant(until)) => {}
                    () = told.closed() => return Asked::Left,
                }
                continue;
            }
            Ok(KeyBegun::Done(answer)) => {
                return stored::replay(answer)
                    .map_or_else(|| Asked::Refuse(not_replayable(), Outcome::NotReplayable), Asked::Replay);
            }
            Ok(KeyBegun::Unknown) => return Asked::Refuse(unknown(), Outcome::Unknown),
            Ok(KeyBegun::Mismatch) => return Asked::Refuse(mismatch(kept), Outcome::Mismatch),
            Err(error) => {
                return Asked::Refuse(unavailable(&error.to_string(), false), Outcome::Unavailable);
            }
        };
        let worker = Rc::clone(worker);
        return Asked::Execute(Execution { worker, name, token, sent: false, ended: false }, outcome);
    }
}

/// Says no. Stripe's clients send again after every 409, unless they are told not to.
pub(super) fn respell(kept: &KeptKeys, outcome: Outcome, response: &mut Response<ResponseBody>) {
    if kept.config.dialect == Dialect::Stripe {
        let retry = match outcome {
            Outcome::InFlight | Outcome::Unavailable => "true",
            _ => "false",
        };
        response.headers_mut().insert(STRIPE_SHOULD_RETRY, HeaderValue::from_static(retry));
    }
}

fn conflict(slug: &'static str, title: &'static str, detail: &str) -> Box<Problem> {
    let problem = Problem::request(StatusCode::CONFLICT, slug, title, detail);
    // This one was not sent; but another under the same key was, and that is what its sender wants to know.
    Box::new(Problem { error: "http_request_denied", sent: true, ..problem })
}

fn in_flight(left: Duration) -> Box<Problem> {
    let detail = "a request with this Idempotency-Key is under way; ask again for its answer";
    let problem = conflict("idempotency-key-in-flight", "The first request is under way", detail);
    Box::new(Problem { retry_after: Some(left.min(IN_FLIGHT_RETRY_AFTER_MAX)), ..*problem })
}

fn not_replayable() -> Box<Problem> {
    let detail = "the request with this Idempotency-Key was executed; its answer was too large to be kept";
    conflict("idempotency-not-replayable", "The answer cannot be given again", detail)
}

fn unknown() -> Box<Problem> {
    let detail = "a request with this Idempotency-Key was sent and not answered; sending it again could execute it twice";
    conflict("outcome-unknown", "The request was sent, but nobody knows whether it was executed", detail)
}

fn mismatch(kept: &KeptKeys) -> Box<Problem> {
    let status =
        StatusCode::from_u16(kept.config.mismatch_status()).unwrap_or(StatusCode::UNPROCESSABLE_ENTITY);
    let detail = "this Idempotency-Key was used for another method, target, content type or body";
    let title = "The key belongs to another request";
    let problem = Problem::request(status, "idempotency-key-mismatch", title, detail);
    Box::new(Problem { error: "http_request_denied", ..problem })
}

/// Keys cannot be kept now.
pub(super) fn unavailable(detail: &str, sent: bool) -> Box<Problem> {
    let (status, slug) = (StatusCode::SERVICE_UNAVAILABLE, "store-unavailable");
    let title = "Idempotency keys cannot be kept";
    let problem = Problem::request(status, slug, title, detail);
    let retry_after = Some(UNAVAILABLE_RETRY_AFTER);
    Box::new(Problem { error: "proxy_internal_error", sent, retry_after, ..problem })
}
