//! A lane from the embedded store: what was accepted is delivered or a dead letter, also when the process is killed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use seaworthy_policy::delivery::{DeliveryConfig, Guarantee, Schedule};
use seaworthy_queue::{Stored, encode_headers};
use seaworthy_store::{Counts, DeadFilter, Embedded, Jobs, NewJob, Options};

use crate::backend::{Backend, Seen, answer};
use crate::support::{PATIENCE, Running, millis};

const QUEUE: &str = "purchases";

fn open(folder: &Path) -> Arc<Embedded> {
    Arc::new(Embedded::open(folder, &Options::default()).unwrap())
}

fn config() -> DeliveryConfig {
    let waits: Arc<[Duration]> = [0, 20, 20, 20, 20, 20].map(millis).into();
    DeliveryConfig { schedule: Schedule { waits, jitter: 0.0 }, breaker: None, ..DeliveryConfig::default() }
}

fn lane(store: &Arc<Embedded>, backend: &Backend, config: DeliveryConfig) -> Running {
    let clock = Options::default().clock;
    let source = Arc::new(Stored::new(Arc::clone(store), QUEUE, clock, config.guarantee));
    Running::start(config, backend, &source)
}

async fn enqueue(store: &Embedded, count: u64) -> BTreeSet<u64> {
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("a"));
    let mut ids = BTreeSet::new();
    for number in 0..count {
        let job = NewJob {
            queue: QUEUE.to_owned(),
            headers: encode_headers(&headers),
            body: format!("{{\"number\":{number}}}").into_bytes(),
            order: (number % 3 == 0).then(|| b"buyer".to_vec()),
            ..NewJob::default()
        };
        ids.insert(store.enqueue(job).await.unwrap().id().0);
    }
    ids
}

async fn wait_until(store: &Embedded, holds: impl Fn(&Counts) -> bool) -> Counts {
    let begun = Instant::now();
    loop {
        let counts = store.counts(QUEUE).await.unwrap();
        if holds(&counts) {
            return counts;
        }
        assert!(begun.elapsed() < PATIENCE, "{counts:?}");
        tokio::time::sleep(millis(5)).await;
    }
}

fn is_empty(counts: &Counts) -> bool {
    counts.complete && counts.ready + counts.delayed + counts.blocked + counts.leased == 0
}

