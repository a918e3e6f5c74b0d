//! Deliveries with a store, a receiver that breaks and comes back, and everything switched on: whatever happens, each
//! job ends as it should, and the limits are kept all the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use seaworthy_policy::admission::Priority;
use seaworthy_policy::delivery::{Answer, DeliveryConfig, Job, JobId, Proof, Schedule, Step};
use seaworthy_policy::{BreakerConfig, Delivery, RateLimitConfig, Rng, Time};

use crate::lane::{SECOND, START};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Pending,
    Claimed,
    Delivered,
    Dead,
}

#[derive(Clone, Debug)]
struct Stored {
    job: Job,
    state: State,
    /// How often the receiver saw it.
    seen: u32,
}

/// A store that hands out jobs as they become due, and knows nothing about order keys.
struct World {
    config: DeliveryConfig,
    delivery: Delivery,
    rng: Rng,
    now: Time,
    jobs: BTreeMap<JobId, Stored>,
    pending: BTreeSet<(Time, JobId)>,
    /// When answers come, and which.
    answers: BTreeMap<(Time, JobId), Answer>,
    down: (Time, Time),
    place: String,
}

const JOBS: u64 = 120;

fn config(rng: &mut Rng) -> DeliveryConfig {
    let rate = RateLimitConfig { limit_for_period: 20, burst: Some(5), ..RateLimitConfig::default() };
    let breaker = BreakerConfig { probe_timeout: 20 * SECOND, ..BreakerConfig::default() };
    let waits: Arc<[Duration]> = [0, 1, 5, 20, 60, 60, 60, 60].map(Duration::from_secs).into();
    DeliveryConfig {
        schedule: Schedule { waits, jitter: 0.2 },
        timeout: 10 * SECOND,
        lease: Duration::from_secs(4 + rng.below(20)),
        concurrency: 1 + rng.below(6) as u32,
        prefetch: 1 + rng.below(6) as u32,
        rate: rng.chance(0.5).then_some(rate),
        breaker: rng.chance(0.7).then(|| Arc::new(breaker)),
        ..DeliveryConfig::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let config = config(&mut rng);
        let delivery = Delivery::new(config.clone(), START, &mut rng);
        let mut world = World {
            config,
            delivery,
            now: START,
            jobs: BTreeMap::new(),
            pending: BTreeSet::new(),
            answers: BTreeMap::new(),
            down: (START + 3 * SECOND, START + Duration::from_secs(3 + rng.below(60))),
            place: format!("seed {seed}"),
            rng,
        };
        for id in 1..=JOBS {
            let due = START + Duration::from_millis(id * 50);
            let job = Job {
                id: JobId(id),
                attempts: 0,
                interrupted: false,
                born: due,
                due,
                deadline: None,
                priority: Priority::ALL[world.rng.below(4) as usize],
                order_key: world.rng.chance(0.6).then(|| world.rng.below(6)),
                lease_until: due,
            };
            world.jobs.insert(job.id, Stored { job, state: State::Pending, seen: 0 });
            world.pending.insert((due, job.id));
        }
        world
    }

    fn claim(&mut self) {
        while self.delivery.wanted(self.now) > 0
            && let Some((due, id)) = self.pending.first().copied()
            && due <= self.now
        {
            self.pending.pop_first();
            let stored = self.jobs.get_mut(&id).expect("it is stored");
            stored.state = State::Claimed;
            stored.job.due = due;
            stored.job.lease_until = self.now + self.config.lease;
            let job = stored.job;
            self.delivery.on_claimed(self.now, &mut self.rng, job);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        self.delivery.check_invariants();
        while let Some(step) = self.delivery.take_step() {
            self.step(step);
        }
    }

    fn step(&mut self, step: Step) {
        let place = format!("{}, at {:?}: {step:?}", self.place, self.now);
        match step {
            Step::Attempt { job, number, until } => self.send(job, number, until, &place),
            Step::Ack { job } => self.jobs.get_mut(&job).expect("stored").state = State::Delivered,
            Step::Dead { job, .. } => self.jobs.get_mut(&job).expect("stored").state = State::Dead,
            Step::Retry { job, until, attempts } | Step::Defer { job, until, attempts, .. } => {
                let stored = self.jobs.get_mut(&job).expect("stored");
                assert_eq!(stored.state, State::Claimed, "{place}");
                let counted = matches!(step, Step::Retry { .. });
                assert_eq!(attempts, stored.job.attempts + u32::from(counted), "{place}");
                (stored.state, stored.job.attempts) = (State::Pending, attempts);
                self.pending.insert((until, job));
            }
            Step::Extend { job, until } => {
                // The store is slow now and then.
                if self.rng.chance(0.8) {
                    self.jobs.get_mut(&job).expect("stored").job.lease_until = until;
                    self.delivery.on_extended(self.now, &mut self.rng, job, until);
                }
            }
            Step::Lost { job } => {
                self.answers.retain(|(_, other), _| *other != job);
                let stored = self.jobs.get_mut(&job).expect("stored");
                assert!(stored.job.lease_until <= self.now, "{place}");
                stored.state = State::Pending;
                self.pending.insert((stored.job.due, job));
            }
            Step::Disabled { .. } => panic!("{place}"),
        }
    }

    fn send(&mut self, id: JobId, number: u32, until: Time, place: &str) {
        let stored = self.jobs.get_mut(&id).expect("stored");
        assert_eq!((stored.state, number), (State::Claimed, stored.job.attempts + 1), "{place}");
        assert!(stored.job.lease_until > self.now, "{place}: without a claim");
        stored.seen += 1;
        let key = stored.job.order_key;
        let earlier = self.jobs.range(..id).map(|(_, other)| other);
        for other in earlier.filter(|other| key.is_some() && other.job.order_key == key) {
            let ended = matches!(other.state, State::Delivered | State::Dead);
            assert!(ended, "{place}: before {:?}", other.job.id);
        }
        let (from, to) = self.down;
        let is_down = (from..to).contains(&self.now);
        let (wait, answer) = match self.rng.below(20) {
            _ if is_down && self.rng.chance(0.5) => (1, Answer::Failed { proof: Proof::Refused }),
            _ if is_down => (until.saturating_since(self.now).as_millis() as u64, Answer::TimedOut),
            0 => (30, Answer::Status { status: 500, retry_after: None }),
            1 => (30, Answer::Status { status: 429, retry_after: Some(2 * SECOND) }),
            2 => (30, Answer::Status { status: 422, retry_after: None }),
            _ => (5 + self.rng.below(400), Answer::Status { status: 200, retry_after: None }),
        };
        self.answers.insert((self.now + Duration::from_millis(wait), id), answer);
        assert!(self.answers.len() <= self.config.concurrency as usize, "{place}: too many at once");
    }

    fn run(mut self) {
        let mut rounds = 0;
        loop {
            self.claim();
            let open =
                self.jobs.values().filter(|stored| matches!(stored.state, State::Pending | State::Claimed));
            if open.count() == 0 {
                break;
            }
            let due = self.pending.first().map(|(due, _)| *due).filter(|due| *due > self.now);
            let answer = self.answers.first_key_value().map(|((at, _), _)| *at);
            let next = [due, answer, self.delivery.next_deadline()].into_iter().flatten().min();
            let next = next.unwrap_or_else(|| panic!("{}: jobs wait for nothing", self.place));
            assert!(next >= self.now, "{}: time stands", self.place);
            self.now = next;
            rounds += 1;
            assert!(rounds < 200_000, "{}: goes round in circles at {:?}", self.place, self.now);
            if let Some(((at, id), answer)) =
                self.answers.first_key_value().map(|(at, answer)| (*at, *answer))
                && at <= self.now
            {
                self.answers.pop_first();
                self.delivery.on_answer(self.now, &mut self.rng, id, answer);
            } else {
                self.delivery.on_timer(self.now, &mut self.rng);
            }
            self.carry_out();
        }
        assert_eq!((self.delivery.held(), self.delivery.order_keys()), (0, 0), "{}", self.place);
        let took = self.now.saturating_since(START);
        assert!(took < Duration::from_mins(20), "{}: it took {took:?}", self.place);
        for stored in self.jobs.values() {
            assert!(stored.job.attempts <= self.config.schedule.attempts(), "{}: {stored:?}", self.place);
            assert!(stored.seen > 0 || stored.state == State::Dead, "{}: {stored:?}", self.place);
        }
        let delivered = self.jobs.values().filter(|stored| stored.state == State::Delivered).count();
        assert!(delivered > 60, "{}: only {delivered} delivered", self.place);
    }
}

#[test]
fn every_job_ends_in_order_and_within_the_limits() {
    for seed in 0..300 {
        World::new(seed).run();
    }
}
