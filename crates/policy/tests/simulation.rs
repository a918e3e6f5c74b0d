//! The real pool, calls and health checks against three modelled servers, in virtual time: what clients notice of a fault.
//!
//! Clients send at fixed times and never wait for each other (open loop), because waiting clients would hide an outage.
//! Every run is determined by its seed, which each message prints.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::{
    AttemptKind, Call, CallConfig, Cause, Class, Event, Proof, Pushback, Safety, Step,
};
use seaworthy_policy::health::{Change, Health, HealthConfig, ProbeFailure, ProbeResult};
use seaworthy_policy::pool::{EndpointKey, Pool, PoolConfig, PoolEvent};
use seaworthy_policy::rng::Rng;
use seaworthy_policy::time::Time;

const SEEDS: [u64; 4] = [1, 2, 3, 4];
const SERVERS: usize = 3;
/// How long a request is on its way, there and back.
const NETWORK: Duration = Duration::from_micros(200);
/// Servers are ready half a second after their start.
const LOAD_FROM: Time = Time::from_millis(700);

/// What is done to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The process dies: what is in flight is reset, connections are refused.
    Kill,
    /// Nothing answers any more, and nothing says so.
    Hang,
    /// Requests get no answer; probes pass.
    Mute,
    /// Requests take a second longer; probes do not.
    Slow,
    /// Requests get this answer at once; probes pass.
    Answer(Class),
}

#[derive(Debug, Clone, Copy)]
struct Scenario {
    fault: Fault,
    /// Servers that the fault hits, from the first one.
    hit: usize,
    /// Until then everybody is well, so that the pool knows what is usual.
    begins: Time,
    lasts: Duration,
    /// The load ends so long after the fault began.
    watch: Duration,
    requests_per_second: u64,
    mean_service: Duration,
    /// Of ten requests: writes with a key, and writes without; the rest are reads.
    writes: (u64, u64),
}

impl Scenario {
    fn ends(&self) -> Time {
        self.begins.after(self.lasts)
    }

    fn load_ends(&self) -> Time {
        self.begins.after(self.watch)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival,
    Arrived { call: usize, attempt: u8 },
    Answered { call: usize, attempt: u8 },
    CallTimer { call: usize },
    PoolTimer,
    Probe { server: usize },
    ProbeEnded { server: usize, passed: bool },
    FaultBegins,
    FaultEnds,
}

struct Server {
    key: EndpointKey,
    fault: Fault,
    health: Health,
    probe_at: Option<Time>,
    /// What waits for it to go on, while it hangs.
    held: Vec<(usize, u8)>,
}

struct Attempt {
    server: usize,
    at: Time,
    kind: AttemptKind,
    sent: bool,
    open: bool,
    class: Class,
}

struct Client {
    call: Call,
    safety: Safety,
    intended: Time,
    attempts: Vec<Attempt>,
    executions: u32,
    /// When the answer came, and which; `Err` when there was none.
    ended: Option<(Time, Result<Class, bool>)>,
    timer_at: Option<Time>,
}

struct Simulation {
    scenario: Scenario,
    seed: u64,
    now: Time,
    /// Policy's randomness, and the world's.
    rng: Rng,
    nature: Rng,
    pool: Pool,
    pool_timer_at: Option<Time>,
    config: Arc<CallConfig>,
    servers: Vec<Server>,
    clients: Vec<Client>,
    heap: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    scheduled: u64,
}

impl Simulation {
    fn run(scenario: Scenario, seed: u64) -> Self {
        let mut nature = Rng::seeded(seed);
        let mut simulation = Self {
            scenario,
            seed,
            now: Time::ZERO,
            rng: nature.fork(),
            nature,
            pool: Pool::new(PoolConfig::default()),
            pool_timer_at: None,
            config: Arc::new(CallConfig::default()),
            servers: Vec::new(),
            clients: Vec::new(),
            heap: BinaryHeap::new(),
            scheduled: 0,
        };
        for zone in 0..SERVERS {
            let key = simulation.pool.on_added(Time::ZERO, zone as u16);
            let health = Health::new(HealthConfig::default(), Time::ZERO);
            let server = Server { key, fault: Fault::None, health, probe_at: None, held: Vec::new() };
            simulation.servers.push(server);
            simulation.plan_probe(zone);
        }
        simulation.schedule(scenario.begins, Happening::FaultBegins);
        simulation.schedule(scenario.ends(), Happening::FaultEnds);
        simulation.schedule(LOAD_FROM, Happening::Arrival);
        while let Some(Reverse((at, _, happening))) = simulation.heap.pop() {
            simulation.now = at;
            simulation.happen(happening);
            if simulation.is_over() {
                break;
            }
        }
        simulation
    }

