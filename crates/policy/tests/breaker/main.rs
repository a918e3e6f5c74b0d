//! The breaker: tables, and each defect that other breakers have had.

mod modes;
mod pitfalls;
mod story;
mod tables;
