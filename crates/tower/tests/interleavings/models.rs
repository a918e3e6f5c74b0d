//! The models: two or three threads, one or two places.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use seaworthy_policy::admission::{
    Arrival, Discipline, Outcome, Permit, Priority, Reason, Rejected, RejectorKind, Ticket,
};
use seaworthy_policy::{Admission, AdmissionConfig, LimitConfig, Time};

use crate::places::{Entry, Places};

const NOW: Time = Time::from_millis(1);
/// When nobody may wait any longer.
const LATE: Time = Time::from_millis(2_000);

/// One layer's places, and a count of who is inside.
struct House {
    places: Places,
    inside: AtomicU32,
    room: u32,
}

impl House {
    fn new(room: u32, max_queue: u32) -> Arc<House> {
        let config = AdmissionConfig {
            limit: LimitConfig::fixed(room),
            max_queue,
            max_wait_duration: Duration::from_secs(1),
            queue_discipline: Discipline::Fifo,
            rejector: RejectorKind::None,
            ..AdmissionConfig::default()
        };
        let places = Places::new(Admission::new(config), 1);
        Arc::new(House { places, inside: AtomicU32::new(0), room })
    }

    fn enter(&self, priority: Priority) -> Entry {
        self.places.enter(NOW, &Arrival { priority, ..Arrival::default() })
    }

    /// Comes in, waits as long as it takes, and goes out again; why not, if not.
    fn visit(&self, priority: Priority) -> Result<(), Reason> {
        let decided = match self.enter(priority) {
            Entry::Admitted(permit) => Ok(permit),
            Entry::Rejected(rejected) => Err(rejected),
            Entry::Queued(ticket) => self.wait(ticket),
        };
        self.stay(decided.map_err(|rejected| rejected.reason)?);
        Ok(())
    }

    fn wait(&self, ticket: Ticket) -> Result<Permit, Rejected> {
        block_on(poll_fn(|context| self.places.poll(ticket, context.waker())))
    }

    fn stay(&self, permit: Permit) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(inside <= self.room, "a place was given twice");
        self.inside.fetch_sub(1, Ordering::SeqCst);
        self.places.exit(NOW, permit, Outcome::Success);
    }

    fn admitted(&self) -> Permit {
        match self.enter(Priority::Critical) {
            Entry::Admitted(permit) => permit,
            Entry::Queued(_) | Entry::Rejected(_) => panic!("there is room"),
        }
    }

    fn queued(&self, priority: Priority) -> Ticket {
        match self.enter(priority) {
            Entry::Queued(ticket) => ticket,
            Entry::Admitted(_) | Entry::Rejected(_) => panic!("the place is taken, the queue is not"),
        }
    }

    fn check_empty(&self) {
        let left = self.places.with(|admission| {
            admission.check_invariants();
            (admission.limit().in_flight(), admission.waiting())
        });
        assert_eq!(left, (0, 0), "under way and waiting, after everybody has left");
    }
}

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(crate::preemptions());
    builder.check(check);
}

/// In a thread, and joined by whoever asks.
fn spawn<T: 'static>(house: &Arc<House>, work: impl FnOnce(&House) -> T + 'static) -> thread::JoinHandle<T> {
    let house = Arc::clone(house);
    thread::spawn(move || work(&house))
}

#[test]
fn a_place_goes_from_hand_to_hand() {
    model(|| {
        let house = House::new(1, 2);
        let others = [(); 2].map(|()| spawn(&house, |house| house.visit(Priority::Critical)));
        assert_eq!(house.visit(Priority::Critical), Ok(()));
        for other in others {
            assert_eq!(other.join().unwrap(), Ok(()), "the queue had room for both");
        }
        house.check_empty();
    });
}

/// The one in front is dropped at any moment: before it asks, while it waits, when the place is already his.
#[test]
fn a_waiter_dropped_while_it_is_woken_hands_the_place_on() {
    model(|| {
        let house = House::new(1, 2);
        let permit = house.admitted();
        let (front, behind) = (house.queued(Priority::Critical), house.queued(Priority::Critical));
        let leaver = spawn(&house, move |house| {
            let context = Context::from_waker(Waker::noop());
            match house.places.poll(front, context.waker()) {
                Poll::Ready(Ok(permit)) => house.stay(permit),
                Poll::Ready(Err(rejected)) => panic!("rejected: {rejected:?}"),
                Poll::Pending => house.places.leave(NOW, front),
            }
        });
        let stayer = spawn(&house, move |house| house.stay(house.wait(behind).unwrap()));
        house.stay(permit);
        leaver.join().unwrap();
        stayer.join().unwrap();
        house.check_empty();
    });
}

/// Its time is over in the moment in which a place becomes free: it gets the one or the other, and is told.
#[test]
fn a_waiter_whose_time_is_over_is_told_and_keeps_nothing() {
    model(|| {
        let house = House::new(1, 2);
        let permit = house.admitted();
        let ticket = house.queued(Priority::Critical);
        let timer = spawn(&house, move |house| house.places.on_timer(LATE, ticket));
        let waiter = spawn(&house, move |house| match house.wait(ticket) {
            Ok(permit) => house.stay(permit),
            Err(rejected) => assert_eq!(rejected.reason, Reason::WaitedTooLong),
        });
        house.stay(permit);
        assert_eq!(timer.join().unwrap(), None, "it is decided by then");
        waiter.join().unwrap();
        house.check_empty();
    });
}

/// A place becomes free while one that matters more takes the queue from the one who waits.
#[test]
fn a_waiter_that_gives_way_is_told() {
    model(|| {
        let house = House::new(1, 1);
        let permit = house.admitted();
        let ticket = house.queued(Priority::Sheddable);
        let waiter = spawn(&house, move |house| match house.wait(ticket) {
            Ok(permit) => house.stay(permit),
            Err(rejected) => assert_eq!(rejected.reason, Reason::Evicted),
        });
        let critical = spawn(&house, |house| house.visit(Priority::Critical));
        house.stay(permit);
        waiter.join().unwrap();
        assert_eq!(critical.join().unwrap(), Ok(()), "nobody matters more than it");
        house.check_empty();
    });
}

/// A future that is moved to another task is polled with another waker: that one counts.
#[test]
fn the_newest_waker_is_woken() {
    model(|| {
        let house = House::new(1, 1);
        let permit = house.admitted();
        let ticket = house.queued(Priority::Critical);
        let waiter = spawn(&house, move |house| {
            let permit = match house.places.poll(ticket, Waker::noop()) {
                Poll::Ready(decided) => decided,
                Poll::Pending => house.wait(ticket),
            };
            house.stay(permit.unwrap());
        });
        house.stay(permit);
        waiter.join().unwrap();
        house.check_empty();
    });
}

/// Two places become free at once, and two wait: each of them gets one.
#[test]
fn two_places_find_two_waiters() {
    model(|| {
        let house = House::new(2, 2);
        let (one, other) = (house.admitted(), house.admitted());
        let (first, second) = (house.queued(Priority::Critical), house.queued(Priority::Critical));
        let leaves = spawn(&house, move |house| house.stay(one));
        let waits = spawn(&house, move |house| house.stay(house.wait(first).unwrap()));
        house.stay(other);
        house.stay(house.wait(second).unwrap());
        leaves.join().unwrap();
        waits.join().unwrap();
        house.check_empty();
    });
}
