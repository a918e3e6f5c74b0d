//! `World`: gateways, clients and backends together, from the first request to the last.
//!
//! **Problem.** What a policy does to one request is easy to say, and what it does to a system is not: the load that it
//! causes comes back to it as latency. Only all of it together shows whether a system recovers.
//!
//! **Model.** Requests come by chance at a rate that may change, and never wait for each other (open loop), because waiting
//! clients would hide an outage. Each goes through one of the gateways, which share nothing but the backends.
//!
//! **Randomness.** Arrivals, each backend and each gateway have a stream of their own, so that two policies with the same
//! seed meet the same requests at the same times (common random numbers), and differences between them are the policies'.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::{AttemptKind, Call, Cause, Class, Event, MAX_ATTEMPTS, Proof, Pushback};
use seaworthy_policy::{Rng, Time};

use crate::backend::{Backend, Begun, Job, Reaction};
use crate::client::Client;
use crate::config::WorldConfig;
use crate::control::Control;
use crate::distribution::exponential;
use crate::edge::Edge;
use crate::engine::{Delay, Engine, GENERATIONS, Payload};
use crate::report::{Ending, Outcome, Report};

/// How long a run waits for those who are under way at its end.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) mod kind {
    //! Sorts of events.
    pub(crate) const ARRIVAL: u8 = 0;
    pub(crate) const REACHED: u8 = 1;
    pub(crate) const DONE: u8 = 2;
    pub(crate) const ANSWERED: u8 = 3;
    pub(crate) const REFUSED: u8 = 4;
    pub(crate) const CALL_TIMER: u8 = 5;
    pub(crate) const POOL_TIMER: u8 = 6;
    pub(crate) const PROBE: u8 = 7;
    pub(crate) const PROBED: u8 = 8;
    pub(crate) const TIMEOUT: u8 = 9;
    pub(crate) const RETRY: u8 = 10;
    pub(crate) const CHANGE: u8 = 11;
    pub(crate) const NEW_RATE: u8 = 12;
}

/// One attempt, as its client sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Try {
    pub(crate) backend: u32,
    /// Somebody waits for it.
    pub(crate) open: bool,
    pub(crate) class: Option<Class>,
    pub(crate) deadline: Time,
}

/// One request that is under way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) generation: u32,
    pub(crate) live: bool,
    pub(crate) gateway: usize,
    pub(crate) arrived: Time,
    pub(crate) tries: [Try; MAX_ATTEMPTS as usize],
    pub(crate) count: u8,
    pub(crate) call: Option<Call>,
    pub(crate) timer_at: Option<Time>,
}

/// One run. See the module's documentation.
#[derive(Debug)]
pub struct World {
    pub(crate) config: Arc<WorldConfig>,
    pub(crate) engine: Engine,
    pub(crate) arrivals: Rng,
    pub(crate) backends: Vec<Backend>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) controls: Vec<Control>,
    pub(crate) requests: Vec<Request>,
    free: Vec<u32>,
    /// Attempts of each gateway at each backend that somebody waits for: `outstanding[gateway * backends + backend]`.
    pub(crate) outstanding: Vec<u32>,
    network: Delay,
    pub(crate) timeout: Delay,
    pub(crate) report: Report,
}

impl World {
    /// Runs a model from its beginning to its end. Who still waits [`PATIENCE`] later counts as offered, and not as good.
    ///
    /// # Panics
    /// When the configuration is not valid; see [`WorldConfig::validate`].
    pub fn run(config: WorldConfig) -> Report {
        if let Err(error) = config.validate() {
            panic!("this is no world: {error}");
        }
        let mut world = Self::new(config);
        world.begin();
        let last = world.config.ends.after(PATIENCE);
        while world.is_going_on() {
            let Some(event) = world.engine.next(last) else { break };
            world.happen(event);
        }
        world.report.events = world.engine.happened();
        world.report.trace = world.engine.trace();
        world.report
    }

    fn new(config: WorldConfig) -> Self {
        let mut root = Rng::seeded(config.seed);
        let arrivals = root.fork();
        let backends =
            config.backends.iter().map(|backend| Backend::new(backend.clone(), root.fork())).collect();
        let mut engine = Engine::new();
        let network = engine.add_delay(config.network);
        let (mut edges, mut controls) = (Vec::new(), Vec::new());
        let mut timeout = Duration::ZERO;
        for _ in 0..config.gateways {
            match &config.client {
                Client::Policy(policy) => edges.push(Edge::new(policy, config.backends.len(), root.fork())),
                Client::Control(control) => {
                    timeout = control.timeout;
                    controls.push(Control::new(control, root.fork()));
                }
            }
        }
        Self {
            timeout: engine.add_delay(timeout),
            report: Report::new(config.backends.len()),
            outstanding: vec![0; config.gateways * config.backends.len()],
            config: Arc::new(config),
            engine,
            arrivals,
            backends,
            edges,
            controls,
            requests: Vec::new(),
            free: Vec::new(),
            network,
        }
    }

