//! The admission queue: who goes first, who is refused and why, and what it never holds.

use std::time::Duration;

use seaworthy_policy::admission::{
    AdmissionConfig, Arrival, Decided, Discipline, Outcome, Permit, Priority, Reason, RejectorKind, Ticket,
    Verdict,
};
use seaworthy_policy::{Admission, Deadline, LimitConfig, Rng, Time};

struct Harness {
    admission: Admission,
    rng: Rng,
    now: u64,
}

fn one_at_a_time() -> AdmissionConfig {
    AdmissionConfig {
        limit: LimitConfig::fixed(1),
        max_queue: 4,
        queue_discipline: Discipline::Fifo,
        rejector: RejectorKind::None,
        ..AdmissionConfig::default()
    }
}

impl Harness {
    fn new(config: AdmissionConfig) -> Self {
        assert_eq!(config.validate(), Ok(()));
        Harness { admission: Admission::new(config), rng: Rng::seeded(5), now: 0 }
    }

    fn at(&self) -> Time {
        Time::from_millis(self.now)
    }

    fn arrive(&mut self, arrival: Arrival) -> Verdict {
        self.admission.on_arrival(self.at(), &mut self.rng, &arrival)
    }

    fn admitted(&mut self, priority: Priority) -> Permit {
        match self.arrive(Arrival { priority, ..Arrival::default() }) {
            Verdict::Admitted(permit) => permit,
            other => panic!("not admitted: {other:?}"),
        }
    }

    fn queued(&mut self, priority: Priority, fairness_key: u64) -> Ticket {
        match self.arrive(Arrival { priority, fairness_key, deadline: None }) {
            Verdict::Queued(ticket) => ticket,
            other => panic!("not queued: {other:?}"),
        }
    }

    fn refused(&mut self, arrival: Arrival) -> Reason {
        match self.arrive(arrival) {
            Verdict::Rejected(rejected) => {
                assert!(rejected.retry_after >= Duration::from_millis(100), "{rejected:?}");
                rejected.reason
            }
            other => panic!("not refused: {other:?}"),
        }
    }

    fn complete(&mut self, permit: Permit) {
        self.admission.on_completed(self.at(), &mut self.rng, permit, Outcome::Success);
    }

    /// Completes one after the other, and tells in which order the tickets went.
    fn order(&mut self, permit: Permit) -> Vec<Ticket> {
        let (mut order, mut permit) = (Vec::new(), Some(permit));
        while let Some(under_way) = permit.take() {
            self.complete(under_way);
            while let Some(Decided { ticket, verdict }) = self.admission.take_decision() {
                permit = verdict.ok();
                order.push(ticket);
            }
        }
        order
    }

    fn refusals(&mut self) -> Vec<(Ticket, Reason)> {
        let mut refusals = Vec::new();
        while let Some(Decided { ticket, verdict }) = self.admission.take_decision() {
            let rejected = verdict.expect_err("somebody was let go");
            assert!(rejected.retry_after >= Duration::from_millis(100), "{rejected:?}");
            refusals.push((ticket, rejected.reason));
        }
        refusals
    }
}

#[test]
fn a_lower_priority_never_makes_a_higher_one_wait() {
    let mut harness = Harness::new(one_at_a_time());
    let permit = harness.admitted(Priority::Sheddable);
    let mut tickets: Vec<Ticket> =
        Priority::ALL.into_iter().rev().map(|priority| harness.queued(priority, 0)).collect();
    tickets.reverse();
    assert_eq!(harness.order(permit), tickets);
}

#[test]
fn keys_take_turns() {
    let mut harness = Harness::new(AdmissionConfig { max_queue: 10, ..one_at_a_time() });
    let permit = harness.admitted(Priority::Critical);
    let greedy: Vec<Ticket> = (0..4).map(|_| harness.queued(Priority::Critical, 1)).collect();
    let modest = harness.queued(Priority::Critical, 2);
    assert_eq!(harness.order(permit), [greedy[0], modest, greedy[1], greedy[2], greedy[3]]);
}

