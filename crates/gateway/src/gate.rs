//! A gate of the way in, shared by all threads: one lock, and a seat for each request that waits for its turn.
//!
//! Nothing is decided here. Whoever waits has a seat under its ticket; a decision is put there and its task woken. A
//! task that goes away takes its seat along, and whatever was put there meanwhile goes back: no place is lost between
//! the decision and the one it was meant for.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, HeaderValue};
use seaworthy_observe::{EventBus, EventKind};
use seaworthy_policy::admission::{Rejected, Ticket};
use seaworthy_policy::entrance::{
    Ending, Gate, GateConfig, Hold, Kind, Passage, Quote, Scope, SheddingChange, Step, Waiting, turn,
};
use seaworthy_policy::limit::Permit;
use seaworthy_policy::{Rng, Time};
use seaworthy_spec::plan::{EntrancePlan, KeySource};
use tokio::sync::Notify;

use crate::quota::policy_field;

/// No deadline.
const NEVER: u64 = u64::MAX;

/// A gate and those who wait in front of it.
pub(crate) struct SharedGate {
    /// Where the spec says so: `routes.buy-ticket.rate_limit`.
    pub(crate) name: String,
    /// What the fields of its quota call it: `buy-ticket`.
    pub(crate) short: String,
    pub(crate) kind: Kind,
    /// Its `RateLimit-Policy`, where it is one.
    pub(crate) policy_field: Option<HeaderValue>,
    scope: Scope,
    source: KeySource,
    secret: RandomState,
    told: Told,
    /// Wakes the gate's timer when its deadline moved.
    rearm: Notify,
    timer_at: AtomicU64,
    core: Mutex<Core>,
}

/// Whom a gate tells what becomes of it.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) bus: EventBus,
    /// The service behind it, if it is one.
    pub(crate) service: Option<String>,
    /// The edge that it belongs to: a service has one gate for each. Empty for gates of routes and of the gateway.
    pub(crate) edge: String,
}

/// The gates of one way in, in the order in which they are asked.
pub(crate) type Row = Arc<[Arc<SharedGate>]>;

struct Core {
    gate: Gate,
    rng: Rng,
    seats: BTreeMap<Ticket, Seat>,
}

/// Where a request waits for its turn.
#[derive(Default)]
struct Seat {
    waker: Option<Waker>,
    verdict: Option<Result<Permit, Rejected>>,
}

/// How a gate stands.
pub(crate) struct GateView {
    pub(crate) waiting: u32,
    pub(crate) in_flight: u32,
    pub(crate) limit: u32,
}

/// The gates that a plan asks for at one place of the spec.
pub(crate) fn gates(
    plan: &EntrancePlan,
    scope: Scope,
    path: &str,
    told: &Told,
    seed: u64,
) -> Vec<Arc<SharedGate>> {
    let short = path.split('.').nth(1).unwrap_or(path);
    let gates = plan.gates().into_iter();
    gates
        .map(|(config, source)| {
            Arc::new(SharedGate::new(&config, (source, scope), (path, short), told.clone(), seed))
        })
        .collect()
}

/// Gates of several scopes as one row.
pub(crate) fn row<'a>(gates: impl IntoIterator<Item = &'a Arc<SharedGate>>) -> Row {
    let mut row: Vec<Arc<SharedGate>> = gates.into_iter().cloned().collect();
    row.sort_by_key(|gate| turn(gate.kind, gate.scope));
    row.into()
}

impl SharedGate {
    fn new(
        config: &GateConfig,
        (source, scope): (KeySource, Scope),
        (path, short): (&str, &str),
        told: Told,
        seed: u64,
    ) -> Self {
        let (key, policy) = match config {
            GateConfig::RateLimit(limit) => ("rate_limit", policy_field(short, limit)),
            GateConfig::Throttle(_) => ("adaptive_throttle", None),
            GateConfig::Concurrency(_) => ("concurrency", None),
        };
        let mut rng = Rng::seeded(seed);
        let gate = Gate::new(*config, &mut rng);
        Self {
            name: format!("{path}.{key}"),
            short: short.to_owned(),
            kind: config.kind(),
            policy_field: policy,
            scope,
            source,
            secret: RandomState::new(),
            told,
            rearm: Notify::new(),
            timer_at: AtomicU64::new(NEVER),
            core: Mutex::new(Core { gate, rng, seats: BTreeMap::new() }),
        }
    }

    /// Whose request it is, as this gate tells people apart.
    pub(crate) fn key_of(&self, peer: IpAddr, headers: &HeaderMap) -> u64 {
        let given = match &self.source {
            KeySource::All => return 0,
            KeySource::Client => None,
            KeySource::Header(name) => headers.get(name.as_str()),
        };
        match given {
            Some(value) => self.secret.hash_one((1, value.as_bytes())),
            None => self.secret.hash_one((0, network(peer))),
        }
    }

    /// Its labels in metrics: where the spec says so, and the edge, where there may be one gate for each.
    pub(crate) fn labels(&self) -> Vec<String> {
        vec![self.name.clone(), self.told.edge.clone()]
    }

