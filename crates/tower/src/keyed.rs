//! One circuit per key: per host, per shard, per tenant's database.
//!
//! **Problem.** One circuit for many destinations opens when one of them is down, or never, when it is one of many. A map of
//! circuits that grows with every name that anybody sends is a leak (Polly#1495, librefang#3668). **Model.** The registry
//! of [`seaworthy_policy::keyed`]: at most `max_keys` circuits; a key that was idle for `idle_ttl` begins anew; when there is
//! no room, only a circuit that a new one would equal is forgotten, and keys that find none share one circuit. So keys
//! should be destinations that you know: whoever can invent keys can fill the registry, and then shares with his like.
//!
//! A circuit may be forgotten while one of its calls is under way. Every circuit has a number, and the call's permit too; what
//! belongs to a forgotten one is not heard, so it can neither close nor open its successor.
//!
//! **Rejected:** a breaker that is made by a function per key and kept in a map (nobody bounds it, and nobody sees it).

use std::collections::VecDeque;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::sync::Arc;

use seaworthy_policy::breaker::{Permit, State};
use seaworthy_policy::keyed::{Forgettable, Keyed, KeyedConfig};
use seaworthy_policy::{Breaker, BreakerConfig, ConfigError, Rng, Time};

use crate::Rejection;
use crate::breaker::seed;
use crate::classify::FailOnError;
use crate::clock::Clock;
use crate::gate::{Changed, Gate, GateHandle, GateLayer, Gated};
use crate::outcome::Ended;

/// A circuit breaker with a circuit per key. One layer stands for one kind of backend; `F` knows the key of a request.
///
/// ```
/// use seaworthy_tower::{BreakerConfig, InnerLayer, KeyedBreakerLayer, KeyedConfig};
/// use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[derive(Clone)] struct Request { host: std::sync::Arc<str> }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = KeyedConfig { max_keys: 1_000, ..KeyedConfig::default() };
/// let breakers = KeyedBreakerLayer::new(BreakerConfig::default(), keys, |request: &Request| request.host.clone())?;
/// let circuits = breakers.handle();
/// let mut client = ServiceBuilder::new()
///     .layer(breakers)
///     .layer(InnerLayer)
///     .service(service_fn(|request: Request| async move { Ok::<_, std::io::Error>(request.host.len()) }));
///
/// assert_eq!(client.ready().await?.call(Request { host: "a.example".into() }).await?, 9);
/// assert_eq!(circuits.keys(), 1);
/// # Ok(())
/// # }
/// ```
pub type KeyedBreakerLayer<K, F, C = FailOnError> = GateLayer<KeyedBreakers<K>, C, F>;

/// A service behind a circuit per key.
pub type KeyedBreakerService<S, K, F, C = FailOnError> = Gated<S, KeyedBreakers<K>, C, F>;

/// What can be the key of a circuit: cheap to clone (a number, an `Arc<str>`, a `&'static str`), and readable in events.
pub trait CircuitKey: Hash + Eq + Clone + Display + Debug + Send + 'static {}

impl<K: Hash + Eq + Clone + Display + Debug + Send + 'static> CircuitKey for K {}

/// Changes kept until a call tells of them; older ones are dropped first.
pub const CHANGES_MAX: usize = 64;

/// A circuit, and which one it is of all that were ever made here.
#[derive(Clone, Debug)]
struct Circuit {
    breaker: Breaker,
    number: u64,
}

const _: () = assert!(size_of::<Circuit>() <= 256, "the bound on memory per key");

impl Forgettable for Circuit {
    fn is_forgettable(&self, now: Time) -> bool {
        self.breaker.is_forgettable(now)
    }
}

/// A circuit for each key.
#[derive(Clone, Debug)]
pub struct KeyedBreakers<K> {
    config: Arc<BreakerConfig>,
    circuits: Keyed<K, Circuit>,
    /// Circuits ever made.
    made: u64,
    /// Changes of state that nobody was told of: those of a call are told at once, those of a reset with the next call.
    changed: VecDeque<Changed>,
}

/// The right to make one call through the circuit of a key.
#[derive(Debug)]
pub struct KeyedPermit<K> {
    /// `None` for the circuit that is shared by keys without one of their own.
    key: Option<K>,
    number: u64,
    permit: Permit,
}

impl<K: CircuitKey> KeyedBreakers<K> {
    /// Bytes that one key takes at most with a window by time, what the registry keeps in reserve included; what the key
    /// itself refers to is extra.
    pub const BYTES_PER_KEY: usize = Keyed::<K, Circuit>::BYTES_PER_KEY;

