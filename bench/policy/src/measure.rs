//! How a case is measured: batches long enough for the clock, interleaved between the cases, so that what drifts on the
//! machine hits all alike.
//!
//! Two clocks. CPU time leaves out whatever else the machine did meanwhile; elapsed time includes it, and is the one
//! that tells what waiting for a lock costs. On one thread and a quiet machine they agree.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::case::Case;

/// How long, and how often.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    /// CPU time of one batch.
    batch: Duration,
}

pub(crate) const FULL: Effort = Effort { rounds: 11, batch: Duration::from_millis(40) };
pub(crate) const QUICK: Effort = Effort { rounds: 3, batch: Duration::from_millis(5) };

impl Effort {
    pub(crate) fn json(self) -> Value {
        json!({ "rounds": self.rounds, "batch_ms": self.batch.as_millis() as u64 })
    }
}

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Bytes that are allocated now, over all threads.
static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed to the system's allocator as it came; `realloc` and `alloc_zeroed` go through these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

pub(crate) fn live_bytes() -> usize {
    LIVE_BYTES.load(Ordering::Relaxed)
}

/// The timers that some layers ask for.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime can be built")
}

fn cpu_time(threads: usize) -> Duration {
    let clock = if threads == 1 { ClockId::ThreadCPUTime } else { ClockId::ProcessCPUTime };
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

struct Measured {
    case: Case,
    calls: u64,
    cpu_ns: Vec<f64>,
    elapsed_ns: Vec<f64>,
    allocations: f64,
}

impl Measured {
    /// Finds out how many calls fill a batch.
    fn prepare(mut case: Case, batch: Duration) -> Self {
        let mut calls = case.threads as u64;
        loop {
            calls = calls.min(case.calls_max);
            (case.before)();
            let before = cpu_time(case.threads);
            (case.run)(calls);
            let took = cpu_time(case.threads).saturating_sub(before);
            if took >= batch || calls == case.calls_max {
                break;
            }
            let factor = (batch.as_secs_f64() / took.as_secs_f64().max(1e-9)).clamp(1.2, 8.0);
            calls = (calls as f64 * factor).ceil() as u64;
        }
        Measured { case, calls, cpu_ns: Vec::new(), elapsed_ns: Vec::new(), allocations: f64::NAN }
    }

    fn round(&mut self) {
        let calls = self.calls as f64;
        (self.case.before)();
        let (cpu, elapsed, allocations) = (cpu_time(self.case.threads), Instant::now(), ALLOCATIONS.get());
        (self.case.run)(self.calls);
        let elapsed = elapsed.elapsed();
        let cpu = cpu_time(self.case.threads).saturating_sub(cpu);
        self.allocations = (ALLOCATIONS.get() - allocations) as f64 / calls;
        self.cpu_ns.push(cpu.as_nanos() as f64 / calls);
        self.elapsed_ns.push(elapsed.as_nanos() as f64 / calls);
    }

    fn json(&self) -> Value {
        // Threads of their own allocate out of sight.
        let allocations = (self.case.threads == 1).then_some(self.allocations);
        json!({
            "group": self.case.group, "what": self.case.what, "who": self.case.who, "threads": self.case.threads,
            "cpu_ns": self.cpu_ns, "elapsed_ns": self.elapsed_ns, "allocations": allocations, "calls": self.calls,
        })
    }
}

pub(crate) fn measure(cases: Vec<Case>, effort: Effort) -> Vec<Value> {
    let mut all: Vec<Measured> =
        cases.into_iter().map(|case| Measured::prepare(case, effort.batch)).collect();
    for round in 0..effort.rounds {
        eprintln!("round {} of {}", round + 1, effort.rounds);
        all.iter_mut().for_each(Measured::round);
    }
    all.iter().map(Measured::json).collect()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker for [`block_on`]; make it once per thread.
pub(crate) fn parking_waker() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// Waits for a future on this thread, which does nothing else.
pub(crate) fn block_on<F: Future>(waker: &Waker, future: F) -> F::Output {
    let context = &mut Context::from_waker(waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Shares `calls` out to threads; `work` makes one thread's calls.
pub(crate) fn share_out(threads: usize, calls: u64, work: impl Fn(usize, u64) + Sync) {
    let each = calls.div_ceil(threads as u64);
    std::thread::scope(|scope| {
        for number in 0..threads {
            let work = &work;
            scope.spawn(move || work(number, each));
        }
    });
}
