//! Jobs of one order key go one at a time, in order, and hold up nobody else.

use std::time::Duration;

use seaworthy_policy::delivery::{
    BAR_GRACE, Because, DeliveryConfig, Job, JobId, ORDER_RECHECK, Reason, Step,
};

use crate::lane::{Lane, REFUSED, SECOND, START, deferred, job, keyed, plain, started, status, waits};

#[test]
fn one_at_a_time_and_in_order() {
    let mut lane = Lane::new(plain());
    assert_eq!(started(&lane.claim([keyed(1, 7), keyed(2, 7), keyed(3, 7), keyed(4, 8), job(5)])), [1, 4, 5]);
    assert_eq!(started(&lane.answer(1, status(200))), [2]);
    assert_eq!(started(&lane.answer(4, status(200))), []);
    assert_eq!(started(&lane.answer(2, status(422))), [3], "a dead letter lets the next one go");
    lane.answer(3, status(200));
    lane.answer(5, status(200));
    assert_eq!((lane.delivery.held(), lane.delivery.order_keys()), (0, 0));
}

#[test]
fn an_earlier_one_that_comes_later_still_goes_first() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([job(9), keyed(5, 7), keyed(3, 7)]);
    assert_eq!(started(&lane.answer(9, status(200))), [3]);
    assert_eq!(started(&lane.answer(3, status(200))), [5]);
}

#[test]
fn a_failed_head_blocks_its_key_only() {
    let mut lane = Lane::new(DeliveryConfig { schedule: waits(&[0, 60, 600]), ..plain() });
    lane.claim([keyed(1, 7), keyed(2, 7), keyed(3, 8)]);
    let until = lane.now + 60 * SECOND;
    let retry = Step::Retry { job: JobId(1), until, attempts: 1 };
    let follow = |id| Step::Defer { job: JobId(id), until, attempts: 0, because: Because::Order };
    assert_eq!(lane.answer(1, REFUSED), [retry, follow(2)], "the other key goes on");
    assert_eq!(lane.claim([keyed(4, 7)]), [follow(4)], "and so does every later one");
    assert!(!lane.delivery.would_take(7, JobId(4)) && lane.delivery.would_take(7, JobId(1)));
    assert!(lane.delivery.would_take(9, JobId(4)));
    lane.after(60 * SECOND);
    assert_eq!(deferred(&lane.claim([keyed(2, 7)])), [(2, Because::Order)], "even when it comes back first");
    assert_eq!(started(&lane.claim([Job { attempts: 1, ..keyed(1, 7) }])), [1]);
    assert_eq!(started(&lane.claim([keyed(2, 7)])), []);
    assert_eq!(started(&lane.answer(1, status(200))), [2]);
}

#[test]
fn a_short_wait_of_the_head_keeps_the_others_here() {
    let mut lane = Lane::new(DeliveryConfig { schedule: waits(&[0, 5, 600]), ..plain() });
    lane.claim([keyed(1, 7), keyed(2, 7)]);
    let until = lane.now + 5 * SECOND;
    assert_eq!(lane.answer(1, REFUSED), [Step::Retry { job: JobId(1), until, attempts: 1 }]);
    assert_eq!(lane.after(5 * SECOND), [], "it waits behind the one that is due now");
    assert_eq!(started(&lane.claim([Job { attempts: 1, ..keyed(1, 7) }])), [1]);
    assert_eq!(started(&lane.answer(1, status(200))), [2]);
}

#[test]
fn a_head_that_dies_unblocks_its_key() {
    let mut lane = Lane::new(DeliveryConfig { schedule: waits(&[0, 60]), ..plain() });
    lane.claim([keyed(1, 7)]);
    lane.answer(1, REFUSED);
    lane.after(60 * SECOND);
    let dead = Step::Dead { job: JobId(1), attempts: 2, reason: Reason::Exhausted };
    assert_eq!(lane.claim([Job { attempts: 2, ..keyed(1, 7) }]), [dead]);
    assert_eq!(started(&lane.claim([keyed(2, 7)])), [2]);
}

#[test]
fn a_head_that_somebody_drops_unblocks_its_key() {
    let mut lane = Lane::new(DeliveryConfig { schedule: waits(&[0, 60]), ..plain() });
    lane.claim([keyed(1, 7)]);
    lane.answer(1, REFUSED);
    lane.delivery.on_removed(lane.now, &mut lane.rng, JobId(1), Some(7));
    assert_eq!((lane.delivery.order_keys(), started(&lane.claim([keyed(2, 7)]))), (0, vec![2]));
}

