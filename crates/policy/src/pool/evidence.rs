//! Whether an endpoint does worse than its peers do *at the same time*: what a quick ejection has to prove.
//!
//! **Problem.** Five failures in a row, or silence, say that something is wrong; they do not say where. When a database
//! fails every third query of all endpoints, each of them has failures in a row again and again; when all of them become a
//! hundred times as slow, all are silent. To eject half of them then makes the other half carry the whole load. And an endpoint that
//! loses two of five requests, and answers the rest quickly, never has a long row, and is never silent.
//!
//! **Model.** The pool counts what becomes of all attempts ([`Tally`]). A *run* begins with a bad outcome of an endpoint and keeps the tally
//! of that moment; what has been added since, less the endpoint's own part, is what its peers did meanwhile. The run speaks against
//! the endpoint when its share of bad outcomes exceeds the peers', and chance at the peers' share explains it less than once in a
//! million: `n × KL(own share ‖ peers' share) ≥ ln 10⁶` (the Chernoff bound of the binomial distribution). There are two runs. A *row*
//! of failures ends with a success. A *share* rises by [`UP`] with each bad outcome, sinks by one with each good one and ends at
//! zero, as a cumulative sum does (Page, Biometrika 1954); beyond [`SHARE_LASTS`] it begins anew.
//!
//! Bad for a share is also what was left *unanswered*: longer than hardly any attempt waits, while the endpoint
//! answered others that were sent later. A pause leaves nobody behind in this sense, and the stall rule looks after that.
//!
//! **Silence** is the endpoint's own only if its peers have meanwhile answered a third of what they were sent.
//!
//! **Rejected.** The peers' share of the last seconds (when all become bad at once, it remembers the good times);
//! a quorum of peers whose last answer was good (at 40 % losses most are, by chance).
//!
//! **Worked number.** Peers of whom nothing is heard are assumed to fail at 6 %, and five failures in a row are `5 × ln 16.7 = 14.1 ≥ 13.8`:
//! out. Peers that fail at 40 %: fifteen in a row. Peers that only fail: never.

use std::time::Duration;

use crate::time::Time;

/// `ln 10⁶`: chance alone does this once in a million runs.
const PROOF: f64 = 13.8;
/// Beside what is seen of peers, so many bad outcomes are assumed, of so many in all: those of whom nothing is known are well.
const ASSUMED: (f64, f64) = (0.06, 1.0);
/// For a share, which is looked at again and again, one outcome of each sort.
const CAUTIOUS: (f64, f64) = (1.0, 2.0);
/// Fewer bad outcomes than this may be one bad client.
const BAD_MIN: u32 = 5;
/// What one bad outcome weighs against good ones: a share of a ninth keeps a run alive.
const UP: u32 = 8;
/// A run of outcomes looks back no further.
const SHARE_LASTS: Duration = Duration::from_secs(5);
/// Of what peers were sent meanwhile, this part must have been answered, or the silence is everybody's.
const ANSWERED_PART: u64 = 3;

/// What has become of all attempts of a pool, since it began. Only differences mean anything.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) good: u64,
    /// Failed, unanswered, or so late that nobody can be said to do better.
    pub(super) bad: u64,
}

/// What was seen of one endpoint, beside its pool's tally.
#[derive(Debug)]
pub(super) struct Evidence {
    row: Option<Row>,
    /// The row of bodies that broke off; their heads were good.
    broken: Option<Row>,
    /// What it was sent and has answered itself, since it began.
    own: Tally,
    share: Option<Share>,
    silence: Tally,
    sent_in_silence: u64,
    /// The latest-sent attempt that it answered.
    answered_up_to: Time,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    before: Tally,
    own_before: Tally,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    since: Time,
    before: Tally,
    own_before: Tally,
    score: u32,
    good: u32,
    /// Those of the good ones that were late.
    late: u32,
    failed: u32,
    unanswered: u32,
}

impl Evidence {
    pub(super) fn none(now: Time, tally: Tally) -> Self {
        Self {
            row: None,
            broken: None,
            own: Tally::default(),
            share: None,
            silence: tally,
            sent_in_silence: 0,
            answered_up_to: now,
        }
    }

    pub(super) fn on_sent(&mut self) {
        self.sent_in_silence += 1;
        self.own.sent += 1;
    }

    /// A sign of life: an answer to an attempt that was sent at `started`, or a byte of a body.
    pub(super) fn on_byte(&mut self, tally: Tally, started: Option<Time>) {
        self.silence = tally;
        self.sent_in_silence = 0;
        self.own.answered += u64::from(started.is_some());
        self.answered_up_to = self.answered_up_to.max(started.unwrap_or(Time::ZERO));
    }