    fn is_over(&self) -> bool {
        self.now > self.scenario.load_ends() && self.clients.iter().all(|client| client.ended.is_some())
    }

    fn schedule(&mut self, at: Time, happening: Happening) {
        self.scheduled += 1;
        self.heap.push(Reverse((at.max(self.now), self.scheduled, happening)));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival => self.arrive(),
            Happening::Arrived { call, attempt } => self.reach_server(call, attempt),
            Happening::Answered { call, attempt } => {
                let class = self.clients[call].attempts[usize::from(attempt)].class;
                self.end(
                    call,
                    attempt,
                    Event::Head { attempt, class, retry_after: None, pushback: Pushback::None },
                );
            }
            Happening::CallTimer { call } => {
                if self.clients[call].timer_at.take_if(|at| *at <= self.now).is_some() {
                    self.tell(call, Event::Timer);
                }
            }
            Happening::PoolTimer => {
                self.pool_timer_at = None;
                self.pool.on_timer(self.now);
                self.after_pool();
            }
            Happening::Probe { server } => self.probe(server),
            Happening::ProbeEnded { server, passed } => {
                let reason = ProbeFailure::Timeout;
                let refused = self.servers[server].fault == Fault::Kill;
                let result = match passed {
                    true => ProbeResult::Pass,
                    false if refused => ProbeResult::Refused,
                    false => ProbeResult::Fail { reason },
                };
                self.judge(server, result);
            }
            Happening::FaultBegins => self.set_fault(self.scenario.fault),
            Happening::FaultEnds => self.set_fault(Fault::None),
        }
    }

    fn arrive(&mut self) {
        let interval = Duration::from_secs(1) / self.scenario.requests_per_second as u32;
        if self.now < self.scenario.load_ends() {
            self.schedule(self.now.after(interval), Happening::Arrival);
        }
        let (keyed, unkeyed) = self.scenario.writes;
        let safety = match self.nature.below(10) {
            draw if draw < keyed => Safety::Keyed,
            draw if draw < keyed + unkeyed => Safety::Unsafe,
            _ => Safety::Safe,
        };
        let deadline = self.now.after(self.config.total_timeout);
        self.clients.push(Client {
            call: Call::new(self.config.clone(), 0, safety, true, deadline),
            safety,
            intended: self.now,
            attempts: Vec::new(),
            executions: 0,
            ended: None,
            timer_at: None,
        });
        self.tell(self.clients.len() - 1, Event::Start);
    }

    fn tell(&mut self, call: usize, event: Event) {
        let mut steps = Vec::new();
        let (now, rng, pool) = (self.now, &mut self.rng, &mut self.pool);
        self.clients[call].call.on(now, rng, pool, event, &mut steps);
        for step in steps {
            self.step(call, step);
        }
        let next = self.clients[call].call.next_deadline();
        assert!(next.is_none_or(|at| at > self.now), "seed {}: a timer spins", self.seed);
        if next != self.clients[call].timer_at {
            self.clients[call].timer_at = next;
            if let Some(at) = next {
                self.schedule(at, Happening::CallTimer { call });
            }
        }
        self.after_pool();
    }

    fn step(&mut self, call: usize, step: Step) {
        match step {
            Step::Attempt { attempt, endpoint, kind } => {
                let server =
                    self.servers.iter().position(|server| server.key == endpoint).expect("it exists");
                let (at, class) = (self.now, Class::Answered);
                self.clients[call].attempts.push(Attempt {
                    server,
                    at,
                    kind,
                    sent: false,
                    open: true,
                    class,
                });
                self.schedule(self.now.after(NETWORK / 2), Happening::Arrived { call, attempt });
            }
            Step::Cancel { attempt } => self.clients[call].attempts[usize::from(attempt)].open = false,
            Step::Commit { attempt } => {
                let class = self.clients[call].attempts[usize::from(attempt)].class;
                self.clients[call].ended = Some((self.now, Ok(class)));
                let mut steps = Vec::new();
                let client = &mut self.clients[call];
                client.call.on(self.now, &mut self.rng, &mut self.pool, Event::BodyEnded, &mut steps);
                assert!(steps.is_empty(), "seed {}: {steps:?}", self.seed);
            }
            Step::Fail(failure) => {
                self.clients[call].ended = Some((self.now, Err(failure.outcome_unknown)));
            }
        }
    }

