//! Real pools and calls against modelled servers with a queue and a few workers each, in virtual time.
//!
//! Arrivals are a Poisson process (open loop), service times are exponential unless said otherwise, and every server serves
//! first come, first served with `workers` at a time. What a server is like can change once, at `change_at`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::{Call, CallConfig, Class, Event, Pushback, Safety, Step};
use seaworthy_policy::pool::{EjectReason, EndpointKey, Member, Pool, PoolConfig, PoolEvent};
use seaworthy_policy::rng::Rng;
use seaworthy_policy::time::Time;

/// What a server is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nature {
    /// This many times the mean service time.
    pub(crate) slowness: f64,
    /// This share of requests is answered with a 500.
    pub(crate) failures: f64,
    /// A 500 costs no time.
    pub(crate) fails_fast: bool,
}

/// Nothing is wrong with it.
pub(crate) const WELL: Nature = Nature { slowness: 1.0, failures: 0.0, fails_fast: true };

/// A fleet and its load.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    pub(crate) pool: PoolConfig,
    pub(crate) call: CallConfig,
    /// Each server before and after the change.
    pub(crate) servers: Vec<(Nature, Nature)>,
    pub(crate) workers: usize,
    pub(crate) mean_service: Duration,
    pub(crate) exponential: bool,
    pub(crate) requests_per_second: f64,
    pub(crate) safety: Safety,
    pub(crate) change_at: Duration,
    pub(crate) ends_at: Duration,
}

impl Fleet {
    /// `count` servers of 2 workers at 30 % load, 10 ms of service, of which those in `after` change at 3 s; over at 7 s.
    pub(crate) fn of(count: usize, after: &[(usize, Nature)]) -> Self {
        let nature = |index: usize| {
            let changed = after.iter().find(|(changing, _)| *changing == index);
            (WELL, changed.map_or(WELL, |(_, nature)| *nature))
        };
        Self {
            pool: PoolConfig::default(),
            call: CallConfig::default(),
            servers: (0..count).map(nature).collect(),
            workers: 2,
            mean_service: Duration::from_millis(10),
            exponential: true,
            requests_per_second: 0.3 * 2.0 * 100.0 * count as f64,
            safety: Safety::Unsafe,
            change_at: Duration::from_secs(3),
            ends_at: Duration::from_secs(7),
        }
    }

    /// 4 workers and 5 ms of service: 240 requests/s per server.
    pub(crate) fn busy(self) -> Self {
        Self { workers: 4, mean_service: Duration::from_millis(5), ..self }.loaded(0.3)
    }

