//! How much it takes to say that one endpoint does worse than its peers: three tests on counts.
//!
//! **Problem.** The same question is asked of every run of bad outcomes, thousands of times a minute while a whole fleet is in trouble, and
//! each wrong yes takes capacity from those who need it most. A limit of three standard deviations says yes by chance once in 740 looks.
//!
//! **Model.** The null hypothesis is always that the endpoint shares its peers' rate. Their rate is what was *seen of them in the same
//! stretch*, and a few assumed outcomes beside it ("small samples are guarded by a prior"), so that the first outcome of a peer is not
//! taken for its rate. What speaks against the hypothesis is a likelihood ratio, in natural logarithms; `exp(-ratio)` bounds the
//! probability of such counts (Chernoff 1952). It must reach [`PROOF`], one in a million, and the logarithm of the number of bad outcomes at peers more,
//! because each of those began a run too that chance might have lengthened (Bonferroni).
//!
//! - A **share** of bad outcomes, looked at again and again: both samples against the pooled rate `p` of both,
//!   `n₁ KL(p₁‖p) + n₂ KL(p₂‖p)`; so a peer of whom little was seen proves little, which a comparison with its rate alone forgets.
//! - A **row** of failures: `n × ln(1/q)`, where `q` is the worse of the peers' rates meanwhile and lately. A row is short, and what peers do in so short
//!   a time may be well by chance where all fail at times.
//! - **Silence** with `k` attempts outstanding: the same. What falls silent as the traffic ends has no peers that speak meanwhile.
//!
//! **Worked numbers.** Peers of whom nothing was seen are assumed to fail at 6 %: five failures in a row are `5 × ln 16.7 = 14.1 ≥ 13.8`. They are
//! assumed to leave hardly one in a hundred unanswered for eight times the p99: three outstanding are `3 × ln 100 = 13.8`, the stall rule's three.
//! Five of twelve against none of 450: 16.8, proven; against none of a hundred: 9.7, not yet.

/// `ln 10⁶`: chance alone does this once in a million runs.
const PROOF: f64 = 13.8;
/// Bad and all outcomes assumed of peers, for a row: those of whom nothing is known are well.
const ASSUMED_ROW: Counts = Counts { good: 0.94, bad: 0.06 };
/// For a share: one outcome of each sort.
const ASSUMED_SHARE: Counts = Counts { good: 1.0, bad: 1.0 };
/// For silence: an attempt is left unanswered for so long far more rarely than it fails.
const ASSUMED_SILENCE: Counts = Counts { good: 0.99, bad: 0.01 };

/// Outcomes of one side of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) good: f64,
    pub(super) bad: f64,
}

impl Counts {
    pub(super) fn of(good: i64, bad: i64) -> Self {
        Self { good: good.max(0) as f64, bad: bad.max(0) as f64 }
    }

    fn and(self, more: Counts) -> Self {
        Self { good: self.good + more.good, bad: self.bad + more.bad }
    }

    fn all(self) -> f64 {
        self.good + self.bad
    }

    /// The share of bad ones; none in none.
    fn rate(self) -> f64 {
        if self.all() > 0.0 { self.bad / self.all() } else { 0.0 }
    }

    /// Log-likelihood of these counts at their own rate over that at `rate`.
    fn against(self, rate: f64) -> f64 {
        let part =
            |count: f64, own: f64, other: f64| if count > 0.0 { count * (own / other).ln() } else { 0.0 };
        let own = self.rate();
        part(self.bad, own, rate) + part(self.good, 1.0 - own, 1.0 - rate)
    }
}

/// So many failures in a row do not happen at the rate of peers, meanwhile and lately.
pub(super) fn row(failures: u32, meanwhile: Counts, lately: impl FnOnce() -> Counts) -> bool {
    of_nothing_else(failures, meanwhile, lately, ASSUMED_ROW)
}

/// These outcomes do not come from the same rate as those of peers, and are worse by at least `excess`.
pub(super) fn share(own: Counts, peers: Counts, excess: f64) -> bool {
    let needed = needed(peers);
    let peers = peers.and(ASSUMED_SHARE);
    own.rate() - peers.rate() >= excess && of_two_rates(own, peers) >= needed
}

/// So many attempts that are not answered do not happen at the rate at which peers left theirs unanswered, meanwhile and lately.
pub(super) fn silence(outstanding: u32, meanwhile: Counts, lately: impl FnOnce() -> Counts) -> bool {
    of_nothing_else(outstanding, meanwhile, lately, ASSUMED_SILENCE)
}

