//! Whether an endpoint does worse than its peers do *at the same time*: what a quick ejection has to prove.
//!
//! **Problem.** Five failures in a row, or silence, say that something is wrong; they do not say where. When a database
//! fails every third query of all endpoints, each of them has failures in a row again and again; when all of them become a
//! hundred times as slow, all are silent. To eject half of them then makes the other half carry the whole load. And an endpoint that
//! loses two of five requests, and answers the rest quickly, never has a long row, and is never silent.
//!
//! **Model.** The pool counts what becomes of all attempts, and each endpoint of its own ([`Tally`]); the difference is what its peers did. A *run*
//! begins with a bad outcome and is compared with what peers did since **its attempt was sent**, not since its outcome came: a
//! time-out is five seconds old when it is heard of, and by then what it has to be compared with may be over. Outcomes that peers had under way at that
//! moment ([`Moment::waiting`]) do not count as good: they are from before. There are two runs. A *row* of failures ends with a
//! success. A *share* rises by [`UP`] with each bad outcome, sinks by one with each good one and ends at zero, as a cumulative sum
//! does (Page, Biometrika 1954); beyond [`SHARE_LASTS`] it begins anew. What they prove is decided in [`super::proof`].
//!
//! **Unanswered.** Waiting for the time-out would cost five seconds per observation. But an attempt that has waited for longer than hardly any
//! does, while its endpoint *answered another one that was sent later*, is a censored observation: whatever it will take, it is unusual. It
//! counts as bad at once, and is taken back if the answer comes after all. An attempt that was overtaken by its hedge has no answer to
//! come; it waits here ([`LEFT_MAX`]) until its endpoint answers a later one. No more than two of a silent stretch do: a pause leaves all behind that were
//! sent in it and says no more than one loss; the stall rule looks after that.
//!
//! **Silence** is the endpoint's own only if its peers have meanwhile answered a third of what they were sent, and left so little unanswered
//! that as many as are outstanding would be no chance.
//!
//! **Rejected.** The peers' share of the last seconds alone (when all become bad at once, it remembers the good times);
//! a quorum of peers whose last answer was good (at 40 % losses most are, by chance); outcomes compared by the time they came (good ones come early, bad
//! ones late: whoever looks first has good peers, and after the end of the traffic there are none).
//!
//! **Worked number.** Ten endpoints, 50 requests/s each, one leaves 40 % unanswered and is sent a quarter of its share, because it looks slow: 5
//! of 12 are left in a second, peers leave none of 480. Proven within that second. When all leave 40 % unanswered: 200 per second, each of which
//! begins or lengthens a run, and none proves anything in ten minutes.

use std::time::Duration;

use crate::pool::proof::{self, Counts};
use crate::time::Time;

/// Fewer bad outcomes than this may be one bad client.
const BAD_MIN: u32 = 5;
/// What one bad outcome weighs against good ones: a share of a ninth keeps a run alive.
const UP: u32 = 8;
/// A run of outcomes looks back no further.
const SHARE_LASTS: Duration = Duration::from_secs(5);
/// Attempts of one silent stretch that are remembered until the endpoint answers a later one.
const LEFT_MAX: usize = 2;
/// How fast the memory of common troubles fades. A time-out is heard of after seconds, and trouble that all had when it was sent must not be forgotten by then.
const HALVED_EVERY: Duration = Duration::from_secs(10);
/// Of what peers were sent during a run, this part (of so many) must have been heard of, or they only look better because theirs is still
/// under way.
const HEARD_PART: (i64, i64) = (2, 3);
/// Of what peers were sent in a silence, this part (of so many) must have been answered, or the silence is everybody's.
const ANSWERED_PART: (i64, i64) = (1, 3);

/// What has become of attempts, since the pool began. Only differences mean anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: i64,
    /// A head arrived.
    pub(super) answered: i64,
    /// Answered, failed, or counted as unanswered.
    pub(super) heard: i64,
    pub(super) good: i64,
    /// Failed, unanswered, or so late that nobody can be said to do better.
    pub(super) bad: i64,
}

impl Tally {
    pub(super) fn add(&mut self, more: Tally) {
        self.sent += more.sent;
        self.answered += more.answered;
        self.heard += more.heard;
        self.good += more.good;
        self.bad += more.bad;
    }

    fn since(self, before: Tally) -> Tally {
        Tally {
            sent: self.sent - before.sent,
            answered: self.answered - before.answered,
            heard: self.heard - before.heard,
            good: self.good - before.good,
            bad: self.bad - before.bad,
        }
    }
}

