//! One attempt of a call, while it waits for its response head.

use std::time::Duration;

use crate::pool::Permit;
use crate::time::Time;

/// Looks at the stall rule become rarer by this factor, so that long requests do not keep asking.
const STALL_CHECK_GROWTH: u32 = 2;
/// The first look after the first one comes this soon: another request may have found the stall meanwhile.
const STALL_CHECK_STEP: Duration = Duration::from_millis(25);
/// The rarest look.
const STALL_CHECK_STEP_MAX: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) permit: Option<Permit>,
    pub(super) timeout_at: Time,
    pub(super) stall_check_at: Option<Time>,
    stall_check_step: Duration,
}

impl Attempt {
    pub(super) fn new(permit: Permit, now: Time, timeout_at: Time, stall_interval: Option<Duration>) -> Self {
        let stall_check_at = stall_interval.map(|interval| now.after(interval));
        Self { permit: Some(permit), timeout_at, stall_check_at, stall_check_step: STALL_CHECK_STEP }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.permit.as_ref()?;
        Some(self.stall_check_at.map_or(self.timeout_at, |at| at.min(self.timeout_at)))
    }

    pub(super) fn schedule_next_stall_check(&mut self, now: Time) {
        self.stall_check_at = Some(now.after(self.stall_check_step));
        self.stall_check_step = (self.stall_check_step * STALL_CHECK_GROWTH).min(STALL_CHECK_STEP_MAX);
    }

    pub(super) fn is_readmission(&self) -> bool {
        self.permit.as_ref().is_some_and(|permit| permit.readmission)
    }
}