/// `count` bad outcomes without a good one, at either rate of peers. The second one is only asked for where the first one is not enough.
fn of_nothing_else(count: u32, meanwhile: Counts, lately: impl FnOnce() -> Counts, assumed: Counts) -> bool {
    let needed = needed(meanwhile);
    let proves = |peers: Counts| f64::from(count) * -peers.and(assumed).rate().ln() >= needed;
    proves(meanwhile) && proves(lately())
}

/// The log-likelihood of two rates over that of one.
fn of_two_rates(one: Counts, other: Counts) -> f64 {
    let pooled = one.and(other).rate();
    one.against(pooled) + other.against(pooled)
}

fn needed(peers: Counts) -> f64 {
    PROOF + peers.bad.ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn counts(good: i64, bad: i64) -> Counts {
        Counts::of(good, bad)
    }

    #[test]
    fn how_many_in_a_row() {
        let well = counts(1_000, 0);
        for (meanwhile, lately, needed) in [
            (counts(10, 0), well, Some(3)),
            (counts(100, 0), well, Some(2)),
            (counts(100, 1), well, Some(4)),
            (counts(60, 40), well, Some(19)),
            (counts(0, 0), well, Some(5)),
            (counts(0, 0), counts(0, 0), Some(5)),
            (counts(0, 1), well, Some(23)),
            (counts(0, 50), well, None),
            // All fail at times; that peers have not failed meanwhile is chance.
            (counts(4, 0), counts(600, 400), Some(16)),
        ] {
            let found = (1..100).find(|failures| row(*failures, meanwhile, || lately));
            assert_eq!(found, needed, "peers {meanwhile:?}, lately {lately:?}");
        }
    }

    #[test]
    fn how_many_outstanding() {
        for (meanwhile, lately, needed) in [
            (counts(0, 0), counts(0, 0), Some(3)),
            (counts(50, 0), counts(1_000, 0), Some(2)),
            // A common loss is remembered when nothing is sent any more.
            (counts(0, 0), counts(60, 40), Some(15)),
            (counts(30, 20), counts(1_000, 0), Some(19)),
            (counts(0, 20), counts(1_000, 0), None),
        ] {
            let found = (1..100).find(|outstanding| silence(*outstanding, meanwhile, || lately));
            assert_eq!(found, needed, "{meanwhile:?}, {lately:?}");
        }
    }

    #[test]
    fn which_shares_differ() {
        for (own, peers, differ) in [
            (counts(7, 5), counts(450, 0), true),
            (counts(7, 5), counts(100, 0), false),
            (counts(7, 5), counts(9, 1), false),
            (counts(0, 5), counts(0, 0), false),
            (counts(0, 5), counts(30, 0), false),
            (counts(0, 5), counts(60, 0), true),
            (counts(60, 40), counts(600, 400), false),
            (counts(50, 50), counts(70, 30), false),
            (counts(500, 500), counts(700, 300), true),
            // Certain, and too little to matter.
            (counts(9_400, 600), counts(99_000, 1_000), false),
            (counts(700, 300), counts(500, 500), false),
        ] {
            assert_eq!(share(own, peers, 0.1), differ, "{own:?}, {peers:?}");
        }
    }

    /// Two samples of the same rate, looked at after each bad outcome, with ten times, twice and once as many at peers.
    #[test]
    fn the_same_rate_hardly_ever_proves_anything() {
        let mut wrong = 0;
        for seed in 0..1_500 {
            let mut rng = Rng::seeded(seed);
            let rate = 0.01 + 0.95 * rng.unit();
            let times: u32 = [9, 2, 1][(seed % 3) as usize];
            let (mut own, mut peers) = (counts(0, 0), counts(0, 0));
            let mut found = false;
            for _ in 0..250 {
                let bad = (0..times).filter(|_| rng.chance(rate)).count() as f64;
                peers = peers.and(Counts { good: f64::from(times) - bad, bad });
                if rng.chance(rate) {
                    own.bad += 1.0;
                    found |= share(own, peers, 0.1);
                } else {
                    own.good += 1.0;
                }
            }
            wrong += u32::from(found);
        }
        assert_eq!(wrong, 0, "of 1500 runs of 250 outcomes");
    }
}
