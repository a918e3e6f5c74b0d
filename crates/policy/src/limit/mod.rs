//! How many calls may be under way at once: fixed, or found out.

mod config;
mod machine;
mod rivals;
mod samples;
mod vegas;

pub use config::{Algorithm, LIMIT_MAX, LimitConfig};
pub use machine::{LOST_SHARE_MIN, Limit, Outcome, Permit};