#[test]
fn a_head_that_never_comes_back_does_not_block_for_ever() {
    let mut lane = Lane::new(DeliveryConfig { schedule: waits(&[0, 60]), ..plain() });
    lane.claim([keyed(1, 7)]);
    lane.answer(1, REFUSED);
    assert_eq!(lane.delivery.next_deadline(), Some(START + 60 * SECOND + BAR_GRACE));
    lane.after(60 * SECOND + BAR_GRACE);
    assert_eq!((lane.delivery.order_keys(), lane.delivery.next_deadline()), (0, None));
    let lease_until = lane.now + 60 * SECOND;
    assert_eq!(started(&lane.claim([Job { lease_until, ..keyed(2, 7) }])), [2]);
}

#[test]
fn what_a_restart_forgot_is_told_again() {
    let mut lane = Lane::new(plain());
    assert!(lane.delivery.on_waiting(JobId(3), 7, START + 60 * SECOND));
    assert_eq!(deferred(&lane.claim([keyed(4, 7)])), [(4, Because::Order)]);
    assert_eq!(started(&lane.claim([keyed(2, 7)])), [2], "an earlier one was dead, and was called back");
}

#[test]
fn one_long_line_leaves_places_for_others() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 4, prefetch: 4, ..plain() });
    let steps = lane.claim((1..=8).map(|id| keyed(id, 7)));
    let early: Vec<u64> = deferred(&steps).into_iter().map(|(id, _)| id).collect();
    assert_eq!((started(&steps), early), (vec![1], vec![4, 5, 6, 7, 8]));
    assert_eq!(lane.wanted(), 5);
    assert_eq!(started(&lane.claim((9..=11).map(job))), [9, 10, 11]);
    lane.answer(1, status(200));
    lane.answer(2, status(200));
    lane.answer(3, status(200));
    assert_eq!(deferred(&lane.claim([keyed(12, 7)])), [(12, Because::Order)], "4 comes first");
    lane.after(ORDER_RECHECK);
    assert_eq!(started(&lane.claim([keyed(4, 7)])), [4]);
}

#[test]
fn a_store_that_hands_out_a_long_line_is_not_asked_all_the_time() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, prefetch: 1, ..plain() });
    lane.claim([keyed(1, 7), keyed(2, 7)]);
    lane.answer(1, REFUSED);
    let mut id = 2;
    while lane.wanted() > 0 {
        id += 1;
        lane.claim([keyed(id, 7)]);
        assert!(id < 2_000, "it is asked all the time");
    }
    assert!(id > 900, "only {id}");
    let rest = lane.delivery.next_deadline().unwrap();
    assert!(rest <= START + SECOND, "{rest:?}");
    lane.after(rest.saturating_since(lane.now));
    assert!(lane.wanted() > 0);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut lane = Lane::new(DeliveryConfig { order_jobs_max: 2, ..plain() });
    for id in 1..=2 {
        assert!(lane.delivery.on_waiting(JobId(id), id, START + SECOND));
    }
    assert!(!lane.delivery.on_waiting(JobId(3), 9, START));
    assert_eq!(lane.delivery.order_keys(), 2);
    assert_eq!(started(&lane.claim([keyed(4, 9)])), [4], "nobody knows of 3 here");
    assert_eq!(deferred(&lane.claim([keyed(5, 1)])), [(5, Because::Order)]);
}

#[test]
fn all_that_were_given_back_are_waited_for() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, prefetch: 2, ..plain() });
    lane.claim((1..=4).map(|id| keyed(id, 7)));
    lane.answer(1, status(200));
    lane.answer(2, status(200));
    assert_eq!(started(&lane.claim([keyed(3, 7)])), [3]);
    lane.answer(3, status(200));
    assert_eq!(deferred(&lane.claim([keyed(5, 7)])), [(5, Because::Order)], "4 was given back as well");
    assert_eq!(started(&lane.claim([keyed(4, 7)])), [4]);
}

#[test]
fn what_was_given_back_keeps_its_place() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([job(1), keyed(2, 7), keyed(3, 7)]);
    lane.delivery.pause(lane.now, &mut lane.rng);
    assert_eq!(deferred(&lane.steps()), [(2, Because::Paused), (3, Because::Paused)]);
    lane.delivery.resume(lane.now, &mut lane.rng);
    lane.answer(1, status(200));
    assert_eq!(deferred(&lane.claim([keyed(3, 7)])), [(3, Because::Order)]);
    assert_eq!(started(&lane.claim([keyed(2, 7)])), [2]);
    lane.after(Duration::from_secs(30));
    assert_eq!(started(&lane.answer(2, status(200))), []);
}
