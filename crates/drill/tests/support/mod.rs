//! A backend and a node that do exactly what a test tells them.
#![expect(dead_code, reason = "each test binary uses its own part of it")]
#![expect(unreachable_pub, reason = "shared by tests only")]

use std::time::{Duration, Instant};

pub mod backend;
pub mod node;
pub mod run;
pub mod subject;

/// Polls until the condition holds; fails the test when that takes unreasonably long.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
