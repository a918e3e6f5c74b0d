//! A purchase, decided: what to do next, and what to answer in the end. No IO here.
//!
//! A purchase crosses two systems that share no transaction: the ledger has the seats, the payment provider
//! has the money. So it is a saga of steps, each idempotent under the customer's key:
//!
//! ```text
//! reserve ──► charge ──► confirm ──► 201
//!    │           └─ declined ──► release ──► 402
//!    ├─ already confirmed ──► 201        ├─ already released ──► 402
//!    └─ sold out ──► 409                 └─ key reused ──► 422
//! ```
//!
//! No step is ever taken back because of a *missing* answer: when the outcome is unclear, the purchase stops
//! where it is, says so, and whoever comes next with the same key, at whichever replica, starts from the top
//! and finds what has been done. A seat is given back only on the provider's word that the card was declined;
//! that decision never changes, so a release and a charge under one key cannot both happen. The order follows
//! from what can be undone: a reserved seat can be given back, a charged card cannot (not honestly).
//!
//! Rejected: remembering unfinished purchases in the API and finishing them there. A copy that dies would take
//! them along, or they would need a store of their own, beside the ledger that already knows.

use serde::Deserialize;
use serde_json::Value;

/// One step of a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Take a seat, or find what has become of this key.
    Reserve,
    /// Charge the card, this many cents.
    Charge { amount_cents: u64 },
    /// Tell the ledger which charge paid for it.
    Confirm { charge: i64 },
    /// Give the seat back.
    Release,
}

impl Step {
    /// What the step takes when all is well, and what must follow it to be of use: with less time left it is
    /// not begun. A charge takes the provider 100 ms, and is of no use without its confirmation.
    fn needs_ms(self) -> u64 {
        match self {
            Step::Reserve | Step::Confirm { .. } | Step::Release => 10,
            Step::Charge { .. } => 150,
        }
    }

    /// How long it may take before we call its outcome unclear. Together they stay below the four seconds of
    /// a purchase; a charge alone below two, so that people hear from us while the provider hangs.
    pub(super) fn limit_ms(self) -> u64 {
        match self {
            Step::Reserve | Step::Confirm { .. } | Step::Release => 1000,
            Step::Charge { .. } => 1800,
        }
    }
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum StepResult {
    /// The ledger's ticket.
    Ticket(Ticket),
    /// The charge's number.
    Charged(i64),
    /// The provider refuses this card, for good.
    Declined,
    /// No seat is left.
    SoldOut,
    /// The key stands for another purchase.
    KeyReused,
    /// There is no such event.
    NoSuchEvent,
    /// Certainly not done.
    NotDone,
    /// Perhaps done.
    Unclear,
}

/// A ticket as the ledger answers it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Ticket {
    pub(super) id: u64,
    pub(super) key: String,
    pub(super) event: u32,
    pub(super) buyer: String,
    pub(super) state: TicketState,
    pub(super) price_cents: u64,
}

/// Where a ticket is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TicketState {
    Reserved,
    Confirmed,
    Released,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Take this step and report its result.
    Take(Step),
    /// The purchase ends here, for now or for good.
    Answer(Verdict),
}

/// What the customer is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// 201: here is the ticket.
    Bought { ticket: Ticket, news: News },
    /// 402: the card was declined, the seat is free again.
    Declined,
    /// 409: no seat is left.
    SoldOut,
    /// 422: the key stands for another purchase.
    KeyReused,
    /// 404: there is no such event.
    NoSuchEvent,
    /// 503: not bought, and this attempt has certainly moved no money. A reservation may stand under the key
    /// (and so may a payment, of an earlier attempt that was told `PaymentPending`).
    TryAgain,
    /// 503: this attempt has moved money, or may have; the same key will find out.
    PaymentPending,
}

/// Has this very purchase just been completed, or had it been before?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Fresh,
    Replayed,
}

/// A purchase under way.
#[derive(Debug)]
pub(super) struct Saga {
    awaited: Option<Step>,
}

impl Saga {
    /// Begins with the reservation, if there is time for it.
    pub(super) fn begin(left_ms: u64) -> (Self, Next) {
        let mut saga = Self { awaited: None };
        let next = saga.take(Step::Reserve, left_ms);
        (saga, next)
    }

