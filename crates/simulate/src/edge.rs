//! One gateway's edge: the shell around the real machines, as thin as a shell is.

use std::sync::Arc;

use seaworthy_policy::call::{Call, CallConfig, Class, Event, Safety, Step};
use seaworthy_policy::health::{Change, ProbeFailure, ProbeResult};
use seaworthy_policy::pool::{Pool, PoolEvent};
use seaworthy_policy::{Health, HealthConfig, Rng, Time};

use crate::client::PolicyConfig;
use crate::engine::Payload;
use crate::report::{EjectionRecord, Ending};
use crate::world::{World, kind};

/// A gateway's state of one edge.
#[derive(Debug)]
pub(crate) struct Edge {
    pool: Pool,
    rng: Rng,
    /// Probers' randomness, apart from the policy's.
    probing: Rng,
    call: Arc<CallConfig>,
    safety: Safety,
    probes: Option<HealthConfig>,
    health: Vec<Health>,
    probe_at: Vec<Option<Time>>,
    timer_at: Option<Time>,
}

impl Edge {
    pub(crate) fn new(config: &PolicyConfig, backends: usize, mut rng: Rng) -> Self {
        let mut pool = Pool::new(config.pool.clone());
        let probing = rng.fork();
        let mut health = Vec::new();
        for backend in 0..backends {
            let key = pool.on_added(Time::ZERO, backend as u16);
            debug_assert_eq!(key.0 as usize, backend, "keys are given out in order");
            match config.probes {
                Some(probes) => health.push(Health::new(probes, Time::ZERO)),
                None => pool.on_health(Time::ZERO, key, true, ""),
            }
        }
        Self {
            pool,
            rng,
            probing,
            call: Arc::new(config.call.clone()),
            safety: config.safety,
            probes: config.probes,
            probe_at: vec![None; health.len()],
            health,
            timer_at: None,
        }
    }
}

impl World {
    pub(crate) fn start_call(&mut self, slot: u32) {
        let request = &mut self.requests[slot as usize];
        let edge = &self.edges[request.gateway];
        let deadline = request.arrived.after(edge.call.total_timeout);
        request.call = Some(Call::new(edge.call.clone(), 0, edge.safety, true, deadline));
        self.tell(slot, Event::Start);
    }

    /// Tells a call what happened, and does what it says.
    pub(crate) fn tell(&mut self, slot: u32, event: Event) {
        let now = self.engine.now();
        let request = &mut self.requests[slot as usize];
        let gateway = request.gateway;
        let edge = &mut self.edges[gateway];
        let Some(call) = &mut request.call else { return };
        let mut steps = Vec::with_capacity(2);
        call.on(now, &mut edge.rng, &mut edge.pool, event, &mut steps);
        let mut ended = None;
        for step in steps {
            ended = ended.or(self.step(slot, step));
        }
        match ended {
            Some(ending) => {
                self.settle_call(slot);
                self.end_request(slot, ending);
            }
            None => self.plan_call_timer(slot),
        }
        self.after_pool(gateway, matches!(event, Event::Failed { .. }));
    }

    fn step(&mut self, slot: u32, step: Step) -> Option<Ending> {
        let request = &self.requests[slot as usize];
        let gateway = request.gateway;
        match step {
            Step::Attempt { attempt, endpoint, kind } => {
                debug_assert_eq!(attempt, request.count, "attempts are numbered in order");
                let edge = &self.edges[gateway];
                let latest = request.arrived.after(edge.call.total_timeout);
                let deadline = self.engine.now().after(edge.call.attempt_timeout).min(latest);
                self.send(slot, endpoint.0, kind, deadline);
                None
            }
            Step::Cancel { attempt } => {
                self.close_try(slot, attempt);
                None
            }
            Step::Commit { attempt } => {
                let class = request.tries[usize::from(attempt)].class;
                Some(if class == Some(Class::Answered) { Ending::Good } else { Ending::Failed })
            }
            Step::Fail(_) if request.count == 0 => Some(Ending::Rejected),
            Step::Fail(_) => Some(Ending::Failed),
        }
    }

    /// Gives back what the call still holds: its body ends at once.
    fn settle_call(&mut self, slot: u32) {
        let now = self.engine.now();
        let request = &mut self.requests[slot as usize];
        let edge = &mut self.edges[request.gateway];
        let Some(call) = &mut request.call else { return };
        call.on(now, &mut edge.rng, &mut edge.pool, Event::BodyEnded, &mut Vec::new());
    }

    fn plan_call_timer(&mut self, slot: u32) {
        let now = self.engine.now();
        let request = &mut self.requests[slot as usize];
        let Some(at) = request.call.as_ref().and_then(Call::next_deadline) else { return };
        debug_assert!(at > now || request.call.as_ref().is_some_and(Call::is_parked), "a timer spins");
        // A timer that comes too early is harmless, and cheaper than another one.
        if request.timer_at.is_none_or(|planned| at < planned) {
            request.timer_at = Some(at);
            let event = self.payload(kind::CALL_TIMER, slot, 0);
            self.engine.schedule(at, event);
        }
    }

