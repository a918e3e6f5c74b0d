//! A store whose clock the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use seaworthy_policy::Rng;
use seaworthy_store::{Clock, Embedded, JobId, Jobs, Options, Receipt, StoreError, Timestamp};
use tempfile::TempDir;

/// Some day in 2026.
const BEGIN_MS: u64 = 1_790_000_000_000;
/// Random sequences per suite; as many as `SEAWORTHY_SEEDS` says in a soak.
const SEEDS: u64 = 8;

pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    time: Arc<AtomicU64>,
    options: Options,
    store: Option<Embedded>,
}

impl Stage {
    pub(crate) fn new(options: Options) -> Self {
        let time = Arc::new(AtomicU64::new(BEGIN_MS));
        let options = Options { clock: Clock::manual(Arc::clone(&time)), ..options };
        let mut stage = Stage { folder: tempfile::tempdir().unwrap(), time, options, store: None };
        stage.reopen();
        stage
    }

    pub(crate) fn store(&self) -> &Embedded {
        self.store.as_ref().unwrap()
    }

    /// Ends the process, as far as the store can tell, and starts it again.
    pub(crate) fn reopen(&mut self) {
        drop(self.store.take());
        self.store = Some(Embedded::open(self.folder.path(), &self.options).unwrap());
        while !self.store().counts("any").wait().unwrap().complete {
            std::thread::yield_now();
        }
    }

    pub(crate) fn close(&mut self) {
        self.store = None;
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.time.load(Ordering::SeqCst))
    }

    pub(crate) fn pass(&self, duration: Duration) {
        self.time.fetch_add(duration.as_millis() as u64, Ordering::SeqCst);
    }

    /// Waits until everything is written that nobody waits for.
    pub(crate) fn settle(&self) {
        let nobody = Receipt { id: JobId(0), token: 0 };
        assert_eq!(self.store().ack(nobody).wait(), Err(StoreError::Stale));
    }
}

/// Runs `test` with many seeds, and says which one has failed.
pub(crate) fn each_seed(test: impl Fn(&mut Rng)) {
    let asked = std::env::var("SEAWORTHY_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 0..asked.unwrap_or(SEEDS) {
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(&mut Rng::seeded(seed))));
        if let Err(panic) = failed {
            println!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

pub(crate) fn pick<T: Copy>(rng: &mut Rng, among: &[T]) -> T {
    among[rng.below(among.len() as u64) as usize]
}
