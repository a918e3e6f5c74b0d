//! One endpoint as the strategies see it.

/// Weights are counted in thousandths, so that a tenth of a weight of 1 is still a number.
pub(in crate::pool) const WEIGHT_UNIT: u64 = 1_000;

/// An endpoint that may be picked.
#[derive(Debug, Clone, Copy)]
pub(in crate::pool) struct Candidate {
    /// Its place in the pool.
    pub(in crate::pool) index: usize,
    pub(in crate::pool) zone: u16,
    /// What consistent hashing knows it by.
    pub(in crate::pool) identity: u64,
    /// Its weight as configured, in thousandths.
    pub(in crate::pool) full_weight: u64,
    /// Its weight of the moment, in thousandths: less while it warms up or is on probation, never 0.
    pub(in crate::pool) weight: u64,
    /// Attempts in flight there.
    pub(in crate::pool) in_flight: u32,
    /// The turns that round robin owes it, in thousandths.
    pub(in crate::pool) credit: i64,
}

#[cfg(test)]
impl Candidate {
    /// An idle endpoint with this index, of weight 1.
    pub(in crate::pool) fn idle(index: usize) -> Self {
        Self {
            index,
            zone: 0,
            identity: index as u64,
            full_weight: WEIGHT_UNIT,
            weight: WEIGHT_UNIT,
            in_flight: 0,
            credit: 0,
        }
    }

    /// The same with this many times the weight.
    pub(in crate::pool) fn weighing(self, weight: u64) -> Self {
        Self { full_weight: weight * WEIGHT_UNIT, weight: weight * WEIGHT_UNIT, ..self }
    }

    /// The same with attempts in flight.
    pub(in crate::pool) fn loaded(self, in_flight: u32) -> Self {
        Self { in_flight, ..self }
    }

    /// The same in that zone.
    pub(in crate::pool) fn in_zone(self, zone: u16) -> Self {
        Self { zone, ..self }
    }
}
