//! Who is asked among those who may be asked: one strategy per file, each a function of a list of candidates.
//!
//! **Problem.** Spreading requests is several questions at once. Which tier serves, which zone, whether this client
//! belongs to a certain endpoint, how much a newcomer can bear, and only then: which of the rest.
//!
//! **Model.** The pool lists its candidates (open, with room, not tried by this call, of a tier that serves), each with its
//! weight of the moment. Then, in this order: a request with an affinity key goes to [`affinity`]; otherwise [`zones`] keeps
//! the candidates of one side, and the configured strategy picks one of them. A list that has lost everybody is never the
//! result of a preference: tiers and zones only narrow a choice that they leave somebody in.
//!
//! **Rejected.** Strategies as trait objects with a state of their own: the state they need (turns, requests in flight, latencies)
//! belongs to endpoints and must go when these go.

pub(super) mod affinity;
mod candidate;
mod config;
pub(super) mod least_in_flight;
pub(super) mod p2c;
pub(super) mod round_robin;
pub(super) mod slow_start;
pub(super) mod tiers;
pub(super) mod zones;

pub use affinity::affinity_key;
pub(super) use candidate::{Candidate, WEIGHT_UNIT};
pub use config::{BalanceConfig, Member, Strategy, Tier, WEIGHT_MAX};