    /// Asks for a request.
    pub(crate) fn ask(&self, now: Time, passage: &mut Passage, key: u64) {
        let mut core = self.lock();
        let Core { gate, rng, seats } = &mut *core;
        passage.ask(now, rng, gate, key);
        if let Step::Turn(_, ticket) = passage.step() {
            // Before decisions are handed out: this ticket's may be among them already.
            seats.insert(ticket, Seat::default());
        }
        self.after(now, core);
    }

    /// What was decided about a ticket, as soon as it was.
    pub(crate) fn poll_turn(
        &self,
        ticket: Ticket,
        context: &mut Context<'_>,
    ) -> Poll<Result<Permit, Rejected>> {
        let mut core = self.lock();
        let seat = core.seats.entry(ticket).or_default();
        let Some(verdict) = seat.verdict.take() else {
            seat.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        core.seats.remove(&ticket);
        Poll::Ready(verdict)
    }

    /// Somebody does not wait any longer.
    pub(crate) fn leave(&self, now: Time, waiting: Waiting) {
        let mut core = self.lock();
        let Core { gate, rng, seats } = &mut *core;
        let seat = if let Waiting::Turn(ticket) = &waiting { seats.remove(ticket) } else { None };
        match seat.and_then(|seat| seat.verdict) {
            Some(Ok(permit)) => gate.on_ended(now, rng, Hold::Place(permit), Ending::NotCalled, true),
            Some(Err(_)) => {}
            None => gate.on_left(now, rng, waiting),
        }
        self.after(now, core);
    }

    /// Somebody who had passed is through.
    pub(crate) fn end(&self, now: Time, hold: Hold, ending: Ending, in_time: bool) {
        let mut core = self.lock();
        let Core { gate, rng, .. } = &mut *core;
        gate.on_ended(now, rng, hold, ending, in_time);
        self.after(now, core);
    }

    /// Runs the gate's timers; returns when the next is due.
    pub(crate) fn on_timer(&self, now: Time) -> Option<Time> {
        let mut core = self.lock();
        core.gate.on_timer(now);
        let next = core.gate.next_deadline();
        self.timer_at.store(next.map_or(NEVER, Time::as_nanos), Ordering::Relaxed);
        self.after(now, core);
        next
    }

    /// Returns when the deadline moved.
    pub(crate) async fn rearmed(&self) {
        self.rearm.notified().await;
    }

    /// Forgets what it has learnt about the service.
    pub(crate) fn reset(&self) {
        self.lock().gate.reset();
    }

    /// How it stands, if it is a limit of concurrency.
    pub(crate) fn view(&self) -> Option<GateView> {
        let core = self.lock();
        let admission = core.gate.admission()?;
        let limit = admission.limit();
        Some(GateView { waiting: admission.waiting(), in_flight: limit.in_flight(), limit: limit.limit() })
    }

    /// How a quota stands, in the words of its field.
    pub(crate) fn quota_field(&self, quote: Quote) -> Option<HeaderValue> {
        crate::quota::state_field(&self.short, quote)
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // As for the edges: one request that crashed under the lock is no reason for the others to crash too.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands decisions to those they are about, and wakes them when the lock is free.
    fn after(&self, now: Time, mut core: MutexGuard<'_, Core>) {
        let mut wakers = Vec::new();
        let Core { gate, rng, seats } = &mut *core;
        while let Some(decided) = gate.take_decision() {
            match (seats.get_mut(&decided.ticket), decided.verdict) {
                (Some(seat), verdict) => {
                    seat.verdict = Some(verdict);
                    wakers.extend(seat.waker.take());
                }
                (None, Ok(permit)) => {
                    debug_assert!(false, "a ticket without a seat was let go");
                    gate.on_ended(now, rng, Hold::Place(permit), Ending::NotCalled, true);
                }
                (None, Err(_)) => {}
            }
        }
        let change = gate.take_change();
        let next = gate.next_deadline().map_or(NEVER, Time::as_nanos);
        drop(core);
        if let Some(change) = change {
            self.tell(change);
        }
        if next < self.timer_at.load(Ordering::Relaxed) {
            self.timer_at.store(next, Ordering::Relaxed);
            self.rearm.notify_one();
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn tell(&self, change: SheddingChange) {
        let Told { bus, service, edge } = self.told.clone();
        let gate = self.name.clone();
        bus.emit(match change {
            SheddingChange::Began(reason) => {
                EventKind::SheddingBegan { gate, edge, service, reason: reason.as_str().to_owned() }
            }
            SheddingChange::Ended { refused } => EventKind::SheddingEnded { gate, edge, service, refused },
        });
    }
}

/// The part of an address that one client cannot choose: all of an IPv4 address, the first 64 bits of an IPv6 one.
fn network(peer: IpAddr) -> u64 {
    match peer.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_is_one_network() {
        let same = |left: &str, right: &str| {
            network(left.parse().expect("an address")) == network(right.parse().expect("an address"))
        };
        for (left, right, expected) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            assert_eq!(same(left, right), expected, "{left} {right}");
        }
    }
}