#[test]
fn a_full_queue_lets_a_key_have_no_more_than_its_share() {
    let mut harness = Harness::new(one_at_a_time());
    let _permit = harness.admitted(Priority::Critical);
    let greedy: Vec<Ticket> = (0..4).map(|_| harness.queued(Priority::Critical, 1)).collect();
    harness.queued(Priority::Critical, 2);
    harness.queued(Priority::Critical, 2);
    assert_eq!(harness.refusals(), [(greedy[3], Reason::Evicted), (greedy[2], Reason::Evicted)]);
    // Two of four each: that is the share.
    for fairness_key in [1, 2] {
        assert_eq!(harness.refused(Arrival { fairness_key, ..Arrival::default() }), Reason::QueueFull);
    }
}

#[test]
fn a_full_queue_evicts_the_lowest_and_there_the_last_in_turn() {
    for (discipline, standing, evicted) in [
        (Discipline::Fifo, 0, 3),
        (Discipline::Fifo, 500, 3),
        (Discipline::AdaptiveLifo, 0, 3),
        (Discipline::AdaptiveLifo, 500, 1),
    ] {
        let mut harness = Harness::new(AdmissionConfig { queue_discipline: discipline, ..one_at_a_time() });
        let _permit = harness.admitted(Priority::Critical);
        let tickets = [
            harness.queued(Priority::SheddablePlus, 0),
            harness.queued(Priority::Sheddable, 0),
            harness.queued(Priority::Sheddable, 0),
            harness.queued(Priority::Sheddable, 0),
        ];
        harness.now += standing;
        harness.queued(Priority::Critical, 0);
        assert_eq!(harness.refusals(), [(tickets[evicted], Reason::Evicted)], "{discipline:?} {standing}");
    }
}

#[test]
fn nobody_is_evicted_for_somebody_lower() {
    let mut harness = Harness::new(one_at_a_time());
    let _permit = harness.admitted(Priority::Critical);
    for _ in 0..4 {
        harness.queued(Priority::Critical, 0);
    }
    for priority in [Priority::Sheddable, Priority::SheddablePlus, Priority::Critical] {
        assert_eq!(harness.refused(Arrival { priority, ..Arrival::default() }), Reason::QueueFull);
    }
    harness.queued(Priority::CriticalPlus, 0);
}

#[test]
fn the_newest_goes_first_once_the_queue_stands() {
    for (standing, newest_first) in [(99, false), (100, true)] {
        let mut harness =
            Harness::new(AdmissionConfig { queue_discipline: Discipline::AdaptiveLifo, ..one_at_a_time() });
        let permit = harness.admitted(Priority::Sheddable);
        let old = harness.queued(Priority::Sheddable, 0);
        harness.now += standing;
        let new = harness.queued(Priority::Sheddable, 0);
        let expected = if newest_first { [new, old] } else { [old, new] };
        assert_eq!(harness.order(permit), expected, "after {standing} ms");
    }
}

#[test]
fn codel_drops_from_a_standing_queue_and_leaves_one() {
    let codel = AdmissionConfig { rejector: RejectorKind::Codel, ..one_at_a_time() };
    for (priority, patience) in [(Priority::Sheddable, 100), (Priority::Critical, 5_000)] {
        let mut harness =
            Harness::new(AdmissionConfig { max_wait_duration: Duration::from_mins(1), ..codel });
        let _permit = harness.admitted(priority);
        let tickets = [harness.queued(priority, 0), harness.queued(priority, 0), harness.queued(priority, 0)];
        assert_eq!(harness.admission.next_deadline(), Some(Time::from_millis(patience)));
        harness.now = patience - 1;
        harness.admission.on_timer(harness.at());
        assert_eq!(harness.refusals(), []);
        harness.now = patience;
        harness.admission.on_timer(harness.at());
        let dropped = [(tickets[0], Reason::Overloaded), (tickets[1], Reason::Overloaded)];
        assert_eq!(harness.refusals(), dropped, "{priority:?}");
        // One stays, so that a free place finds somebody; who comes now has the target to wait.
        harness.queued(priority, 0);
        assert_eq!(harness.refusals(), [(tickets[2], Reason::Overloaded)]);
    }
}