    /// The request is at the server's door.
    fn reach_server(&mut self, call: usize, attempt: u8) {
        let id = usize::from(attempt);
        if !self.clients[call].attempts[id].open {
            return;
        }
        let server = self.clients[call].attempts[id].server;
        match self.servers[server].fault {
            Fault::Kill => {
                let event = Event::Failed { attempt, proof: Proof::Refused, cause: Cause::Connect };
                return self.end(call, attempt, event);
            }
            Fault::Hang | Fault::Mute => {
                self.clients[call].attempts[id].sent = true;
                return self.servers[server].held.push((call, attempt));
            }
            Fault::Answer(class) => self.clients[call].attempts[id].class = class,
            Fault::None | Fault::Slow => {}
        }
        self.serve(call, attempt);
    }

    fn serve(&mut self, call: usize, attempt: u8) {
        let mean = self.scenario.mean_service;
        let server = self.clients[call].attempts[usize::from(attempt)].server;
        let fault = self.servers[server].fault;
        self.clients[call].attempts[usize::from(attempt)].sent = true;
        let work = if let Fault::Answer(_) = fault {
            Duration::from_micros(300)
        } else {
            self.clients[call].executions += 1;
            self.nature.jitter(mean, 0.5)
        };
        let extra = if fault == Fault::Slow { Duration::from_secs(1) } else { Duration::ZERO };
        self.schedule(self.now.after(work + extra + NETWORK / 2), Happening::Answered { call, attempt });
    }

    fn end(&mut self, call: usize, attempt: u8, event: Event) {
        if std::mem::take(&mut self.clients[call].attempts[usize::from(attempt)].open) {
            self.tell(call, event);
        }
    }

    fn set_fault(&mut self, fault: Fault) {
        for server in 0..self.scenario.hit {
            self.servers[server].fault = fault;
            for (call, attempt) in std::mem::take(&mut self.servers[server].held) {
                if self.clients[call].attempts[usize::from(attempt)].open {
                    self.serve(call, attempt);
                }
            }
            if fault == Fault::Kill {
                self.reset_connections(server);
            }
        }
    }

    fn reset_connections(&mut self, server: usize) {
        for call in 0..self.clients.len() {
            for id in 0..self.clients[call].attempts.len() {
                let attempt = &self.clients[call].attempts[id];
                if attempt.open && attempt.sent && attempt.server == server {
                    let attempt = id as u8;
                    let event = Event::Failed { attempt, proof: Proof::BodySent, cause: Cause::Reset };
                    self.end(call, attempt, event);
                }
            }
        }
    }

    /// What a shell does after every event.
    fn after_pool(&mut self) {
        for event in self.pool.take_events() {
            match event {
                PoolEvent::Available => self.wake_parked(),
                PoolEvent::Suspect(key, _) => {
                    let server = self.servers.iter().position(|server| server.key == key).expect("it exists");
                    self.servers[server].health.on_suspicion(self.now);
                    self.plan_probe(server);
                }
                _ => {}
            }
        }
        let next = self.pool.next_deadline();
        if next.is_some_and(|at| self.pool_timer_at.is_none_or(|planned| at < planned)) {
            self.pool_timer_at = next;
            self.schedule(next.expect("just looked"), Happening::PoolTimer);
        }
    }

    fn wake_parked(&mut self) {
        let parked = |call: &usize| self.clients[*call].call.is_parked();
        for call in (0..self.clients.len()).filter(parked).collect::<Vec<_>>() {
            self.clients[call].timer_at = Some(self.now);
            self.schedule(self.now, Happening::CallTimer { call });
        }
    }

    fn plan_probe(&mut self, server: usize) {
        let at = self.servers[server].health.next_probe_at(&mut self.nature);
        self.servers[server].probe_at = at;
        if let Some(at) = at {
            self.schedule(at, Happening::Probe { server });
        }
    }