/// Good and bad outcomes lately: what is older than a multiple of [`HALVED_EVERY`] counts half as much for each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lately {
    counts: Counts,
    /// Which stretch of time since the origin it is.
    stretch: u64,
}

impl Lately {
    pub(super) fn add(&mut self, now: Time, more: Tally) {
        *self = self.at(now);
        self.counts.good += more.good as f64;
        self.counts.bad += more.bad as f64;
    }

    pub(super) fn counts(self, now: Time) -> Counts {
        self.at(now).counts
    }

    /// Without what one endpoint had to do with it.
    pub(super) fn without(self, now: Time, own: Lately) -> Self {
        let (all, own) = (self.at(now), own.at(now).counts);
        let counts =
            Counts { good: (all.counts.good - own.good).max(0.0), bad: (all.counts.bad - own.bad).max(0.0) };
        Self { counts, ..all }
    }

    fn at(self, now: Time) -> Self {
        let stretch = now.as_nanos() / (HALVED_EVERY.as_nanos() as u64);
        // The usual case costs next to nothing.
        if stretch <= self.stretch {
            return self;
        }
        let passed = stretch.saturating_sub(self.stretch).min(i32::MAX as u64) as i32;
        let left = 0.5_f64.powi(passed);
        let counts = Counts { good: self.counts.good * left, bad: self.counts.bad * left };
        Self { counts, stretch }
    }
}

/// What peers had done when an attempt was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) peers: Tally,
    /// Attempts that waited at peers.
    pub(super) waiting: u32,
    /// What the endpoint itself had answered well.
    pub(super) own_good: i64,
}

/// What peers did in a stretch of time.
#[derive(Debug, Clone, Copy)]
struct Meanwhile {
    done: Tally,
    outcomes: Counts,
}

impl Meanwhile {
    fn between(before: Moment, now: Tally) -> Self {
        let done = now.since(before.peers);
        Self { done, outcomes: Counts::of(done.good - i64::from(before.waiting), done.bad) }
    }

    fn is_heard_of(&self) -> bool {
        self.done.heard * HEARD_PART.1 >= self.done.sent * HEARD_PART.0
    }

    /// Somebody did well, or nobody was asked.
    fn does_better(&self) -> bool {
        self.outcomes.good > 0.0 || self.done.sent == 0
    }
}

/// What was seen of one endpoint, beside its pool's tally.
#[derive(Debug)]
pub(super) struct Evidence {
    /// What has become of its attempts; it is never forgotten, or it would look like its peers'.
    own: Tally,
    own_lately: Lately,
    row: Option<Row>,
    /// The row of bodies that broke off; their heads were good.
    broken: Option<Row>,
    share: Option<Share>,
    /// What peers had done at its last sign of life.
    silence: Tally,
    /// The latest-sent attempt that it answered.
    answered_up_to: Time,
    /// Attempts that their hedges overtook, while it answered nothing that was sent later.
    left: [Option<(Time, Moment)>; LEFT_MAX],
}

#[derive(Debug, Clone, Copy)]
struct Row {
    before: Moment,
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    since: Time,
    before: Moment,
    score: u32,
    good: u32,
    failed: u32,
    unanswered: u32,
}

impl Evidence {
    pub(super) fn none(now: Time) -> Self {
        Self {
            own: Tally::default(),
            own_lately: Lately::default(),
            row: None,
            broken: None,
            share: None,
            silence: Tally::default(),
            answered_up_to: now,
            left: [None; LEFT_MAX],
        }
    }

    /// What was held against it says nothing any more; `pool` is the tally of all.
    pub(super) fn forget(&mut self, now: Time, pool: Tally) {
        let (own, own_lately) = (self.own, self.own_lately);
        *self = Self { own, own_lately, silence: self.peers(pool), ..Self::none(now) };
    }

    /// What it has answered well.
    pub(super) fn own_good(&self) -> i64 {
        self.own.good
    }

    /// What has become of its attempts.
    pub(super) fn book(&mut self, now: Time, more: Tally) {
        self.own.add(more);
        self.own_lately.add(now, more);
    }

    /// What peers have done lately, of all that was done lately.
    pub(super) fn peers_lately(&self, now: Time, pool: Lately) -> Counts {
        pool.without(now, self.own_lately).counts
    }

