//! Single cases: bounds, hints, files that are not ours.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use seaworthy_store::{
    Begin, Begun, Bound, Claim, Due, Embedded, Holder, Jobs, Keys, Nack, NewJob, Options, StoreError,
    Takeover, verify,
};

use crate::stage::Stage;

fn job(queue: &str) -> NewJob {
    NewJob { queue: queue.to_owned(), body: b"body".to_vec(), ..NewJob::default() }
}

fn claim(queue: &str, max: usize) -> Claim {
    Claim { queue: queue.to_owned(), max, lease: Duration::from_secs(30), holder: Holder::Inside }
}

#[test]
fn bounds_are_told_by_name() {
    let options = Options { jobs_max: 2, keys_max: 1, body_max: 10, ..Options::default() };
    let stage = Stage::new(options);
    let store = stage.store();
    let large = NewJob { body: vec![0; 11], ..job("q") };
    let size = Bound::Size { what: "body", size: 11, limit: 10 };
    assert_eq!(store.enqueue(large).wait(), Err(StoreError::Full(size)));
    assert!(store.enqueue(job("q")).wait().is_ok() && store.enqueue(job("q")).wait().is_ok());
    assert_eq!(store.enqueue(job("q")).wait(), Err(StoreError::Full(Bound::Jobs { limit: 2 })));
    let done = store.claim(claim("q", 1)).wait().unwrap();
    store.ack(done[0].receipt).wait().unwrap();
    assert!(store.enqueue(job("q")).wait().is_ok(), "there is room again");
    let begin = |key: u8| Begin {
        scope: Vec::new(),
        key: vec![key],
        fingerprint: [0; 32],
        lease: Duration::from_secs(1),
        takeover: Takeover::Never,
    };
    assert!(matches!(store.begin(begin(1)).wait(), Ok(Begun::New(_))));
    assert_eq!(store.begin(begin(2)).wait(), Err(StoreError::Full(Bound::Keys { limit: 1 })));
    assert!(matches!(store.begin(begin(1)).wait(), Ok(Begun::InFlight { .. })), "a known key is no new one");
}

#[test]
fn who_listens_hears_of_what_becomes_claimable() {
    let stage = Stage::new(Options::default());
    let heard = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&heard);
    stage.store().on_ready(
        "q",
        Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    );
    // A hint comes before the next operation of the same file is answered.
    let mut last = 0;
    let mut rises = |what: &str| {
        stage.settle();
        let now = heard.load(Ordering::SeqCst);
        assert!(now > last, "{what}");
        last = now;
    };
    stage.store().enqueue(job("q")).wait().unwrap();
    rises("enqueue");
    let claimed = stage.store().claim(claim("q", 1)).wait().unwrap();
    stage.store().nack(claimed[0].receipt, Nack::default()).wait().unwrap();
    rises("nack");
    stage.store().resume("q").wait().unwrap();
    rises("resume");
    stage.store().enqueue(job("another")).wait().unwrap();
    stage.settle();
    assert_eq!(heard.load(Ordering::SeqCst), last, "other queues are no business of ours");
}

#[test]
fn the_next_due_time_is_known() {
    let stage = Stage::new(Options::default());
    let store = stage.store();
    assert_eq!(store.next_due("q"), None);
    let delay = Duration::from_secs(5);
    store.enqueue(NewJob { due: Due::After(delay), ..job("q") }).wait().unwrap();
    assert_eq!(store.next_due("q"), Some(stage.now().after(delay)));
    assert_eq!(store.claim(claim("q", 1)).wait(), Ok(Vec::new()));
    stage.pass(delay);
    let claimed = store.claim(claim("q", 1)).wait().unwrap();
    assert_eq!(store.next_due("q"), Some(claimed[0].leased_until), "when the lease ends");
    store.ack(claimed[0].receipt).wait().unwrap();
    assert_eq!(store.next_due("q"), None);
}

#[test]
fn a_store_is_opened_by_one_at_a_time() {
    let mut stage = Stage::new(Options::default());
    let path = stage.folder.path().to_path_buf();
    let busy = StoreError::Busy { path: path.clone() };
    assert_eq!(Embedded::open(&path, &Options::default()).unwrap_err(), busy);
    assert_eq!(verify(&path), Err(busy));
    stage.close();
    let files = || ["jobs.db", "jobs.db-wal"].map(|name| fs::read(path.join(name)).unwrap());
    let before = files();
    assert!(verify(&path).unwrap().is_whole());
    assert!(before == files(), "who verifies changes nothing");
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let mut stage = Stage::new(Options::default());
    stage.close();
    let path = stage.folder.path().join("jobs.db");
    let good = fs::read(&path).unwrap();
    let open = || Embedded::open(stage.folder.path(), &Options::default()).unwrap_err();
    let (mut later, mut other) = (good.clone(), good.clone());
    later[63] += 1;
    other[71] ^= 1;
    for (bytes, is_version) in
        [(later, true), (other, false), (b"no database at all, but text".to_vec(), false)]
    {
        fs::write(&path, &bytes).unwrap();
        // What is in the log would win over the file.
        let _ = fs::remove_file(stage.folder.path().join("jobs.db-wal"));
        let error = open();
        match error {
            StoreError::WrongVersion { found: 2, known: 1, .. } => assert!(is_version),
            StoreError::BadFile { .. } => assert!(!is_version, "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
        assert!(!verify(stage.folder.path()).unwrap().is_whole());
    }
}

#[test]
fn verify_finds_what_does_not_fit_together() {
    let mut stage = Stage::new(Options::default());
    stage.store().enqueue(job("q")).wait().unwrap();
    stage.close();
    let break_it = |sql: &str| {
        let connection = rusqlite::Connection::open(stage.folder.path().join("jobs.db")).unwrap();
        connection.execute_batch(sql).unwrap();
    };
    break_it("UPDATE jobs SET queue = 77");
    let checked = verify(stage.folder.path()).unwrap();
    assert_eq!(checked.files[0].problems, ["1 jobs of no queue"]);
    break_it("UPDATE jobs SET queue = 1, id = 1 << 30");
    let checked = verify(stage.folder.path()).unwrap();
    assert_eq!(checked.files[0].problems, ["1 names that may be used again"]);
}
