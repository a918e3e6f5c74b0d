//! Is the plan right on paper?
//!
//! A plan without errors can still fail to keep its promises in ways that need no experiment to see: a retry
//! that can never run, a required service with one replica, a promise that no drill could judge. Each rule is
//! one file under `rules`; its doc comment is its manual, and `seaworthy explain CODE` says the same to users.
//!
//! Deliberately absent: anything about the text of the spec (that is `seaworthy-spec`), and anything that needs
//! time or chance.
#![forbid(unsafe_code)]

mod check;
mod path;
mod rules;

pub use check::check;
