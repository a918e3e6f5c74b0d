//! Calls and a pool under random events: whatever happens, nothing is executed twice that must not be, nothing leaks, and
//! every bound holds. The model is the list of what was sent.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use seaworthy_policy::call::{
    AttemptKind, Call, CallConfig, Cause, Class, Event, MAX_ATTEMPTS, Proof, Pushback, Safety, Step, Trace,
};
use seaworthy_policy::pool::{EndpointKey, Guard, Pool, PoolConfig, PoolEvent};
use seaworthy_policy::rng::Rng;
use seaworthy_policy::time::Time;
use seaworthy_policy::{BreakerConfig, BudgetConfig};

#[derive(Debug, Clone, Copy)]
enum Action {
    Start(Safety, bool),
    Head(usize, Class, Pushback),
    Fail(usize, Proof, Cause),
    /// Time goes on to whatever is due next.
    Next,
    End(usize, bool),
    Drop(usize),
    Wait(u64),
    Health(usize, bool),
    Replace(usize),
    Lose(usize),
    Reset,
}

fn action() -> impl Strategy<Value = Action> {
    let safety = prop_oneof![Just(Safety::Safe), Just(Safety::Keyed), Just(Safety::Unsafe)];
    let class = prop_oneof![
        4 => Just(Class::Answered),
        1 => Just(Class::Degraded),
        1 => Just(Class::Throttled),
        2 => Just(Class::Error),
        1 => Just(Class::BadGateway),
        1 => Just(Class::Unavailable),
    ];
    let pushback = prop_oneof![
        8 => Just(Pushback::None),
        1 => Just(Pushback::Never),
        1 => (0..20_000_u64).prop_map(|millis| Pushback::Wait(Duration::from_millis(millis))),
    ];
    let proof =
        prop_oneof![Just(Proof::NotSent), Just(Proof::Refused), Just(Proof::HeadSent), Just(Proof::BodySent)];
    let cause = prop_oneof![
        Just(Cause::Connect),
        Just(Cause::ConnectTimeout),
        Just(Cause::Reset),
        Just(Cause::Protocol)
    ];
    prop_oneof![
        6 => (safety, any::<bool>()).prop_map(|(safety, replayable)| Action::Start(safety, replayable)),
        6 => (any::<usize>(), class, pushback).prop_map(|(call, class, pushback)| Action::Head(call, class, pushback)),
        4 => (any::<usize>(), proof, cause).prop_map(|(call, proof, cause)| Action::Fail(call, proof, cause)),
        8 => Just(Action::Next),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(call, broken)| Action::End(call, broken)),
        1 => any::<usize>().prop_map(Action::Drop),
        4 => (0..300_u64).prop_map(Action::Wait),
        1 => (0..3_000_u64).prop_map(Action::Wait),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(endpoint, ready)| Action::Health(endpoint, ready)),
        1 => any::<usize>().prop_map(Action::Replace),
        1 => any::<usize>().prop_map(Action::Lose),
        1 => Just(Action::Reset),
    ]
}

/// What the world outside knows of one call.
#[expect(clippy::struct_excessive_bools, reason = "a record of facts, each independent")]
struct Client {
    call: Call,
    safety: Safety,
    replayable: bool,
    /// Attempts under way.
    open: Vec<u8>,
    /// Attempts that may have been executed.
    maybe_executed: usize,
    /// Hedges that may have, at most.
    hedges_max: u8,
    /// A server said that it must not be sent again.
    stopped: bool,
    committed: bool,
    over: bool,
}

struct World {
    pool: Pool,
    rng: Rng,
    now: Time,
    clients: Vec<Client>,
    endpoints: Vec<EndpointKey>,
    extra_attempts: u64,
    free_attempts: u64,
    resets: u64,
}

impl World {
    fn act(&mut self, index: usize, event: Event) {
        let mut steps = Vec::new();
        let client = &mut self.clients[index];
        client.call.on(self.now, &mut self.rng, &mut self.pool, event, &mut steps);
        for step in steps {
            match step {
                Step::Attempt { attempt, kind, .. } => {
                    assert!(!client.over && !client.committed, "nothing is sent after the end");
                    assert!(!client.stopped, "nothing is sent once a server said not to");
                    let twice = kind != AttemptKind::First && client.maybe_executed > 0;
                    assert!(
                        !twice || (client.safety != Safety::Unsafe && client.replayable),
                        "a request that may have been executed was sent again"
                    );
                    self.extra_attempts += u64::from(kind != AttemptKind::First);
                    client.open.push(attempt);
                }
                Step::Cancel { attempt } => {
                    assert!(client.open.contains(&attempt), "only what is open is cancelled");
                    client.open.retain(|open| *open != attempt);
                    client.maybe_executed += 1;
                }
                Step::Commit { attempt } => {
                    assert_eq!(client.open, [attempt], "all others were cancelled before");
                    client.committed = true;
                }
                Step::Fail(failure) => {
                    assert!(client.open.is_empty(), "all attempts were cancelled before");
                    if failure.outcome_unknown {
                        assert!(client.maybe_executed > 0 && client.safety != Safety::Safe);
                    }
                    client.over = true;
                }
            }
        }
        assert!(client.call.trail().len() <= usize::from(MAX_ATTEMPTS));
        let hedge = |trace: &&Trace| trace.kind == AttemptKind::Hedge && !trace.is_proven_unexecuted();
        let hedges = client.call.trail().iter().filter(hedge).count();
        assert!(hedges <= usize::from(client.hedges_max), "{hedges} hedges");
        let waits = client.call.is_parked() || client.call.next_deadline().is_some();
        assert!(client.over || client.committed || waits, "a live call always has something to wait for");
    }