    /// Takes its part of what was done lately: what is known to be its own fault says nothing about what all suffer.
    pub(super) fn take_lately(&mut self) -> Lately {
        std::mem::take(&mut self.own_lately)
    }

    /// What peers have done, of all that was done.
    pub(super) fn peers(&self, pool: Tally) -> Tally {
        pool.since(self.own)
    }

    /// A sign of life.
    pub(super) fn on_byte(&mut self, pool: Tally) {
        self.silence = self.peers(pool);
    }

    /// It answered an attempt that was sent at `started`. The moments of those that were overtaken before, and that this answer leaves behind.
    pub(super) fn on_answer(&mut self, pool: Tally, started: Time) -> [Option<Moment>; LEFT_MAX] {
        self.on_byte(pool);
        self.answered_up_to = self.answered_up_to.max(started);
        let up_to = self.answered_up_to;
        self.left.each_mut().map(|left| Some(left.take_if(|(sent, _)| *sent < up_to)?.1))
    }

    /// It answered an attempt that was sent later than this one.
    pub(super) fn has_passed_over(&self, started: Time) -> bool {
        self.answered_up_to > started
    }

    /// An attempt was overtaken, and it is not known yet whether only this one was left behind.
    pub(super) fn on_left(&mut self, started: Time, moment: Moment) {
        if let Some(free) = self.left.iter_mut().find(|left| left.is_none()) {
            *free = Some((started, moment));
        }
    }

    /// An attempt ended well, though late perhaps: the tally has that among the bad ones.
    pub(super) fn on_good(&mut self) {
        self.row = None;
        if let Some(share) = &mut self.share {
            share.good = share.good.saturating_add(1);
            share.score = share.score.saturating_sub(1);
            if share.score == 0 {
                self.share = None;
            }
        }
    }

    /// An attempt failed that was sent at `moment`. What was sent before an attempt that was answered is no part of a row: where nothing is sent any
    /// more, it fails in a row all the same.
    pub(super) fn on_failed(&mut self, now: Time, started: Time, moment: Moment) {
        if !self.has_passed_over(started) {
            lengthen(&mut self.row, moment);
        }
        self.run(now, moment).failed += 1;
    }

    /// A body ended, well or broken.
    pub(super) fn on_body_end(&mut self, broken: bool, moment: Moment) {
        if broken { lengthen(&mut self.broken, moment) } else { self.broken = None }
    }

    /// An attempt was left unanswered.
    pub(super) fn on_unanswered(&mut self, now: Time, moment: Moment) {
        self.run(now, moment).unanswered += 1;
    }

    /// What had been counted as unanswered was answered after all.
    pub(super) fn take_back_unanswered(&mut self) {
        if let Some(share) = &mut self.share {
            share.unanswered = share.unanswered.saturating_sub(1);
        }
    }

    fn run(&mut self, now: Time, before: Moment) -> &mut Share {
        if self.share.is_some_and(|share| now.saturating_since(share.since) >= SHARE_LASTS) {
            self.share = None;
        }
        let begins = Share { since: now, before, score: 0, good: 0, failed: 0, unanswered: 0 };
        let share = self.share.get_or_insert(begins);
        share.score = share.score.saturating_add(UP);
        share
    }

    /// Its failures in a row are its own. `lately`: what peers did in the last seconds.
    pub(super) fn proves_row(&self, pool: Tally, lately: impl Fn() -> Counts) -> bool {
        let mut rows = [self.row, self.broken].into_iter().flatten();
        let share = self.share.map(|share| share.before);
        rows.any(|row| {
            // A row is as short as chance makes it; a share that began before it has seen more of the peers.
            let before = share.filter(|share| share.peers.sent < row.before.peers.sent).unwrap_or(row.before);
            let meanwhile = Meanwhile::between(before, self.peers(pool));
            meanwhile.is_heard_of()
                && meanwhile.does_better()
                && proof::row(row.failures, meanwhile.outcomes, &lately)
        })
    }

    /// Its bad outcomes lately are its own; `excess`: what they must exceed the peers' share by.
    pub(super) fn proves_share(&self, pool: Tally, excess: f64) -> bool {
        let Some(share) = self.share else { return false };
        let bad = share.failed + share.unanswered;
        // Good ones that were sent with the bad ones came long before those were counted.
        let good = i64::from(share.good).max(self.own.good - share.before.own_good);
        let meanwhile = Meanwhile::between(share.before, self.peers(pool));
        bad >= BAD_MIN
            && proof::share(Counts::of(good, bad.into()), meanwhile.outcomes, excess)
            && meanwhile.is_heard_of()
    }

