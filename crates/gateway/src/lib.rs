//! The HTTP data plane: ingress by routes, and one egress listener for each service that others call.
//!
//! **The walk of a request.** A thread accepts the connection ([`guard`] reads along from here on) and hands the
//! request to `serve`, which finds its target: a route, or the service of an egress listener. Policy judges the head;
//! a small body is read so that it can be sent again. Then `driver` runs one call of the target's `edge`: it tells
//! policy what happens, begins and cancels attempts (`upstream`), and ends with an answer to pass on (`delivery`) or
//! a failure to tell (`problem`). Before and after it, stored answers (`cache`) and the degradation ladder (`degrade`)
//! may answer instead. When the last byte is out, the call ends and the access log gets its line.
//!
//! **Threads.** Every thread has its own runtime, listening sockets, connections and upstream connections. Shared are
//! the edges, one lock each, held for the length of one decision.
//!
//! Absent on purpose: decisions (`policy` makes them), probing and processes (told through
//! [`seaworthy_observe::EndpointSink`]), TLS, HTTP/2, WebSocket.

mod access;
mod affinity;
mod body;
mod cache;
mod connection;
mod deadline;
mod degrade;
mod delivery;
mod driver;
mod edge;
mod entrance;
mod forced;
mod gate;
mod gateway;
pub mod guard;
mod headers;
mod journey;
mod keys;
mod listener;
mod metrics;
mod priority;
mod problem;
mod quota;
mod route;
mod seen;
mod serve;
mod shared;
mod socket;
mod timers;
mod upstream;
mod worker;

pub use forced::ForceError;
pub use gateway::{Drained, EdgeView, Gateway, GatewayError, GatewayPorts, THREADS_MAX};
