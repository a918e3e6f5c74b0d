//! Jobs in a file, and who is next in memory.

mod api;
mod claims;
mod dead;
mod enqueue;
mod index;
#[cfg(test)]
mod index_tests;
mod lease;
mod machine;
mod order;
mod schema;
mod settle;
mod shared;

pub(super) use api::JobsFile;
pub(super) use schema::FORMAT;
