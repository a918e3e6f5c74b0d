//! Jobs that are done one after the other: those with the same order key.

use std::collections::BTreeMap;

/// When a job of an order key could be claimed if it were its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) due: u64,
    pub(super) priority: u8,
}

/// The jobs of one order key.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Those that somebody has: one, or more when a dead letter with an earlier name came back meanwhile.
    busy: Vec<u64>,
    /// All that nobody has, by name.
    waiting: BTreeMap<u64, Turn>,
    /// The one that can be claimed, with what it was shown with.
    shown: Option<(u64, Turn)>,
}

/// What has to change in what can be claimed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) withdraw: Option<(u64, Turn)>,
    pub(super) show: Option<(u64, Turn)>,
}

impl Order {
    pub(super) fn add(&mut self, id: u64, turn: Turn) -> Change {
        self.waiting.insert(id, turn);
        self.settle()
    }

    /// Somebody has it; it is not shown any more.
    pub(super) fn take(&mut self, id: u64) -> Change {
        self.waiting.remove(&id);
        self.busy.push(id);
        // Whoever takes the one that is shown has withdrawn it already.
        self.shown = self.shown.filter(|(shown, _)| *shown != id);
        self.settle()
    }

    /// Nobody has it any more, and it will not come back unless it is added.
    pub(super) fn release(&mut self, id: u64) -> Change {
        self.waiting.remove(&id);
        self.busy.retain(|busy| *busy != id);
        self.settle()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.busy.is_empty() && self.waiting.is_empty()
    }

    /// How many are not shown, because it is not their turn.
    pub(super) fn blocked(&self) -> usize {
        self.waiting.len() - usize::from(self.shown.is_some())
    }

    /// The oldest is shown, unless somebody has one.
    fn settle(&mut self) -> Change {
        let first = self.waiting.first_key_value().map(|(id, turn)| (*id, *turn));
        let wanted = if self.busy.is_empty() { first } else { None };
        if self.shown == wanted {
            return Change::default();
        }
        Change { withdraw: std::mem::replace(&mut self.shown, wanted), show: wanted }
    }
}