    fn new(config: BreakerConfig, keys: KeyedConfig, now: Time) -> Self {
        let config = Arc::new(config);
        let shared = Circuit { breaker: Breaker::new(Arc::clone(&config), now), number: 0 };
        let circuits = Keyed::new(keys, &mut Rng::seeded(seed()), shared);
        KeyedBreakers { config, circuits, made: 0, changed: VecDeque::new() }
    }

    /// The state of a key's circuit; closed for a key that has none.
    pub fn state(&self, now: Time, key: &K) -> State {
        self.circuits.get(now, key).map_or(State::Closed, |circuit| circuit.breaker.state(now))
    }

    /// Closes a key's circuit and forgets what it saw.
    pub fn reset(&mut self, now: Time, key: &K) {
        if let Some(circuit) = self.circuits.get_mut(now, key) {
            circuit.breaker.reset(now);
            hear(&mut self.changed, &mut circuit.breaker, Some(key));
        }
    }

    /// Keys that have a circuit of their own.
    pub fn len(&self) -> usize {
        self.circuits.len()
    }

    /// Whether no key has.
    pub fn is_empty(&self) -> bool {
        self.circuits.is_empty()
    }

    /// How often a call had to use the shared circuit, because there was no room for one of its own.
    pub fn overflowed(&self) -> u64 {
        self.circuits.overflowed()
    }

    /// Panics when something contradicts itself. Walks over all keys.
    pub fn check_invariants(&mut self) {
        self.circuits.check_invariants();
        for circuit in self.circuits.states_mut() {
            circuit.breaker.check_invariants();
            assert!(circuit.number <= self.made, "a circuit that was never made");
        }
    }
}

impl<K: CircuitKey> Gate for KeyedBreakers<K> {
    type About = K;
    type Permit = KeyedPermit<K>;

    fn admit(&mut self, now: Time, rng: &mut Rng, key: K) -> Result<KeyedPermit<K>, Rejection> {
        self.circuits.on_timer(now);
        let KeyedBreakers { config, circuits, made, changed } = self;
        let entry = circuits.entry(now, &key, || {
            *made += 1;
            Circuit { breaker: Breaker::new(Arc::clone(config), now), number: *made }
        });
        let (circuit, key) = (entry.state, (!entry.shared).then_some(key));
        let admitted = Gate::admit(&mut circuit.breaker, now, rng, ());
        hear(changed, &mut circuit.breaker, key.as_ref());
        let number = circuit.number;
        admitted.map(|permit| KeyedPermit { key, number, permit })
    }

    fn complete(&mut self, now: Time, rng: &mut Rng, permit: KeyedPermit<K>, ended: Ended) {
        let KeyedPermit { key, number, permit } = permit;
        let circuit = match &key {
            Some(key) => self.circuits.get_mut(now, key),
            None => Some(self.circuits.overflow_mut()),
        };
        let Some(circuit) = circuit.filter(|circuit| circuit.number == number) else { return };
        circuit.breaker.complete(now, rng, permit, ended.into());
        hear(&mut self.changed, &mut circuit.breaker, key.as_ref());
    }

    fn take_transition(&mut self) -> Option<Box<Changed>> {
        self.changed.pop_front().map(Box::new)
    }
}

/// Takes down how a circuit has changed.
fn hear<K: Display>(changed: &mut VecDeque<Changed>, breaker: &mut Breaker, key: Option<&K>) {
    while let Some(transition) = breaker.take_transition() {
        if changed.len() == CHANGES_MAX {
            changed.pop_front();
        }
        changed.push_back(Changed { transition, key: key.map(K::to_string) });
    }
}

impl<K: CircuitKey, F> GateLayer<KeyedBreakers<K>, FailOnError, F> {
    /// A closed circuit for every key that comes; `key` is a function from the request to its key.
    pub fn new<Request>(config: BreakerConfig, keys: KeyedConfig, key: F) -> Result<Self, ConfigError>
    where
        F: Fn(&Request) -> K,
    {
        config.validate()?;
        keys.validate()?;
        let clock = Clock::starting_now();
        let gate = KeyedBreakers::new(config, keys, clock.now());
        Ok(GateLayer::around(gate, clock, seed()).about(key))
    }
}

impl<K: CircuitKey> GateHandle<KeyedBreakers<K>> {
    /// The state of a key's circuit; closed for a key that has none.
    pub fn state(&self, key: &K) -> State {
        self.with(|circuits, now| circuits.state(now, key))
    }

    /// Closes a key's circuit and forgets everything; calls under way no longer count.
    pub fn reset(&self, key: &K) {
        self.with(|circuits, now| circuits.reset(now, key));
    }

    /// Keys that have a circuit of their own.
    pub fn keys(&self) -> usize {
        self.with(|circuits, _| circuits.len())
    }
}
