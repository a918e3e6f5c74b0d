//! The way in: what a request must pass before its call begins, and in which order.
//!
//! **Problem.** A rate limit, a brake in front of a failing service and a limit of what may be under way are three
//! machines that know nothing of each other. Asked in the wrong order they punish the wrong ones: a place in a queue
//! is taken by somebody who had no quota left, and a slow service's queue eats the places that all others share.
//! And each of them has its own way of giving something back, of which one is easily forgotten when a client leaves.
//!
//! **Model.** A [`Gate`] is one such machine with its shared state; a [`Passage`] is one request's walk through a row
//! of gates. The walk says which gate to ask next, what to wait for, and in the end *go* or [`Denied`]; it holds what
//! it was given, and knows what each gate is to hear when the call has ended.
//!
//! **The order** ([`turn`]): first the deadline and the priority, which come with the request; then rate limits, which
//! cost nothing but a number; then the throttle, which knows from the service's own answers that asking is pointless;
//! then places, which others are waiting for. Among gates of one kind the narrowest comes first (route, service,
//! gateway): who waits for a slow service must not hold a place of all meanwhile, and who has no quota on a route must
//! not use up the gateway's.
//!
//! **What a gate refuses is ours.** No pool, breaker, ejection or retry budget hears of it (Envoy#25487): no call was
//! begun. It is not sent again here, and it always says when to try again. What a service was not asked says nothing
//! about it, so the gates in front are told that the request never was ([`Ending::NotCalled`]).
//!
//! **Who learns when.** The throttle learns from the head of the answer, because an event stream may take an hour;
//! a place is given back when the last byte is out, because until then the work goes on. A body that takes longer than
//! its head did is the client's pace or a stream's, and says nothing about load: nothing is learnt from its latency.
//!
//! **Rejected:** one machine for all three (they have different scopes: one quota per client, one queue per
//! service); rate limits behind the queue (a flood fills it first); giving quota back when a later gate refuses (then
//! a flood against a full service is free of charge).

mod config;
mod gate;
mod passage;
mod shedding;
mod vocabulary;

pub use config::{GateConfig, Kind, Scope, turn};
pub use gate::Gate;
pub use passage::{GATES_MAX, Passage, Step};
pub use shedding::{CALM, SheddingChange};
pub use vocabulary::{Denied, Ending, Hold, Quote, Reason, Said, Visitor, Waiting};
