//! Overload in virtual time: what the limit algorithms and the rejectors make of the same weather.

mod limits;
mod rejectors;
mod world;
