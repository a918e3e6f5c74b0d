//! The layers around a service that does what a script says, in paused time.

mod breaker;
mod concurrency;
mod contract;
mod drops;
mod events;
mod fallback;
mod hedge;
mod policy;
mod retry;
mod stub;
mod timeout;
