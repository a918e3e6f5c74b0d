//! What the user wrote, and what it means.
//!
//! A spec is one YAML file that names what a backend consists of, which failures it must survive, and what its
//! users may notice meanwhile. This crate reads it ([`parse`]), says everything that is wrong with it
//! at once ([`Diagnostic`], [`render`]), and turns it into a [`Plan`] in which every name is resolved, every
//! default filled in, and the origin of every value known.
//!
//! Deliberately absent: any judgement whether a plan is a good one, any decision at run time, and any IO.
#![forbid(unsafe_code)]

mod ablate;
mod codes;
mod decode;
mod diagnostic;
mod keys;
mod load;
pub mod plan;
pub mod render;
mod resolve;
mod schema;
mod show;
mod source;
mod template;
mod units;
mod yaml;

pub use codes::{Code, Explanation, explain};
pub use diagnostic::{Diagnostic, Location, Severity};
pub use load::{LoadOutcome, parse, unreadable};
pub use plan::Plan;
pub use schema::schema;
pub use show::{plan_json, plan_text};
pub use source::{Source, Span};
pub use template::template;
pub use units::{duration, share};
pub use yaml::{DEPTH_MAX, SIZE_MAX};
