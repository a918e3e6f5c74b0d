//! Would it survive, in a model: the real policies in virtual time, against backends that are queues and workers.
//!
//! A gateway under test decides with the same compiled machines as everywhere else ([`seaworthy_policy::pool::Pool`] and
//! [`seaworthy_policy::call::Call`]); only the world around them is a model. Beside it there is a control: a client of the
//! usual kind, with retries and without what keeps them from doing harm.
//!
//! - [`engine`]: virtual time, and what happens next in it;
//! - [`backend`]: a queue, a few workers, and what can be wrong with them;
//! - [`client`]: who sends requests, and by which rules;
//! - [`config`]: what a world is made of, before anything happens in it;
//! - [`world`]: gateways, clients and backends together;
//! - [`report`]: goodput, amplification, percentiles, time to recover, time to isolate;
//! - [`fluid`]: how long a retry storm lasts, without simulating it;
//! - [`distribution`]: random durations.
//!
//! The same seed gives the same run. Limits that every result has: a gateway costs no time, the network has no bandwidth,
//! and what ails a backend is a longer service time, an error or silence.
#![forbid(unsafe_code)]

pub mod backend;
pub mod client;
pub mod config;
mod control;
pub mod distribution;
mod edge;
pub mod engine;
pub mod fluid;
pub mod report;
pub mod world;

pub use backend::{Abandoned, BackendConfig, Condition, Expired};
pub use client::{Cap, CapCounts, Client, ControlConfig, PolicyConfig, Refill};
pub use config::{Change, WorldConfig};
pub use distribution::Distribution;
pub use engine::Engine;
pub use report::{Ending, Report, Table};
pub use world::World;