    fn waiting(&self, choice: usize) -> Option<(usize, u8)> {
        let waiting = |client: &Client| !client.committed && !client.open.is_empty();
        let found: Vec<usize> =
            (0..self.clients.len()).filter(|index| waiting(&self.clients[*index])).collect();
        let index = *found.get(choice % found.len().max(1))?;
        let open = &self.clients[index].open;
        Some((index, open[choice % open.len()]))
    }

    fn apply(&mut self, action: Action, config: &Arc<CallConfig>) {
        match action {
            Action::Start(safety, replayable) => self.start(safety, replayable, config),
            Action::Head(choice, class, pushback) => {
                if let Some((index, attempt)) = self.waiting(choice) {
                    self.clients[index].maybe_executed += 1;
                    let retry_after = (class == Class::Throttled).then_some(Duration::from_millis(100));
                    self.clients[index].stopped |= pushback == Pushback::Never;
                    self.act(index, Event::Head { attempt, class, retry_after, pushback });
                }
            }
            Action::Fail(choice, proof, cause) => {
                if let Some((index, attempt)) = self.waiting(choice) {
                    let proven = matches!(proof, Proof::NotSent | Proof::Refused);
                    self.clients[index].maybe_executed += usize::from(!proven);
                    self.free_attempts += u64::from(proven);
                    self.clients[index].open.retain(|open| *open != attempt);
                    self.act(index, Event::Failed { attempt, proof, cause });
                }
            }
            Action::Next => self.advance_to_next(),
            Action::End(choice, broken) => {
                let done = |client: &Client| client.committed && !client.over;
                let found: Vec<usize> =
                    (0..self.clients.len()).filter(|index| done(&self.clients[*index])).collect();
                if let Some(index) = found.get(choice % found.len().max(1)) {
                    self.act(*index, if broken { Event::BodyFailed } else { Event::BodyEnded });
                    self.clients[*index].over = true;
                }
            }
            Action::Drop(choice) => {
                let live: Vec<usize> =
                    (0..self.clients.len()).filter(|index| !self.clients[*index].over).collect();
                if let Some(index) = live.get(choice % live.len().max(1)) {
                    self.clients[*index].over = true;
                    let mut steps = Vec::new();
                    self.clients[*index].call.on(
                        self.now,
                        &mut self.rng,
                        &mut self.pool,
                        Event::Dropped,
                        &mut steps,
                    );
                }
            }
            Action::Wait(ms) => {
                self.now = self.now.after(Duration::from_millis(ms));
                self.run_timers();
            }
            Action::Health(choice, ready) => {
                if let Some(key) = self.endpoints.get(choice % self.endpoints.len().max(1)) {
                    self.pool.on_health(self.now, *key, ready, "test");
                }
            }
            Action::Replace(choice) => {
                self.lose(choice);
                self.add();
            }
            Action::Lose(choice) => self.lose(choice),
            Action::Reset => {
                self.resets += 1;
                self.pool.reset(self.now);
            }
        }
        self.pool.check_invariants();
        self.wake();
    }

    fn start(&mut self, safety: Safety, replayable: bool, config: &Arc<CallConfig>) {
        let deadline = self.now.after(config.total_timeout);
        let call = Call::new(config.clone(), 0, safety, replayable, deadline);
        let (open, maybe_executed) = (Vec::new(), 0);
        let client = Client {
            call,
            safety,
            replayable,
            open,
            maybe_executed,
            hedges_max: config.max_hedged_attempts,
            stopped: false,
            committed: false,
            over: false,
        };
        self.clients.push(client);
        self.act(self.clients.len() - 1, Event::Start);
    }

    fn add(&mut self) {
        let key = self.pool.on_added(self.now, self.endpoints.len() as u16);
        self.pool.on_health(self.now, key, true, "");
        self.endpoints.push(key);
    }

    fn lose(&mut self, choice: usize) {
        if !self.endpoints.is_empty() {
            let key = self.endpoints.remove(choice % self.endpoints.len());
            self.pool.on_removed(self.now, key, "exited");
        }
    }

    /// What a shell does with the pool's events.
    fn wake(&mut self) {
        while self.pool.has_events() {
            let woken = self.pool.take_events().contains(&PoolEvent::Available);
            let parked = |index: &usize| woken && self.clients[*index].call.is_parked();
            for index in (0..self.clients.len()).filter(parked).collect::<Vec<_>>() {
                self.act(index, Event::Timer);
            }
        }
    }

