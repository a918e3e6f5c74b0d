//! How many, and how long each took.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Counts and times what many tasks of one thread do, until an end.
#[derive(Clone)]
pub(crate) struct Timing {
    begin: Instant,
    end: Instant,
    latencies: Rc<RefCell<Vec<u32>>>,
}

impl Timing {
    pub(crate) fn lasting(duration: Duration) -> Self {
        let begin = Instant::now();
        Timing { begin, end: begin + duration, latencies: Rc::default() }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    pub(crate) fn took(&self, since: Instant) {
        self.latencies.borrow_mut().push(since.elapsed().as_micros() as u32);
    }

    pub(crate) fn row(&self, what: &str, clients: usize) -> Value {
        let mut latencies = self.latencies.borrow_mut();
        latencies.sort_unstable();
        let quantile = |share: f64| {
            let index = (latencies.len() as f64 * share) as usize;
            latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        let elapsed = self.begin.elapsed().as_secs_f64();
        json!({
            "what": what, "clients": clients, "per_second": latencies.len() as f64 / elapsed,
            "p50_us": quantile(0.5), "p99_us": quantile(0.99),
        })
    }
}

/// Runs tasks on this thread; the store has threads of its own.
pub(crate) fn run(tasks: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let local = tokio::task::LocalSet::new();
    runtime.expect("a runtime can be built").block_on(local.run_until(tasks));
}