    /// At that share of the capacity of all servers.
    pub(crate) fn loaded(mut self, share: f64) -> Self {
        let capacity = self.servers.len() as f64 * self.workers as f64 / self.mean_service.as_secs_f64();
        self.requests_per_second = share * capacity;
        self
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Latencies of requests that were sent after the change, sorted, in milliseconds.
    pub(crate) latencies_ms: Vec<f64>,
    pub(crate) failed: usize,
    /// First attempts per server, after the change.
    pub(crate) shares: Vec<f64>,
    /// When a server was first ejected after the change, since then, and why.
    pub(crate) ejections: Vec<(usize, Duration, EjectReason)>,
    pub(crate) probations: Vec<(usize, Duration, EjectReason)>,
    /// When each server got its first attempts, since the change.
    pub(crate) attempts_at: Vec<Vec<Duration>>,
    /// The most that were out at once.
    pub(crate) most_out: usize,
}

impl Outcome {
    pub(crate) fn quantile_ms(&self, quantile: f64) -> f64 {
        let rank = (self.latencies_ms.len() as f64 * quantile) as usize;
        self.latencies_ms.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// How long after the change `server` was first ejected.
    pub(crate) fn ejected_after(&self, server: usize) -> Option<Duration> {
        self.ejections.iter().find(|(ejected, ..)| *ejected == server).map(|(_, after, _)| *after)
    }

    /// How long after the change `server` last had a tenth of its fair share of first attempts, over a quarter of a second.
    pub(crate) fn avoided_after(&self, server: usize, fleet: &Fleet) -> Duration {
        let span = Duration::from_millis(250);
        let fair = fleet.requests_per_second * span.as_secs_f64() / fleet.servers.len() as f64;
        let tenth = (fair / 10.0).ceil().max(2.0) as usize;
        let is_busy = |some: &&[Duration]| some[tenth - 1] <= some[0] + span;
        let busy = self.attempts_at[server].windows(tenth).rfind(is_busy);
        busy.map_or(Duration::ZERO, |some| some[tenth - 1])
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Arrival,
    Served { server: usize, call: usize, attempt: u8 },
    Timer { call: usize },
}

struct Server {
    key: EndpointKey,
    busy: usize,
    queue: VecDeque<(usize, u8)>,
}

struct Client {
    call: Call,
    intended: Time,
    ended: bool,
    /// Where each attempt went, how it will be answered, and whether anybody still waits.
    attempts: Vec<(usize, Class, bool)>,
}

struct Run<'a> {
    fleet: &'a Fleet,
    now: Time,
    pool: Pool,
    rng: Rng,
    nature: Rng,
    config: Arc<CallConfig>,
    servers: Vec<Server>,
    clients: Vec<Client>,
    heap: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    scheduled: u64,
    outcome: Outcome,
}

/// Lets the fleet serve its load; the seed determines everything.
pub(crate) fn run(fleet: &Fleet, seed: u64) -> Outcome {
    let mut nature = Rng::seeded(seed);
    let mut run = Run {
        fleet,
        now: Time::ZERO,
        pool: Pool::new(fleet.pool.clone()),
        rng: nature.fork(),
        nature,
        config: Arc::new(fleet.call.clone()),
        servers: Vec::new(),
        clients: Vec::new(),
        heap: BinaryHeap::new(),
        scheduled: 0,
        outcome: Outcome { attempts_at: vec![Vec::new(); fleet.servers.len()], ..Outcome::default() },
    };
    for zone in 0..fleet.servers.len() {
        let key = run.pool.on_added_as(Time::ZERO, Member { zone: zone as u16, ..Member::default() });
        run.pool.on_health(Time::ZERO, key, true, "");
        run.servers.push(Server { key, busy: 0, queue: VecDeque::new() });
    }
    run.schedule(Duration::ZERO, Happening::Arrival);
    while let Some(Reverse((at, _, happening))) = run.heap.pop() {
        run.now = at;
        run.happen(happening);
    }
    run.finish()
}

impl Run<'_> {
    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.scheduled += 1;
        self.heap.push(Reverse((self.now.after(after), self.scheduled, happening)));
    }

    fn is_changed(&self) -> bool {
        self.since_change().is_some()
    }

    fn since_change(&self) -> Option<Duration> {
        self.now.saturating_since(Time::ZERO).checked_sub(self.fleet.change_at)
    }

    fn nature_of(&self, server: usize) -> Nature {
        let (before, after) = self.fleet.servers[server];
        if self.is_changed() { after } else { before }
    }

    fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.nature.unit()).ln())
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrival => self.arrive(),
            Happening::Served { server, call, attempt } => {
                self.servers[server].busy -= 1;
                if let Some((call, attempt)) = self.servers[server].queue.pop_front() {
                    self.serve(server, call, attempt);
                }
                let (_, class, waits) = self.clients[call].attempts[usize::from(attempt)];
                if waits {
                    self.tell(
                        call,
                        Event::Head { attempt, class, retry_after: None, pushback: Pushback::None },
                    );
                }
            }
            Happening::Timer { call } => {
                if self.clients[call].call.next_deadline().is_some_and(|at| at <= self.now) {
                    self.tell(call, Event::Timer);
                }
            }
        }
    }

    fn arrive(&mut self) {
        let mean = Duration::from_secs_f64(1.0 / self.fleet.requests_per_second);
        let next = self.exponential(mean);
        if self.now.after(next).saturating_since(Time::ZERO) < self.fleet.ends_at {
            self.schedule(next, Happening::Arrival);
        }
        let deadline = self.now.after(self.config.total_timeout);
        let call = Call::new(self.config.clone(), 0, self.fleet.safety, true, deadline);
        self.clients.push(Client { call, intended: self.now, ended: false, attempts: Vec::new() });
        self.tell(self.clients.len() - 1, Event::Start);
        if self.is_changed()
            && let Some((server, ..)) = self.clients.last().and_then(|client| client.attempts.first())
        {
            let since = self.since_change().unwrap_or_default();
            self.outcome.attempts_at[*server].push(since);
        }
    }

    fn tell(&mut self, call: usize, event: Event) {
        let mut steps = Vec::new();
        self.clients[call].call.on(self.now, &mut self.rng, &mut self.pool, event, &mut steps);
        for step in steps {
            self.step(call, step);
        }
        self.hear();
        if let Some(at) = self.clients[call].call.next_deadline() {
            self.schedule(at.saturating_since(self.now), Happening::Timer { call });
        }
        if self.pool.next_deadline().is_some_and(|at| at <= self.now) {
            self.pool.on_timer(self.now);
        }
    }

    fn step(&mut self, call: usize, step: Step) {
        match step {
            Step::Attempt { attempt, endpoint, .. } => {
                let server =
                    self.servers.iter().position(|server| server.key == endpoint).expect("it exists");
                let nature = self.nature_of(server);
                let class = if self.nature.chance(nature.failures) { Class::Error } else { Class::Answered };
                self.clients[call].attempts.push((server, class, true));
                if self.servers[server].busy < self.fleet.workers {
                    self.serve(server, call, attempt);
                } else {
                    self.servers[server].queue.push_back((call, attempt));
                }
            }
            Step::Cancel { attempt } => self.clients[call].attempts[usize::from(attempt)].2 = false,
            Step::Commit { attempt } => {
                let class = self.clients[call].attempts[usize::from(attempt)].1;
                self.clients[call].attempts[usize::from(attempt)].2 = false;
                let mut steps = Vec::new();
                let client = &mut self.clients[call];
                client.call.on(self.now, &mut self.rng, &mut self.pool, Event::BodyEnded, &mut steps);
                self.end(call, class == Class::Answered);
            }
            Step::Fail(_) => self.end(call, false),
        }
    }

    /// Abandoned work is served all the same.
    fn serve(&mut self, server: usize, call: usize, attempt: u8) {
        self.servers[server].busy += 1;
        let nature = self.nature_of(server);
        let failed = self.clients[call].attempts[usize::from(attempt)].1 == Class::Error;
        let mean = self.fleet.mean_service.mul_f64(nature.slowness);
        let takes = if failed && nature.fails_fast {
            Duration::from_micros(300)
        } else if self.fleet.exponential {
            self.exponential(mean)
        } else {
            self.nature.jitter(mean, 0.5)
        };
        self.schedule(takes, Happening::Served { server, call, attempt });
    }

    fn end(&mut self, call: usize, good: bool) {
        let client = &mut self.clients[call];
        client.ended = true;
        if client.intended >= Time::ZERO.after(self.fleet.change_at) {
            let took = self.now.saturating_since(client.intended).as_secs_f64() * 1e3;
            self.outcome.latencies_ms.push(took);
            self.outcome.failed += usize::from(!good);
        }
    }

    fn hear(&mut self) {
        let server_of = |servers: &[Server], key: EndpointKey| {
            servers.iter().position(|server| server.key == key).expect("it exists")
        };
        for event in self.pool.take_events() {
            let since = self.since_change().unwrap_or_default();
            match event {
                PoolEvent::Ejected { endpoint, reason, .. } => {
                    self.outcome.ejections.push((server_of(&self.servers, endpoint), since, reason));
                    let view = self.pool.view(self.now);
                    let out = view.iter().filter(|view| view.state == "ejected").count();
                    self.outcome.most_out = self.outcome.most_out.max(out);
                }
                PoolEvent::Probation(key, reason) => {
                    self.outcome.probations.push((server_of(&self.servers, key), since, reason));
                }
                _ => {}
            }
        }
    }

    fn finish(mut self) -> Outcome {
        assert!(self.clients.iter().all(|client| client.ended), "everybody hears something");
        let counts = self.outcome.attempts_at.iter().map(Vec::len);
        let total = counts.clone().sum::<usize>().max(1) as f64;
        self.outcome.shares = counts.map(|count| count as f64 / total).collect();
        self.outcome.latencies_ms.sort_by(f64::total_cmp);
        self.outcome
    }
}
