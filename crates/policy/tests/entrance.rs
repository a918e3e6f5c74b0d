//! The way in: in which order gates are asked, what is held meanwhile, and that everything is given back.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::FailureClass;
use seaworthy_policy::admission::{Priority, Reason as Crowd, RejectorKind, Ticket};
use seaworthy_policy::call::{Class, FailureKind};
use seaworthy_policy::entrance::{
    Denied, Ending, GATES_MAX, Gate, GateConfig, Hold, Passage, Reason, Step, Waiting,
};
use seaworthy_policy::exchange::{Bottom, Exchange, ExchangeConfig, KeyRule};
use seaworthy_policy::ladder::Ladder;
use seaworthy_policy::{AdmissionConfig, Deadline, LimitConfig, RateLimitConfig, Rng, ThrottleConfig, Time};

fn places(limit: u32, queue: u32) -> GateConfig {
    GateConfig::Concurrency(AdmissionConfig {
        limit: LimitConfig::fixed(limit),
        max_queue: queue,
        rejector: RejectorKind::None,
        ..AdmissionConfig::default()
    })
}

fn quota(limit: u32, wait: Duration) -> GateConfig {
    GateConfig::RateLimit(RateLimitConfig {
        limit_for_period: limit,
        timeout_duration: wait,
        ..RateLimitConfig::default()
    })
}

/// A row of gates, and those who walk through it.
struct Row {
    gates: Vec<Gate>,
    rng: Rng,
    now: Time,
    decided: BTreeMap<
        (usize, Ticket),
        Result<seaworthy_policy::limit::Permit, seaworthy_policy::admission::Rejected>,
    >,
}

impl Row {
    fn new(configs: &[GateConfig]) -> Self {
        let mut rng = Rng::seeded(11);
        let gates = configs.iter().map(|config| Gate::new(*config, &mut rng)).collect();
        Row { gates, rng, now: Time::from_millis(1), decided: BTreeMap::new() }
    }

    fn passage(&self, priority: Priority) -> Passage {
        Passage::new(self.gates.len(), priority, Deadline::after(self.now, Duration::from_secs(15)))
    }

    /// Goes on as far as it goes.
    fn walk(&mut self, passage: &mut Passage, key: u64) -> Step {
        loop {
            match passage.step() {
                Step::Ask(gate) => passage.ask(self.now, &mut self.rng, &mut self.gates[gate], key),
                Step::Until(due) if due <= self.now => passage.on_due(self.now),
                Step::Turn(gate, ticket) => {
                    self.collect();
                    let Some(verdict) = self.decided.remove(&(gate, ticket)) else { return passage.step() };
                    passage.on_decided(self.now, verdict);
                }
                step => return step,
            }
            self.collect();
        }
    }

    fn collect(&mut self) {
        for (index, gate) in self.gates.iter_mut().enumerate() {
            while let Some(decided) = gate.take_decision() {
                self.decided.insert((index, decided.ticket), decided.verdict);
            }
            gate.check_invariants(self.now);
        }
    }

    fn end(&mut self, passage: &mut Passage, ending: Ending) {
        let in_time = passage.in_time(self.now);
        while let Some((gate, hold)) = passage.next_hold() {
            self.gates[gate].on_ended(self.now, &mut self.rng, hold, ending, in_time);
        }
        self.collect();
    }

    /// Head and end of an answer.
    fn answer(&mut self, passage: &mut Passage, ending: Option<Ending>) {
        let told = ending.unwrap_or(Ending::NotCalled);
        while let Some((gate, hold)) = ending.and_then(|_| passage.on_head(self.now)) {
            assert!(self.gates[gate].admission().is_none(), "a place is kept until the end");
            self.gates[gate].on_ended(self.now, &mut self.rng, hold, told, true);
        }
        // What was told of the head is not told again.
        let again = if ending.is_some() { Ending::Failed(FailureKind::Connect) } else { told };
        self.end(passage, again);
    }

    fn leave(&mut self, passage: &mut Passage) {
        if let Some((gate, waiting)) = passage.on_left() {
            let decided = match &waiting {
                Waiting::Turn(ticket) => self.decided.remove(&(gate, *ticket)),
                Waiting::Until { .. } => None,
            };
            match decided {
                Some(Ok(permit)) => {
                    let hold = Hold::Place(permit);
                    self.gates[gate].on_ended(self.now, &mut self.rng, hold, Ending::NotCalled, true);
                }
                Some(Err(_)) => {}
                None => self.gates[gate].on_left(self.now, &mut self.rng, waiting),
            }
        }
        self.end(passage, Ending::NotCalled);
    }

    fn in_flight(&self, gate: usize) -> u32 {
        self.gates[gate].admission().map_or(0, |admission| admission.limit().in_flight())
    }
}

