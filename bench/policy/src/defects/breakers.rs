//! Circuit breakers.

use std::time::{Duration, Instant};

use failsafe::CircuitBreaker as _;
use recloser::Recloser;
use seaworthy_policy::breaker::{Outcome, State};
use seaworthy_policy::{Breaker, BreakerConfig, Rng, Time};
use tokio::sync::oneshot;
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, CircuitState};

use super::Defect;
use super::rival::{AFTER_WAIT, Answer, Backend, Call, Rival, ours, poll_once};
use crate::case::{FAILSAFE, OURS, RECLOSER, RESILIENCE};
use crate::layers::Fault;
use crate::windows::failures_to_open;

pub(super) async fn all() -> Vec<Defect> {
    vec![
        herd().await,
        late_success().await,
        late_failure().await,
        stuck().await,
        cancelled_probe().await,
        blind().await,
        minimum_ignored().await,
        all_at_once().await,
    ]
}

async fn herd() -> Defect {
    let mut defect = Defect::new(
        "half-open herd",
        "64 callers come as the wait of an open circuit ends, 3 probes are permitted: how many reach the backend?",
    );
    for rival in Rival::all(3) {
        rival.open_and_wait().await;
        let backend = Backend::default();
        let mut calls: Vec<_> = (0..64).map(|_| rival.begin(backend.hung())).collect();
        for call in &mut calls {
            poll_once(call).await;
        }
        let reached = backend.reached();
        defect.see(rival.who, reached <= 3, format!("{reached} of 64"));
    }
    defect
}

/// Calls that were let in before an outage, and end after it.
struct Late(Vec<(oneshot::Sender<Result<(), Fault>>, Call)>);

impl Late {
    async fn begin(rival: &Rival, backend: &Backend) -> Late {
        let mut all = Vec::new();
        for _ in 0..3 {
            let (answer, work) = backend.work();
            let mut call = rival.begin(work);
            assert_eq!(poll_once(&mut call).await, None, "the backend has not answered");
            all.push((answer, call));
        }
        Late(all)
    }

    async fn end(self, result: Result<(), Fault>) {
        for (answer, call) in self.0 {
            answer.send(result).expect("it waits");
            assert_ne!(call.await, Answer::Rejected);
        }
    }
}

async fn late_success() -> Defect {
    let mut defect = Defect::new(
        "late success",
        "3 calls from before the outage succeed while the one permitted probe is still under way: does that close the circuit?",
    );
    for rival in Rival::all(1) {
        let backend = Backend::default();
        let late = Late::begin(&rival, &backend).await;
        rival.open_and_wait().await;
        let mut probe = rival.begin(backend.hung());
        poll_once(&mut probe).await;
        late.end(Ok(())).await;
        // A closed circuit stays closed after one failure; a half-open one admits no second call, or opens by it.
        let first = rival.fail().await;
        let closed = first != Answer::Rejected && rival.succeed().await != Answer::Rejected;
        let what = if closed { "closed, with the probe unanswered" } else { "still half-open" };
        defect.see(rival.who, !closed, what);
    }
    defect
}

async fn late_failure() -> Defect {
    let mut defect = Defect::new(
        "late failure",
        "3 calls from before the outage fail while the one permitted probe is under way, which then succeeds: is the circuit closed?",
    );
    for rival in Rival::all(1) {
        let backend = Backend::default();
        let late = Late::begin(&rival, &backend).await;
        rival.open_and_wait().await;
        let (answer, work) = backend.work();
        let mut probe = rival.begin(work);
        poll_once(&mut probe).await;
        late.end(Err(Fault)).await;
        answer.send(Ok(())).expect("it waits");
        assert_eq!(probe.await, Answer::Good);
        let next = rival.succeed().await;
        let what = if next == Answer::Rejected { "open: calls are turned away" } else { "closed" };
        defect.see(rival.who, next != Answer::Rejected, what);
    }
    defect
}

async fn stuck() -> Defect {
    let patience = Duration::from_secs(2);
    let mut defect = Defect::new(
        "stuck half-open",
        "3 probes never return, and after them the backend is well: does any call pass within 2 s?",
    );
    for rival in Rival::all(3) {
        rival.open_and_wait().await;
        let backend = Backend::default();
        let mut hung: Vec<_> = (0..3).map(|_| rival.begin(backend.hung())).collect();
        for call in &mut hung {
            poll_once(call).await;
        }
        let began = Instant::now();
        let mut passed = None;
        while passed.is_none() && began.elapsed() < patience {
            tokio::time::sleep(Duration::from_millis(10)).await;
            passed = (rival.succeed().await == Answer::Good).then(|| began.elapsed());
        }
        let what = passed.map_or("none: rejecting for ever".to_owned(), |after| {
            format!("after {} ms, of {} hung probes", after.as_millis(), backend.reached())
        });
        defect.see(rival.who, passed.is_some(), what);
    }
    defect
}

