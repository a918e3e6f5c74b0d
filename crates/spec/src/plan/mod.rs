//! `Plan`: what the spec means. Names are resolved, defaults filled in, and the origin of every value is known.
//!
//! Everything downstream (check, gateway, supervisor, drill) reads the plan and never the YAML.

mod cache;
mod entrance;
mod failure;
mod keys;
mod load;
mod promise;
mod queues;
mod route;
mod service;
mod traffic;
mod whole;

pub use cache::{CacheLimits, CachePlan};
pub use entrance::{EntrancePlan, Gated, KeySource};
pub use failure::{FailurePlan, FaultKind, FaultPlan, Mechanism, Response, Target};
pub use keys::{InFlight, KeysPlan};
pub use load::{IdPath, IdStep, LoadPlan, ReadBack};
pub use promise::{During, Limit, Promise, Word};
pub use queues::{DedupePlan, LanePlan, PushPlan, QueuePlan, SecretSource, SubscriberPlan, TopicPlan};
pub use route::{DegradeStep, RouteMatch, RoutePlan};
pub use service::{
    DataPlan, Need, ProbeAction, ProbePlan, ProcessPlan, ReplicaPlan, ServiceKind, ServicePlan,
};
pub use traffic::{AffinitySource, DEADLINE_HEADER, MemberPlan, TrafficPlan};
pub use whole::{Origin, Place, Plan, Setting};