    /// Takes note of what came of the step that was to be taken, with `left_ms` until the customer gives up.
    pub(super) fn on(&mut self, result: StepResult, left_ms: u64) -> Next {
        let step = self.awaited.take().expect("a result follows a step");
        match (step, result) {
            (Step::Reserve, StepResult::Ticket(ticket)) => match ticket.state {
                TicketState::Confirmed => bought(ticket, News::Replayed),
                TicketState::Released => Next::Answer(Verdict::Declined),
                TicketState::Reserved => {
                    self.take(Step::Charge { amount_cents: ticket.price_cents }, left_ms)
                }
            },
            (Step::Reserve, StepResult::SoldOut) => Next::Answer(Verdict::SoldOut),
            (Step::Reserve, StepResult::KeyReused) => Next::Answer(Verdict::KeyReused),
            (Step::Reserve, StepResult::NoSuchEvent) => Next::Answer(Verdict::NoSuchEvent),

            (Step::Charge { .. }, StepResult::Charged(charge)) => {
                self.take(Step::Confirm { charge }, left_ms)
            }
            (Step::Charge { .. }, StepResult::Declined) => self.take(Step::Release, left_ms),
            (Step::Charge { .. }, StepResult::Unclear) => Next::Answer(Verdict::PaymentPending),

            // Another replica may have finished this purchase meanwhile: whoever did, here is the ticket.
            (Step::Confirm { .. } | Step::Release, StepResult::Ticket(ticket)) => {
                match (step, ticket.state) {
                    (_, TicketState::Confirmed) => bought(ticket, News::Fresh),
                    (Step::Release, TicketState::Released) => Next::Answer(Verdict::Declined),
                    _ => Next::Answer(unfinished(step)),
                }
            }
            // Everything else, an answer that makes no sense included, leaves the purchase where it is.
            (step, _) => Next::Answer(unfinished(step)),
        }
    }

    fn take(&mut self, step: Step, left_ms: u64) -> Next {
        if left_ms < step.needs_ms() {
            return Next::Answer(unfinished(step));
        }
        self.awaited = Some(step);
        Next::Take(step)
    }
}

/// What is true when this step was not taken, or failed without having charged anybody.
fn unfinished(step: Step) -> Verdict {
    match step {
        // The card was declined; the seat is still held, and only the same key gives it back.
        Step::Reserve | Step::Charge { .. } | Step::Release => Verdict::TryAgain,
        Step::Confirm { .. } => Verdict::PaymentPending,
    }
}

fn bought(ticket: Ticket, news: News) -> Next {
    Next::Answer(Verdict::Bought { ticket, news })
}

/// Reads the ledger's answer to a step.
pub(super) fn ledger_result(status: u16, body: &[u8]) -> StepResult {
    match status {
        200 => serde_json::from_slice(body).map_or(StepResult::Unclear, StepResult::Ticket),
        404 => StepResult::NoSuchEvent,
        422 => StepResult::KeyReused,
        409 => conflict(body),
        _ => StepResult::Unclear,
    }
}

fn conflict(body: &[u8]) -> StepResult {
    if reason(body) == "sold_out" {
        return StepResult::SoldOut;
    }
    // A step that contradicts what is decided answers the ticket as it is.
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    serde_json::from_value(body["ticket"].clone()).map_or(StepResult::Unclear, StepResult::Ticket)
}

/// Reads the provider's answer to a charge. `proxy_error` is the `error` of a `Proxy-Status` header, which
/// the egress adds when the answer is its own.
pub(super) fn charge_result(status: u16, body: &[u8], proxy_error: Option<&str>) -> StepResult {
    match (status, proxy_error) {
        (200 | 201, None) => {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            body["id"].as_i64().map_or(StepResult::Unclear, StepResult::Charged)
        }
        (402, None) => StepResult::Declined,
        // Refused before anything was done: a bad request, an unknown caller, too many calls.
        (400 | 401 | 403 | 404 | 422 | 429, _) => StepResult::NotDone,
        (_, Some(error)) if NOT_SENT.contains(&error) => StepResult::NotDone,
        // The provider's own word that it has too much to do and did nothing; a bare 503 says less.
        (503, None) if reason(body) == "busy" => StepResult::NotDone,
        _ => StepResult::Unclear,
    }
}

fn reason(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    body["reason"].as_str().unwrap_or_default().to_owned()
}

/// Reasons (RFC 9209) for which a proxy answers itself without having sent anything.
const NOT_SENT: [&str; 7] = [
    "connection_refused",
    "connection_timeout",
    "connection_limit_reached",
    "destination_not_found",
    "destination_unavailable",
    "dns_error",
    "http_request_denied",
];

#[cfg(test)]
#[path = "saga_tests.rs"]
mod tests;
