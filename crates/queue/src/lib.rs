//! Durable jobs and events on their way to their receivers, by HTTP.
//!
//! A lane ([`run`]) claims the jobs of one queue, or the events of one subscriber, from a [`Source`], and carries out what
//! [`seaworthy_policy::Delivery`] decides. One attempt is one call of [`push()`]: it signs the job ([`sign`]), says what it is ([`CloudEvent`]), sends it, and
//! answers in the words of [`seaworthy_policy::delivery`] what became of it. What that means, and what is done next, is
//! decided there.
//!
//! Deliberately absent: any decision about jobs, redirects (signed bytes go to whom the spec names, and to nobody else),
//! and connections that are kept: a delivery is in no hurry, and a fresh connection proves more when it fails.
#![forbid(unsafe_code)]

mod cloud_event;
mod envelope;
mod hmac;
mod lane;
mod push;
mod retry_after;
mod signature;
mod source;
mod stored;

pub use cloud_event::CloudEvent;
pub use envelope::{decode_headers, encode_headers};
pub use lane::{Command, Happened, LaneConfig, run};
pub use push::{KEPT_BODY_MAX, KEPT_BODY_WAIT, Message, Pushed, Receiver, push};
pub use signature::{Secret, sign, verify};
pub use source::{Claimed, Receipt, Settlement, Source, SourceError};
pub use stored::{Stored, level_of};
