//! Idempotency keys in a file.

mod api;
mod machine;
mod schema;

pub(super) use api::KeysFile;
pub(super) use schema::{FORMAT, KEYS};
