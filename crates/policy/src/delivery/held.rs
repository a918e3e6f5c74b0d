//! The jobs that are claimed: by id, by turn, by deadline, by lease.

use std::collections::{BTreeMap, BTreeSet};

use super::vocabulary::{Job, JobId};
use crate::Time;
use crate::breaker;

/// What a held job does.
#[derive(Debug)]
pub(super) enum Phase {
    /// It may go, at this turn.
    Ready(Time),
    /// Another one of its order key comes first.
    Behind,
    /// It is being sent.
    Started(Started),
}

/// An attempt.
#[derive(Debug)]
pub(super) struct Started {
    /// Since when.
    pub(super) at: Time,
    /// When it is given up.
    pub(super) until: Time,
    pub(super) permit: Option<breaker::Permit>,
}

/// A job that is claimed.
#[derive(Debug)]
pub(super) struct HeldJob {
    pub(super) job: Job,
    pub(super) phase: Phase,
    /// When its lease is looked at next.
    pub(super) lease_look: Time,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Held {
    jobs: BTreeMap<JobId, HeldJob>,
    ready: BTreeSet<(Time, JobId)>,
    /// Of those that are not under way.
    deadlines: BTreeSet<(Time, JobId)>,
    leases: BTreeSet<(Time, JobId)>,
    started: u32,
    behind: u32,
}

impl Held {
    pub(super) fn insert(&mut self, job: Job, phase: Phase, lease_look: Time) {
        self.leases.insert((lease_look, job.id));
        let id = job.id;
        self.jobs.insert(id, HeldJob { job, phase, lease_look });
        self.index(id);
    }

    pub(super) fn remove(&mut self, id: JobId) -> Option<HeldJob> {
        self.unindex(id);
        let held = self.jobs.remove(&id)?;
        self.leases.remove(&(held.lease_look, id));
        Some(held)
    }

    /// Gives a job another phase and answers the one it had.
    pub(super) fn enter(&mut self, id: JobId, phase: Phase) -> Option<Phase> {
        self.unindex(id);
        let before = self.jobs.get_mut(&id).map(|held| std::mem::replace(&mut held.phase, phase));
        self.index(id);
        before
    }

    /// The lease lasts until then, and is looked at then.
    pub(super) fn set_lease(&mut self, id: JobId, until: Time, look: Time) {
        let Some(held) = self.jobs.get_mut(&id) else { return };
        self.leases.remove(&(held.lease_look, id));
        held.job.lease_until = until;
        held.lease_look = look;
        self.leases.insert((look, id));
    }

    pub(super) fn get(&self, id: JobId) -> Option<&HeldJob> {
        self.jobs.get(&id)
    }

    pub(super) fn is_started(&self, id: JobId) -> bool {
        matches!(self.jobs.get(&id), Some(HeldJob { phase: Phase::Started(_), .. }))
    }

    /// The one whose turn it is.
    pub(super) fn next_ready(&self) -> Option<JobId> {
        self.ready.first().map(|(_, id)| *id)
    }

    /// The next deadline of a job that is not under way.
    pub(super) fn next_expiry(&self) -> Option<(Time, JobId)> {
        self.deadlines.first().copied()
    }

    /// The next lease to look at.
    pub(super) fn next_lease(&self) -> Option<(Time, JobId)> {
        self.leases.first().copied()
    }

    /// Those that are not under way, by id.
    pub(super) fn waiting(&self) -> Vec<JobId> {
        let is_waiting = |held: &&HeldJob| !matches!(held.phase, Phase::Started(_));
        self.jobs.values().filter(is_waiting).map(|held| held.job.id).collect()
    }

    pub(super) fn len(&self) -> u32 {
        self.jobs.len() as u32
    }

    pub(super) fn started(&self) -> u32 {
        self.started
    }

    pub(super) fn behind(&self) -> u32 {
        self.behind
    }

    pub(super) fn ready(&self) -> u32 {
        self.ready.len() as u32
    }

    fn index(&mut self, id: JobId) {
        let Some(held) = self.jobs.get(&id) else { return };
        match held.phase {
            Phase::Ready(turn) => {
                self.ready.insert((turn, id));
            }
            Phase::Behind => self.behind += 1,
            Phase::Started(_) => {
                self.started += 1;
                return;
            }
        }
        self.deadlines.extend(held.job.deadline.map(|deadline| (deadline, id)));
    }

    fn unindex(&mut self, id: JobId) {
        let Some(held) = self.jobs.get(&id) else { return };
        match held.phase {
            Phase::Ready(turn) => {
                self.ready.remove(&(turn, id));
            }
            Phase::Behind => self.behind -= 1,
            Phase::Started(_) => self.started -= 1,
        }
        if let Some(deadline) = held.job.deadline {
            self.deadlines.remove(&(deadline, id));
        }
    }

    pub(super) fn check_invariants(&self) {
        assert_eq!(self.leases.len(), self.jobs.len(), "each lease is looked at");
        let sum = self.ready() + self.behind + self.started;
        assert_eq!(sum, self.len(), "each job is ready, behind another or under way");
        let timed = self.jobs.values().filter(|held| held.job.deadline.is_some());
        let waiting = timed.filter(|held| !matches!(held.phase, Phase::Started(_))).count();
        assert_eq!(waiting, self.deadlines.len(), "each deadline of a waiting job is watched");
    }
}
