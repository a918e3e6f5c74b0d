//! From what was written to what is meant: names become indices, defaults are filled in with their origin,
//! and contradictions are reported, all of them at once.

mod cache;
mod data;
mod entrance;
mod failures;
mod faults;
mod guard;
mod idempotency;
mod loads;
mod policy;
mod promises;
mod queues;
mod resolver;
mod routes;
mod services;
mod settings;
mod sound;
mod traffic;

pub(crate) use resolver::resolve;
