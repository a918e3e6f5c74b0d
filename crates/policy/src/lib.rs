//! What to decide, and never how to do it.
//!
//! Every decision of Seaworthy that concerns fault tolerance lives here as a state machine without input
//! and output. Time ([`Time`]) and randomness ([`Rng`]) come in as arguments; what to do comes out as a
//! value. There is no clock, no thread, no lock, no socket and no iteration over a randomly seeded map in
//! this crate, so the same seed and the same events always give the same decisions, in production, in a
//! test and in a simulation.
//!
//! The contract of every machine:
//! - its configuration is immutable, has the product's defaults, and `validate` names the field that is wrong;
//! - a `now` that lies before an earlier one is read as that earlier one: time never runs backwards inside;
//! - it is bounded in memory, and each bound has a name;
//! - `check_invariants` panics with a sentence when the state contradicts itself; debug builds call it after
//!   each step.
#![forbid(unsafe_code)]

pub mod admission;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod call;
pub mod deadline;
pub mod delivery;
pub mod ejection;
pub mod entrance;
pub mod error;
pub mod exchange;
pub mod fallback;
pub mod health;
pub mod idempotency;
pub mod keyed;
pub mod ladder;
pub mod latency;
pub mod limit;
pub mod pool;
pub mod rate_limit;
pub mod ratio;
pub mod restart;
pub mod rng;
pub mod settle;
pub mod stack;
pub mod stale;
pub mod throttle;
pub mod time;
pub mod window;

pub use admission::{Admission, AdmissionConfig};
pub use backoff::{BackoffConfig, Jitter};
pub use breaker::{Breaker, BreakerConfig};
pub use budget::{Budget, BudgetConfig};
pub use deadline::Deadline;
pub use delivery::{Delivery, DeliveryConfig};
pub use error::ConfigError;
pub use fallback::{FailureClass, Fallback, FallbackConfig};
pub use health::{Health, HealthConfig};
pub use idempotency::{IdempotencyConfig, KeyMap};
pub use keyed::{Forgettable, Keyed, KeyedConfig};
pub use latency::{Ewma, LatencyWindow};
pub use limit::{Limit, LimitConfig};
pub use rate_limit::{RateLimitConfig, RateLimiter};
pub use ratio::Ratio;
pub use restart::{Restart, RestartConfig};
pub use rng::Rng;
pub use settle::{Settle, SettleConfig};
pub use stack::{Layer, Stack};
pub use stale::{Cached, StaleConfig};
pub use throttle::{Throttle, ThrottleConfig};
pub use time::Time;
pub use window::{Sample, Totals, Window};