    pub(crate) fn call_timer(&mut self, event: Payload) {
        let now = self.engine.now();
        let request = &mut self.requests[event.id as usize];
        if !request.live || request.generation != event.generation {
            return;
        }
        if request.timer_at.is_none_or(|planned| planned > now) {
            return;
        }
        request.timer_at = None;
        let due = request.call.as_ref().and_then(Call::next_deadline).is_some_and(|at| at <= now);
        if due { self.tell(event.id, Event::Timer) } else { self.plan_call_timer(event.id) }
    }

    pub(crate) fn pool_timer(&mut self, gateway: usize) {
        let now = self.engine.now();
        let edge = &mut self.edges[gateway];
        edge.timer_at = None;
        edge.pool.on_timer(now);
        self.after_pool(gateway, true);
    }

    /// What a shell does after every call into the pool. `timers`: they may have changed without an event.
    fn after_pool(&mut self, gateway: usize, timers: bool) {
        let now = self.engine.now();
        if !timers && !self.edges[gateway].pool.has_events() {
            return;
        }
        for event in self.edges[gateway].pool.take_events() {
            match event {
                PoolEvent::Ejected { endpoint, reason, .. } => {
                    let backend = endpoint.0 as usize;
                    self.report.ejections.push(EjectionRecord { at: now, gateway, backend, reason });
                }
                PoolEvent::Available => self.wake_parked(gateway),
                PoolEvent::Suspect(endpoint, _) if !self.edges[gateway].health.is_empty() => {
                    self.edges[gateway].health[endpoint.0 as usize].on_suspicion(now);
                    self.plan_probe(gateway, endpoint.0 as usize);
                }
                _ => {}
            }
        }
        let edge = &mut self.edges[gateway];
        if let Some(at) = edge.pool.next_deadline()
            && edge.timer_at.is_none_or(|planned| at < planned)
        {
            edge.timer_at = Some(at);
            let payload = Payload { kind: kind::POOL_TIMER, id: gateway as u32, generation: 0, small: 0 };
            self.engine.schedule(at, payload);
        }
    }

    fn wake_parked(&mut self, gateway: usize) {
        for slot in 0..self.requests.len() {
            let request = &mut self.requests[slot];
            let parked = request.live && request.call.as_ref().is_some_and(Call::is_parked);
            if parked && request.gateway == gateway {
                self.tell(slot as u32, Event::Timer);
            }
        }
    }

    pub(crate) fn begin_probes(&mut self) {
        for gateway in 0..self.edges.len() {
            for backend in 0..self.edges[gateway].health.len() {
                self.plan_probe(gateway, backend);
            }
        }
    }

    fn plan_probe(&mut self, gateway: usize, backend: usize) {
        let edge = &mut self.edges[gateway];
        let at = edge.health[backend].next_probe_at(&mut edge.probing);
        edge.probe_at[backend] = at;
        if let Some(at) = at {
            self.engine.schedule(at, self.probe_payload(kind::PROBE, gateway, backend, 0));
        }
    }

    fn probe_payload(&self, kind: u8, gateway: usize, backend: usize, small: u8) -> Payload {
        Payload { kind, id: (gateway * self.backends.len() + backend) as u32, generation: 0, small }
    }

    pub(crate) fn probe(&mut self, id: usize) {
        let (gateway, backend) = (id / self.backends.len(), id % self.backends.len());
        let now = self.engine.now();
        let edge = &mut self.edges[gateway];
        if edge.probe_at[backend].take_if(|at| *at <= now).is_none() {
            return;
        }
        let condition = self.backends[backend].condition();
        let passed = condition.answers_probes && !condition.refuses;
        let silent = !condition.answers_probes && !condition.refuses;
        let timeout = edge.probes.map_or(self.config.network, |probes| probes.timeout);
        let takes = if silent { timeout } else { 2 * self.config.network };
        let small = u8::from(passed);
        self.engine.schedule(now.after(takes), self.probe_payload(kind::PROBED, gateway, backend, small));
    }

    pub(crate) fn probed(&mut self, id: usize, passed: bool) {
        let (gateway, backend) = (id / self.backends.len(), id % self.backends.len());
        let now = self.engine.now();
        let refuses = self.backends[backend].condition().refuses;
        let edge = &mut self.edges[gateway];
        let result = match passed {
            true => ProbeResult::Pass,
            false if refuses => ProbeResult::Refused,
            false => ProbeResult::Fail { reason: ProbeFailure::Timeout },
        };
        let key = seaworthy_policy::pool::EndpointKey(backend as u32);
        match edge.health[backend].on_result(now, result) {
            Some(Change::Up) => edge.pool.on_health(now, key, true, ""),
            Some(Change::Down(_)) => edge.pool.on_health(now, key, false, "probes failed"),
            None => {}
        }
        self.plan_probe(gateway, backend);
        self.after_pool(gateway, true);
    }
}