#[test]
fn waiting_is_counted_in_the_deadline() {
    let mut harness = Harness::new(one_at_a_time());
    let permit = harness.admitted(Priority::Critical);
    let until =
        |millis| Arrival { deadline: Some(Deadline::at(Time::from_millis(millis))), ..Arrival::default() };
    let Verdict::Queued(ticket) = harness.arrive(until(40)) else { panic!("it has 40 ms") };
    let patient = harness.queued(Priority::Critical, 0);
    assert_eq!(harness.admission.next_deadline(), Some(Time::from_millis(40)));
    harness.now = 40;
    harness.admission.on_timer(harness.at());
    assert_eq!(harness.refusals(), [(ticket, Reason::DeadlineExpired)]);
    assert_eq!(harness.refused(until(40)), Reason::DeadlineExpired);
    harness.now = 1_000;
    harness.admission.on_timer(harness.at());
    assert_eq!(harness.refusals(), [(patient, Reason::WaitedTooLong)]);
    harness.complete(permit);
    assert_eq!(harness.refused(until(900)), Reason::DeadlineExpired, "also where there is room");
}

#[test]
fn who_cannot_start_in_time_is_refused_at_once() {
    let mut harness = Harness::new(one_at_a_time());
    let mut permit = Some(harness.admitted(Priority::Critical));
    // The queue moves by one every 100 ms.
    harness.queued(Priority::Critical, 0);
    for _ in 0..20 {
        harness.queued(Priority::Critical, 0);
        harness.now += 100;
        harness.complete(permit.take().unwrap());
        permit = harness.admission.take_decision().and_then(|decided| decided.verdict.ok());
    }
    let within = |millis: u64, priority| Arrival {
        priority,
        deadline: Some(Deadline::at(Time::from_millis(2_000 + millis))),
        ..Arrival::default()
    };
    assert_eq!((harness.now, harness.admission.waiting()), (2_000, 1));
    assert_eq!(harness.refused(within(190, Priority::Critical)), Reason::DeadlineTooShort);
    assert!(matches!(harness.arrive(within(190, Priority::CriticalPlus)), Verdict::Queued(_)));
    assert!(matches!(harness.arrive(within(310, Priority::Critical)), Verdict::Queued(_)));
}

#[test]
fn nobody_waits_where_nobody_may() {
    for config in [
        AdmissionConfig { max_wait_duration: Duration::ZERO, ..one_at_a_time() },
        AdmissionConfig { max_queue: 0, ..one_at_a_time() },
    ] {
        let mut harness = Harness::new(config);
        let permit = harness.admitted(Priority::Sheddable);
        let critical = Arrival { priority: Priority::CriticalPlus, ..Arrival::default() };
        assert_eq!(harness.refused(critical), Reason::LimitReached);
        harness.complete(permit);
        let _permit = harness.admitted(Priority::Sheddable);
    }
}

/// tower's limit takes its permit when asked whether it is ready, so that idle connections hold permits. Here only a
/// call that goes holds one: neither waiting, nor a decision given up untaken, nor an ended call does.
#[test]
fn vector_26457_idle_holds_no_permit() {
    let mut harness = Harness::new(one_at_a_time());
    assert_eq!(harness.admission.limit().in_flight(), 0);
    let permit = harness.admitted(Priority::Critical);
    let (first, second) = (harness.queued(Priority::Critical, 0), harness.queued(Priority::Critical, 0));
    assert_eq!(harness.admission.limit().in_flight(), 1, "waiting holds none");
    harness.complete(permit);
    assert_eq!(harness.admission.limit().in_flight(), 1);
    // Let go, but its caller has left before hearing of it: the place goes to the next.
    harness.admission.on_cancelled(harness.at(), &mut harness.rng, first);
    let Some(Decided { ticket, verdict: Ok(permit) }) = harness.admission.take_decision() else {
        panic!("the place was lost");
    };
    assert_eq!((ticket, harness.admission.limit().in_flight()), (second, 1));
    // A ticket that was taken is none of the queue's any more.
    harness.admission.on_cancelled(harness.at(), &mut harness.rng, second);
    harness.complete(permit);
    assert_eq!((harness.admission.limit().in_flight(), harness.admission.take_decision()), (0, None));
}

