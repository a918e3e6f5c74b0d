//! What is in effect, what was, and what nobody else may touch meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use seaworthy_observe::dial::DetourScope;
use serde::Serialize;

use crate::error::FaultError;
use crate::victims::scope_name;

/// The most requests in effect at once. Each may hold several sockets and a proxy.
pub(crate) const HELD_MAX: usize = 64;

/// How many ended faults are remembered, so that whoever clears a fault that ended by itself still learns how.
pub(crate) const ENDED_KEPT_MAX: usize = 1_000;

/// A thing that at most one fault may act upon at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The process of a replica.
    Process { service: String, replica: String },
    /// Traffic.
    Traffic(DetourScope),
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { service, replica } => write!(out, "the process of {service}/{replica}"),
            Self::Traffic(scope) => write!(out, "the traffic to {}", scope_name(scope)),
        }
    }
}

/// A request that is in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Its id: `f1`, `f2` ...
    pub id: String,
    /// When it was asked for, in nanoseconds of `CLOCK_MONOTONIC`.
    pub requested_at: u64,
    /// When its effect was proven, in nanoseconds of `CLOCK_MONOTONIC`.
    pub applied_at: u64,
    /// How we know.
    pub proof: String,
    /// Whom it hits: `api/a-1`, `egress:payments`.
    pub targets: Vec<String>,
}

/// A request that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// When its effect was gone, in nanoseconds of `CLOCK_MONOTONIC`.
    pub ended_at: u64,
    /// How many client requests met a network fault: swallowed, delayed or answered by a proxy (ours, sent as proof, are
    /// not among them), or led to an address that refuses or hangs. `None` for kills and pauses: they act on processes.
    pub met: Option<u64>,
    /// `cleared`, `deadline`, or `effect proven` when nothing is held (a kill).
    pub why: String,
}

/// A request that is in effect, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultView {
    /// When and with which proof it was applied, and whom it hits.
    #[serde(flatten)]
    pub applied: Applied,
    /// In words.
    pub what: String,
    /// When it ends by itself, in nanoseconds of `CLOCK_MONOTONIC`.
    pub deadline_at: u64,
    /// How many client requests met it so far, see [`Ended::met`].
    pub met: Option<u64>,
}

/// Names one request; counts from 1.
pub(crate) type FaultId = u64;

/// Reads `f7`.
pub(crate) fn parse_id(text: &str) -> Option<FaultId> {
    text.strip_prefix('f')?.parse().ok()
}

/// The table of requests; `H` is what holds one in effect.
#[derive(Debug)]
pub(crate) struct Registry<H> {
    newest: FaultId,
    scopes: BTreeMap<Scope, FaultId>,
    held: BTreeMap<FaultId, H>,
    ended: VecDeque<(FaultId, Ended)>,
}

impl<H> Default for Registry<H> {
    fn default() -> Self {
        Self { newest: 0, scopes: BTreeMap::new(), held: BTreeMap::new(), ended: VecDeque::new() }
    }
}

impl<H> Registry<H> {
    /// Takes all scopes for a new request, or none.
    pub(crate) fn reserve(&mut self, scopes: &[(Scope, String)]) -> Result<FaultId, FaultError> {
        if self.held.len() >= HELD_MAX {
            return Err(FaultError::TooMany { held: self.held.len() });
        }
        for (scope, field) in scopes {
            if let Some(by) = self.scopes.get(scope) {
                let (on, by) = (scope.to_string(), format!("fault f{by}"));
                return Err(FaultError::Conflict { field: field.clone(), on, by });
            }
        }
        self.newest += 1;
        self.scopes.extend(scopes.iter().map(|(scope, _)| (scope.clone(), self.newest)));
        Ok(self.newest)
    }

    /// Gives the scopes of a request back.
    pub(crate) fn release(&mut self, id: FaultId) {
        self.scopes.retain(|_, by| *by != id);
    }

    /// A request is in effect, again or for the first time.
    pub(crate) fn hold(&mut self, id: FaultId, held: H) {
        self.held.insert(id, held);
    }

    /// Takes a request out to end it; its scopes stay taken until [`Registry::release`] or [`Registry::end`].
    pub(crate) fn take(&mut self, id: FaultId) -> Option<H> {
        self.held.remove(&id)
    }

    /// A request is over; its scopes are free.
    pub(crate) fn end(&mut self, id: FaultId, ended: Ended) {
        self.release(id);
        if self.ended.len() == ENDED_KEPT_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((id, ended));
    }

    /// How a request ended, while that is remembered.
    pub(crate) fn how_ended(&self, id: FaultId) -> Option<Ended> {
        self.ended.iter().find(|(ended, _)| *ended == id).map(|(_, ended)| ended.clone())
    }

    /// What is in effect, oldest first.
    pub(crate) fn held(&self) -> impl Iterator<Item = (FaultId, &H)> {
        self.held.iter().map(|(id, held)| (*id, held))
    }

    /// Lets go of everything.
    pub(crate) fn take_all(&mut self) -> Vec<H> {
        self.scopes.clear();
        std::mem::take(&mut self.held).into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(replica: &str) -> (Scope, String) {
        let scope = Scope::Process { service: "api".to_owned(), replica: replica.to_owned() };
        (scope, "faults[0]".to_owned())
    }

    fn ended(at: u64) -> Ended {
        Ended { ended_at: at, met: None, why: "cleared".to_owned() }
    }

    #[test]
    fn scopes_are_taken_whole_or_not_at_all() {
        let mut registry = Registry::<()>::default();
        assert_eq!(registry.reserve(&[process("a"), process("b")]).expect("free"), 1);
        let error = registry.reserve(&[process("c"), process("b")]).expect_err("taken").to_string();
        assert!(error.contains("the process of api/b is already under fault f1"), "{error}");
        assert_eq!(registry.reserve(&[process("c")]).expect("not taken by the refused one"), 2);
        registry.release(1);
        assert_eq!(registry.reserve(&[process("b")]).expect("given back"), 3);
    }

    #[test]
    fn an_ended_fault_is_remembered_for_a_while() {
        let mut registry = Registry::<()>::default();
        for id in 1..=ENDED_KEPT_MAX as u64 + 1 {
            registry.end(id, ended(id));
        }
        assert_eq!(registry.how_ended(1), None);
        assert_eq!(registry.how_ended(2), Some(ended(2)));
    }

    #[test]
    fn there_is_a_most() {
        let mut registry = Registry::default();
        for _ in 0..HELD_MAX {
            let id = registry.reserve(&[]).expect("room");
            registry.hold(id, ());
        }
        assert!(matches!(registry.reserve(&[]), Err(FaultError::TooMany { held: HELD_MAX })));
        assert_eq!(registry.take_all().len(), HELD_MAX);
    }

    #[test]
    fn ids_are_read_as_printed() {
        for (text, expected) in [("f1", Some(1)), ("f", None), ("1", None), ("f-1", None), ("fx", None)] {
            assert_eq!(parse_id(text), expected, "{text}");
        }
    }
}
