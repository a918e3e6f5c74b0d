//! A backend and a node that do exactly what a test tells them.
#![expect(dead_code, reason = "each test binary uses its own part of it")]
#![expect(unreachable_pub, reason = "shared by tests only")]

pub mod backend;
pub mod node;
pub mod run;
pub mod subject;
