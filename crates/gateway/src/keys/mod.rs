//! Idempotency keys that are remembered: one key, one execution, and the answer given again to whoever comes back.
//!
//! **The walk.** A write with a key has passed the gates and is here in full. Its key is begun with whoever keeps keys
//! (`ask`), durably, before anything is sent. Then the call is made (`execute`), its answer is read whole, what became
//! of it is made durable, and only then the client gets the first byte. All that happens in a task of its own: a client
//! that leaves takes nothing with it, and what it would have heard is there when it comes back.
//!
//! **What is decided elsewhere.** What an answer says about the execution is `policy::idempotency`'s business; what a
//! key is told that was seen before is decided where keys are kept, in the same order.
//!
//! **Bounds.** The request is as long as can be sent again, or it is refused (413). Of an answer up to `max_answer` is
//! held back; a longer one, and an event stream, goes out while it comes in, its key stays in flight until it has
//! ended, and of it status and digest are kept: it is not given again. Trailers of an answer that is held back are lost.
//!
//! **Who may ask.** A key belongs to a caller, known by the digest of its `Authorization`. Callers without one share
//! a space of keys; whoever can guess a key there reads its answer.
//!
//! Requests on routes without keys pay for one look at an `Option`.

mod ask;
mod derive;
mod execute;
mod metrics;
mod name;
mod stored;
mod turns;

pub(crate) use derive::Inbound;
pub(crate) use execute::{Departure, Ending, run};
pub(crate) use metrics::KeyMetrics;
pub(crate) use name::whole;

use std::sync::Arc;
use std::time::Duration;

use seaworthy_observe::KeyKeeper;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::idempotency::{Backend, IdempotencyConfig};
use seaworthy_spec::plan::{InFlight, KeysPlan};

use turns::Turns;

/// How long an answer's body and its way to the disk may take beyond the deadline of its head; longer, and its key
/// counts as unknown until it has ended after all.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// How the keys of one route or egress are kept.
#[derive(Debug, Clone)]
pub(crate) struct KeptKeys {
    pub(super) config: IdempotencyConfig,
    /// A request whose key is in flight waits for the answer of the first.
    waits: bool,
    max_answer: usize,
    /// The name of the route or egress, which other names cannot be mistaken for.
    place: String,
}

impl KeptKeys {
    /// What the plan wants kept; `None` = nothing.
    pub(crate) fn of(plan: Option<&KeysPlan>, place: String, call: &CallConfig) -> Option<Self> {
        let plan = plan?;
        let config = IdempotencyConfig {
            backend: plan.backend,
            dialect: plan.dialect,
            retention: plan.keep?,
            lease: call.total_timeout.saturating_add(LEASE_MARGIN),
        };
        let max_answer = usize::try_from(plan.max_answer).unwrap_or(usize::MAX);
        Some(Self { config, waits: plan.in_flight == InFlight::Wait, max_answer, place })
    }

    fn resends(&self) -> bool {
        self.config.backend == Backend::Honours
    }
}

/// What all threads share.
pub(crate) struct SharedKeys {
    /// `None` where nothing keeps keys; then no request that needs one is sent.
    keeper: Option<Arc<dyn KeyKeeper>>,
    turns: Turns,
    pub(crate) metrics: KeyMetrics,
    /// On whose behalf services make their calls.
    pub(crate) inbound: Inbound,
}

impl SharedKeys {
    pub(crate) fn new(keeper: Option<Arc<dyn KeyKeeper>>, metrics: KeyMetrics) -> Self {
        Self { keeper, turns: Turns::default(), metrics, inbound: Inbound::default() }
    }
}
