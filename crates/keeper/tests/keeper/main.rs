//! The keeper and its journal with real processes.

mod journal;
mod life;
mod support;