    /// It answered an attempt that was sent later than this one.
    pub(super) fn has_passed_over(&self, started: Time) -> bool {
        self.answered_up_to > started
    }

    /// An attempt ended well, though `late` perhaps: the tally has that among the bad ones.
    pub(super) fn on_good(&mut self, late: bool) {
        self.row = None;
        if let Some(share) = &mut self.share {
            share.good = share.good.saturating_add(1);
            share.late = share.late.saturating_add(u32::from(late));
            share.score = share.score.saturating_sub(1);
            if share.score == 0 {
                self.share = None;
            }
        }
    }

    /// An attempt failed; `before` is the tally without it.
    /// What was sent before an attempt that was answered is no part of a row: where nothing is sent any more, it fails in a row
    /// all the same.
    pub(super) fn on_failed(&mut self, now: Time, started: Time, before: Tally) {
        if !self.has_passed_over(started) {
            lengthen(&mut self.row, before, self.own);
        }
        self.run(now, before).failed += 1;
    }

    /// A body ended, well or broken.
    pub(super) fn on_body_end(&mut self, broken: bool, before: Tally) {
        if broken { lengthen(&mut self.broken, before, self.own) } else { self.broken = None }
    }

    /// An attempt was left unanswered; `before` is the tally without it.
    pub(super) fn on_unanswered(&mut self, now: Time, before: Tally) {
        self.run(now, before).unanswered += 1;
    }

    /// What had been counted as unanswered was answered after all, or failed.
    pub(super) fn take_back_unanswered(&mut self) {
        if let Some(share) = &mut self.share {
            share.unanswered = share.unanswered.saturating_sub(1);
        }
    }

    fn run(&mut self, now: Time, before: Tally) -> &mut Share {
        if self.share.is_some_and(|share| now.saturating_since(share.since) >= SHARE_LASTS) {
            self.share = None;
        }
        let begins = Share {
            since: now,
            before,
            own_before: self.own,
            score: 0,
            good: 0,
            late: 0,
            failed: 0,
            unanswered: 0,
        };
        let share = self.share.get_or_insert(begins);
        share.score = share.score.saturating_add(UP);
        share
    }

    /// Its failures in a row are its own.
    pub(super) fn proves_row(&self, tally: Tally) -> bool {
        let mut rows = [self.row, self.broken].into_iter().flatten();
        rows.any(|row| {
            let failures = row.failures;
            proves((0, failures), row.before, tally, ASSUMED)
                && self.peers_keep_up(row.before, row.own_before, tally)
        })
    }

    /// Peers have answered most of what they were sent during this run: they do not only look better because theirs is still under way.
    fn peers_keep_up(&self, before: Tally, own_before: Tally, tally: Tally) -> bool {
        let sent = (tally.sent - before.sent).saturating_sub(self.own.sent - own_before.sent);
        let answered =
            (tally.answered - before.answered).saturating_sub(self.own.answered - own_before.answered);
        answered * 3 >= sent * 2
    }

    /// Its bad outcomes lately are its own; `excess`: what they must exceed the peers' share by.
    pub(super) fn proves_share(&self, tally: Tally, excess: f64) -> bool {
        let Some(share) = self.share else { return false };
        let bad = share.failed + share.unanswered;
        let before = Tally { bad: share.before.bad + u64::from(share.late), ..share.before };
        let late = Tally { good: tally.good + u64::from(share.late), ..tally };
        let own = f64::from(bad) / f64::from(share.good + bad).max(1.0);
        let exceeds = own - usual((share.good, bad), before, late, CAUTIOUS) >= excess;
        bad >= BAD_MIN
            && exceeds
            && proves((share.good, bad), before, late, CAUTIOUS)
            && self.peers_keep_up(share.before, share.own_before, tally)
    }

    /// What was left unanswered makes up most of the bad outcomes lately.
    pub(super) fn is_unanswering(&self, now: Time) -> bool {
        self.share.is_some_and(|share| {
            share.unanswered > share.failed && now.saturating_since(share.since) < SHARE_LASTS
        })
    }

    /// Its silence is its own: peers have been answering meanwhile, or nobody asked them.
    pub(super) fn proves_silence(&self, tally: Tally) -> bool {
        let sent = (tally.sent - self.silence.sent).saturating_sub(self.sent_in_silence);
        let answered = tally.answered - self.silence.answered;
        answered * ANSWERED_PART >= sent
    }
}

fn lengthen(row: &mut Option<Row>, before: Tally, own_before: Tally) {
    let row = row.get_or_insert(Row { before, own_before, failures: 0 });
    row.failures = row.failures.saturating_add(1);
}