async fn cancelled_probe() -> Defect {
    let mut defect = Defect::new(
        "cancelled probe",
        "the one permitted probe is given up by its caller: may another one go, and decide?",
    );
    for rival in Rival::all(1) {
        rival.open_and_wait().await;
        let mut probe = rival.begin(Backend::default().hung());
        poll_once(&mut probe).await;
        drop(probe);
        let answers = [rival.succeed().await, rival.succeed().await];
        let right = answers == [Answer::Good, Answer::Good];
        defect.see(rival.who, right, if right { "yes" } else { "no: its place is lost" });
    }
    defect
}

async fn blind() -> Defect {
    let mut defect = Defect::new(
        "blinded by a timeout outside",
        "200 calls hang and are given up after 3 ms by their caller; calls are slow from 1 ms: does the circuit open?",
    );
    for rival in Rival::all(3) {
        let backend = Backend::default();
        for _ in 0..200 {
            let _ = tokio::time::timeout(Duration::from_millis(3), rival.begin(backend.hung())).await;
        }
        let reached = backend.reached();
        defect.see(rival.who, reached < 200, format!("{reached} of 200 calls were let in"));
    }
    defect
}

pub(super) fn never_slides() -> Defect {
    let mut defect = Defect::new(
        "a window that never slides",
        "100,000 successes, then an outage; window of 100 calls, threshold one half: how many failures open the circuit?",
    );
    for (who, failures) in failures_to_open(100_000) {
        let what = failures.map_or("it never opens".to_owned(), |failures| failures.to_string());
        defect.see(who, failures.is_some_and(|failures| failures <= 100), what);
    }
    defect
}

async fn minimum_ignored() -> Defect {
    let mut defect = Defect::new(
        "a minimum that is not honoured",
        "a new breaker: 50 % of at least 20 calls (window of 100, or 10 s) and everything fails: how many failures open it?",
    );
    let mut see = |who, failures: Option<u32>| {
        let what = failures.map_or("not open after 2,000".to_owned(), |failures| failures.to_string());
        defect.see(who, failures.is_some_and(|failures| failures <= 20), what);
    };
    see(OURS, our_minimum());
    let (layer, handle) = CircuitBreakerLayer::builder()
        .sliding_window_size(100)
        .minimum_number_of_calls(20)
        .failure_rate_threshold(0.5)
        .build_with_handle()
        .expect("valid");
    let mut service = layer.layer(tower::service_fn(async |()| Err::<(), Fault>(Fault)));
    let mut theirs = None;
    for failure in 1..=2_000 {
        let _ = service.call(()).await;
        if theirs.is_none() && handle.state() == CircuitState::Open {
            theirs = Some(failure);
        }
    }
    see(RESILIENCE, theirs);
    let wait = failsafe::backoff::constant(Duration::from_secs(10));
    let window = Duration::from_secs(10);
    let policy = failsafe::failure_policy::success_rate_over_time_window(0.5, 20, window, wait);
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    see(
        FAILSAFE,
        (1..=2_000).find(|_| {
            let _ = breaker.call(|| Err::<(), ()>(()));
            !breaker.is_call_permitted()
        }),
    );
    // It has no minimum but the ring itself.
    let breaker = Recloser::custom().error_rate(0.5).closed_len(100).build();
    see(
        RECLOSER,
        (1..=2_000)
            .find(|_| matches!(breaker.call(|| Err::<(), ()>(())), Err(recloser::Error::Rejected)))
            .map(|rejected| rejected - 1),
    );
    defect
}

fn our_minimum() -> Option<u32> {
    let config = BreakerConfig { consecutive_failures: u32::MAX, ..BreakerConfig::default() };
    let (mut breaker, mut rng, now) = (Breaker::new(config, Time::ZERO), Rng::seeded(1), Time::ZERO);
    (1..=2_000).find(|_| {
        if let Ok(permit) = breaker.admit(now, &mut rng) {
            breaker.complete(now, &mut rng, permit, Outcome::Failure { elapsed: Duration::ZERO });
        }
        matches!(breaker.state(now), State::Open { .. })
    })
}

async fn all_at_once() -> Defect {
    let mut defect = Defect::new(
        "all traffic at once",
        "the probes were good; of the next 1,000 calls, at once, how many reach a backend that has just come back?",
    );
    let [_, resilience, failsafe, recloser] = Rival::all(3);
    for rival in [ours(3, Duration::from_secs(10)), resilience, failsafe, recloser] {
        rival.open_and_wait().await;
        assert_eq!(rival.succeed().await, Answer::Good, "{}: a probe", rival.who);
        for _ in 0..2 {
            // Where a majority decides, the third one is no probe any more.
            let _ = rival.succeed().await;
        }
        tokio::time::sleep(AFTER_WAIT).await;
        let mut passed = 0;
        for _ in 0..1_000 {
            passed += u32::from(rival.succeed().await == Answer::Good);
        }
        defect.see(rival.who, passed < 500, format!("{passed} of 1,000"));
    }
    defect
}
