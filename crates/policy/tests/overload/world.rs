//! A backend with workers, a queue of its own and a capacity that changes; clients that arrive as they please; and
//! the machine between them. Virtual time, one seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use seaworthy_policy::admission::{Arrival, Outcome, Permit, Priority, Ticket, Verdict};
use seaworthy_policy::{Admission, AdmissionConfig, Rng, Time};

/// Mean service time in seconds; exponentially distributed.
pub(crate) const SERVICE: f64 = 0.05;
/// How long the gateway waits for the backend.
pub(crate) const TIMEOUT: f64 = 1.0;

/// From when on the backend is like this, and clients arrive like that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) from: f64,
    pub(crate) workers: u32,
    /// By what a call takes longer than usual.
    pub(crate) slowness: f64,
    /// Arrivals per second of critical and of sheddable calls.
    pub(crate) critical: f64,
    pub(crate) sheddable: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Weather(usize),
    Arrive(Priority),
    Served(u64),
    TimeOut(u64),
    Timer,
}

/// What became of one call, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) arrived: f64,
    pub(crate) priority: Priority,
    /// When it was let go.
    pub(crate) admitted: Option<f64>,
    /// When the backend answered in time.
    pub(crate) answered: Option<f64>,
}

pub(crate) struct World {
    admission: Admission,
    rng: Rng,
    /// The same moment twice: exact for the machine, in seconds for arithmetic.
    clock: Time,
    now: f64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    weather: Vec<Weather>,
    current: Weather,
    /// Calls that wait inside the backend, and how many workers are busy.
    backlog: VecDeque<u64>,
    busy: u32,
    permits: BTreeMap<u64, Permit>,
    tickets: BTreeMap<Ticket, u64>,
    timer: Option<Time>,
    pub(crate) records: Vec<Record>,
    /// The limit at the end of each second.
    pub(crate) limits: Vec<u32>,
}

fn time(seconds: f64) -> Time {
    Time::from_nanos((seconds * 1e9) as u64)
}

impl World {
    pub(crate) fn run(config: AdmissionConfig, weather: &[Weather], until: f64, seed: u64) -> World {
        let mut world = World {
            admission: Admission::new(config),
            rng: Rng::seeded(seed),
            clock: Time::ZERO,
            now: 0.0,
            events: BinaryHeap::new(),
            sequence: 0,
            weather: weather.to_vec(),
            current: weather[0],
            backlog: VecDeque::new(),
            busy: 0,
            permits: BTreeMap::new(),
            tickets: BTreeMap::new(),
            timer: None,
            records: Vec::new(),
            limits: Vec::new(),
        };
        for (index, weather) in weather.iter().enumerate() {
            world.schedule(weather.from, Event::Weather(index));
        }
        for priority in [Priority::Critical, Priority::Sheddable] {
            world.schedule(0.0, Event::Arrive(priority));
        }
        while let Some(Reverse((at, _, event))) = world.events.pop() {
            world.clock = Time::from_nanos(at);
            world.now = at as f64 / 1e9;
            if world.now >= until {
                break;
            }
            while (world.limits.len() as f64) < world.now.floor() {
                world.limits.push(world.admission.limit().limit());
            }
            world.on(event);
            world.drain();
        }
        world
    }

    fn schedule(&mut self, at: f64, event: Event) {
        self.schedule_exactly(time(at), event);
    }