/// The peers' share of bad outcomes while the tally grew, and `assumed` ones beside.
fn usual((good, bad): (u32, u32), before: Tally, now: Tally, assumed: (f64, f64)) -> f64 {
    let peers_good = now.good.saturating_sub(before.good).saturating_sub(u64::from(good)) as f64;
    let peers_bad = now.bad.saturating_sub(before.bad).saturating_sub(u64::from(bad)) as f64;
    (peers_bad + assumed.0) / (peers_bad + peers_good + assumed.1)
}

/// Whether `(good, bad)` outcomes are worse than those that peers had while the tally grew.
fn proves(own: (u32, u32), before: Tally, now: Tally, assumed: (f64, f64)) -> bool {
    let usual = usual(own, before, now, assumed);
    let (good, bad) = own;
    let all = f64::from(good) + f64::from(bad);
    let own = f64::from(bad) / all.max(1.0);
    let part = |own: f64, usual: f64| if own > 0.0 { own * (own / usual).ln() } else { 0.0 };
    own > usual && all * (part(own, usual) + part(1.0 - own, 1.0 - usual)) >= PROOF
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(good: u64, bad: u64) -> Tally {
        Tally { sent: good + bad, answered: good + bad, good, bad }
    }

    #[test]
    fn a_row_is_compared_with_what_peers_do_meanwhile() {
        for (peers_good, peers_bad, needed) in [
            (10, 0, Some(3)),
            (100, 0, Some(2)),
            (100, 1, Some(4)),
            (60, 40, Some(15)),
            (0, 0, Some(5)),
            (0, 1, Some(22)),
            (0, 50, None),
        ] {
            let found = (1..100).find(|row| {
                let mut evidence = Evidence::none(Time::ZERO, Tally::default());
                (0..*row).for_each(|_| evidence.on_failed(Time::ZERO, Time::ZERO, tally(1_000, 0)));
                evidence.proves_row(tally(1_000 + peers_good, peers_bad + row))
            });
            assert_eq!(found, needed, "peers {peers_good} good, {peers_bad} bad");
        }
    }

    #[test]
    fn a_success_ends_the_row_and_not_at_once_the_share() {
        let mut evidence = Evidence::none(Time::ZERO, Tally::default());
        let (mut own, mut peers) = ((0, 0), 0);
        // Three of five are answered, two are not.
        let mut found = None;
        for round in 0..20 {
            for outcome in 0..5 {
                let before = tally(own.0 + peers, own.1);
                if outcome % 2 == 1 {
                    evidence.on_unanswered(Time::ZERO, before);
                    own.1 += 1;
                } else {
                    evidence.on_good(false);
                    own.0 += 1;
                }
                peers += 9;
            }
            assert!(!evidence.proves_row(tally(own.0 + peers, own.1)));
            if found.is_none() && evidence.proves_share(tally(own.0 + peers, own.1), 0.1) {
                found = Some(round);
            }
        }
        assert!(found.is_some_and(|round| round < 4), "{found:?}");
        assert!(evidence.is_unanswering(Time::ZERO));
        for _ in 0..2_000 {
            evidence.on_good(false);
        }
        assert!(!evidence.is_unanswering(Time::ZERO), "good outcomes end it");
    }

    #[test]
    fn a_share_that_all_have_proves_hardly_ever_anything() {
        let mut wrong = 0;
        for seed in 0..200 {
            let mut rng = crate::Rng::seeded(seed);
            let mut evidence = Evidence::none(Time::ZERO, Tally::default());
            let mut all = Tally::default();
            let share = 0.05 + 0.9 * rng.unit();
            for outcome in 0..20_000_u64 {
                let before = all;
                let bad = rng.chance(share);
                all = tally(all.good + u64::from(!bad), all.bad + u64::from(bad));
                if outcome % 10 != 0 {
                    continue;
                }
                let now = Time::from_millis(outcome * 2);
                if bad {
                    evidence.on_failed(now, now, before);
                } else {
                    evidence.on_good(false);
                }
                let long = evidence.row.is_some_and(|row| row.failures >= 5);
                if long && evidence.proves_row(all) || evidence.proves_share(all, 0.1) {
                    wrong += 1;
                    evidence = Evidence::none(now, all);
                }
            }
        }
        assert!(wrong <= 4, "{wrong} wrong proofs in 400 000 outcomes");
    }

    #[test]
    fn silence_that_peers_share_proves_nothing() {
        let at = |sent, answered| Tally { sent, answered, ..Tally::default() };
        let mut evidence = Evidence::none(Time::ZERO, at(100, 90));
        (0..5).for_each(|_| evidence.on_sent());
        for (sent, answered, own) in
            [(105, 90, true), (125, 90, false), (125, 95, false), (125, 97, true), (125, 110, true)]
        {
            assert_eq!(evidence.proves_silence(at(sent, answered)), own, "{sent} sent, {answered} answered");
        }
    }
}