    fn advance_to_next(&mut self) {
        let calls = self.clients.iter().filter_map(|client| client.call.next_deadline());
        if let Some(next) = calls.chain(self.pool.next_deadline()).min() {
            self.now = self.now.max(next);
            self.run_timers();
        }
    }

    fn run_timers(&mut self) {
        self.pool.on_timer(self.now);
        assert!(self.pool.next_deadline().is_none_or(|at| at > self.now), "the pool's timer would spin");
        self.wake();
        for index in 0..self.clients.len() {
            if self.clients[index].call.next_deadline().is_some_and(|at| at <= self.now) {
                self.act(index, Event::Timer);
                let next = self.clients[index].call.next_deadline();
                assert!(
                    next.is_none_or(|at| at > self.now),
                    "a call's timer would spin: {next:?} at {:?}",
                    self.now
                );
            }
        }
        self.wake();
    }

    /// Nothing answers any more. Every call must still end by its deadline, and leave nothing behind.
    fn wind_down(&mut self) {
        let limit = self.now.after(CallConfig::default().total_timeout);
        while self.clients.iter().any(|client| client.call.next_deadline().is_some()) {
            self.advance_to_next();
        }
        assert!(self.now <= limit, "a call outlived its deadline");
        for index in 0..self.clients.len() {
            if !self.clients[index].over {
                assert!(self.clients[index].committed, "a call neither ended nor committed");
                self.act(index, Event::BodyEnded);
            }
        }
        assert!(self.pool.view(self.now).iter().all(|view| view.in_flight == 0), "permits leaked");
        assert_eq!(self.pool.parked(), 0, "a place to park leaked");
        self.check_that_the_budget_is_whole();
    }

    /// As many retries as may run at once can run at once.
    fn check_that_the_budget_is_whole(&mut self) {
        self.pool.reset(self.now);
        while !self.endpoints.is_empty() {
            self.lose(0);
        }
        (0..3).for_each(|_| self.add());
        let config = Arc::new(CallConfig::default());
        for _ in 0..BURST {
            self.apply(Action::Start(Safety::Safe, true), &config);
            let index = self.clients.len() - 1;
            let attempt = self.clients[index].open.pop().expect("endpoints are ready");
            self.act(index, Event::Failed { attempt, proof: Proof::BodySent, cause: Cause::Reset });
            assert!(!self.clients[index].over, "a place of the budget leaked");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn calls_keep_their_promises(
        actions in prop::collection::vec(action(), 1..200),
        endpoints in 1_usize..5,
        breaker in any::<bool>(),
        warm in prop_oneof![Just(0), Just(120)],
        eager in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let guard = if breaker && endpoints == 1 {
            Guard::Breaker(BreakerConfig::default())
        } else {
            PoolConfig::default().guard
        };
        let budget = BudgetConfig {
            burst: BURST,
            floor_per_second: 0.0,
            max_concurrent: BURST,
            hedge_ratio: if eager { 1.0 } else { 0.02 },
            ..BudgetConfig::default()
        };
        let config = Arc::new(if eager { eager_hedges() } else { CallConfig::default() });
        prop_assert_eq!(config.validate(), Ok(()));
        let mut world = World {
            pool: Pool::new(PoolConfig { guard, budget, ..PoolConfig::default() }),
            rng: Rng::seeded(seed),
            now: Time::from_millis(1),
            clients: Vec::new(),
            endpoints: Vec::new(),
            extra_attempts: 0,
            free_attempts: 0,
            resets: 0,
        };
        (0..endpoints).for_each(|_| world.add());
        // Enough good answers that hedges and the stall rule are at work.
        for _ in 0..warm {
            world.apply(Action::Start(Safety::Safe, true), &config);
            world.apply(Action::Wait(20), &config);
            world.apply(Action::Head(0, Class::Answered, Pushback::None), &config);
            world.apply(Action::End(0, false), &config);
        }
        for action in actions {
            world.apply(action, &config);
        }
        // Without a floor, extra attempts beyond the burst must have been earned by successes or be free by proof.
        let stored = u64::from(BURST) * (1 + world.resets);
        let earned = world.clients.len() as u64 / 10 + 1;
        prop_assert!(world.extra_attempts <= stored + earned + world.free_attempts + MAX_READMISSION_HEDGES);
        world.wind_down();
    }
}

/// Many hedges, soon, for those that have the time.
fn eager_hedges() -> CallConfig {
    CallConfig {
        hedge_delay: Some(Duration::from_millis(5)),
        max_hedged_attempts: 3,
        max_attempts: 5,
        in_flight_cap: Some(10),
        min_remaining: Duration::from_millis(50),
        ..CallConfig::default()
    }
}

/// Tokens in store at the start, and extra attempts that may run at once.
const BURST: u32 = 5;
/// Re-admission requests are hedged without paying; at most one at a time and endpoint.
const MAX_READMISSION_HEDGES: u64 = 30;
