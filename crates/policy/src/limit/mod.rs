//! How many calls may be under way at once: fixed, or found out.
//!
//! **Problem.** A backend that is asked for more than it bears answers later, not more. Beyond that point every call
//! that is let in only makes the others wait. The right number changes with each release and with each neighbour on the
//! same machine, so a number in a file is wrong most of the time.
//!
//! **Model.** Calls take a place and give it back; what they took is gathered in windows of at least a second and 50
//! samples; at the end of a window an algorithm moves the limit. [`Algorithm::Vegas`], the default, estimates the queue
//! in front of the backend, `calls under way * (1 - baseline / latency)`, and keeps it between 3 and 6 times log10 of
//! the limit. The weak point of that idea is the baseline: too low, and plain slowness looks like a queue; measured
//! under load, and it climbs from one measurement to the next (Envoy#11579). So the baseline follows a higher latency
//! only upon **evidence**: whenever the calls under way have moved by 15 %, did throughput move with them?
//! - It did: there is no queue, whatever latency says. The latency is the new baseline; a cut is taken back.
//! - It did not, and fewer calls were under way: a queue has drained; the baseline stays.
//! - It did not, more were under way, and latency rose: growth was in vain, and is undone.
//! - It moved much further: the backend has changed meanwhile; nothing is concluded.
//!
//! Two counts of answers differ by chance, so a comparison within one standard deviation decides nothing. That is the
//! correlation guard of failsafe-go, as an experiment instead of a correlation. About every 30 windows the limit is
//! lowered to four fifths for one window to make such a comparison: enough to drain the queue we allow, and
//! no standstill (Envoy#18152). A cut, an experiment and a reset begin another **generation**, whose samples are the
//! only ones that count; a window begins with the first admission in it, and after a cut that is when those under way
//! have come down to the new limit.
//!
//! What is no sample: a cancelled call, in any way (Netflix's concurrency-limits#146); a failure, whose speed says nothing. A
//! timeout, or whatever took as long, is a *loss* and never a latency (#137). Without at least half of the limit in use
//! it does not grow; at a gradient below 1 Gradient2 does not either (#134).
//!
//! **Measured**: 40 workers of 50 ms (exponential), Poisson arrivals, timeout 1 s, no queue of ours. Goodput as a share
//! of what is possible / p99 of those let in as a multiple of the unloaded one / limit at the end:
//!
//! | weather | fixed 40 | aimd | **vegas** | gradient2 |
//! |---|---|---|---|---|
//! | 1.2 x load, 20 to 60 s | 93 % / 0.99 / 40 | 99 % / 2.02 / 274 | 99 % / 1.05 / 53 | 99 % / 1.17 / 87 |
//! | 1.2 x load, 160 to 200 s | 94 % / 0.99 / 40 | 100 % / 3.48 / 525 | 99 % / 1.02 / 53 | 100 % / 1.72 / 192 |
//! | a quarter of the workers, first 10 s | 100 % / 1.72 / 40 | 100 % / 4.27 / 160 | 100 % / 2.11 / 15 | 99 % / 2.32 / 44 |
//! | the same, later | 100 % / 1.71 / 40 | 96 % / 4.25 / 166 | 100 % / 1.09 / 13 | 100 % / 1.80 / 51 |
//! | all workers back, first 10 s | 94 % / 0.98 / 40 | 100 % / 1.19 / 175 | 80 % / 0.97 / 81 | 99 % / 1.00 / 59 |
//! | four times slower, later | 99 % / 0.87 / 40 | 97 % / 1.04 / 102 | 98 % / 0.97 / 49 | 66 % / 0.85 / 39 |
//!
//! Vegas is the only one that neither drifts nor gives up throughput for long; the price is some 8 s until a limit that
//! was right for a quarter of the workers is right for all of them. The table is one seed. Vegas over eight: 1.2 x load
//! 99 to 101 % at 1.05 to 1.08 x; a quarter of the workers, later, 98 to 100 % at 1.10 to 1.29 x; all back, first 10 s,
//! 79 to 99 %; four times slower, later, 92 to 99 %. Two changes that hide each other ("slow" becomes "few workers")
//! leave it at 2.4 x until experiments have brought the baseline down, half a minute each.
//!
//! **Rejected:** AIMD as a default (it sees an overload only when calls time out); plain Gradient2 (under modest
//! overload its long average follows the queue, and the limit with it); measuring at a concurrency of 3; boxing the
//! algorithms (there are four).

mod config;
mod machine;
mod rivals;
mod samples;
mod vegas;

pub use config::{Algorithm, LIMIT_MAX, LimitConfig};
pub use machine::{LOST_SHARE_MIN, Limit, Outcome, Permit};
