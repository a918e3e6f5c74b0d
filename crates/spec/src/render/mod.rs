//! Diagnostics as text for people, JSON for programs, and SARIF for code review tools.

mod human;
mod json;
mod sarif;

pub use human::{Style, human};
pub use json::json;
pub use sarif::sarif;
