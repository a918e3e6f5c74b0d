//! The store in this process.

use std::cell::Cell;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use seaworthy_policy::Rng;
use seaworthy_store::{
    Begin, Begun, Claim, Claimed, Dedupe, Embedded, Holder, Jobs, Keys, NewJob, Options, Outcome, Takeover,
};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::Effort;
use crate::timing::{Timing, run};

pub(crate) const QUEUE: &str = "bench";
const BODY: usize = 256;
/// Producers of the rows from end to end stop for a while when so many are pending beyond what was there before.
const BACKLOG_MAX: usize = 5_000;

pub(crate) fn job() -> NewJob {
    NewJob { queue: QUEUE.to_owned(), body: vec![7; BODY], ..NewJob::default() }
}

pub(crate) fn rows(folder: &Path, effort: Effort) -> Vec<Value> {
    let mut rows = Vec::new();
    let store = |name: &str| {
        let opened = Embedded::open(&folder.join(name), &Options::default());
        Rc::new(opened.expect("a new store can be opened"))
    };
    for producers in [1, 16, 256] {
        rows.push(enqueue(&store(&format!("plain-{producers}")), producers, None, effort.lasts));
        let rng = Some(Rng::seeded(producers as u64));
        rows.push(enqueue(&store(&format!("dedupe-{producers}")), producers, rng, effort.lasts));
        rows.push(keys(&store(&format!("keys-{producers}")), producers, effort.lasts));
    }
    for (what, workers, at_once) in [("x16", 16, 16), ("x1", 64, 1)] {
        rows.push(through(&store(what), what, (workers, at_once), effort.lasts));
    }
    for pending in [1_000, effort.pending] {
        let what = format!("x16, {pending} pending");
        let store = store(&what);
        fill(&store, pending);
        rows.push(through(&store, &what, (16, 16), effort.lasts));
    }
    rows
}

pub(crate) fn fill(store: &Embedded, jobs: u64) {
    let mut waiting = std::collections::VecDeque::new();
    for _ in 0..jobs {
        waiting.push_back(store.enqueue(job()));
        if waiting.len() > 4_096 {
            waiting.pop_front().expect("there are some").wait().expect("it is kept");
        }
    }
    for reply in waiting {
        reply.wait().expect("it is kept");
    }
}

/// What every client has.
#[derive(Clone)]
struct Client {
    store: Rc<Embedded>,
    timing: Timing,
}

/// Runs tasks on this thread until all have ended.
fn run_all(tasks: Vec<Pin<Box<dyn Future<Output = ()>>>>) {
    run(async {
        let running: Vec<_> = tasks.into_iter().map(spawn_local).collect();
        for task in running {
            task.await.expect("nobody panics");
        }
    });
}

fn enqueue(store: &Rc<Embedded>, producers: usize, mut rng: Option<Rng>, lasts: Duration) -> Value {
    let what = if rng.is_some() { "enqueue with a random dedupe key" } else { "enqueue" };
    let client = Client { store: Rc::clone(store), timing: Timing::lasting(lasts) };
    let tasks = (0..producers).map(|_| {
        let rng = rng.as_mut().map(|rng| Rng::seeded(rng.next_u64()));
        Box::pin(client.clone().produce(rng)) as _
    });
    run_all(tasks.collect());
    client.timing.row(what, producers)
}

const DAY: Duration = Duration::from_hours(24);

fn random_key(rng: &mut Rng) -> Vec<u8> {
    [rng.next_u64().to_le_bytes(), rng.next_u64().to_le_bytes()].concat()
}

/// Begin, and finish with an answer of 300 bytes: one row is one pair.
fn keys(store: &Rc<Embedded>, clients: usize, lasts: Duration) -> Value {
    let client = Client { store: Rc::clone(store), timing: Timing::lasting(lasts) };
    let tasks = (0..clients).map(|number| Box::pin(client.clone().execute(Rng::seeded(number as u64))) as _);
    run_all(tasks.collect());
    client.timing.row("begin + finish", clients)
}

impl Client {
    async fn produce(self, mut rng: Option<Rng>) {
        while !self.timing.is_over() {
            let dedupe = rng.as_mut().map(|rng| Dedupe { key: random_key(rng), window: DAY });
            let since = Instant::now();
            self.store.enqueue(NewJob { dedupe, ..job() }).await.expect("it is kept");
            self.timing.took(since);
        }
    }

    async fn execute(self, mut rng: Rng) {
        while !self.timing.is_over() {
            let (scope, key) = (b"POST /tickets".to_vec(), random_key(&mut rng));
            let asked = Begin {
                scope: scope.clone(),
                key: key.clone(),
                fingerprint: [3; 32],
                lease: Duration::from_secs(20),
                takeover: Takeover::Never,
            };
            let since = Instant::now();
            let Ok(Begun::New(token)) = self.store.begin(asked).await else { panic!("a random key is new") };
            let outcome = Outcome::Done(vec![1; 300]);
            self.store.finish(&scope, &key, token, outcome).await.expect("it is kept");
            self.timing.took(since);
        }
    }
}

/// Jobs on their way from producers to workers.
#[derive(Clone)]
struct Flow {
    client: Client,
    ready: Arc<Notify>,
    pending: Rc<Cell<usize>>,
}

/// 64 producers; workers claim some at once and acknowledge them: one row is one job that is done.
fn through(store: &Rc<Embedded>, what: &str, (workers, at_once): (usize, usize), lasts: Duration) -> Value {
    let client = Client { store: Rc::clone(store), timing: Timing::lasting(lasts) };
    let flow = Flow { client, ready: Arc::default(), pending: Rc::default() };
    let hint = Arc::clone(&flow.ready);
    store.on_ready(QUEUE, Arc::new(move || hint.notify_waiters()));
    let producers = (0..64).map(|_| Box::pin(flow.clone().produce()) as _);
    let workers_of = (0..workers).map(|_| Box::pin(flow.clone().work(at_once)) as _);
    run_all(producers.chain(workers_of).collect());
    flow.client.timing.row(what, workers)
}

impl Flow {
    async fn produce(self) {
        let Client { store, timing } = self.client;
        while !timing.is_over() {
            if self.pending.get() > BACKLOG_MAX {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            self.pending.set(self.pending.get() + 1);
            store.enqueue(job()).await.expect("it is kept");
        }
    }

    async fn work(self, max: usize) {
        let lease = Duration::from_mins(1);
        while !self.client.timing.is_over() {
            let heard = self.ready.notified();
            let claim = Claim { queue: QUEUE.to_owned(), max, lease, holder: Holder::Inside };
            let since = Instant::now();
            let claimed = self.client.store.claim(claim).await.expect("it can be read");
            if claimed.is_empty() {
                // Jobs that another worker gives back are told of as well; the end of the row is not.
                let _ = tokio::time::timeout(Duration::from_millis(5), heard).await;
                continue;
            }
            self.finish(&claimed, since).await;
        }
    }

    async fn finish(&self, claimed: &[Claimed], since: Instant) {
        let replies: Vec<_> = claimed.iter().map(|job| self.client.store.ack(job.receipt)).collect();
        for reply in replies {
            reply.await.expect("it is done");
            self.client.timing.took(since);
            self.pending.set(self.pending.get().saturating_sub(1));
        }
    }
}
