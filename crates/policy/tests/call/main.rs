//! Calls driven over a scripted backend in virtual time.

mod calls;
mod endpoints;
mod parking;
mod readmission;
mod world;
