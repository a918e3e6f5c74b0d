//! The admission queue against a naive one that keeps a list of everybody waiting and searches it anew each time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use seaworthy_policy::admission::{
    AdmissionConfig, Arrival, Discipline, Outcome, Permit, Priority, Reason, RejectorKind, Ticket, Verdict,
};
use seaworthy_policy::{Admission, Deadline, LimitConfig, Rng, Time};

const MILLI: u64 = 1_000_000;
/// How many intervals the queue of a critical priority may stand.
const PATIENCE: u64 = 50;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    id: u64,
    priority: Priority,
    key: u64,
    queued: u64,
    deadline: Option<u64>,
}

/// What became of somebody: let go, or refused for a reason.
type Fate = (u64, Option<Reason>);

struct Model {
    config: AdmissionConfig,
    waiting: Vec<Waiting>,
    in_flight: u32,
    /// The keys of each priority in the order of their turns.
    turns: BTreeMap<Priority, VecDeque<u64>>,
    busy_since: BTreeMap<Priority, u64>,
    fates: Vec<Fate>,
}

impl Model {
    fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).expect("configurations are short")
    }

    fn of(&self, priority: Priority) -> Vec<Waiting> {
        let mut class: Vec<Waiting> =
            self.waiting.iter().filter(|waiting| waiting.priority == priority).copied().collect();
        class.sort_by_key(|waiting| waiting.id);
        class
    }

    fn of_key(&self, priority: Priority, key: u64) -> Vec<Waiting> {
        self.of(priority).into_iter().filter(|waiting| waiting.key == key).collect()
    }

    fn standing_since(&self, priority: Priority) -> Option<u64> {
        let patience = if priority >= Priority::Critical { PATIENCE } else { 1 };
        Some(self.busy_since.get(&priority)? + patience * Self::millis(self.config.codel_interval))
    }

    fn newest_first(&self, now: u64, priority: Priority) -> bool {
        self.config.queue_discipline == Discipline::AdaptiveLifo
            && self.standing_since(priority).is_some_and(|since| since <= now)
    }

    fn end(&mut self, id: u64, fate: Option<Reason>) {
        self.leave(id);
        self.fates.push((id, fate));
    }

    fn leave(&mut self, id: u64) {
        let index = self.waiting.iter().position(|waiting| waiting.id == id).expect("it waits");
        let Waiting { priority, key, .. } = self.waiting.remove(index);
        if self.of_key(priority, key).is_empty() {
            self.turns.entry(priority).or_default().retain(|other| *other != key);
        }
        if self.of(priority).is_empty() {
            self.busy_since.remove(&priority);
        }
    }

    fn sweep(&mut self, now: u64) {
        let mut late: Vec<(u64, u64)> =
            self.waiting.iter().filter_map(|waiting| Some((waiting.deadline?, waiting.id))).collect();
        late.retain(|(deadline, _)| *deadline <= now);
        late.sort_unstable();
        for (_, id) in late {
            self.end(id, Some(Reason::DeadlineExpired));
        }
        for priority in Priority::ALL {
            for waiting in self.of(priority) {
                let age = now - waiting.queued;
                let standing = self.standing_since(priority).is_some_and(|since| since <= now);
                let pointless = self.config.rejector == RejectorKind::Codel
                    && standing
                    && age >= Self::millis(self.config.codel_target)
                    && self.of(priority).len() > 1;
                if age >= Self::millis(self.config.max_wait_duration) {
                    self.end(waiting.id, Some(Reason::WaitedTooLong));
                } else if pointless {
                    self.end(waiting.id, Some(Reason::Overloaded));
                }
            }
        }
    }

    fn hand_over(&mut self, now: u64) {
        while self.in_flight < self.config.limit.initial_limit && !self.waiting.is_empty() {
            let priority = self.waiting.iter().map(|waiting| waiting.priority).max().expect("somebody waits");
            let newest_first = self.newest_first(now, priority);
            let turns = self.turns.get_mut(&priority).expect("it has turns");
            let key = turns.pop_front().expect("it has turns");
            turns.push_back(key);
            let own = self.of_key(priority, key);
            let chosen = if newest_first { own[own.len() - 1] } else { own[0] };
            self.end(chosen.id, None);
            self.in_flight += 1;
        }
    }

    /// What a newcomer is told: `Ok(true)` go, `Ok(false)` wait.
    fn arrive(&mut self, now: u64, new: Waiting) -> Result<bool, Reason> {
        if new.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Reason::DeadlineExpired);
        }
        if self.in_flight < self.config.limit.initial_limit {
            self.in_flight += 1;
            return Ok(true);
        }
        if self.waiting.len() as u64 >= u64::from(self.config.max_queue) {
            let victim = self.victim(now, new).ok_or(Reason::QueueFull)?;
            self.end(victim, Some(Reason::Evicted));
        }
        if self.of_key(new.priority, new.key).is_empty() {
            self.turns.entry(new.priority).or_default().push_back(new.key);
        }
        self.busy_since.entry(new.priority).or_insert(now);
        self.waiting.push(new);
        Ok(false)
    }

    fn victim(&self, now: u64, new: Waiting) -> Option<u64> {
        let lowest = self.waiting.iter().map(|waiting| waiting.priority).min()?;
        if lowest > new.priority {
            return None;
        }
        let mut keys: Vec<u64> = self.of(lowest).iter().map(|waiting| waiting.key).collect();
        keys.sort_unstable();
        let most = keys.iter().map(|key| self.of_key(lowest, *key).len()).max()?;
        let crowd = *keys.iter().find(|key| self.of_key(lowest, **key).len() == most)?;
        let own = self.of_key(lowest, new.key);
        let newest = !self.newest_first(now, lowest);
        let from = if lowest < new.priority || most > own.len() + 1 {
            self.of_key(lowest, crowd)
        } else if newest {
            return None;
        } else if own.is_empty() {
            self.of_key(lowest, crowd)
        } else {
            own
        };
        Some(if newest { from[from.len() - 1].id } else { from[0].id })
    }
}

