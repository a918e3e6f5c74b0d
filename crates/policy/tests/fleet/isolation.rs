//! A sick endpoint is found soon, a sick backend condemns nobody, and small fleets are fleets.

use std::time::Duration;

use seaworthy_policy::ejection::EjectionConfig;
use seaworthy_policy::pool::{BalanceConfig, EjectReason, Guard, PoolConfig, Strategy};

use crate::model::{Fleet, Nature, Outcome, WELL, run};

const SEEDS: u64 = 3;
const STRATEGIES: [Strategy; 3] = [Strategy::RoundRobin, Strategy::LeastInFlight, Strategy::P2c];

fn slow(slowness: f64) -> Nature {
    Nature { slowness, ..WELL }
}

fn failing(failures: f64) -> Nature {
    Nature { failures, ..WELL }
}

fn by(strategy: Strategy) -> PoolConfig {
    PoolConfig { balance: BalanceConfig { strategy, ..BalanceConfig::default() }, ..PoolConfig::default() }
}

/// Every seed, with the change at another moment between two sweeps.
fn check(name: &str, fleet: &Fleet, holds: impl Fn(&Outcome) -> bool) {
    for seed in 0..SEEDS {
        let change_at = Duration::from_millis(3_000 + 170 * seed);
        let outcome = run(&Fleet { change_at, ..fleet.clone() }, seed);
        assert!(
            holds(&outcome),
            "{name}, seed {seed}: shares {:?}, ejections {:?}, probations {:?}, {} failed, p99 {} ms",
            outcome.shares,
            outcome.ejections,
            outcome.probations,
            outcome.failed,
            outcome.quantile_ms(0.99),
        );
    }
}

fn ejects_only(outcome: &Outcome, server: usize) -> bool {
    !outcome.ejections.is_empty() && outcome.ejections.iter().all(|(ejected, ..)| *ejected == server)
}

/// Taking turns and counting what is in flight leave it to ejection; the default strategy avoids it first, so that ejection
/// has little to go by.
#[test]
fn one_that_is_ten_times_as_slow_is_isolated_within_two_seconds() {
    for strategy in STRATEGIES {
        for count in [3, 6] {
            let fleet = Fleet { pool: by(strategy), ..Fleet::of(count, &[(1, slow(10.0))]) }.busy();
            check(&format!("{strategy:?} of {count}"), &fleet, |outcome| {
                let limit = Duration::from_secs(2);
                let ejected = outcome.ejected_after(1).is_some_and(|after| after <= limit);
                let right = outcome
                    .ejections
                    .iter()
                    .all(|(server, _, reason)| (*server, *reason) == (1, EjectReason::Slow));
                right && outcome.avoided_after(1, &fleet) <= limit && (ejected || strategy == Strategy::P2c)
            });
        }
    }
}

#[test]
fn a_fleet_that_slows_down_as_a_whole_ejects_nobody() {
    for strategy in STRATEGIES {
        for slowness in [2.0, 10.0] {
            for count in [2, 3, 6] {
                let all: Vec<_> = (0..count).map(|server| (server, slow(slowness))).collect();
                // Little enough that the slow fleet can bear it.
                let fleet = Fleet { pool: by(strategy), ..Fleet::of(count, &all) }.loaded(0.6 / slowness);
                check(&format!("{strategy:?}, all {count} × {slowness}"), &fleet, |outcome| {
                    outcome.ejections.is_empty() && outcome.probations.is_empty()
                });
            }
        }
    }
}

#[test]
fn a_fleet_that_is_overloaded_as_a_whole_ejects_nobody_for_being_slow() {
    let all: Vec<_> = (0..3).map(|server| (server, slow(5.0))).collect();
    check("overload", &Fleet::of(3, &all), |outcome| {
        !outcome.ejections.iter().any(|(_, _, reason)| *reason == EjectReason::Slow)
    });
}

#[test]
fn a_fleet_that_is_well_is_left_alone() {
    for strategy in STRATEGIES {
        for count in [2, 3, 10] {
            for load in [0.05, 0.8] {
                let fleet = Fleet { pool: by(strategy), ..Fleet::of(count, &[]) }.loaded(load);
                check(&format!("{strategy:?}, {count} at {load}"), &fleet, |outcome| {
                    outcome.ejections.is_empty() && outcome.probations.is_empty() && outcome.failed == 0
                });
            }
        }
    }
}

