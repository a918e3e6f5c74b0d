//! Faults on traffic: somewhere else to dial, where something bad happens.
//!
//! Everything here dies with this process: a socket that we hold, or a proxy that we run. The detour to it is set only
//! after the bad thing was seen to happen to a connection of our own.

mod detour;
mod hang;
mod proof;
mod proxy;
mod refuse;
mod upstream;

pub(crate) use detour::{Detoured, Prepared, prepare, probe};
pub(crate) use upstream::Upstream;
