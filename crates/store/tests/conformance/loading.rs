//! A start with much to load: jobs are handed out at once, each exactly once, and in order where order was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seaworthy_store::{Claim, Claimed, Embedded, Holder, Jobs, NewJob, Options, Receipt, Reply, StoreError};

const JOBS: u64 = 30_000;
const KEYS: u64 = 100;
/// Outside leases, all over the names.
const LEASED: usize = 700;

fn job(number: u64) -> NewJob {
    let order = number.is_multiple_of(3).then(|| (number % KEYS).to_le_bytes().to_vec());
    let body = number.to_le_bytes().to_vec();
    NewJob { queue: "q".to_owned(), body, order, ..NewJob::default() }
}

fn claim(store: &Embedded, max: usize, holder: Holder) -> Vec<Claimed> {
    let lease = Duration::from_mins(10);
    store.claim(Claim { queue: "q".to_owned(), max, lease, holder }).wait().unwrap()
}

fn all<T>(replies: Vec<Reply<T>>) -> Vec<Result<T, StoreError>> {
    replies.into_iter().map(Reply::wait).collect()
}

#[test]
fn while_the_index_is_loaded_nothing_is_lost_doubled_or_out_of_order() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Embedded::open(folder.path(), &Options::default()).unwrap();
    let store = open();
    for result in all((0..JOBS).map(|number| store.enqueue(job(number))).collect()) {
        result.unwrap();
    }
    let outside = claim(&store, LEASED, Holder::Outside);
    let inside = claim(&store, LEASED, Holder::Inside);
    drop(store);

    let store = open();
    let first = claim(&store, 1, Holder::Inside);
    // All of these meet jobs that may not be loaded yet.
    let acks = all(outside.iter().rev().map(|job| store.ack(job.receipt)).collect());
    assert!(acks.iter().all(Result::is_ok), "a lease outside outlives the process");
    let stale = all(inside.iter().map(|job| store.ack(job.receipt)).collect());
    assert!(stale.iter().all(|said| *said == Err(StoreError::Stale)), "a lease inside does not");
    let again = all(outside.iter().map(|job| store.ack(job.receipt)).collect());
    assert!(again.iter().all(|said| *said == Err(StoreError::Stale)), "settled once");
    for result in all((JOBS..JOBS + 1_000).map(|number| store.enqueue(job(number))).collect()) {
        result.unwrap();
    }

    let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::new());
    let mut take = |job: &Claimed| {
        assert!(seen.insert(job.receipt.id), "{:?} twice", job.receipt);
        if let Some(key) = &job.order {
            let before = last.insert(key.clone(), job.receipt.id);
            assert!(before < Some(job.receipt.id), "{before:?} before {:?}", job.receipt.id);
        }
    };
    first.iter().for_each(&mut take);
    let mut receipts: Vec<Receipt> = first.iter().map(|job| job.receipt).collect();
    loop {
        for said in all(receipts.drain(..).map(|receipt| store.ack(receipt)).collect()) {
            said.unwrap();
        }
        let is_complete = store.counts("q").wait().unwrap().complete;
        let claimed = claim(&store, 500, Holder::Inside);
        if claimed.is_empty() && is_complete {
            break;
        }
        claimed.iter().for_each(&mut take);
        receipts.extend(claimed.iter().map(|job| job.receipt));
    }
    assert_eq!(seen.len() as u64, JOBS + 1_000 - outside.len() as u64);
}
