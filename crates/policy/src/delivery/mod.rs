//! What becomes of the jobs of one queue, or of one subscriber of a topic, while they are delivered.
//!
//! **Problem.** A job that was accepted has to arrive, however long the receiver is away, and must not do harm on its
//! way: not knock a receiver over that has just come back, not stand in the way of jobs that could be delivered, not
//! spend its attempts on a receiver that everybody knows to be down, not arrive twice when that would be worse than
//! not at all. And when nothing helps, somebody has to be told, with the reason and the last answer.
//!
//! **Model.** The store keeps the jobs; this machine holds the few that the shell has claimed, up to `concurrency`
//! under way and `prefetch` more, each under a lease. [`Delivery::wanted`] says how many to claim. A job that may go
//! is an [`Attempt`](Step::Attempt); one that must wait for long is given back with [`Defer`](Step::Defer), and that
//! costs no attempt. What an answer means is [`Verdict`]; the job is then acknowledged, given back until its next
//! attempt ([`Retry`](Step::Retry)), or a dead letter ([`Dead`](Step::Dead)). So every claimed job leaves by exactly
//! one of five steps, and a job is never forgotten: what we lose, the store's lease brings back.
//!
//! **What an answer means.** Standard Webhooks retries whatever is not 2xx, and names three statuses: 410 disables the
//! endpoint, 429 asks for less, `Retry-After` is obeyed. Others give up on every 4xx, or retry every one (dapr#4568).
//! Neither is right: 404 during a roll-out and 401 beside an expired secret heal within hours, 422 never does. What
//! decides is whether the status is about *these bytes* or about the receiver's present state:
//!
//! | answer | at least once (default) | at most once | for the breaker |
//! |---|---|---|---|
//! | 2xx | acknowledged | acknowledged | success |
//! | 410 | the endpoint is disabled, the job stays, no attempt | the same | nothing |
//! | 429 or 503 with `Retry-After` | not now: all rest so long, no attempt | the same | throttled; failure |
//! | 429 without | next attempt by the schedule | the same | throttled |
//! | `final_statuses`: 400, 413, 414, 415, 422, 431 | dead: rejected | dead: rejected | success |
//! | 3xx (never followed), other 4xx | next attempt | next attempt; 408 dead: unknown | success |
//! | 5xx | next attempt | dead: unknown | failure |
//! | refused, or nothing was sent | next attempt | next attempt | failure |
//! | time-out, or torn after something was sent | next attempt | dead: unknown | failure |
//!
//! `Retry-After` wins over the schedule in both directions, from 1 s to `max_retry_after`, and jitter only adds to it.
//! Where it means "not now" a job may wait that way as long as its whole schedule would have taken (at least an hour),
//! then it is dead: throttled. So a receiver that asks for a pause of a second spends no attempts, and one that always
//! asks does not keep a job alive for ever.
//!
//! **When the next attempt is.** [`Schedule`]: 0, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, each +- 20 %: ten
//! attempts in 75.6 hours, so that a receiver that broke on a Friday evening is asked again on Monday. When the next
//! attempt would come after the job's deadline, the job is dead (expired) at once, not then.
//!
//! **Who may go.** One gate after the other: the mode (paused, disabled, draining), a pause that the receiver asked for,
//! the circuit breaker, the rate limit, `concurrency`. A gate that opens within [`HOLD_MAX`] is waited for, and the
//! leases are extended meanwhile; otherwise everything that waits is given back until it opens. One dead receiver so
//! holds up nothing but itself (convoy#1926), and its jobs keep their attempts.
//!
//! **In which order.** By [`turn`]: the moment a job is due, plus `priority_patience` for each level below the highest.
//! A higher priority overtakes, but only those that came within that patience before it: nobody starves. Jobs with the
//! same order key go one at a time, in the order of their ids; a failed one bars its key until it is back, done or dead,
//! and no other key. The store should hand out a key's jobs in order; what it hands out too early is given back.
//!
//! **Rejected:** a timer per job in the shell (state that a restart loses; the store's `until` survives); strict
//! priorities (starvation, and then expired jobs); retrying at once on another connection (the schedule's first step is
//! 5 s, and a delivery is in no hurry); following redirects (signed bytes would go to whom the receiver names);
//! spending attempts on an open breaker (ten jobs dead in a minute of somebody else's outage).
//!
//! Worked number, with the defaults: a receiver is down for an hour with 100 000 jobs pending. Twenty failures open the
//! breaker, and ten attempts may be under way by then. Three probes follow after 1 s, 2 s, 4 s ... 60 s: about 230
//! attempts in that hour instead of 300 000, and hardly any job has come nearer to its death than by one of them.
//!
//! A step costs O(log n) of what is held, and as much again for each job that is given back. Memory is bounded by
//! `concurrency`, `prefetch` and `order_jobs_max`.

mod arrival;
mod config;
mod gate;
mod held;
mod leases;
mod machine;
mod order;
mod schedule;
mod verdict;
mod vocabulary;
pub mod webhook;

pub use crate::call::Proof;
pub use config::{
    CONCURRENCY_MAX, DeliveryConfig, Guarantee, LEASE_MIN, ORDER_JOBS_LIMIT, RETRY_AFTER_LIMIT,
};
pub use machine::{ASKED_MAX, Delivery, GIVEN_BACK_PER_SECOND, HOLD_MAX};
pub use order::{BAR_GRACE, ORDER_RECHECK};
pub use schedule::{ATTEMPTS_MAX, Schedule, WAIT_MAX};
pub use verdict::{Fate, RETRY_AFTER_MIN, THROTTLED_MIN, Verdict, after_failure, before_attempt, judge};
pub use vocabulary::{Answer, Because, Job, JobId, Mode, Reason, Step, turn};