struct Pair {
    seed: u64,
    rng: Rng,
    now: u64,
    real: Admission,
    model: Model,
    under_way: Vec<Permit>,
    tickets: BTreeMap<Ticket, u64>,
    next_id: u64,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::seeded(seed);
        let pick = |rng: &mut Rng, choices: &[u64]| choices[rng.below(choices.len() as u64) as usize];
        let config = AdmissionConfig {
            limit: LimitConfig::fixed(1 + rng.below(4) as u32),
            max_queue: 1 + rng.below(12) as u32,
            max_wait_duration: Duration::from_millis(pick(&mut rng, &[20, 60, 400])),
            queue_discipline: if rng.chance(0.5) { Discipline::Fifo } else { Discipline::AdaptiveLifo },
            rejector: if rng.chance(0.5) { RejectorKind::None } else { RejectorKind::Codel },
            codel_target: Duration::from_millis(5),
            codel_interval: Duration::from_millis(pick(&mut rng, &[5, 20, 100])),
        };
        assert_eq!(config.validate(), Ok(()));
        let (waiting, fates) = (Vec::new(), Vec::new());
        let (turns, busy_since) = (BTreeMap::new(), BTreeMap::new());
        let model = Model { config, waiting, in_flight: 0, turns, busy_since, fates };
        let real = Admission::new(config);
        Pair { seed, rng, now: 1, real, model, under_way: Vec::new(), tickets: BTreeMap::new(), next_id: 0 }
    }

    fn at(&self) -> Time {
        Time::from_nanos(self.now * MILLI)
    }

    fn step(&mut self) {
        match self.rng.below(10) {
            0..=1 => self.now += self.rng.below(12),
            2..=6 => self.arrive(),
            7..=8 => self.complete(),
            _ => self.cancel(),
        }
        let at = self.at();
        self.real.on_timer(at);
        self.model.sweep(self.now);
        self.compare();
    }

    fn arrive(&mut self) {
        let priority = Priority::ALL[self.rng.below(4) as usize];
        let deadline = self.rng.chance(0.3).then(|| self.now + self.rng.below(80));
        let key = self.rng.below(4);
        let id = self.next_id;
        self.next_id += 1;
        let arrival = Arrival {
            priority,
            fairness_key: key + 64 * self.rng.below(9),
            deadline: deadline.map(|deadline| Deadline::at(Time::from_millis(deadline))),
        };
        self.model.sweep(self.now);
        let at = self.at();
        let told = match self.real.on_arrival(at, &mut self.rng, &arrival) {
            Verdict::Admitted(permit) => {
                self.under_way.push(permit);
                Ok(true)
            }
            Verdict::Queued(ticket) => {
                self.tickets.insert(ticket, id);
                Ok(false)
            }
            Verdict::Rejected(rejected) => {
                assert!(rejected.retry_after > Duration::ZERO, "seed {}", self.seed);
                Err(rejected.reason)
            }
        };
        if told == Err(Reason::DeadlineTooShort) {
            // An estimate, which the model does not make; it is only allowed where there is something to wait for.
            let full = self.model.in_flight == self.model.config.limit.initial_limit;
            return assert!(full && deadline.is_some(), "seed {}: nothing to wait for", self.seed);
        }
        self.model_arrives(told, id, &arrival, key, deadline);
    }

    fn model_arrives(
        &mut self,
        told: Result<bool, Reason>,
        id: u64,
        arrival: &Arrival,
        key: u64,
        deadline: Option<u64>,
    ) {
        let priority = arrival.priority;
        let new = Waiting { id, priority, key, queued: self.now, deadline };
        assert_eq!(
            told,
            self.model.arrive(self.now, new),
            "seed {} at {} ms: {arrival:?}",
            self.seed,
            self.now
        );
        self.model.sweep(self.now);
    }

    fn complete(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let which = self.rng.below(self.under_way.len() as u64) as usize;
        let permit = self.under_way.swap_remove(which);
        let at = self.at();
        self.real.on_completed(at, &mut self.rng, permit, Outcome::Success);
        self.model.sweep(self.now);
        self.model.in_flight -= 1;
        self.model.hand_over(self.now);
    }

    fn cancel(&mut self) {
        let tickets: Vec<Ticket> = self.tickets.keys().copied().collect();
        if tickets.is_empty() {
            return;
        }
        let ticket = tickets[self.rng.below(tickets.len() as u64) as usize];
        let at = self.at();
        self.model.sweep(self.now);
        let id = self.tickets[&ticket];
        if self.model.waiting.iter().any(|waiting| waiting.id == id) {
            self.model.leave(id);
        } else {
            // It was decided in this very moment, and is given up untaken.
            self.model.fates.retain(|(other, _)| *other != id);
        }
        self.real.on_cancelled(at, &mut self.rng, ticket);
        self.tickets.remove(&ticket);
    }

    fn compare(&mut self) {
        let mut fates = Vec::new();
        while let Some(decided) = self.real.take_decision() {
            let id = self.tickets.remove(&decided.ticket).expect("a ticket is decided once");
            fates.push((id, decided.verdict.as_ref().err().map(|rejected| rejected.reason)));
            self.under_way.extend(decided.verdict.ok());
        }
        let expected = std::mem::take(&mut self.model.fates);
        assert_eq!(fates, expected, "seed {} at {} ms", self.seed, self.now);
        assert_eq!(self.real.waiting() as usize, self.model.waiting.len(), "seed {}", self.seed);
        assert_eq!(self.real.limit().in_flight(), self.model.in_flight, "seed {}", self.seed);
        assert_eq!(
            self.under_way.len() as u32,
            self.model.in_flight,
            "seed {}: a permit was lost",
            self.seed
        );
        let due = self.real.next_deadline();
        assert!(due.is_none_or(|due| due > self.at()), "seed {}: a timer that would never end", self.seed);
        assert_eq!(
            due.is_some(),
            !self.model.waiting.is_empty(),
            "seed {}: waiting without a timer",
            self.seed
        );
    }
}

#[test]
fn behaves_like_the_naive_queue() {
    for seed in 0..400 {
        let mut pair = Pair::new(seed);
        for _ in 0..300 {
            pair.step();
        }
    }
}

/// Driven by its own timers only, it refuses each one at the very millisecond at which the naive queue does.
#[test]
fn timers_are_never_late() {
    for seed in 0..200 {
        let mut pair = Pair::new(seed);
        for _ in 0..60 {
            pair.arrive();
            pair.compare();
        }
        while let Some(due) = pair.real.next_deadline() {
            let due = due.as_nanos().div_ceil(MILLI);
            for now in pair.now..due {
                pair.model.sweep(now);
                assert_eq!(
                    pair.model.fates,
                    [],
                    "seed {seed}: at {now} ms somebody is due, the timer says {due}"
                );
            }
            pair.now = due;
            pair.real.on_timer(pair.at());
            pair.model.sweep(due);
            assert!(!pair.model.fates.is_empty(), "seed {seed}: a timer for nothing at {due} ms");
            pair.compare();
        }
        assert!(pair.model.waiting.is_empty(), "seed {seed}");
    }
}
