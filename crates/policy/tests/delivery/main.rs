//! Deliveries: what answers mean, who may go, in which order, and what went wrong elsewhere.

mod lane;
mod leases;
mod model;
mod order;
mod pitfalls;
mod tables;
mod world;
