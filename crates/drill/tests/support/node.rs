//! A node whose faults are whatever the test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use seaworthy_drill::clock;
use seaworthy_drill::node::{
    Applied, Ended, EventPage, FaultRequest, Node, NodeError, NodeStatus, ReplicaStatus,
};
use seaworthy_observe::event::{Event, EventKind};

type Action = Box<dyn Fn() + Send + Sync>;

/// What the node answers to a request to break something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ability {
    Applies { proof: &'static str, met: Option<u64> },
    Lacks,
    Refuses,
}

pub struct StubNode {
    pub address: SocketAddr,
    pub ability: Ability,
    pub on_apply: Action,
    pub on_end: Action,
    pub state: Mutex<State>,
}

#[derive(Debug, Default)]
pub struct State {
    pub faults: Vec<String>,
    pub requests: Vec<FaultRequest>,
    pub events: Vec<Event>,
    pub resets: u64,
    pub ends_ignored: bool,
    /// Why the node cannot be asked any more.
    pub lost: Option<NodeError>,
    pub calls: Vec<&'static str>,
}

impl StubNode {
    /// A node with one service `api` of one replica at this address.
    pub fn new(address: SocketAddr, ability: Ability) -> Self {
        Self { address, ability, on_apply: Box::new(|| {}), on_end: Box::new(|| {}), state: Mutex::default() }
    }

    pub fn emit(&self, kind: EventKind) {
        let mut state = self.state.lock().unwrap();
        let seq = state.events.len() as u64 + 1;
        state.events.push(Event { seq, at: clock::now(), ts: String::new(), kind });
    }

    pub fn wait_for_fault(&self) {
        super::wait_until("a fault", || !self.state.lock().unwrap().faults.is_empty());
    }

    fn enter(&self, call: &'static str) -> Result<std::sync::MutexGuard<'_, State>, NodeError> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(call);
        match &state.lost {
            Some(error) => Err(error.clone()),
            None => Ok(state),
        }
    }
}

impl Node for StubNode {
    async fn is_ready(&self) -> Result<bool, NodeError> {
        self.enter("ready").map(|_| true)
    }

    async fn status(&self) -> Result<NodeStatus, NodeError> {
        let state = self.enter("status")?;
        let replica = ReplicaStatus { pid: Some(1), address: Some(self.address), ready: true };
        let api = BTreeMap::from([("a-1".to_owned(), replica)]);
        Ok(NodeStatus { seq: state.events.len() as u64, services: BTreeMap::from([("api".to_owned(), api)]) })
    }

    async fn events(&self, since: u64, wait: Duration) -> Result<EventPage, NodeError> {
        let events: Vec<Event> = {
            let state = self.enter("events")?;
            state.events.iter().filter(|event| event.seq > since).cloned().collect()
        };
        if events.is_empty() {
            tokio::time::sleep(wait).await;
        }
        let next = events.last().map_or(since, |event| event.seq);
        Ok(EventPage { events, next, node: 0 })
    }

    async fn apply(&self, request: &FaultRequest) -> Result<Applied, NodeError> {
        let proof = match self.ability {
            Ability::Applies { proof, .. } => proof,
            Ability::Lacks => return Err(NodeError::Capability("no such thing here".to_owned())),
            Ability::Refuses => return Err(NodeError::Refused { status: 500, detail: "broken".to_owned() }),
        };
        {
            let mut state = self.enter("apply")?;
            state.requests.push(request.clone());
            state.faults.push("f1".to_owned());
        }
        (self.on_apply)();
        Ok(Applied {
            id: "f1".to_owned(),
            applied_at: clock::now(),
            proof: proof.to_owned(),
            targets: vec!["api/a-1".to_owned()],
        })
    }

    async fn end(&self, fault: &str) -> Result<Ended, NodeError> {
        {
            let mut state = self.enter("end")?;
            if !state.faults.iter().any(|known| known == fault) {
                return Err(NodeError::Unknown(fault.to_owned()));
            }
            if !state.ends_ignored {
                state.faults.clear();
            }
        }
        (self.on_end)();
        let met = match self.ability {
            Ability::Applies { met, .. } => met,
            Ability::Lacks | Ability::Refuses => None,
        };
        Ok(Ended { ended_at: clock::now(), met })
    }

    async fn end_all(&self) -> Result<(), NodeError> {
        let mut state = self.enter("end_all")?;
        if !state.ends_ignored {
            state.faults.clear();
        }
        drop(state);
        (self.on_end)();
        Ok(())
    }

    async fn faults(&self) -> Result<Vec<String>, NodeError> {
        Ok(self.enter("faults")?.faults.clone())
    }

    async fn reset(&self) -> Result<(), NodeError> {
        self.enter("reset")?.resets += 1;
        Ok(())
    }
}