    /// What was left unanswered makes up most of the bad outcomes lately.
    pub(super) fn is_unanswering(&self, now: Time) -> bool {
        self.share.is_some_and(|share| {
            share.unanswered > share.failed && now.saturating_since(share.since) < SHARE_LASTS
        })
    }

    /// Its silence, with so many attempts outstanding, is its own. `lately`: what peers did in the last seconds.
    pub(super) fn proves_silence(
        &self,
        pool: Tally,
        outstanding: u32,
        lately: impl FnOnce() -> Counts,
    ) -> bool {
        let done = self.peers(pool).since(self.silence);
        done.answered * ANSWERED_PART.1 >= done.sent * ANSWERED_PART.0
            && proof::silence(outstanding, Counts::of(done.good, done.bad), lately)
    }
}

fn lengthen(row: &mut Option<Row>, before: Moment) {
    let row = row.get_or_insert(Row { before, failures: 0 });
    row.failures = row.failures.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(good: i64, bad: i64) -> Tally {
        Tally { sent: good + bad, answered: good + bad, heard: good + bad, good, bad }
    }

    fn moment(good: i64, bad: i64, waiting: u32) -> Moment {
        Moment { peers: tally(good, bad), waiting, own_good: 0 }
    }

    /// An endpoint, and what its pool has counted of all.
    struct Scene {
        evidence: Evidence,
        pool: Tally,
        lately: Counts,
    }

    impl Scene {
        fn new() -> Self {
            let pool = tally(1_000, 0);
            let mut evidence = Evidence::none(Time::ZERO);
            evidence.forget(Time::ZERO, pool);
            Self { evidence, pool, lately: Counts::of(1_000, 0) }
        }

        fn own(&mut self, good: i64, bad: i64) {
            self.evidence.book(Time::ZERO, tally(good, bad));
            self.pool.add(tally(good, bad));
        }

        fn peers(&mut self, good: i64, bad: i64) {
            self.pool.add(tally(good, bad));
        }

        fn now(&self) -> Moment {
            Moment { peers: self.evidence.peers(self.pool), waiting: 0, own_good: self.evidence.own_good() }
        }

        fn proves_row(&self) -> bool {
            self.evidence.proves_row(self.pool, || self.lately)
        }

        fn fail(&mut self, now: Time, moment: Moment) {
            self.evidence.on_failed(now, now, moment);
            self.own(0, 1);
        }
    }

    #[test]
    fn a_row_is_compared_with_what_peers_do_since_it_was_sent() {
        // Waiting at peers when the first of it was sent, and what peers did since then.
        for (waiting, good, bad, needed) in [
            (0, 10, 0, Some(3)),
            (0, 100, 1, Some(4)),
            (0, 0, 0, Some(5)),
            (0, 0, 1, None),
            (0, 0, 50, None),
            // What was under way before says nothing about now.
            (10, 10, 0, None),
            (10, 20, 0, Some(3)),
            (10, 10, 3, None),
        ] {
            let found = (1..100).find(|failures| {
                let mut scene = Scene::new();
                let sent = Moment { waiting, ..scene.now() };
                (0..*failures).for_each(|_| scene.fail(Time::ZERO, sent));
                scene.peers(good, bad);
                scene.proves_row()
            });
            assert_eq!(found, needed, "{waiting} waiting, {good} good, {bad} bad");
        }
    }

    #[test]
    fn a_row_is_compared_with_what_peers_did_since_the_share_began() {
        let mut scene = Scene::new();
        let first = scene.now();
        scene.fail(Time::ZERO, first);
        scene.evidence.on_good();
        scene.peers(0, 3);
        let then = scene.now();
        (0..9).for_each(|_| scene.fail(Time::ZERO, then));
        assert!(!scene.proves_row(), "peers have been asked nothing since, but they failed a moment before");
        let mut scene = Scene::new();
        let then = scene.now();
        (0..9).for_each(|_| scene.fail(Time::ZERO, then));
        assert!(scene.proves_row());
    }

    #[test]
    fn peers_of_whom_nothing_is_heard_do_not_do_better() {
        let mut scene = Scene::new();
        let sent = scene.now();
        (0..9).for_each(|_| scene.fail(Time::ZERO, sent));
        scene.pool.sent += 100;
        assert!(!scene.proves_row(), "all of it is still under way");
        scene.pool.add(Tally { sent: 0, ..tally(66, 0) });
        assert!(!scene.proves_row());
        scene.pool.add(Tally { sent: 0, ..tally(1, 0) });
        assert!(scene.proves_row(), "two thirds are answered");
    }

    #[test]
    fn a_success_ends_the_row_and_not_at_once_the_share() {
        let mut scene = Scene::new();
        // Three of five are answered, two are not.
        let mut found = None;
        for round in 0..20 {
            for outcome in 0..5 {
                if outcome % 2 == 1 {
                    let sent = scene.now();
                    scene.evidence.on_unanswered(Time::ZERO, sent);
                    scene.own(0, 1);
                } else {
                    scene.evidence.on_good();
                    scene.own(1, 0);
                }
                scene.peers(9, 0);
            }
            assert!(!scene.proves_row());
            if found.is_none() && scene.evidence.proves_share(scene.pool, 0.1) {
                found = Some(round);
            }
        }
        assert!(found.is_some_and(|round| round < 4), "{found:?}");
        assert!(scene.evidence.is_unanswering(Time::ZERO));
        (0..2_000).for_each(|_| scene.evidence.on_good());
        assert!(!scene.evidence.is_unanswering(Time::ZERO), "good outcomes end it");
    }

    #[test]
    fn what_was_overtaken_counts_once_a_later_one_is_answered_and_a_pause_counts_for_two() {
        let at = Time::from_millis;
        let mut evidence = Evidence::none(at(0));
        for sent in 1..=10 {
            evidence.on_left(at(sent), moment(i64::from(sent as u32), 0, 0));
        }
        let counted = |left: [Option<Moment>; LEFT_MAX]| left.iter().flatten().count();
        assert_eq!(counted(evidence.on_answer(Tally::default(), at(1))), 0, "the first was answered itself");
        assert_eq!(counted(evidence.on_answer(Tally::default(), at(2))), 1);
        assert_eq!(counted(evidence.on_answer(Tally::default(), at(50))), 1, "the pause is over");
        assert_eq!(counted(evidence.on_answer(Tally::default(), at(60))), 0);
    }

    #[test]
    fn a_share_that_all_have_proves_nothing() {
        let mut wrong = 0;
        for seed in 0..300 {
            let mut rng = crate::Rng::seeded(seed);
            let mut scene = Scene::new();
            let share = 0.05 + 0.9 * rng.unit();
            let peers = 1 + seed % 9;
            scene.lately = Counts::of((100.0 * (1.0 - share)) as i64, (100.0 * share) as i64);
            for outcome in 0..2_000_u64 {
                let now = Time::from_millis(outcome * 20);
                for _ in 0..peers {
                    let bad = rng.chance(share);
                    scene.peers(i64::from(!bad), i64::from(bad));
                }
                let sent = scene.now();
                if rng.chance(share) {
                    scene.fail(now, sent);
                } else {
                    scene.evidence.on_good();
                    scene.own(1, 0);
                }
                let long = scene.evidence.row.is_some_and(|row| row.failures >= 5);
                if long && scene.proves_row() || scene.evidence.proves_share(scene.pool, 0.1) {
                    wrong += 1;
                    scene.evidence.forget(now, scene.pool);
                }
            }
        }
        assert_eq!(wrong, 0, "wrong proofs in 600 000 outcomes");
    }

    #[test]
    fn silence_that_peers_share_proves_nothing() {
        let lately = Counts::of(1_000, 0);
        for (sent, answered, outstanding, own) in [
            (0, 0, 3, true),
            (0, 0, 2, false),
            (20, 0, 9, false),
            (20, 5, 9, false),
            (20, 7, 3, true),
            (20, 20, 3, true),
        ] {
            let mut scene = Scene::new();
            scene.pool.add(Tally { sent, answered, good: answered, heard: answered, bad: 0 });
            let proven = scene.evidence.proves_silence(scene.pool, outstanding, || lately);
            assert_eq!(proven, own, "{sent} sent, {answered} answered, {outstanding} outstanding");
        }
        let mut scene = Scene::new();
        scene.peers(30, 20);
        assert!(!scene.evidence.proves_silence(scene.pool, 3, || lately), "peers leave two of five");
        assert!(
            !Scene::new().evidence.proves_silence(tally(1_000, 0), 3, || Counts::of(60, 40)),
            "as they did lately"
        );
    }
}