#[test]
fn somewhat_slower_is_not_sick() {
    for slowness in [1.5, 2.0] {
        let fleet = Fleet { pool: by(Strategy::RoundRobin), ..Fleet::of(3, &[(0, slow(slowness))]) };
        check(&format!("× {slowness}"), &fleet, |outcome| outcome.ejections.is_empty());
    }
}

#[test]
fn where_more_than_a_third_are_slow_they_are_put_on_probation() {
    for (count, sick) in [(2, 1), (4, 2), (5, 2)] {
        let after: Vec<_> = (0..sick).map(|server| (server, slow(10.0))).collect();
        let fleet = Fleet { pool: by(Strategy::RoundRobin), ..Fleet::of(count, &after) };
        check(&format!("{sick} of {count}"), &fleet.loaded(0.1), |outcome| {
            let all_found = (0..sick).all(|server| outcome.probations.iter().any(|found| found.0 == server));
            let only_they = outcome.probations.iter().all(|found| found.0 < sick);
            outcome.ejections.is_empty() && all_found && only_they && outcome.shares[0] < 0.8 / count as f64
        });
    }
}

/// Envoy's default of 10 % of three hosts is none; honoured to the letter, a bad replica of three stays.
#[test]
fn one_of_three_may_be_ejected() {
    let fleet = Fleet { pool: by(Strategy::RoundRobin), ..Fleet::of(3, &[(0, failing(1.0))]) };
    check("all of one", &fleet, |outcome| ejects_only(outcome, 0) && outcome.shares[0] < 0.02);
}

/// Envoy#3263, Envoy#27066: the cap was exceeded. Here four of five fail, and two may be out.
#[test]
fn the_cap_is_honoured_envoy_3263_27066() {
    for strategy in STRATEGIES {
        for (count, cap) in [(2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 3)] {
            let after: Vec<_> = (1..count).map(|server| (server, failing(0.9))).collect();
            let fleet = Fleet { pool: by(strategy), ..Fleet::of(count, &after) };
            check(&format!("{strategy:?}, all but one of {count}"), &fleet, |outcome| {
                outcome.most_out <= cap
            });
        }
    }
}

/// istio#20135: all endpoints were ejected at once, and everything was answered with 503.
#[test]
fn they_are_never_all_gone_istio_20135() {
    for count in [1, 2, 3, 6] {
        let all: Vec<_> = (0..count).map(|server| (server, failing(1.0))).collect();
        let fleet = Fleet::of(count, &all);
        check(&format!("all {count} fail"), &fleet, |outcome| {
            // Their own answers, bad as they are, reach the clients: none is answered by us.
            outcome.most_out < count.max(2) && outcome.latencies_ms.last().is_some_and(|max| *max < 4_000.0)
        });
    }
}

/// Envoy#2671: ejections pushed a cluster into panic, and panic sent everything back to what had been ejected.
#[test]
fn slow_ejections_do_not_lead_to_panic_envoy_2671() {
    // Two of six are within the cap, and four of six are more than half: no panic, and the ejected get nothing.
    let fleet = Fleet { pool: by(Strategy::RoundRobin), ..Fleet::of(6, &[(0, slow(10.0)), (1, slow(10.0))]) };
    check("two of six", &fleet, |outcome| {
        let late = |server: usize| outcome.avoided_after(server, &fleet) <= Duration::from_millis(2_100);
        outcome.most_out == 2 && late(0) && late(1)
    });
}

#[test]
fn an_endpoint_that_fails_a_third_of_the_time_is_found_among_its_peers() {
    let patient = EjectionConfig { consecutive_failures: 100, ..EjectionConfig::default() };
    let pool = PoolConfig { guard: Guard::Ejection(patient), ..by(Strategy::RoundRobin) };
    let fleet = Fleet { pool: pool.clone(), ..Fleet::of(3, &[(2, failing(0.3))]) };
    check("30 %", &fleet, |outcome| {
        let found = outcome.ejections.iter().all(|(_, _, reason)| *reason == EjectReason::Failing);
        ejects_only(outcome, 2) && found
    });
    let all: Vec<_> = (0..3).map(|server| (server, failing(0.3))).collect();
    check("all 30 %", &Fleet { pool, ..Fleet::of(3, &all) }, |outcome| {
        outcome.ejections.is_empty() && outcome.probations.is_empty()
    });
}

