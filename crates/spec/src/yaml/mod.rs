//! YAML text to a spanned tree, strictly. The only module that knows which YAML library is used.
//!
//! **Problem.** A spec is read by people at night, so what looks like one thing must not mean another: a key
//! given twice, `no` read as false, a value that stands elsewhere under an anchor. **Model.** The library's
//! event stream is turned into a tree whose every key and value knows its bytes; what is legal YAML but not
//! allowed here (duplicate keys, tags, anchors, aliases, merge keys, further documents) is reported and the
//! reading goes on, so that all of it is told at once. Only an error of syntax ends the reading: what follows
//! it cannot be trusted. **Rejected:** deserializing into structs directly, which stops at the first error
//! and loses the places that the rules about meaning need.
//!
//! Spans count bytes. The library's offsets count characters and only sometimes bytes; they are converted
//! here and nowhere else.

mod node;
mod read;
mod refuse;

pub(crate) use node::{MERGE, Name, Node, NodeValue, Scalar, ScalarKind};
pub(crate) use read::read;
pub use read::{DEPTH_MAX, SIZE_MAX};
pub(crate) use refuse::old_boolean;
