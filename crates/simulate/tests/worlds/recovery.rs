//! Coming back: what a backend that was away, or short of capacity, meets when it returns.

use std::time::Duration;

use seaworthy_policy::breaker::Outcome;
use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::{Guard, ParkingConfig, PoolConfig};
use seaworthy_policy::{BackoffConfig, Breaker, BreakerConfig, Rng, Time};
use seaworthy_simulate::report::{percent, seconds};
use seaworthy_simulate::{
    BackendConfig, Change, Client, Condition, ControlConfig, Distribution, PolicyConfig, Refill, Report,
    Table, World, WorldConfig,
};

use crate::common::{at, ms, world};

const GATEWAYS: usize = 10;
const RATE: f64 = 400.0;
const AWAY: (u64, u64) = (10, 20);
/// Until a backend that is away is known to be: the failures in a row, without a success for a while.
const OPENS_WITHIN: Duration = Duration::from_millis(1_500);
/// Recovery is counted in whole seconds.
const SECOND: Duration = Duration::from_secs(1);
const BROWN_OUT_RECOVERY: Duration = Duration::from_secs(10);
/// From one second to the next, attempts grow by at most this share of the offered load.
const JUMP_MAX: f64 = 0.35;

fn guarded(guard: Guard) -> Client {
    // An egress: nobody is parked.
    let parking = ParkingConfig { max_requests: 0, ..ParkingConfig::default() };
    let pool = PoolConfig { guard, parking, ..PoolConfig::default() };
    let timeout = Duration::from_secs(1);
    let call = CallConfig {
        attempt_timeout: timeout,
        total_timeout: 3 * timeout,
        park: false,
        ..CallConfig::default()
    };
    Client::Policy(Box::new(PolicyConfig { pool, call, probes: None, ..PolicyConfig::default() }))
}

fn naive() -> Client {
    Client::Control(ControlConfig {
        attempts: 3,
        timeout: Duration::from_secs(1),
        backoff: Some(BackoffConfig::default()),
        refill: Refill::Unlimited,
        tokens_max: 0.0,
        cap: None,
    })
}

/// One backend with eight workers, `GATEWAYS` gateways that know nothing of each other, and a fault for ten seconds.
fn away(client: Client, condition: Condition) -> Report {
    let backend =
        BackendConfig { workers: 8, service: Distribution::Exponential(ms(10)), ..BackendConfig::default() };
    let change = |second, condition| Change { at: at(second), backends: 0..1, condition };
    World::run(WorldConfig {
        gateways: GATEWAYS,
        network: Duration::from_micros(200),
        client,
        changes: vec![change(AWAY.0, condition), change(AWAY.1, Condition::default())],
        ..world(1, &backend, RATE, 50)
    })
}

fn sent(report: &Report, from: u64, until: u64) -> u64 {
    report.total(from as usize..until as usize).attempts
}

fn cells(what: &str, name: &str, report: &Report) -> Vec<String> {
    vec![
        what.to_owned(),
        name.to_owned(),
        sent(report, AWAY.0 + 5, AWAY.1).to_string(),
        sent(report, AWAY.1, AWAY.1 + 1).to_string(),
        sent(report, AWAY.1 + 1, AWAY.1 + 2).to_string(),
        percent(report.total(AWAY.0 as usize..AWAY.1 as usize).goodput()),
        seconds(report.recovery(at(AWAY.1))),
    ]
}

fn headings() -> Table {
    Table::new(&["fault", "client", "sent 15-20", "sent 20-21", "sent 21-22", "good meanwhile", "recovery"])
}

/// Ten gateways that lost the same backend: what they send while it is away, and when it returns.
#[test]
fn a_backend_that_returns_is_not_run_over() {
    let well = Condition::default();
    let mut table = headings();
    for (what, condition) in
        [("refuses", Condition { refuses: true, ..well }), ("silent", Condition { unanswered: 1.0, ..well })]
    {
        let [naive, unguarded, breaker] =
            [naive(), guarded(Guard::Off), guarded(Guard::Breaker(BreakerConfig::default()))]
                .map(|client| away(client, condition));
        for (name, report) in [("naive", &naive), ("budget only", &unguarded), ("breaker", &breaker)] {
            table.row(&cells(what, name, report));
        }
        // Three probes per gateway, and hardly more than one wait of 4 or 8 s ends in these five seconds.
        let probes = u64::from(BreakerConfig::default().permitted_number_of_calls_in_half_open_state);
        assert!(sent(&breaker, AWAY.0 + 5, AWAY.1) <= 2 * probes * GATEWAYS as u64, "{table}");
        assert!(sent(&naive, AWAY.0 + 5, AWAY.1) > 5_000, "the control does what it is for\n{table}");
        // After that, traffic grows; it never jumps.
        for second in AWAY.1..AWAY.1 + 15 {
            let (before, now) = (sent(&breaker, second - 1, second), sent(&breaker, second, second + 1));
            assert!(
                now as f64 <= before as f64 + JUMP_MAX * RATE,
                "second {second}: {before}, then {now}\n{table}"
            );
        }
        let recovery = breaker.recovery(at(AWAY.1));
        assert!(recovery.is_some_and(|took| took <= implied(&BreakerConfig::default()) + SECOND), "{table}");
    }
    println!("{table}");
}