    fn begin(&mut self) {
        let config = self.config.clone();
        for (id, change) in (0..).zip(&config.changes) {
            self.engine.schedule(change.at, Payload { kind: kind::CHANGE, id, generation: 0, small: 0 });
        }
        self.begin_probes();
        self.plan_arrival();
    }

    /// Somebody will come, or is still waiting.
    fn is_going_on(&self) -> bool {
        self.engine.now() <= self.config.ends || self.free.len() < self.requests.len()
    }

    fn happen(&mut self, event: Payload) {
        match event.kind {
            kind::ARRIVAL => self.arrive(),
            kind::REACHED => self.reach(event),
            kind::DONE => self.done(event.id as usize, event.generation),
            kind::ANSWERED => self.answered(event),
            kind::REFUSED => self.refused(event),
            kind::CALL_TIMER => self.call_timer(event),
            kind::POOL_TIMER => self.pool_timer(event.id as usize),
            kind::PROBE => self.probe(event.id as usize),
            kind::PROBED => self.probed(event.id as usize, event.small > 0),
            kind::TIMEOUT => self.control_timeout(event),
            kind::RETRY => self.control_retry(event),
            kind::CHANGE => self.change(event.id as usize),
            kind::NEW_RATE => self.plan_arrival(),
            other => unreachable!("no event is of kind {other}"),
        }
    }

    fn plan_arrival(&mut self) {
        let now = self.engine.now();
        let rates = &self.config.rates;
        let rate = rates.iter().rev().find(|(from, _)| *from <= now).map_or(0.0, |(_, rate)| *rate);
        let next_change = rates.iter().map(|(from, _)| *from).find(|from| *from > now);
        let at = if rate > 0.0 {
            now.after(exponential(&mut self.arrivals, Duration::from_secs(1).div_f64(rate)))
        } else {
            next_change.unwrap_or(Time::from_nanos(u64::MAX))
        };
        // Chance has no memory, so a wait that a new rate interrupts may begin anew.
        let (at, kind) = match next_change {
            Some(change) if change <= at => (change, kind::NEW_RATE),
            _ => (at, kind::ARRIVAL),
        };
        if at < self.config.ends {
            self.engine.schedule(at, Payload { kind, id: 0, generation: 0, small: 0 });
        }
    }

    fn arrive(&mut self) {
        let (now, gateways) = (self.engine.now(), self.config.gateways as u64);
        self.plan_arrival();
        let gateway = self.arrivals.below(gateways) as usize;
        self.report.on_arrival(now);
        let slot = self.open_request(gateway);
        if self.edges.is_empty() { self.control_start(slot) } else { self.start_call(slot) }
    }

    fn open_request(&mut self, gateway: usize) -> u32 {
        let arrived = self.engine.now();
        let tries = [Try::default(); MAX_ATTEMPTS as usize];
        let generation = 0;
        let fresh =
            Request { generation, live: true, gateway, arrived, tries, count: 0, call: None, timer_at: None };
        let Some(slot) = self.free.pop() else {
            self.requests.push(fresh);
            return (self.requests.len() - 1) as u32;
        };
        let old = &mut self.requests[slot as usize];
        let generation = (old.generation + 1) % GENERATIONS;
        *old = Request { generation, ..fresh };
        slot
    }

    /// The client has its answer, or will never get one.
    pub(crate) fn end_request(&mut self, slot: u32, ending: Ending) {
        for attempt in 0..self.requests[slot as usize].count {
            self.close_try(slot, attempt);
        }
        let now = self.engine.now();
        let request = &mut self.requests[slot as usize];
        debug_assert!(request.live, "a request ends once");
        request.live = false;
        request.call = None;
        let (arrived, took) = (request.arrived, now.saturating_since(request.arrived));
        self.report.on_end(Outcome { arrived, took, ending });
        self.free.push(slot);
    }

    /// What an event about an attempt is about; `None` when nobody waits for that any more.
    pub(crate) fn awaited(&self, event: Payload) -> Option<u32> {
        let request = &self.requests[event.id as usize];
        let current = request.live && request.generation == event.generation;
        (current && request.tries[usize::from(event.small)].open).then_some(event.id)
    }

