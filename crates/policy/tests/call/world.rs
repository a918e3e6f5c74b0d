//! One pool and a clock, with helpers that read like the story of a request.

use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::call::{Call, CallConfig, Cause, Class, Event, Failure, Proof, Pushback, Safety, Step};
use seaworthy_policy::pool::{EndpointKey, Pool, PoolConfig};
use seaworthy_policy::rng::Rng;
use seaworthy_policy::time::Time;

/// One pool, its callers' configuration, and a clock.
pub(crate) struct World {
    pub(crate) pool: Pool,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    pub(crate) config: CallConfig,
    pub(crate) endpoints: Vec<EndpointKey>,
    /// The lane of further calls.
    pub(crate) lane: usize,
}

impl World {
    pub(crate) fn new(endpoints: usize, pool: PoolConfig) -> Self {
        let mut world = Self {
            pool: Pool::new(pool),
            rng: Rng::seeded(7),
            now: Time::ZERO,
            config: CallConfig::default(),
            endpoints: vec![],
            lane: 0,
        };
        for zone in 0..endpoints {
            let key = world.pool.on_added(world.now, zone as u16);
            world.pool.on_health(world.now, key, true, "");
            world.endpoints.push(key);
        }
        world
    }

    pub(crate) fn wait(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    pub(crate) fn call(&self, safety: Safety) -> Call {
        Call::new(
            Arc::new(self.config.clone()),
            self.lane,
            safety,
            true,
            self.now.after(self.config.total_timeout),
        )
    }

    pub(crate) fn on(&mut self, call: &mut Call, event: Event) -> Vec<Step> {
        let mut steps = Vec::new();
        call.on(self.now, &mut self.rng, &mut self.pool, event, &mut steps);
        self.pool.check_invariants();
        steps
    }

    /// Serves good requests so that the lane knows its latency.
    pub(crate) fn warm_up(&mut self, requests: usize, latency: Duration) {
        for _ in 0..requests {
            let mut call = self.call(Safety::Safe);
            let (attempt, _) = attempt_of(&self.on(&mut call, Event::Start));
            self.wait(latency);
            self.on(&mut call, answered(attempt, Class::Answered));
            self.on(&mut call, Event::BodyEnded);
        }
        self.pool.take_events();
    }

    /// Starts a call that is sent to `endpoint`. Those that went elsewhere stay open until then, because an idle peer
    /// would always be preferred.
    pub(crate) fn start_at(&mut self, endpoint: EndpointKey, safety: Safety) -> Call {
        let mut elsewhere = Vec::new();
        for _ in 0..1000 {
            let mut call = self.call(safety);
            let (attempt, chosen) = attempt_of(&self.on(&mut call, Event::Start));
            if chosen == endpoint {
                for (mut other, attempt) in elsewhere {
                    self.on(&mut other, answered(attempt, Class::Answered));
                    self.on(&mut other, Event::BodyEnded);
                }
                return call;
            }
            elsewhere.push((call, attempt));
        }
        panic!("no request was sent to {endpoint:?}");
    }
}

pub(crate) fn answered(attempt: u8, class: Class) -> Event {
    Event::Head { attempt, class, retry_after: None, pushback: Pushback::None }
}

pub(crate) fn failed(attempt: u8, proof: Proof, cause: Cause) -> Event {
    Event::Failed { attempt, proof, cause }
}

pub(crate) fn attempt_of(steps: &[Step]) -> (u8, EndpointKey) {
    match steps {
        [.., Step::Attempt { attempt, endpoint, .. }] => (*attempt, *endpoint),
        other => panic!("an attempt was expected: {other:?}"),
    }
}

pub(crate) fn failure_of(steps: &[Step]) -> Failure {
    match steps {
        [.., Step::Fail(failure)] => *failure,
        other => panic!("a failure was expected: {other:?}"),
    }
}

pub(crate) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}