fn reason_of(step: Step) -> Option<(usize, Reason)> {
    if let Step::No(Denied { gate, reason, retry_after }) = step {
        assert!(retry_after > Duration::ZERO, "{reason:?}");
        Some((gate, reason))
    } else {
        None
    }
}

#[test]
fn gates_are_asked_one_after_the_other_and_the_first_no_counts() {
    let mut row = Row::new(&[quota(2, Duration::ZERO), places(1, 0), places(1, 0)]);
    let mut first = row.passage(Priority::Critical);
    assert_eq!(row.walk(&mut first, 0), Step::Go);
    assert_eq!((row.in_flight(1), row.in_flight(2)), (1, 1));
    let mut second = row.passage(Priority::Critical);
    let no = row.walk(&mut second, 0);
    assert_eq!(reason_of(no), Some((1, Reason::Crowded(Crowd::LimitReached))));
    row.end(&mut second, Ending::NotCalled);
    // Refused for want of room, it has used its quota up all the same.
    let mut third = row.passage(Priority::Critical);
    let no = row.walk(&mut third, 0);
    assert_eq!(reason_of(no), Some((0, Reason::RateLimited)));
    assert_eq!(third.quotes().map(|(gate, quote)| (gate, quote.remaining)).collect::<Vec<_>>(), [(0, 0)]);
    row.end(&mut first, Ending::Answered(Class::Answered));
    assert_eq!((row.in_flight(1), row.in_flight(2)), (0, 0));
}

#[test]
fn a_no_at_a_later_gate_gives_back_the_places_before_it() {
    let mut row = Row::new(&[places(2, 0), places(1, 0)]);
    let (mut first, mut second) = (row.passage(Priority::Critical), row.passage(Priority::Critical));
    assert_eq!(row.walk(&mut first, 0), Step::Go);
    assert!(matches!(row.walk(&mut second, 0), Step::No(Denied { gate: 1, .. })));
    assert_eq!(row.in_flight(0), 2);
    row.end(&mut second, Ending::NotCalled);
    assert_eq!((row.in_flight(0), row.in_flight(1)), (1, 1));
}

#[test]
fn a_place_in_line_is_kept_until_its_moment_and_given_back_by_who_leaves() {
    let mut row = Row::new(&[quota(1, Duration::from_secs(5))]);
    let [mut first, mut second, mut third, mut fourth] = [0; 4].map(|_| row.passage(Priority::Critical));
    assert_eq!(row.walk(&mut first, 0), Step::Go);
    let begun = row.now;
    assert_eq!(row.walk(&mut second, 0), Step::Until(begun.after(Duration::from_secs(1))));
    assert_eq!(row.walk(&mut third, 0), Step::Until(begun.after(Duration::from_secs(2))));
    row.leave(&mut third);
    assert_eq!(row.walk(&mut fourth, 0), Step::Until(begun.after(Duration::from_secs(2))));
    row.now = begun.after(Duration::from_millis(999));
    second.on_due(row.now);
    assert!(matches!(second.step(), Step::Until(_)), "too early is harmless");
    row.now = begun.after(Duration::from_secs(1));
    assert_eq!(row.walk(&mut second, 0), Step::Go);
    assert_eq!(second.waited(row.now), Duration::from_secs(1));
}

/// How many of 200 calls the throttle refuses when those that it lets through all end like this; `None` = they are
/// never made.
fn throttled(ending: Option<Ending>) -> u32 {
    let config = ThrottleConfig { minimum_rps: 0.0, ..ThrottleConfig::default() };
    let mut row = Row::new(&[GateConfig::Throttle(config), places(1000, 0)]);
    let mut refused = 0;
    for _ in 0..200 {
        let mut passage = row.passage(Priority::Critical);
        match row.walk(&mut passage, 0) {
            Step::Go => row.answer(&mut passage, ending),
            Step::No(Denied { gate: 0, reason: Reason::Throttled, .. }) => refused += 1,
            step => panic!("{step:?}"),
        }
    }
    refused
}

#[test]
fn the_throttle_hears_of_the_head_and_of_nothing_that_was_not_called() {
    for (ending, brakes) in [
        (Some(Ending::Answered(Class::Unavailable)), true),
        (Some(Ending::Answered(Class::Throttled)), true),
        (Some(Ending::Failed(FailureKind::Connect)), true),
        (Some(Ending::Failed(FailureKind::AttemptTimeout)), true),
        (Some(Ending::Answered(Class::Answered)), false),
        (Some(Ending::Answered(Class::Error)), false),
        (Some(Ending::Failed(FailureKind::BreakerOpen)), false),
        (Some(Ending::Failed(FailureKind::NoEndpoint)), false),
        (Some(Ending::Left), false),
        (None, false),
    ] {
        let refused = throttled(ending);
        assert_eq!(refused > 100, brakes, "{ending:?}: {refused}");
        assert!(brakes || refused == 0, "{ending:?}: {refused}");
    }
}