    fn probe(&mut self, server: usize) {
        if self.servers[server].probe_at.take_if(|at| *at <= self.now).is_none() {
            return;
        }
        let (passed, takes) = match self.servers[server].fault {
            Fault::Kill => (false, NETWORK),
            Fault::Hang => (false, HealthConfig::default().timeout),
            Fault::None | Fault::Mute | Fault::Slow | Fault::Answer(_) => (true, NETWORK),
        };
        self.schedule(self.now.after(takes), Happening::ProbeEnded { server, passed });
    }

    fn judge(&mut self, server: usize, result: ProbeResult) {
        let key = self.servers[server].key;
        match self.servers[server].health.on_result(self.now, result) {
            Some(Change::Up) => self.pool.on_health(self.now, key, true, ""),
            Some(Change::Down(_)) => self.pool.on_health(self.now, key, false, "probes failed"),
            None => {}
        }
        self.plan_probe(server);
        self.after_pool();
    }
}

/// What clients noticed from the beginning of the fault on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Noticed {
    requests: usize,
    /// Safe or keyed ones that got no good answer.
    failed_resendable: usize,
    failed_unsafe: usize,
    p99_ms: u128,
    /// The slowest safe or keyed one.
    max_ms: u128,
    attempts: usize,
    /// Attempts at the servers that the fault hits, from one second after it began, that were neither hedges nor hedged.
    stray: usize,
    /// How many of the servers that the fault hit serve again at the end.
    back: usize,
}

impl Simulation {
    fn noticed(&self) -> Noticed {
        let after = |client: &&Client| client.ended.is_none_or(|(at, _)| at >= self.scenario.begins);
        let mut noticed = Noticed::default();
        let mut latencies = Vec::new();
        for client in self.clients.iter().filter(after) {
            let (at, outcome) = client.ended.expect("everybody hears something");
            let took = at.saturating_since(client.intended).as_millis();
            let good = outcome.is_ok_and(|class| class == Class::Answered);
            noticed.requests += 1;
            noticed.attempts += client.attempts.len();
            latencies.push(took);
            if client.safety == Safety::Unsafe {
                noticed.failed_unsafe += usize::from(!good);
            } else {
                noticed.failed_resendable += usize::from(!good);
                noticed.max_ms = noticed.max_ms.max(took);
            }
            noticed.stray += self.strays(client);
            self.check_honesty(client, outcome);
        }
        let at_work = |server: &&Server| {
            let state = self
                .pool
                .view(self.now)
                .iter()
                .find(|view| view.endpoint == server.key)
                .map(|view| view.state);
            state == Some("available")
        };
        noticed.back = self.servers[..self.scenario.hit].iter().filter(at_work).count();
        latencies.sort_unstable();
        noticed.p99_ms = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(0);
        noticed
    }

    fn strays(&self, client: &Client) -> usize {
        let from = self.scenario.begins.after(Duration::from_secs(1));
        let until = self.scenario.ends();
        let hedged = client.attempts.iter().any(|attempt| attempt.kind == AttemptKind::Hedge);
        let at_bad = |attempt: &&Attempt| {
            attempt.server < self.scenario.hit && attempt.at >= from && attempt.at < until && !hedged
        };
        client.attempts.iter().filter(at_bad).count()
    }

    /// Nothing without a key is executed twice, and "surely not executed" is true.
    fn check_honesty(&self, client: &Client, outcome: Result<Class, bool>) {
        if client.safety == Safety::Unsafe {
            assert!(client.executions <= 1, "seed {}: executed twice", self.seed);
            if outcome == Err(false) {
                assert_eq!(client.executions, 0, "seed {}: it was executed", self.seed);
            }
        }
    }
}

/// Runs a scenario with every seed.
fn check(name: &str, scenario: Scenario, promise: impl Fn(&Noticed) -> bool) {
    for seed in SEEDS {
        let noticed = Simulation::run(scenario, seed).noticed();
        assert!(promise(&noticed), "{name}, seed {seed}: {noticed:?}");
    }
}

