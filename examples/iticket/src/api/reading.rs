//! Which copy of an event is shown. No IO here.
//!
//! A fresh copy in the cache is shown. Otherwise the ledger is asked, and if it does not answer, a stale copy
//! is better than none, marked as what it is. A cache that does not answer is as good as an empty one.

use std::time::Duration;

use crate::config::Degradation;

/// How long the ledger may take when there is nothing else to show.
const LEDGER_LIMIT: Duration = Duration::from_secs(1);
/// How long it may take when a stale copy would do.
const LEDGER_LIMIT_WITH_STALE_COPY: Duration = Duration::from_millis(200);

/// What the cache has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Copy<T> {
    /// A copy within its time.
    Fresh(T),
    /// A copy past its time.
    Stale(T, Age),
    /// It answered that it has none.
    Absent,
    /// It did not answer, or was not asked because it recently did not.
    Unavailable,
}

/// Seconds since a copy was made.
pub(super) type Age = u64;

/// What the ledger has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Original<T> {
    Found(T),
    /// There is no such thing.
    Absent,
    /// It did not answer, or not in time.
    Unavailable,
}

/// Whether it makes sense to ask the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LedgerManners {
    Ask,
    /// It recently did not answer.
    Resting,
}

/// After the cache: show what it has, or ask the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AfterCache<T> {
    Show(Shown<T>),
    AskLedger { limit: Duration, stale: Option<(T, Age)> },
}

/// What is shown in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shown<T> {
    /// As it is.
    Current(T),
    /// As it was.
    Stale(T, Age),
    /// There is no such thing.
    Absent,
    /// Nothing can be shown now.
    Nothing,
}

/// Decides after the cache has or has not answered.
pub(super) fn after_cache<T>(
    copy: Copy<T>,
    ledger: LedgerManners,
    degradation: Degradation,
) -> AfterCache<T> {
    match (copy, degradation) {
        (Copy::Fresh(thing), _) => AfterCache::Show(Shown::Current(thing)),
        // The counter-experiment: a dead cache fails the page, and nothing stale is ever shown.
        (Copy::Unavailable, Degradation::Ablated) => AfterCache::Show(Shown::Nothing),
        (Copy::Stale(..), Degradation::Ablated) | (Copy::Absent | Copy::Unavailable, _) => {
            AfterCache::AskLedger { limit: LEDGER_LIMIT, stale: None }
        }
        (Copy::Stale(thing, age), Degradation::Allowed) => match ledger {
            LedgerManners::Resting => AfterCache::Show(Shown::Stale(thing, age)),
            LedgerManners::Ask => {
                AfterCache::AskLedger { limit: LEDGER_LIMIT_WITH_STALE_COPY, stale: Some((thing, age)) }
            }
        },
    }
}

/// Decides after the ledger has or has not answered.
pub(super) fn after_ledger<T>(original: Original<T>, stale: Option<(T, Age)>) -> Shown<T> {
    match (original, stale) {
        (Original::Found(thing), _) => Shown::Current(thing),
        (Original::Absent, _) => Shown::Absent,
        (Original::Unavailable, Some((thing, age))) => Shown::Stale(thing, age),
        (Original::Unavailable, None) => Shown::Nothing,
    }
}

/// Is the chat there?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chat {
    Available,
    /// It answered that it is not, did not answer, or was not asked because it recently did not.
    Unavailable,
}

/// Decides whether a page without its chat is a page: it is, except in the counter-experiment.
pub(super) fn with_chat<T>(shown: Shown<T>, chat: Chat, degradation: Degradation) -> Shown<T> {
    match (chat, degradation) {
        (Chat::Unavailable, Degradation::Ablated) => Shown::Nothing,
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Degradation::{Ablated, Allowed};
    use LedgerManners::{Ask, Resting};

    #[test]
    fn the_page_shows_the_best_copy_there_is() {
        let found = Original::Found("new");
        let (absent, down) = (Original::Absent, Original::Unavailable);
        let (fresh, stale) = (Copy::Fresh("copy"), Copy::Stale("old", 9));
        let old = Shown::Stale("old", 9);
        // (cache, ledger's manners, ledger's answer if asked, degradation, shown)
        let table = [
            (fresh.clone(), Ask, down.clone(), Allowed, Shown::Current("copy")),
            (fresh, Resting, down.clone(), Ablated, Shown::Current("copy")),
            (stale.clone(), Ask, found.clone(), Allowed, Shown::Current("new")),
            (stale.clone(), Ask, absent.clone(), Allowed, Shown::Absent),
            (stale.clone(), Ask, down.clone(), Allowed, old.clone()),
            (stale.clone(), Resting, found.clone(), Allowed, old),
            (stale.clone(), Ask, down.clone(), Ablated, Shown::Nothing),
            (stale, Resting, found.clone(), Ablated, Shown::Current("new")),
            (Copy::Absent, Ask, found.clone(), Allowed, Shown::Current("new")),
            (Copy::Absent, Resting, found.clone(), Allowed, Shown::Current("new")),
            (Copy::Absent, Ask, down.clone(), Allowed, Shown::Nothing),
            (Copy::Absent, Ask, found.clone(), Ablated, Shown::Current("new")),
            (Copy::Unavailable, Ask, found.clone(), Allowed, Shown::Current("new")),
            (Copy::Unavailable, Ask, absent, Allowed, Shown::Absent),
            (Copy::Unavailable, Ask, down, Allowed, Shown::Nothing),
            (Copy::Unavailable, Ask, found, Ablated, Shown::Nothing),
        ];
        for (copy, manners, original, degradation, expected) in table {
            let case = format!("{copy:?}, {manners:?}, {original:?}, {degradation:?}");
            let shown = match after_cache(copy, manners, degradation) {
                AfterCache::Show(shown) => shown,
                AfterCache::AskLedger { stale, .. } => after_ledger(original, stale),
            };
            assert_eq!(shown, expected, "{case}");
        }
    }

    #[test]
    fn who_has_a_stale_copy_does_not_wait_long() {
        let limit = |copy| match after_cache(copy, Ask, Allowed) {
            AfterCache::AskLedger { limit, .. } => limit,
            AfterCache::Show(shown) => panic!("{shown:?}"),
        };
        assert!(limit(Copy::Stale("old", 9)) < limit(Copy::Absent));
    }

    #[test]
    fn a_page_lives_without_its_chat() {
        let shown = |chat, degradation| with_chat(Shown::Current(1), chat, degradation);
        assert_eq!(shown(Chat::Available, Allowed), Shown::Current(1));
        assert_eq!(shown(Chat::Unavailable, Allowed), Shown::Current(1));
        assert_eq!(shown(Chat::Available, Ablated), Shown::Current(1));
        assert_eq!(shown(Chat::Unavailable, Ablated), Shown::Nothing);
    }
}
