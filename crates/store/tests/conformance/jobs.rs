//! Random lives of jobs.

use std::time::Duration;

use seaworthy_policy::Rng;
use seaworthy_store::{
    Attempt, Burial, Claim, DeadFilter, Dedupe, Due, Holder, Jobs, Nack, NewJob, Options, Receipt,
    StoreError, verify,
};

use crate::jobs_model::Model;
use crate::stage::{Stage, each_seed, pick};

const STEPS: usize = 250;
const QUEUES: [&str; 2] = ["mails", "bills"];
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn jobs_do_what_the_naive_model_does() {
    each_seed(|rng| {
        let mut stage = Stage::new(Options::default());
        let (mut model, mut receipts) = (Model::default(), Vec::new());
        for _ in 0..STEPS {
            step(&mut stage, &mut model, &mut receipts, rng);
            for queue in QUEUES {
                assert_eq!(
                    stage.store().counts(queue).wait(),
                    Ok(model.counts(stage.now(), queue)),
                    "{queue}"
                );
            }
        }
        stage.close();
        let checked = verify(stage.folder.path()).unwrap();
        assert!(checked.is_whole(), "{checked:?}");
    });
}

fn step(stage: &mut Stage, model: &mut Model, receipts: &mut Vec<Receipt>, rng: &mut Rng) {
    match rng.below(100) {
        0..30 => enqueue(stage, model, rng),
        30..55 => claim(stage, model, receipts, rng),
        55..80 => settle(stage, model, receipts, rng),
        80..86 => stage.pass(SECOND * rng.below(30) as u32),
        86..92 => letters(stage, model, rng),
        92..96 => pause(stage, model, rng),
        96..98 => stage.pass(Duration::from_mins(rng.below(90))),
        _ => {
            model.restart();
            stage.reopen();
        }
    }
}

fn enqueue(stage: &Stage, model: &mut Model, rng: &mut Rng) {
    let now = stage.now();
    let some = |rng: &mut Rng| rng.below(3) == 0;
    let new = NewJob {
        queue: pick(rng, &QUEUES).to_owned(),
        body: rng.next_u64().to_le_bytes().to_vec(),
        dedupe: some(rng)
            .then(|| Dedupe { key: vec![rng.below(6) as u8], window: SECOND * rng.below(200) as u32 }),
        due: match rng.below(4) {
            0 => Due::After(SECOND * rng.below(40) as u32),
            1 => Due::At(now.after(SECOND * 10)),
            _ => Due::Now,
        },
        priority: pick(rng, &[0, 0, 0, 1, 9]),
        order: some(rng).then(|| vec![rng.below(3) as u8]),
        deadline: some(rng).then(|| now.after(SECOND * rng.below(60) as u32)),
        ..NewJob::default()
    };
    let said = stage.store().enqueue(new.clone()).wait().unwrap();
    model.enqueue(now, &new, said);
}

fn claim(stage: &Stage, model: &mut Model, receipts: &mut Vec<Receipt>, rng: &mut Rng) {
    let claim = Claim {
        queue: pick(rng, &QUEUES).to_owned(),
        max: rng.below(5) as usize,
        lease: SECOND * (1 + rng.below(40)) as u32,
        holder: pick(rng, &[Holder::Inside, Holder::Outside]),
    };
    let expected = model.claim(stage.now(), &claim);
    let claimed = stage.store().claim(claim.clone()).wait().unwrap();
    let seen: Vec<_> = claimed.iter().map(|job| (job.receipt.id, job.attempt, job.body.clone())).collect();
    assert_eq!(seen, expected, "{claim:?}");
    for job in claimed {
        model.claimed(job.receipt, job.leased_until, claim.holder);
        receipts.push(job.receipt);
    }
    stage.settle();
}

fn settle(stage: &Stage, model: &mut Model, receipts: &[Receipt], rng: &mut Rng) {
    if receipts.is_empty() {
        return;
    }
    // The latest ones are good more often; the others are to be refused.
    let recent = (rng.below(receipts.len() as u64)).max(rng.below(receipts.len() as u64));
    let receipt = receipts[recent as usize];
    let (store, now, is_good) = (stage.store(), stage.now(), model.is_good(receipt));
    let expected = if is_good { Ok(()) } else { Err(StoreError::Stale) };
    match rng.below(5) {
        0 | 1 => {
            assert_eq!(store.ack(receipt).wait(), expected);
            if is_good {
                model.ack(receipt);
            }
        }
        2 => {
            let attempt = pick(rng, &[Attempt::Counts, Attempt::DoesNotCount]);
            let note = vec![b'n'; rng.below(3) as usize];
            let nack = Nack { delay: SECOND * rng.below(20) as u32, attempt, note };
            assert_eq!(store.nack(receipt, nack.clone()).wait(), expected);
            if is_good {
                model.nack(now, receipt, &nack);
            }
        }
        3 => {
            let lease = SECOND * rng.below(60) as u32;
            assert_eq!(store.extend(receipt, lease).wait(), expected.map(|()| now.after(lease)));
            if is_good {
                model.extend(now, receipt, lease);
            }
        }
        _ => {
            let burial = Burial { reason: pick(rng, &["gone", "refused"]).to_owned(), note: vec![b'd'] };
            assert_eq!(store.dead_letter(receipt, burial.clone()).wait(), expected);
            if is_good {
                model.bury(now, receipt, &burial);
            }
        }
    }
}

fn letters(stage: &Stage, model: &mut Model, rng: &mut Rng) {
    let (store, now) = (stage.store(), stage.now());
    let some = |rng: &mut Rng| rng.below(3) == 0;
    let ids: Vec<_> = model.dead(&DeadFilter::default()).iter().map(|letter| letter.id).collect();
    let filter = DeadFilter {
        id: (some(rng) && !ids.is_empty()).then(|| pick(rng, &ids)),
        queue: some(rng).then(|| pick(rng, &QUEUES).to_owned()),
        reason: some(rng).then(|| pick(rng, &["gone", "refused", "expired"]).to_owned()),
        from: some(rng).then(|| seaworthy_store::Timestamp(now.0 - 30_000)),
        until: some(rng).then_some(now),
    };
    let expected = model.dead(&filter);
    assert_eq!(store.count_dead(filter.clone()).wait(), Ok(expected.len() as u64), "the dry count");
    assert_eq!(store.dead_letters(filter.clone(), None, 1_000).wait(), Ok(expected));
    let moved = match rng.below(3) {
        0 => (store.retry_dead(filter.clone()).wait().unwrap(), model.retry(now, &filter)),
        1 => (store.drop_dead(filter.clone()).wait().unwrap(), model.drop_dead(&filter)),
        _ => return,
    };
    assert_eq!((moved.0.count, moved.0.more), (moved.1, false));
}

fn pause(stage: &Stage, model: &mut Model, rng: &mut Rng) {
    let queue = pick(rng, &QUEUES);
    model.paused.retain(|paused| paused != queue);
    if rng.below(3) == 0 {
        model.paused.push(queue.to_owned());
        stage.store().pause(queue).wait().unwrap();
    } else {
        stage.store().resume(queue).wait().unwrap();
    }
}
