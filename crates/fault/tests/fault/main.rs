//! Faults on real processes and sockets, seen from a client's side.

mod engine;
mod processes;
mod support;
mod traffic;
