//! The node as a drill sees it: what it can be asked and told, and what it answers.
//!
//! The drill never calls into the node. It speaks to its admin API over HTTP ([`HttpNode`]), so that it can outlive
//! what it judges; tests put a stub behind the same trait.

mod http;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use seaworthy_observe::event::Event;

pub use http::HttpNode;
pub use wire::{FaultBody, FaultRequest, TargetBody};

/// Why the node did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// It could not be reached, or the connection ended.
    #[error("the node cannot be reached: {0}")]
    Unreachable(String),
    /// It could not be reached, and nobody will start it again: asking once more is in vain.
    #[error("nobody will start it again: {0}")]
    Gone(String),
    /// This host lacks what the fault needs.
    #[error("this host cannot do that: {0}")]
    Capability(String),
    /// There is no such thing, for example a fault that is over already.
    #[error("the node does not know it: {0}")]
    Unknown(String),
    /// It refused.
    #[error("the node refused ({status}): {detail}")]
    Refused {
        /// Status of its answer.
        status: u16,
        /// Its words.
        detail: String,
    },
    /// Its answer makes no sense.
    #[error("the node's answer makes no sense: {0}")]
    Malformed(String),
}

/// What the node says about its services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Number of the newest event.
    pub seq: u64,
    /// Replicas by service and id.
    pub services: BTreeMap<String, BTreeMap<String, ReplicaStatus>>,
}

/// What the node says about a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its process while it runs.
    pub pid: Option<u32>,
    /// Where it listens, when that is known.
    pub address: Option<SocketAddr>,
    /// Its probes say ready.
    pub ready: bool,
}

/// A piece of the node's history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// What to ask for next.
    pub next: u64,
    /// Who told it: another one than before is a node that was started again.
    pub node: u32,
}

/// A fault that is in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Its id.
    pub id: String,
    /// When its effect was proven, in monotonic nanoseconds.
    pub applied_at: u64,
    /// How its effect was proven; empty = it was not.
    pub proof: String,
    /// Whom it hit, as `service/replica` or `service`.
    pub targets: Vec<String>,
}

/// A fault that is over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// When, in monotonic nanoseconds.
    pub ended_at: u64,
    /// How many requests or connections met it; `None` when the node does not count them.
    pub met: Option<u64>,
}

/// What a drill asks of a node. Every method is bounded in time by its implementation.
pub trait Node: Sync {
    /// True when all services are ready.
    fn is_ready(&self) -> impl Future<Output = Result<bool, NodeError>> + Send;
    /// The services and their replicas.
    fn status(&self) -> impl Future<Output = Result<NodeStatus, NodeError>> + Send;
    /// Events after `since`, waiting for one for at most `wait`.
    fn events(&self, since: u64, wait: Duration)
    -> impl Future<Output = Result<EventPage, NodeError>> + Send;
    /// Breaks something; returns when the effect is proven.
    fn apply(&self, request: &FaultRequest) -> impl Future<Output = Result<Applied, NodeError>> + Send;
    /// Puts it right again.
    fn end(&self, fault: &str) -> impl Future<Output = Result<Ended, NodeError>> + Send;
    /// Ends every fault there is.
    fn end_all(&self) -> impl Future<Output = Result<(), NodeError>> + Send;
    /// Ids of the faults that are in effect.
    fn faults(&self) -> impl Future<Output = Result<Vec<String>, NodeError>> + Send;
    /// Forgets ejections, breakers and budgets.
    fn reset(&self) -> impl Future<Output = Result<(), NodeError>> + Send;
}
