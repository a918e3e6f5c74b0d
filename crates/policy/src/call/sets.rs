//! Small sets that a call asks for on every event, without an allocation.

use crate::call::{AttemptId, MAX_ATTEMPTS, Trace};
use crate::pool::EndpointKey;

/// A set of attempts, without an allocation.
#[derive(Debug, Default)]
pub(super) struct Ids(u8);

impl Ids {
    pub(super) fn with(self, id: AttemptId) -> Self {
        Self(self.0 | 1 << id)
    }
}

impl Iterator for Ids {
    type Item = AttemptId;

    fn next(&mut self) -> Option<AttemptId> {
        let lowest = (self.0 != 0).then(|| self.0.trailing_zeros() as AttemptId)?;
        self.0 &= self.0 - 1;
        Some(lowest)
    }
}

/// The endpoints that were tried, without an allocation.
#[derive(Debug)]
pub(super) struct Tried {
    keys: [EndpointKey; MAX_ATTEMPTS as usize],
    count: usize,
}

impl Tried {
    pub(super) fn of(trail: &[Trace]) -> Self {
        let mut keys = [EndpointKey::default(); MAX_ATTEMPTS as usize];
        for (key, trace) in keys.iter_mut().zip(trail) {
            *key = trace.endpoint;
        }
        Self { keys, count: trail.len() }
    }

    pub(super) fn as_slice(&self) -> &[EndpointKey] {
        &self.keys[..self.count]
    }
}