#[test]
fn a_body_that_takes_longer_than_its_head_teaches_nothing() {
    let millis = Time::from_millis;
    for (head, end, in_time) in
        [(11, 12, true), (11, 110, true), (11, 200, false), (501, 900, true), (501, 1_100, false)]
    {
        let mut row = Row::new(&[places(1, 0)]);
        let mut passage = row.passage(Priority::Critical);
        assert_eq!(row.walk(&mut passage, 0), Step::Go);
        passage.on_head(millis(head));
        assert_eq!(passage.in_time(millis(end)), in_time, "{head} {end}");
    }
}

#[test]
fn what_a_refusal_says() {
    let config = ExchangeConfig {
        keyed: KeyRule::Ignored,
        total_timeout: Duration::from_secs(15),
        time_kept: Duration::ZERO,
        degrade: Ladder::NONE,
        priority: Priority::Critical,
        gates: 0,
    };
    let exchange = Exchange::new(config);
    for (index, reason) in Reason::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
        let denied = Denied { gate: 0, reason, retry_after: Duration::from_secs(3) };
        let limited = reason == Reason::RateLimited;
        let status = if limited { 429 } else { 503 };
        let bottom = Bottom { status, retry_after: Some(denied.retry_after) };
        // Whoever asks for too much gets nothing instead.
        let class = if limited { FailureClass::CallerError } else { FailureClass::Rejected };
        assert_eq!(exchange.on_denied(&denied), (bottom, class), "{reason:?}");
    }
}

/// Random walks through a long row, against a count of who holds what.
#[test]
fn nothing_is_lost_whatever_happens() {
    for seed in 0..16 {
        let mut row = Row::new(&[
            quota(400, Duration::from_millis(50)),
            quota(900, Duration::ZERO),
            GateConfig::Throttle(ThrottleConfig { minimum_rps: 1.0, ..ThrottleConfig::default() }),
            places(3, 4),
            places(5, 4),
            places(4, 2),
        ]);
        assert_eq!(row.gates.len(), GATES_MAX);
        let mut rng = Rng::seeded(seed);
        let mut walkers: Vec<(Passage, u64, bool)> = Vec::new();
        let (mut went, mut refused, mut left) = (0, 0, 0);
        for step in 0..800 {
            row.now = row.now.after(Duration::from_micros(rng.below(1_500)));
            for gate in &mut row.gates {
                gate.on_timer(row.now);
            }
            row.collect();
            match rng.below(5) {
                0..=2 => {
                    let priority = Priority::ALL[rng.below(4) as usize];
                    walkers.push((row.passage(priority), rng.below(3), false));
                }
                3 if !walkers.is_empty() => {
                    let (mut passage, _, _) = walkers.swap_remove(rng.below(walkers.len() as u64) as usize);
                    row.leave(&mut passage);
                    left += 1;
                }
                _ => {
                    let class = if rng.chance(0.2) { Class::Unavailable } else { Class::Answered };
                    if let Some(index) = walkers.iter().position(|(.., through)| *through) {
                        let (mut passage, ..) = walkers.swap_remove(index);
                        row.end(&mut passage, Ending::Answered(class));
                    }
                }
            }
            let mut index = 0;
            while index < walkers.len() {
                let key = walkers[index].1;
                match row.walk(&mut walkers[index].0, key) {
                    Step::Go => {
                        went += u32::from(!walkers[index].2);
                        walkers[index].2 = true;
                        index += 1;
                    }
                    Step::No(_) => {
                        let (mut passage, ..) = walkers.swap_remove(index);
                        row.end(&mut passage, Ending::NotCalled);
                        refused += 1;
                    }
                    _ => index += 1,
                }
            }
            let through = walkers.iter().filter(|(.., through)| *through).count() as u32;
            assert!(through <= 3, "seed {seed}, step {step}: {through} are under way");
            assert!((3..6).all(|gate| row.in_flight(gate) >= through), "seed {seed}, step {step}");
        }
        for (mut passage, ..) in walkers {
            row.leave(&mut passage);
        }
        assert_eq!([3, 4, 5].map(|gate| row.in_flight(gate)), [0, 0, 0], "seed {seed}");
        let waiting = |gate: &Gate| gate.admission().map_or(0, seaworthy_policy::Admission::waiting);
        assert_eq!(row.gates.iter().map(waiting).sum::<u32>(), 0, "seed {seed}");
        assert!(row.decided.is_empty(), "seed {seed}");
        assert!(went > 50 && refused > 10 && left > 50, "seed {seed}: {went} {refused} {left}");
    }
}
