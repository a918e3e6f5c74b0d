//! Topics in a file.

mod api;
mod machine;
mod reading;
mod schema;
mod topic;

pub(super) use api::TopicsFile;
pub(super) use schema::FORMAT;
