//! Faults on processes: killing and stopping exactly the right ones.

mod kill;
mod pause;
mod stat;
mod victim;

pub(crate) use kill::kill;
pub(crate) use pause::{Paused, pause};
pub(crate) use victim::{Victim, probe};