    pub(crate) fn payload(&self, kind: u8, slot: u32, attempt: u8) -> Payload {
        Payload { kind, id: slot, generation: self.requests[slot as usize].generation, small: attempt }
    }

    /// Sends an attempt on its way.
    pub(crate) fn send(&mut self, slot: u32, backend: u32, kind: AttemptKind, deadline: Time) {
        let now = self.engine.now();
        let request = &mut self.requests[slot as usize];
        let attempt = request.count;
        request.tries[usize::from(attempt)] = Try { backend, open: true, class: None, deadline };
        request.count += 1;
        self.outstanding[request.gateway * self.backends.len() + backend as usize] += 1;
        self.report.on_attempt(now, backend as usize, kind);
        let event = self.payload(kind::REACHED, slot, attempt);
        if self.config.network.is_zero() {
            self.reach(event);
        } else {
            self.engine.schedule_after(self.network, event);
        }
    }

    /// Nobody waits for this attempt any more. True when somebody did.
    pub(crate) fn close_try(&mut self, slot: u32, attempt: u8) -> bool {
        let request = &mut self.requests[slot as usize];
        let this = &mut request.tries[usize::from(attempt)];
        let was_open = std::mem::take(&mut this.open);
        if was_open {
            self.outstanding[request.gateway * self.backends.len() + this.backend as usize] -= 1;
        }
        was_open
    }

    fn reach(&mut self, event: Payload) {
        let request = &self.requests[event.id as usize];
        if !request.live || request.generation != event.generation {
            return;
        }
        let this = request.tries[usize::from(event.small)];
        let (backend, deadline) = (this.backend as usize, this.deadline);
        let job = Job {
            request: event.id,
            generation: event.generation,
            attempt: event.small,
            deadline,
            class: Class::Answered,
        };
        match self.backends[backend].on_request(job) {
            Reaction::Lost | Reaction::Queued => {}
            Reaction::Begun(begun) => self.plan_done(backend, begun),
            Reaction::Refused => {
                self.engine.schedule_after(self.network, Payload { kind: kind::REFUSED, ..event });
            }
            Reaction::Answered(after, class) => {
                self.requests[event.id as usize].tries[usize::from(event.small)].class = Some(class);
                let at = self.engine.now().after(after).after(self.config.network);
                self.engine.schedule(at, Payload { kind: kind::ANSWERED, ..event });
            }
        }
    }

    fn plan_done(&mut self, backend: usize, begun: Begun) {
        let at = self.engine.now().after(begun.takes);
        let payload = Payload { kind: kind::DONE, id: backend as u32, generation: begun.worker, small: 0 };
        self.engine.schedule(at, payload);
    }

    fn done(&mut self, backend: usize, worker: u32) {
        let now = self.engine.now();
        let requests = &self.requests;
        let awaited = |job: &Job| {
            let request = &requests[job.request as usize];
            let current = request.live && request.generation == job.generation;
            current && request.tries[usize::from(job.attempt)].open
        };
        let (job, next) = self.backends[backend].on_done(now, worker, awaited);
        let wanted = awaited(&job);
        if let Some(begun) = next {
            self.plan_done(backend, begun);
        }
        if !wanted {
            return;
        }
        self.requests[job.request as usize].tries[usize::from(job.attempt)].class = Some(job.class);
        let event = self.payload(kind::ANSWERED, job.request, job.attempt);
        if self.config.network.is_zero() {
            self.answered(event);
        } else {
            self.engine.schedule_after(self.network, event);
        }
    }

    fn answered(&mut self, event: Payload) {
        let Some(slot) = self.awaited(event) else { return };
        let class = self.requests[slot as usize].tries[usize::from(event.small)].class;
        let class = class.expect("what is answered has an answer");
        if self.edges.is_empty() {
            return self.control_answered(slot, event.small, class);
        }
        self.tell(
            slot,
            Event::Head { attempt: event.small, class, retry_after: None, pushback: Pushback::None },
        );
    }

    fn refused(&mut self, event: Payload) {
        let Some(slot) = self.awaited(event) else { return };
        if self.edges.is_empty() {
            return self.control_answered(slot, event.small, Class::Unavailable);
        }
        self.tell(slot, Event::Failed { attempt: event.small, proof: Proof::Refused, cause: Cause::Connect });
    }

    fn change(&mut self, index: usize) {
        let change = self.config.changes[index].clone();
        for backend in change.backends {
            self.backends[backend].set_condition(change.condition);
        }
    }
}
