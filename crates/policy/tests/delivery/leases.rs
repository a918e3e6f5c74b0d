//! Claims have an end: they are extended in time, and what is lost is not acknowledged.

use std::time::Duration;

use seaworthy_policy::delivery::{DeliveryConfig, Job, JobId, Step};

use crate::lane::{Lane, SECOND, START, job, keyed, plain, started, status};

fn leased(id: u64, seconds: u64) -> Job {
    Job { lease_until: START + Duration::from_secs(seconds), ..job(id) }
}

fn long() -> DeliveryConfig {
    DeliveryConfig { timeout: Duration::from_mins(10), ..plain() }
}

#[test]
fn a_long_delivery_keeps_its_claim() {
    let mut lane = Lane::new(long());
    lane.claim([leased(1, 60)]);
    assert_eq!(lane.delivery.next_deadline(), Some(START + 30 * SECOND));
    for round in 1..20 {
        let steps = lane.after(30 * SECOND);
        let until = lane.now + 60 * SECOND;
        assert_eq!(steps, [Step::Extend { job: JobId(1), until }], "round {round}");
        lane.delivery.on_extended(lane.now, &mut lane.rng, JobId(1), until);
        assert_eq!(lane.steps(), []);
    }
    assert_eq!(lane.answer(1, status(200)), [Step::Ack { job: JobId(1) }]);
}

#[test]
fn an_extension_that_nobody_confirms_is_asked_for_again_and_then_given_up() {
    let mut lane = Lane::new(long());
    lane.claim([leased(1, 60)]);
    let (mut asked, mut lost) = (0, None);
    while let Some(next) = lane.delivery.next_deadline() {
        for step in lane.after(next.saturating_since(lane.now)) {
            match step {
                Step::Extend { .. } => asked += 1,
                Step::Lost { job } => lost = Some((job, lane.now)),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((asked, lost), (4, Some((JobId(1), START + 60 * SECOND))));
    assert_eq!(lane.answer(1, status(200)), [], "somebody else has it by now");
    assert_eq!(lane.delivery.held(), 0);
}

#[test]
fn the_store_has_the_last_word() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([job(1), job(2)]);
    lane.delivery.on_lost(lane.now, &mut lane.rng, JobId(1));
    let steps = lane.steps();
    assert_eq!((steps[0], started(&steps)), (Step::Lost { job: JobId(1) }, vec![2]));
    lane.delivery.on_lost(lane.now, &mut lane.rng, JobId(1));
    assert_eq!(lane.steps(), [], "said twice");
}

#[test]
fn a_claim_that_is_over_on_arrival_is_nothing() {
    let mut lane = Lane::new(plain());
    assert_eq!(lane.claim([leased(1, 0)]), [Step::Lost { job: JobId(1) }]);
    assert_eq!(lane.delivery.held(), 0);
}

#[test]
fn an_attempt_that_is_never_reported_gives_its_place_back() {
    let mut lane = Lane::new(DeliveryConfig { concurrency: 1, ..plain() });
    lane.claim([leased(1, 60), job(2)]);
    let mut extended = 0;
    let mut steps = Vec::new();
    while started(&steps).is_empty() {
        let next = lane.delivery.next_deadline().expect("a lease ends");
        steps = lane.after(next.saturating_since(lane.now));
        for step in &steps {
            if let Step::Extend { job: JobId(1), until } = step {
                extended += 1;
                lane.delivery.on_extended(lane.now, &mut lane.rng, JobId(1), *until);
            }
        }
    }
    assert_eq!(
        (started(&steps), extended),
        (vec![2], 2),
        "30 s to answer, one lease of grace, one to run out"
    );
}

#[test]
fn a_second_claim_of_a_held_job_is_an_extension() {
    let mut lane = Lane::new(plain());
    lane.claim([leased(1, 60)]);
    assert_eq!(lane.claim([leased(1, 120)]), []);
    assert_eq!(lane.delivery.next_deadline(), Some(START + 90 * SECOND));
}

#[test]
fn what_somebody_drops_is_given_up() {
    let mut lane = Lane::new(plain());
    lane.claim([keyed(1, 7), keyed(2, 7)]);
    lane.delivery.on_removed(lane.now, &mut lane.rng, JobId(1), Some(7));
    let steps = lane.steps();
    assert_eq!((steps[0], started(&steps)), (Step::Lost { job: JobId(1) }, vec![2]));
}
