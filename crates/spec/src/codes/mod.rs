//! Every code a finding can have, and what `explain CODE` says about it.
//!
//! `SW0xx` the text is not the YAML we read, `SW1xx` a key or a value has the wrong shape, `SW2xx` parts of
//! the spec refer to or contradict each other, `SW3xx` the plan is not what its author hopes,
//! `SPxx` policies that are right one by one are not right together.

mod code;
mod meaning;
mod paper;
mod shape;
mod stack;
mod syntax;

pub use code::{Code, Explanation, explain};