#[tokio::test]
async fn what_was_accepted_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let backend = Backend::start(|nth| (millis(1), answer(if nth % 7 == 0 { 500 } else { 200 }, ""))).await;
    let running = lane(&store, &backend, config());
    let ids = enqueue(&store, 100).await;
    let counts = wait_until(&store, is_empty).await;
    assert_eq!(counts.dead, 0);
    let seen = backend.seen();
    assert_eq!(seen.iter().map(Seen::number).collect::<BTreeSet<_>>(), ids);
    assert!(seen.iter().all(|seen| seen.id.starts_with("purchases-")));
    let first = *ids.first().unwrap();
    let ordered: Vec<u64> =
        seen.iter().map(Seen::number).filter(|id| (id - first).is_multiple_of(3)).collect();
    assert!(ordered.is_sorted(), "one key, one order: {ordered:?}");
    running.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_dead_letter_says_why_and_can_be_called_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let refuse = answer(422, "no such buyer");
    let backend =
        Backend::start(move |nth| (millis(0), if nth == 0 { refuse.clone() } else { answer(200, "") })).await;
    let running = lane(&store, &backend, config());
    enqueue(&store, 1).await;
    wait_until(&store, |counts| counts.dead == 1).await;
    let letters = store.dead_letters(DeadFilter::default(), None, 10).await.unwrap();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.reason.as_str(), letter.attempts), ("rejected", 1));
    let note = String::from_utf8(letter.note.clone()).unwrap();
    for part in [r#""status":422"#, r#""body":"no such buyer""#, r#""outcome":"answered""#, r#""at":"2"#] {
        assert!(note.contains(part), "{note}");
    }
    assert_eq!(store.retry_dead(DeadFilter::default()).await.unwrap().count, 1);
    wait_until(&store, |counts| is_empty(counts) && counts.dead == 0).await;
    assert_eq!(backend.seen().len(), 2);
    running.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn attempts_count_and_pauses_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let not_now = "HTTP/1.1 429 X\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n".to_owned();
    let backend =
        Backend::start(move |nth| (millis(0), if nth == 1 { not_now.clone() } else { answer(500, "") }))
            .await;
    let waits: Arc<[Duration]> = [0, 20, 20].map(millis).into();
    let config = DeliveryConfig { schedule: Schedule { waits, jitter: 0.0 }, ..config() };
    let running = lane(&store, &backend, config);
    enqueue(&store, 1).await;
    wait_until(&store, |counts| counts.dead == 1).await;
    let letters = store.dead_letters(DeadFilter::default(), None, 10).await.unwrap();
    assert_eq!((letters[0].reason.as_str(), letters[0].attempts), ("exhausted", 3));
    assert_eq!(backend.seen().len(), 4, "three attempts, and one that was sent away");
    running.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn the_next_one_of_a_key_goes_as_soon_as_the_one_before_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let backend = Backend::start(|_| (millis(0), answer(200, ""))).await;
    let running = lane(&store, &backend, config());
    let begun = Instant::now();
    for _ in 0..5 {
        let order = Some(b"one".to_vec());
        let job = NewJob {
            queue: QUEUE.to_owned(),
            headers: encode_headers(&HeaderMap::new()),
            order,
            ..NewJob::default()
        };
        store.enqueue(job).await.unwrap();
    }
    wait_until(&store, is_empty).await;
    assert!(begun.elapsed() < millis(4_000), "{:?}", begun.elapsed());
    running.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_killed_process_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start(|_| (millis(3), answer(200, ""))).await;
    let store = open(folder.path());
    let ids = enqueue(&store, 200).await;
    let running = lane(&store, &backend, config());
    backend.wait_for(50).await;
    running.kill().await;
    drop(store);
    let store = reopen(folder.path()).await;
    let running = lane(&store, &backend, config());
    wait_until(&store, is_empty).await;
    let seen: BTreeSet<u64> = backend.seen().iter().map(Seen::number).collect();
    assert_eq!(seen, ids);
    let again = backend.seen().len() - ids.len();
    assert!(again <= 20, "{again} came twice, more than were in our hands");
    running.end(Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn at_most_once_holds_even_then() {
    let folder = tempfile::tempdir().unwrap();
    // The first one never gets an answer.
    let backend = Backend::start(|nth| (if nth == 0 { PATIENCE } else { millis(0) }, answer(200, ""))).await;
    let once = DeliveryConfig { guarantee: Guarantee::AtMostOnce, ..config() };
    let store = open(folder.path());
    enqueue(&store, 1).await;
    let running = lane(&store, &backend, once.clone());
    backend.wait_for(1).await;
    // Whatever is durable by now: that it was begun rides in a commit that covers a later job.
    enqueue(&store, 1).await;
    running.kill().await;
    drop(store);
    let store = reopen(folder.path()).await;
    let running = lane(&store, &backend, once);
    wait_until(&store, |counts| is_empty(counts) && counts.dead >= 1).await;
    let letters = store.dead_letters(DeadFilter::default(), None, 10).await.unwrap();
    assert!(letters.iter().all(|letter| letter.reason == "outcome-unknown"), "{letters:?}");
    let seen = backend.seen();
    let first = seen[0].number();
    assert_eq!(seen.iter().filter(|seen| seen.number() == first).count(), 1, "{seen:?}");
    running.end(Duration::ZERO).await.unwrap();
}

/// The lock of the folder is free once the tasks that held the store are gone.
async fn reopen(folder: &Path) -> Arc<Embedded> {
    let begun = Instant::now();
    loop {
        match Embedded::open(folder, &Options::default()) {
            Ok(store) => return Arc::new(store),
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(millis(5)).await;
    }
}
