//! Several legs, one answer. A leg is a number of milliseconds and whether it succeeds.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use seaworthy_tower::machines::settle::Verdict;
use seaworthy_tower::*;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::stub::{Broken, Reply, Stub, call};

type Ending = Settled<u32, Broken>;

const OK: Ending = Settled::Ok(7);
const FAILED: Ending = Settled::Failed(Broken);

/// A leg that takes so many milliseconds.
async fn leg(stub: Stub, millis: u64, good: bool) -> Result<u32, Broken> {
    let reply = if good { Reply::OK } else { Reply::BROKEN };
    stub.afterwards(reply.after_ms(millis));
    call(&mut stub.clone()).await
}

/// Settles `required, optional, optional` within 100 ms: what came of it, and after how many milliseconds.
async fn settle(at_least: Option<u32>, legs: [(u64, bool); 3]) -> (Verdict, Vec<Ending>, u128) {
    let stub = Stub::default();
    let [required, one, other] = legs.map(|(millis, good)| leg(stub.clone(), millis, good));
    let legs = Legs::within(Duration::from_millis(100)).required(required).optional(one).optional(other);
    let legs = if let Some(least) = at_least { legs.at_least(least) } else { legs };
    let began = Instant::now();
    let partial = legs.settle().unwrap().await;
    assert_eq!(stub.in_flight(), 0, "with the decision, every leg has ended");
    let lacks = partial.legs.iter().any(|leg| [FAILED, Settled::TimedOut].contains(leg));
    assert_eq!(partial.is_degraded(), partial.is_answer() && lacks);
    (partial.verdict, partial.legs, began.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn is_decided_as_soon_as_it_is_certain() {
    use Settled::{Skipped, TimedOut};
    let (good, bad) = (true, false);
    let missing = |settled| Verdict::RequiredMissing { leg: 0, settled };
    let all = |legs: [Ending; 3]| legs.to_vec();

    let whole = settle(None, [(10, good), (30, good), (20, good)]).await;
    assert_eq!(whole, (Verdict::Whole, all([OK, OK, OK]), 30));
    let without_one = settle(None, [(10, good), (30, bad), (20, good)]).await;
    assert_eq!(without_one, (Verdict::Partial, all([OK, FAILED, OK]), 30));
    let too_slow = settle(None, [(10, good), (500, good), (20, good)]).await;
    assert_eq!(too_slow, (Verdict::Partial, all([OK, TimedOut, OK]), 100));
    let quorum = settle(Some(2), [(10, good), (500, good), (20, good)]).await;
    assert_eq!(quorum, (Verdict::Partial, all([OK, Skipped, OK]), 20), "two are enough");
    let required_fails = settle(None, [(10, bad), (30, good), (5, good)]).await;
    let failed = machines::settle::Settled::Failed;
    assert_eq!(required_fails, (missing(failed), all([FAILED, Skipped, OK]), 10));
    let required_hangs = settle(Some(1), [(500, good), (30, good), (5, good)]).await;
    let timed_out = machines::settle::Settled::TimedOut;
    assert_eq!(required_hangs, (missing(timed_out), all([TimedOut, OK, OK]), 100));
    let (verdict, legs, _) = settle(Some(3), [(10, good), (20, bad), (500, good)]).await;
    assert_eq!(verdict, Verdict::QuorumMissed { succeeded: 1, needed: 3 });
    assert_eq!(legs, [OK, FAILED, Skipped]);
}

/// Legs know how long there is, also when somebody further out has less patience; and a call dropped by that one drops them.
#[tokio::test(start_paused = true)]
async fn legs_know_the_nearest_deadline() {
    let page = Policy::builder("page").total_timeout(Duration::from_millis(80)).build().unwrap();
    for (within, expected) in [(50, 50), (500, 80)] {
        let answer = page.call(|_| async move {
            let left = || async { Ok::<_, Broken>(current().remaining().unwrap().as_millis()) };
            let legs = Legs::within(Duration::from_millis(within)).required(left()).optional(left());
            Ok::<_, Broken>(legs.settle().unwrap().await)
        });
        assert_eq!(answer.await.unwrap().legs, [Settled::Ok(expected), Settled::Ok(expected)]);
        assert_eq!(current().deadline, None, "and nobody outside does");
    }
    let answer = page.call(|_| async {
        let legs = Legs::within(Duration::from_millis(500)).required(async { Ok::<_, Broken>(7) });
        Ok::<_, Broken>(legs.optional(std::future::pending()).settle().unwrap().await)
    });
    assert_eq!(
        answer.await.unwrap().legs,
        [OK, Settled::TimedOut],
        "at the outer deadline, with what there is"
    );
}

/// A leg that keeps the thread busy until the time is up is late, although it is ready when it is first looked at.
#[tokio::test(start_paused = true)]
async fn what_is_ready_too_late_is_not_heard() {
    let late = async {
        tokio::time::advance(Duration::from_millis(100)).await;
        Ok::<_, Broken>(7)
    };
    let partial = Legs::within(Duration::from_millis(100)).optional(late).settle().unwrap().await;
    assert_eq!((partial.verdict, &partial.legs[..]), (Verdict::Partial, &[Settled::TimedOut][..]));
    assert!(partial.is_degraded());
}

#[tokio::test(start_paused = true)]
async fn dropped_after_any_number_of_polls_it_leaves_nothing_under_way() {
    for polls in 0..8 {
        let stubs = [Stub::default(), Stub::default()];
        let legs = Legs::within(Duration::from_secs(1));
        let legs =
            legs.required(leg(stubs[0].clone(), 25, true)).optional(leg(stubs[1].clone(), 5_000, true));
        {
            let mut settling = pin!(legs.settle().unwrap());
            for _ in 0..polls {
                assert!(settling.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
                tokio::time::advance(Duration::from_millis(10)).await;
            }
            let under_way = u32::from(polls > 0);
            assert_eq!(stubs[1].in_flight(), under_way, "{polls} polls");
        }
        assert_eq!(stubs.map(|stub| stub.in_flight()), [0, 0], "{polls} polls");
    }
}

/// With Tower: each leg is a call of a service, with its own policy.
#[tokio::test(start_paused = true)]
async fn legs_may_be_calls_of_services() {
    let policy = Policy::builder("shop").attempt_timeout(Duration::from_millis(20)).build().unwrap();
    let stock = policy.layer(Stub::always(Reply::OK));
    let reviews = policy.layer(Stub::always(Reply::NEVER));
    let partial =
        Legs::within(Duration::from_millis(100)).required(stock.oneshot(1)).optional(reviews.oneshot(1));
    let partial = partial.settle().unwrap().await;
    assert!(partial.is_degraded());
    assert!(matches!(partial.legs[..], [Settled::Ok(7), Settled::Failed(Error::Timeout(_))]));
}

#[tokio::test]
async fn what_can_never_be_an_answer_is_refused() {
    let within = |millis| Legs::<u32, Broken>::within(Duration::from_millis(millis));
    let leg = || async { Ok(1) };
    let field = |legs: Legs<'_, u32, Broken>| legs.settle().unwrap_err().field;
    assert_eq!(field(within(9)), "legs");
    assert_eq!(field(within(0).optional(leg())), "settle_within");
    assert_eq!(field(within(9).optional(leg()).at_least(2)), "min_success");
    assert_eq!(field((0..65).fold(within(9), |legs, _| legs.optional(leg()))), "legs");
}