    fn schedule_exactly(&mut self, at: Time, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at.max(self.clock).as_nanos(), self.sequence, event)));
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.rng.unit()).ln()
    }

    fn on(&mut self, event: Event) {
        let now = self.clock;
        match event {
            Event::Weather(index) => {
                self.current = self.weather[index];
                self.work();
            }
            Event::Arrive(priority) => self.arrive(priority),
            Event::Served(call) => {
                self.busy -= 1;
                self.work();
                if let Some(permit) = self.permits.remove(&call) {
                    self.records[call as usize].answered = Some(self.now);
                    self.admission.on_completed(now, &mut self.rng, permit, Outcome::Success);
                }
            }
            Event::TimeOut(call) => {
                // The backend knows nothing of it and does the work all the same.
                if let Some(permit) = self.permits.remove(&call) {
                    self.admission.on_completed(now, &mut self.rng, permit, Outcome::TimedOut);
                }
            }
            Event::Timer => {
                // Of several timers only the nearest is known; the others find nothing to do.
                self.timer = self.timer.filter(|due| *due > now);
                self.admission.on_timer(now);
                let overdue = self.admission.next_deadline().is_some_and(|due| due <= now);
                assert!(!overdue, "a timer that leaves something to do would never end");
            }
        }
    }

    fn arrive(&mut self, priority: Priority) {
        let critical = priority == Priority::Critical;
        let rate = if critical { self.current.critical } else { self.current.sheddable };
        if rate == 0.0 {
            return self.schedule(self.now + 1.0, Event::Arrive(priority));
        }
        let next = self.now + self.exponential(1.0 / rate);
        self.schedule(next, Event::Arrive(priority));
        let call = self.records.len() as u64;
        self.records.push(Record { arrived: self.now, priority, admitted: None, answered: None });
        let arrival = Arrival { priority, fairness_key: 0, deadline: None };
        match self.admission.on_arrival(self.clock, &mut self.rng, &arrival) {
            Verdict::Admitted(permit) => self.send(call, permit),
            Verdict::Queued(ticket) => {
                self.tickets.insert(ticket, call);
            }
            Verdict::Rejected(_) => {}
        }
    }

    fn send(&mut self, call: u64, permit: Permit) {
        self.records[call as usize].admitted = Some(self.now);
        self.permits.insert(call, permit);
        self.schedule(self.now + TIMEOUT, Event::TimeOut(call));
        self.backlog.push_back(call);
        self.work();
    }

    fn work(&mut self) {
        while self.busy < self.current.workers
            && let Some(call) = self.backlog.pop_front()
        {
            self.busy += 1;
            let service = self.exponential(SERVICE * self.current.slowness);
            self.schedule(self.now + service, Event::Served(call));
        }
    }

    fn drain(&mut self) {
        while let Some(decided) = self.admission.take_decision() {
            let call = self.tickets.remove(&decided.ticket).expect("a ticket is decided once");
            if let Ok(permit) = decided.verdict {
                self.send(call, permit);
            }
        }
        if let Some(due) = self.admission.next_deadline()
            && self.timer.is_none_or(|timer| due < timer)
        {
            self.timer = Some(due);
            self.schedule_exactly(due, Event::Timer);
        }
    }

    /// Answers in time per second, to calls answered between these moments.
    pub(crate) fn goodput(&self, from: f64, to: f64) -> f64 {
        let answered = self.records.iter().filter_map(|record| record.answered);
        answered.filter(|at| (from..to).contains(at)).count() as f64 / (to - from)
    }

    /// The share of arrivals of a priority between these moments that were answered in time.
    pub(crate) fn success(&self, priority: Priority, from: f64, to: f64) -> f64 {
        let arrived = |record: &&Record| record.priority == priority && (from..to).contains(&record.arrived);
        let all = self.records.iter().filter(arrived).count();
        let good = self.records.iter().filter(arrived).filter(|record| record.answered.is_some()).count();
        good as f64 / all.max(1) as f64
    }

    /// A percentile, in seconds, of how long answered calls took that arrived between these moments; from their
    /// arrival, or from when they were let go.
    pub(crate) fn latency(&self, share: f64, from: f64, to: f64, since: fn(&Record) -> Option<f64>) -> f64 {
        let arrived = self.records.iter().filter(|record| (from..to).contains(&record.arrived));
        let took = arrived.filter_map(|record| Some(record.answered? - since(record)?));
        let mut took: Vec<f64> = took.collect();
        took.sort_by(f64::total_cmp);
        took.get((took.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn limit_at(&self, second: usize) -> u32 {
        self.limits[second.min(self.limits.len() - 1)]
    }
}

/// The p99 of an exponential service time: what an unloaded backend shows.
pub(crate) fn unloaded_p99() -> f64 {
    SERVICE * 100.0_f64.ln()
}

pub(crate) const fn calm(from: f64, workers: u32, critical: f64) -> Weather {
    Weather { from, workers, slowness: 1.0, critical, sheddable: 0.0 }
}

/// A queue whose timing does not matter here.
pub(crate) fn no_queue(config: AdmissionConfig) -> AdmissionConfig {
    AdmissionConfig { max_queue: 0, max_wait_duration: Duration::ZERO, ..config }
}