#[test]
fn a_reset_lets_go_as_many_as_the_initial_limit_bears() {
    let limit = LimitConfig { initial_limit: 3, samples_min: 1, ..LimitConfig::default() };
    let mut harness = Harness::new(AdmissionConfig { limit, ..one_at_a_time() });
    // Losses, until one at a time is what is left.
    while harness.admission.limit().limit() > 1 {
        let permit = harness.admitted(Priority::Critical);
        harness.now += 1_000;
        harness.admission.on_completed(harness.at(), &mut harness.rng, permit, Outcome::TimedOut);
    }
    let _permit = harness.admitted(Priority::Critical);
    let tickets: Vec<Ticket> = (0..3).map(|_| harness.queued(Priority::Critical, 0)).collect();
    harness.admission.reset(harness.at());
    let mut admitted = Vec::new();
    while let Some(Decided { ticket, verdict: Ok(_) }) = harness.admission.take_decision() {
        admitted.push(ticket);
    }
    assert_eq!((admitted.as_slice(), harness.admission.waiting()), (&tickets[..2], 1));
}

#[test]
fn decisions_nobody_takes_are_bounded() {
    let mut harness = Harness::new(one_at_a_time());
    let _permit = harness.admitted(Priority::Critical);
    for _ in 0..100 {
        for _ in 0..4 {
            harness.arrive(Arrival::default());
        }
        harness.now += 1_000;
        harness.admission.on_timer(harness.at());
    }
    assert_eq!(harness.refused(Arrival::default()), Reason::QueueFull);
    let mut taken = 0;
    while harness.admission.take_decision().is_some() {
        taken += 1;
    }
    assert_eq!(taken, 4);
    harness.queued(Priority::Critical, 0);
}

#[test]
fn the_controller_refuses_a_share_of_the_lowest_first() {
    let pid = AdmissionConfig {
        rejector: RejectorKind::Pid,
        max_queue: 1_000,
        max_wait_duration: Duration::from_secs(5),
        ..one_at_a_time()
    };
    let mut harness = Harness::new(pid);
    let mut permit = Some(harness.admitted(Priority::Critical));
    let mut refused = [0, 0];
    // One goes every 5 ms; a sheddable one comes each time, a critical one every other time.
    for round in 0..2_000 {
        for (index, priority) in [Priority::CriticalPlus, Priority::Sheddable].into_iter().enumerate() {
            if index == 0 && round % 2 == 0 {
                continue;
            }
            match harness.arrive(Arrival { priority, ..Arrival::default() }) {
                Verdict::Rejected(_) => refused[index] += u32::from(round >= 500),
                Verdict::Admitted(admitted) => permit = Some(admitted),
                Verdict::Queued(_) => {}
            }
        }
        harness.now += 5;
        if let Some(permit) = permit.take() {
            harness.complete(permit);
        }
        while let Some(decided) = harness.admission.take_decision() {
            permit = decided.verdict.ok().or(permit);
        }
    }
    assert!((0.1..0.7).contains(&harness.admission.refused_share()), "{}", harness.admission.refused_share());
    assert!(refused[1] > 600 && refused[0] * 5 < refused[1], "{refused:?}");
}

/// Shells whose waiters have timers of their own: each one's moments together are all moments.
#[test]
fn every_waiter_can_watch_its_own_moments() {
    let config = AdmissionConfig { rejector: RejectorKind::Codel, ..one_at_a_time() };
    let mut harness = Harness::new(config);
    let permit = harness.admitted(Priority::Sheddable);
    let first = harness.queued(Priority::Sheddable, 0);
    let moment = |harness: &Harness, ticket| harness.admission.next_deadline_of(harness.at(), ticket);
    assert_eq!(moment(&harness, first), Some(Time::from_millis(100)), "alone, but perhaps not for long");
    harness.now = 98;
    let second = harness.queued(Priority::Sheddable, 0);
    assert_eq!(moment(&harness, second), Some(Time::from_millis(103)), "the target, in a queue that stands");
    assert_eq!(harness.admission.next_deadline(), moment(&harness, first));
    harness.now = 100;
    harness.admission.on_timer(harness.at());
    assert_eq!(moment(&harness, first), None, "refused");
    harness.now = 103;
    harness.admission.on_timer(harness.at());
    assert_eq!(moment(&harness, second), Some(Time::from_millis(1_098)), "spared as the last one");
    harness.admission.on_completed(harness.at(), &mut harness.rng, permit, Outcome::Success);
    assert_eq!(moment(&harness, second), None, "let go");
}
