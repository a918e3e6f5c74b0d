//! The API: what people talk to. Any number of copies; none of them remembers anything but what is in flight.
//!
//! - [`saga`]: what a purchase does next, and what it answers (pure);
//! - [`purchase`]: carries a saga out;
//! - [`reading`]: which copy of an event is shown (pure);
//! - [`pages`]: carries reading out;
//! - [`cooldown`]: when to stop asking a part that does not answer (pure);
//! - [`background`]: tells mail and analytics, and nobody waits for it;
//! - [`routes`]: the HTTP side.

mod background;
mod cooldown;
mod pages;
mod purchase;
mod reading;
mod routes;
mod saga;

pub(crate) use routes::run;
