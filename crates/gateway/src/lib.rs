//! HTTP data plane: ingress by routes and egress listeners.
pub mod guard;
