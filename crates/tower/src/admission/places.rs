//! The places of one layer, and those who wait for them: lock, decide, unlock, wake.
//!
//! **Problem.** Three things go wrong in such a shell, and none of them in a test that runs once: somebody is not woken
//! though a place is his; a place is lost with a waiter that is dropped while it is being woken; a place is given twice.
//! **Model.** Everything is under one lock: the machine, and for each ticket either the waker of its owner or what was
//! decided about it. A decision is put there before its owner is woken, and stays until the owner takes it or goes;
//! whoever goes with a decided place in hand gives it back, which is an event like any other and may wake the next.
//! Wakers run after the lock is released.
//!
//! No clock and no timer in here, so that every interleaving can be tried (`tests/interleavings`). Memory: one entry per
//! future that waits, at most `max_queue` undecided ones.

use std::collections::BTreeMap;
use std::fmt;
use std::task::{Poll, Waker};

use seaworthy_policy::admission::{Admission, Arrival, Outcome, Permit, Rejected, Ticket, Verdict};
use seaworthy_policy::{Rng, Time};

use super::sync::{Mutex, MutexGuard, PoisonError};

/// The places, and the queue in front of them.
pub(crate) struct Places {
    core: Mutex<Core>,
}

struct Core {
    admission: Admission,
    rng: Rng,
    tickets: BTreeMap<Ticket, Standing>,
}

/// What is known about a ticket.
enum Standing {
    /// Nothing yet; whom to wake, once its owner has asked.
    Waits(Option<Waker>),
    /// What its owner has not heard yet.
    Decided(Result<Permit, Rejected>),
}

/// What a call is told on arrival.
pub(crate) enum Entry {
    Admitted(Permit),
    Queued(Ticket),
    Rejected(Rejected),
}

impl Places {
    pub(crate) fn new(admission: Admission, seed: u64) -> Self {
        let core = Core { admission, rng: Rng::seeded(seed), tickets: BTreeMap::new() };
        Places { core: Mutex::new(core) }
    }

    /// Somebody wants in. Whoever is queued has to come back with his ticket, or to [leave](Places::leave) with it.
    pub(crate) fn enter(&self, now: Time, arrival: &Arrival) -> Entry {
        self.event(|core| match core.admission.on_arrival(now, &mut core.rng, arrival) {
            Verdict::Admitted(permit) => Entry::Admitted(permit),
            Verdict::Rejected(rejected) => Entry::Rejected(rejected),
            Verdict::Queued(ticket) => {
                core.tickets.insert(ticket, Standing::Waits(None));
                Entry::Queued(ticket)
            }
        })
    }

    /// What became of a ticket; while nothing has, this waker is called when something does, and no earlier one.
    pub(crate) fn poll(&self, ticket: Ticket, waker: &Waker) -> Poll<Result<Permit, Rejected>> {
        let mut core = self.lock();
        let standing = core.tickets.get_mut(&ticket).expect("a ticket is asked about until it is decided");
        if let Standing::Waits(known) = standing {
            match known {
                Some(known) => known.clone_from(waker),
                None => *known = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        match core.tickets.remove(&ticket) {
            Some(Standing::Decided(decided)) => Poll::Ready(decided),
            Some(Standing::Waits(_)) | None => unreachable!("seen above, under the same lock"),
        }
    }

    /// A moment of this ticket has come. The next one; `None` when it has been decided.
    pub(crate) fn on_timer(&self, now: Time, ticket: Ticket) -> Option<Time> {
        self.event(|core| {
            core.admission.on_timer(now);
            core.admission.next_deadline_of(now, ticket)
        })
    }

    /// Somebody who was queued stops waiting, whatever has been decided meanwhile.
    pub(crate) fn leave(&self, now: Time, ticket: Ticket) {
        self.event(|core| match core.tickets.remove(&ticket) {
            Some(Standing::Waits(_)) => core.admission.on_cancelled(now, &mut core.rng, ticket),
            Some(Standing::Decided(Ok(permit))) => {
                core.admission.on_completed(now, &mut core.rng, permit, Outcome::Cancelled);
            }
            Some(Standing::Decided(Err(_))) | None => {}
        });
    }

    /// A call that was let in has ended.
    pub(crate) fn exit(&self, now: Time, permit: Permit, outcome: Outcome) {
        self.event(|core| core.admission.on_completed(now, &mut core.rng, permit, outcome));
    }

    /// Works with the machine under its lock.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Admission) -> T) -> T {
        self.event(|core| work(&mut core.admission))
    }

    /// Something happens: decide under the lock, then wake those about whom something was decided.
    fn event<T>(&self, step: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let answer = step(&mut core);
        // Allocates only when somebody who waited is to be woken.
        let mut wakers = Vec::new();
        while let Some(decided) = core.admission.take_decision() {
            let standing = core.tickets.insert(decided.ticket, Standing::Decided(decided.verdict));
            if let Some(Standing::Waits(Some(waker))) = standing {
                wakers.push(waker);
            }
        }
        drop(core);
        wakers.into_iter().for_each(Waker::wake);
        answer
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock could only come from a machine's invariant; the next call must still be answered.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Places").finish_non_exhaustive()
    }
}