const BUSY: Scenario = Scenario {
    fault: Fault::None,
    hit: 1,
    begins: Time::from_millis(2_000),
    lasts: Duration::from_secs(4),
    watch: Duration::from_secs(5),
    requests_per_second: 500,
    mean_service: Duration::from_millis(5),
    writes: (2, 1),
};
/// Longer than an ejection. Hedges are a share of the requests, so the first takes some of them.
const QUIET: Scenario = Scenario {
    requests_per_second: 20,
    begins: Time::from_millis(6_000),
    lasts: Duration::from_mins(1),
    watch: Duration::from_secs(61),
    ..BUSY
};
const LABORIOUS: Scenario = Scenario { mean_service: Duration::from_millis(40), ..BUSY };
const LOADS: [(&str, Scenario); 3] = [("busy", BUSY), ("quiet", QUIET), ("laborious", LABORIOUS)];

#[test]
fn a_killed_server_is_not_noticed() {
    for (name, base) in LOADS {
        let scenario = Scenario { fault: Fault::Kill, ..base };
        check(name, scenario, |noticed| noticed.failed_resendable == 0 && noticed.max_ms <= 250);
    }
}

#[test]
fn a_hung_server_costs_nobody_a_second() {
    for fault in [Fault::Hang, Fault::Mute] {
        for (name, base) in LOADS {
            // At 20 requests per second it takes more than one second to collect three that are not answered.
            let strays_allowed = if name == "quiet" { 2 } else { 0 };
            check(name, Scenario { fault, ..base }, |noticed| {
                noticed.failed_resendable == 0 && noticed.max_ms <= 1_000 && noticed.stray <= strays_allowed
            });
        }
    }
}

#[test]
fn errors_of_one_server_are_not_noticed() {
    for class in [Class::Error, Class::BadGateway, Class::Unavailable] {
        for (name, base) in [("busy", BUSY), ("quiet", QUIET)] {
            let scenario = Scenario { fault: Fault::Answer(class), ..base };
            check(name, scenario, |noticed| noticed.failed_resendable == 0 && noticed.max_ms <= 250);
        }
    }
}

#[test]
fn a_slow_server_is_hardly_noticed() {
    for (name, base) in LOADS {
        let scenario = Scenario { fault: Fault::Slow, ..base };
        check(name, scenario, |noticed| noticed.failed_resendable == 0 && noticed.p99_ms <= 300);
    }
}

#[test]
fn when_all_are_gone_for_two_seconds_clients_wait() {
    for (name, base) in [("busy", BUSY), ("laborious", LABORIOUS)] {
        let lasts = Duration::from_secs(2);
        let scenario = Scenario { fault: Fault::Kill, hit: SERVERS, lasts, ..base };
        // Probes of a dead process find it again after 2 s at the latest, and want two answers.
        check(name, scenario, |noticed| noticed.failed_resendable == 0 && noticed.max_ms <= 5_000);
    }
}

#[test]
fn a_pause_of_everybody_that_is_shorter_than_the_attempt_timeout_fails_nobody() {
    for fault in [Fault::Hang, Fault::Mute] {
        let scenario = Scenario { fault, hit: SERVERS, requests_per_second: 200, ..BUSY };
        check("all pause", scenario, |noticed| noticed.failed_resendable == 0 && noticed.max_ms <= 7_000);
    }
}

#[test]
fn when_everything_fails_retries_stay_within_the_budget() {
    for class in [Class::Unavailable, Class::BadGateway, Class::Error] {
        let scenario = Scenario { fault: Fault::Answer(class), hit: SERVERS, watch: BUSY.lasts, ..BUSY };
        // The burst, a tenth of what succeeded before, and a token per second.
        let before = scenario.begins.saturating_since(LOAD_FROM).as_millis() as usize;
        let stored = 10 + before * scenario.requests_per_second as usize / 1_000 / 10 + 6;
        check("all fail", scenario, |noticed| noticed.attempts <= noticed.requests + stored);
    }
}

#[test]
fn whoever_is_well_again_serves_again() {
    for writes in [(2, 1), (0, 10)] {
        for fault in [Fault::Kill, Fault::Hang, Fault::Mute, Fault::Slow, Fault::Answer(Class::Error)] {
            for hit in [1, SERVERS] {
                let lasts = Duration::from_secs(10);
                let scenario = Scenario { fault, hit, lasts, writes, requests_per_second: 5, ..QUIET };
                let name = format!("{fault:?} of {hit}, writes {writes:?}");
                check(&name, scenario, |noticed| noticed.back == hit);
            }
        }
    }
}
