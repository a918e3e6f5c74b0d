//! The ledger: the one process that owns the tickets.
//!
//! A ticket is *reserved* (a seat is taken), then *confirmed* (paid) or *released* (the seat is free again).
//! Each step is idempotent under the customer's key, so that any replica of the API may repeat any of them at
//! any time. A reservation does not expire: a customer whose payment is unclear keeps the seat until the same
//! key finishes the purchase.
//!
//! - [`book`]: the tickets in SQLite, and the rules;
//! - [`threads`]: the thread that writes, in groups, and the thread that reads;
//! - [`routes`]: the HTTP side;
//! - [`export`]: all confirmed tickets, streamed.

mod book;
mod export;
mod routes;
mod threads;

pub(crate) use routes::run;
