//! From measurements to verdicts. Pure.
//!
//! Three answers, never two: a promise is kept, broken, or could not be judged. What could not be judged is never
//! counted as kept, and a fault that had no effect proves nothing at all.

mod outcome;
mod promise;
mod words;

pub use outcome::{Outcome, exit_code, judge_drill, judge_failure};
pub use promise::{JudgedPromise, RESOLUTIONS_PER_LIMIT, judge_promises};
pub use words::{Cleanup, Execution, Exercise, RecoveredBy, Unit, Verdict};

#[cfg(test)]
mod tests;
