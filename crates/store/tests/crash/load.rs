//! The process that is killed: threads that use the store and write down what was acknowledged.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use seaworthy_store::{
    Begin, Begun, Claim, Dedupe, Embedded, Enqueued, History, Holder, Jobs, Keys, NewEvent, NewJob, Options,
    Outcome, Start, StoreError, Takeover, Topics,
};

use crate::child::{FOLDER, LASTS};

pub(crate) const QUEUE: &str = "work";
pub(crate) const TOPIC: &str = "news";
pub(crate) const SUBSCRIBER: &str = "reader";
/// What a process ends with whose store is broken and says so.
pub(crate) const EXIT_BROKEN: i32 = 70;
/// What it ends with when a broken store has acknowledged something.
const EXIT_LIAR: i32 = 71;

/// Not a test: the process that the others start, and kill.
#[test]
#[ignore = "started by the other tests, with a folder to load"]
fn load() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let lasts: u64 = std::env::var(LASTS).unwrap().parse().unwrap();
    let folder = Path::new(&folder);
    let acks = OpenOptions::new().create(true).append(true).open(folder.join("acks")).unwrap();
    let Ok(store) = Embedded::open(&folder.join("store"), &Options::default()) else {
        // A fault may meet the opening already.
        return end(EXIT_BROKEN);
    };
    let load = Load {
        store,
        acks,
        end: Instant::now() + Duration::from_millis(lasts),
        is_broken: AtomicBool::new(false),
        pending: AtomicUsize::new(0),
    };
    std::thread::scope(|scope| {
        let load = &load;
        for producer in 0..4 {
            scope.spawn(move || load.until_the_end(|number| load.produce(producer, number)));
        }
        for _ in 0..2 {
            scope.spawn(|| load.until_the_end(|_| load.consume()));
        }
        scope.spawn(|| load.until_the_end(|number| load.keys(number)));
        scope.spawn(|| load.until_the_end(|number| load.topic(number)));
        scope.spawn(|| load.until_the_end(|_| load.history()));
    });
    if load.is_broken.load(Ordering::SeqCst) {
        end(if load.acknowledges_anything() { EXIT_LIAR } else { EXIT_BROKEN });
    }
}

#[expect(clippy::exit, reason = "it is the verdict of a process of its own, not of a test")]
fn end(code: i32) {
    std::process::exit(code);
}

struct Load {
    store: Embedded,
    acks: File,
    end: Instant,
    is_broken: AtomicBool,
    /// Jobs that were enqueued and not claimed yet; a backlog would only make the check slow.
    pending: AtomicUsize,
}

impl Load {
    fn until_the_end(&self, step: impl Fn(u64) -> Result<(), StoreError>) {
        // Names differ between one life of the process and the next.
        let first = u64::from(std::process::id()) << 32;
        let mut number = first;
        while Instant::now() < self.end && !self.is_broken.load(Ordering::SeqCst) {
            number += 1;
            match step(number) {
                Ok(()) => {}
                Err(StoreError::Broken(_)) => self.is_broken.store(true, Ordering::SeqCst),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// One write, so that it is there whole or not at all when the process is killed.
    fn say(&self, line: &str) {
        (&self.acks).write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn produce(&self, producer: u64, number: u64) -> Result<(), StoreError> {
        if self.pending.load(Ordering::Relaxed) > 2_000 {
            std::thread::yield_now();
            return Ok(());
        }
        let key = format!("{producer}-{number}");
        let dedupe = number
            .is_multiple_of(4)
            .then(|| Dedupe { key: key.clone().into_bytes(), window: Duration::from_hours(1) });
        let order = number.is_multiple_of(5).then(|| vec![(number % 16) as u8]);
        let body = key.clone().into_bytes();
        let has_dedupe = dedupe.is_some();
        let job = NewJob { queue: QUEUE.to_owned(), body, dedupe, order, ..NewJob::default() };
        let Enqueued::New(id) = self.store.enqueue(job).wait()? else { panic!("no key is used twice") };
        self.pending.fetch_add(1, Ordering::Relaxed);
        self.say(&format!("E {} {}", id.0, if has_dedupe { &key } else { "-" }));
        Ok(())
    }

    fn consume(&self) -> Result<(), StoreError> {
        let lease = Duration::from_mins(10);
        let claim = Claim { queue: QUEUE.to_owned(), max: 8, lease, holder: Holder::Inside };
        let claimed = self.store.claim(claim).wait()?;
        for job in &claimed {
            self.say(&format!("S {}", job.receipt.id.0));
        }
        let replies: Vec<_> = claimed.iter().map(|job| (job.receipt, self.store.ack(job.receipt))).collect();
        for (receipt, reply) in replies {
            reply.wait()?;
            self.pending.fetch_sub(1, Ordering::Relaxed);
            self.say(&format!("A {}", receipt.id.0));
        }
        Ok(())
    }

    fn keys(&self, number: u64) -> Result<(), StoreError> {
        let key = number.to_string();
        let begun = self.store.begin(begin(&key)).wait()?;
        let Begun::New(token) = begun else { panic!("a new key is {begun:?}") };
        self.say(&format!("K {key}"));
        if number.is_multiple_of(3) {
            return Ok(());
        }
        self.say(&format!("F {key}"));
        let outcome = Outcome::Done(key.clone().into_bytes());
        self.store.finish(b"load", key.as_bytes(), token, outcome).wait()?;
        self.say(&format!("D {key}"));
        Ok(())
    }

    fn topic(&self, number: u64) -> Result<(), StoreError> {
        self.store.subscribe(TOPIC, SUBSCRIBER, Start::Oldest).wait()?;
        let body = number.to_le_bytes().to_vec();
        let event = NewEvent { topic: TOPIC.to_owned(), headers: Vec::new(), body };
        let id = self.store.publish(event).wait()?;
        self.say(&format!("P {}", id.0));
        if number.is_multiple_of(10) {
            let cursor = self.store.acknowledge(TOPIC, SUBSCRIBER, id).wait()?;
            self.say(&format!("C {}", cursor.0));
        }
        Ok(())
    }

    fn history(&self) -> Result<(), StoreError> {
        let id = self.store.append("load", vec![0; 20]).wait()?;
        self.say(&format!("H {}", id.0));
        Ok(())
    }

    /// One try on each file, after somebody was told that the store is broken.
    fn acknowledges_anything(&self) -> bool {
        let job = NewJob { queue: QUEUE.to_owned(), ..NewJob::default() };
        let event = NewEvent { topic: TOPIC.to_owned(), ..NewEvent::default() };
        self.store.enqueue(job).wait().is_ok()
            || self.store.begin(begin("after")).wait().is_ok()
            || self.store.publish(event).wait().is_ok()
            || self.store.append("load", Vec::new()).wait().is_ok()
            || self.store.broken().is_none()
    }
}

pub(crate) fn begin(key: &str) -> Begin {
    Begin {
        scope: b"load".to_vec(),
        key: key.as_bytes().to_vec(),
        fingerprint: [7; 32],
        lease: Duration::from_mins(10),
        takeover: Takeover::Never,
    }
}