/// The black hole: it answers 500 at once, so it is idle and quick.
#[test]
fn fast_failures_attract_nobody() {
    for failures in [0.5, 1.0] {
        let fleet = Fleet::of(4, &[(0, failing(failures))]);
        let pool = PoolConfig { guard: Guard::Off, ..PoolConfig::default() };
        check(&format!("{failures} without ejection"), &Fleet { pool, ..fleet.clone() }, |outcome| {
            outcome.shares[0] < 0.1
        });
        check(&format!("{failures} with ejection"), &fleet, |outcome| outcome.shares[0] < 0.1);
    }
}

#[test]
#[ignore = "prints the severity curve"]
fn severity_curve() {
    println!(
        "| strategy | of | × | ejected | within ms | avoided after ms | share | p99 ms | wrong |\n|---|---|---|---|---|---|---|---|---|"
    );
    for strategy in STRATEGIES {
        for count in [2, 3, 10] {
            for slowness in [1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0] {
                let fleet = Fleet { pool: by(strategy), ..Fleet::of(count, &[(0, slow(slowness))]) }.busy();
                print_row(&format!("{strategy:?} | {count} | {slowness}"), &fleet);
            }
        }
    }
}

#[expect(clippy::print_stdout, reason = "it is asked for by name, to be read")]
fn print_row(name: &str, fleet: &Fleet) {
    let (mut ejected, mut latest, mut avoided) = (0, Duration::ZERO, Duration::ZERO);
    let (mut share, mut p99, mut wrong) = (0.0, 0.0, 0);
    for seed in 0..8 {
        let change_at = Duration::from_millis(3_000 + 50 * seed);
        let outcome = run(&Fleet { change_at, ..fleet.clone() }, seed);
        if let Some(after) = outcome.ejected_after(0) {
            ejected += 1;
            latest = latest.max(after);
        }
        wrong +=
            outcome.ejections.iter().chain(&outcome.probations).filter(|(server, ..)| *server != 0).count();
        avoided = avoided.max(outcome.avoided_after(0, fleet));
        share = f64::max(share, outcome.shares[0]);
        p99 = f64::max(p99, outcome.quantile_ms(0.99));
    }
    let (latest, avoided) = (latest.as_millis(), avoided.as_millis());
    println!("| {name} | {ejected} of 8 | {latest} | {avoided} | {share:.3} | {p99:.0} | {wrong} |");
}

#[test]
#[ignore = "many seeds"]
fn a_fleet_that_is_well_is_left_alone_for_long() {
    for strategy in STRATEGIES {
        for load in [0.02, 0.3, 0.6, 0.8] {
            for count in [3, 10] {
                let fleet = Fleet { pool: by(strategy), ..Fleet::of(count, &[]) }.loaded(load);
                let wrong = wrong_in_minutes(&fleet, 0..24);
                println!("{strategy:?}, {count} at {load}: {wrong} in 24 minutes");
                assert_eq!(wrong, 0, "{strategy:?}, {count} at {load}");
            }
        }
    }
}

/// A minute each.
fn wrong_in_minutes(fleet: &Fleet, seeds: std::ops::Range<u64>) -> usize {
    let fleet = Fleet { ends_at: Duration::from_mins(1), ..fleet.clone() };
    let outcomes = seeds.map(|seed| run(&fleet, seed));
    outcomes.map(|outcome| outcome.ejections.len() + outcome.probations.len()).sum()
}

/// Taking turns at 80 % load, a queue alone makes an endpoint four times as slow as the others again and again.
#[test]
fn queues_are_told_from_slow_endpoints() {
    let fleet = Fleet { pool: by(Strategy::RoundRobin), ..Fleet::of(10, &[]) }.loaded(0.8);
    assert_eq!(wrong_in_minutes(&fleet, 0..4), 0);
}

/// Two of four fail more often than the rest, and one may be out.
#[test]
fn whoever_may_not_be_ejected_any_more_is_put_on_probation() {
    let patient = EjectionConfig { consecutive_failures: 100, ..EjectionConfig::default() };
    let pool = PoolConfig { guard: Guard::Ejection(patient), ..by(Strategy::RoundRobin) };
    let fleet = Fleet { pool, ..Fleet::of(4, &[(0, failing(0.4)), (1, failing(0.4))]) };
    check("two of four", &fleet, |outcome| {
        let [(ejected, _, EjectReason::Failing)] = outcome.ejections[..] else { return false };
        let left = 1 - ejected;
        let found = outcome.probations.iter().any(|(server, ..)| *server == left);
        ejected < 2 && found && outcome.shares[left] < 0.9 / 4.0
    });
}
