//! Calls driven over a scripted backend in virtual time.

mod balance;
mod calls;
mod endpoints;
mod forced;
mod hedging;
mod parking;
mod readmission;
mod refusals;
mod world;
