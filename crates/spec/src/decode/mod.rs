//! From the tree of text to typed values: walks the YAML beside the table of keys and reports every value
//! that does not fit, all of them at once.

pub(crate) mod forms;
mod hints;
mod http;
#[expect(clippy::result_large_err, reason = "an error is built once per wrong value, to be read by a person")]
mod leaf;
mod push;
mod size;
mod value;
mod walk;

pub(crate) use forms::{show_duration, show_rate, show_share};
pub(crate) use hints::nearest;
pub(crate) use size::show_size;
pub(crate) use value::{Data, Object, Value};
pub(crate) use walk::decode;