/// What a breaker's configuration implies for a backend that was away: the rest of the longest wait that may have begun before it was back, and
/// the ramp. With the defaults, 1 + 2 + 4 s have passed and 8 s begin at the worst 0.1 s before it is back; 9.6 s of them with jitter, and 10 s of ramp.
fn implied(config: &BreakerConfig) -> Duration {
    let (away, spread) = (at(AWAY.1).saturating_since(at(AWAY.0)), config.wait_jitter);
    let (mut earliest, mut latest) = (config.quiet, OPENS_WITHIN);
    let (mut wait, mut rest) = (config.wait_duration_in_open_state, Duration::ZERO);
    while earliest <= away {
        let longest = wait.mul_f64(1.0 + spread);
        rest = rest.max((latest.min(away) + longest).saturating_sub(away));
        earliest += wait.mul_f64(1.0 - spread);
        latest += longest;
        wait = (2 * wait).min(config.max_wait);
    }
    rest + config.recovery_ramp
}

/// Full traffic comes back when the configuration says, not later: after up to 20 s with the defaults, which spare a backend that
/// may be overloaded, and after seconds for whoever says that probing it often is cheap.
#[test]
fn recovery_from_refusals_is_what_the_waits_and_the_ramp_imply() {
    let mut table = Table::new(&["waits up to", "ramp", "implied", "recovery"]);
    let defaults = BreakerConfig::default();
    for (wait, ramp) in [
        (defaults.max_wait, defaults.recovery_ramp),
        (2 * SECOND, defaults.recovery_ramp),
        (2 * SECOND, 2 * SECOND),
    ] {
        let config = BreakerConfig { max_wait: wait, recovery_ramp: ramp, ..defaults };
        let refuses = Condition { refuses: true, ..Condition::default() };
        let took = away(guarded(Guard::Breaker(config)), refuses).recovery(at(AWAY.1));
        let implied = implied(&config);
        table.row(&[Some(wait), Some(ramp), Some(implied), took].map(seconds));
        assert!(took.is_some_and(|took| took <= implied + SECOND), "{table}");
        assert!(took.is_some_and(|took| took + SECOND >= ramp), "no sooner than the ramp\n{table}");
    }
    println!("{table}");
}

/// A brown-out: the backend is up, but for ten seconds it serves 320 or 178 of 400 requests per second.
#[test]
fn a_brown_out_ends_when_it_ends() {
    let mut table = headings();
    for slowness in [2.5, 4.5] {
        let condition = Condition { slowness, ..Condition::default() };
        let what = format!("x{slowness}");
        let [naive, unguarded, breaker] =
            [naive(), guarded(Guard::Off), guarded(Guard::Breaker(BreakerConfig::default()))]
                .map(|client| away(client, condition));
        for (name, report) in [("naive", &naive), ("budget only", &unguarded), ("breaker", &breaker)] {
            table.row(&cells(&what, name, report));
        }
        assert_eq!(naive.recovery(at(AWAY.1)), None, "{table}");
        for report in [&unguarded, &breaker] {
            assert!(report.recovery(at(AWAY.1)).is_some_and(|took| took <= BROWN_OUT_RECOVERY), "{table}");
            // It does not get more than it is offered, while it can do least.
            let (from, until) = (AWAY.0 as usize + 5, AWAY.1 as usize);
            assert!(report.amplification(from..until) < 1.25, "{table}");
        }
    }
    println!("{table}");
}

/// Sixty-four callers meet one breaker at the moment at which its wait is over.
#[test]
fn a_herd_meets_three_probes() {
    const CALLERS: u32 = 64;
    let config = BreakerConfig::default();
    let mut rng = Rng::seeded(1);
    let mut breaker = Breaker::new(config, Time::ZERO);
    for step in 0..20 {
        let now = Time::from_millis(step * 100);
        if let Ok(permit) = breaker.admit(now, &mut rng) {
            let elapsed = Duration::ZERO;
            breaker.complete(now, &mut rng, permit, Outcome::Failure { elapsed });
        }
    }
    let opens = breaker.next_deadline().expect("it is open");
    let admitted = (0..CALLERS).filter(|_| breaker.admit(opens, &mut rng).is_ok()).count();
    assert_eq!(admitted, config.permitted_number_of_calls_in_half_open_state as usize);
}
