//! The language of the spec as one table: every key with its shape, meaning, default and the words people
//! bring along for it. The decoder, the JSON Schema and the hints for unknown keys are all made from it, so
//! they cannot disagree.

mod failure;
mod policy;
mod service;
mod table;
mod top;

pub(crate) use table::{Key, Shape, Table};
pub(crate) use top::SPEC;
