//! Who is asked: strategies, weights, zones, tiers, affinity, slow start, and the cap per endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::call::{Call, Class, Event, FailureKind, Safety, Step};
use seaworthy_policy::pool::{
    BalanceConfig, EjectReason, EndpointKey, EndpointView, Guard, Member, Pool, PoolConfig, PoolEvent,
    Strategy, Tier,
};
use seaworthy_policy::rng::Rng;

use crate::world::{World, answered, attempt_of, failure_of, ms};

fn balanced(balance: BalanceConfig) -> PoolConfig {
    PoolConfig { balance, ..PoolConfig::default() }
}

/// A world with these endpoints, all ready and warm.
fn world_of(members: &[Member], config: PoolConfig) -> World {
    let warm = config.balance.slow_start;
    let mut world = World::new(0, config);
    for member in members {
        join(&mut world, *member);
    }
    world.wait(warm);
    world.pool.take_events();
    world
}

fn join(world: &mut World, member: Member) -> EndpointKey {
    let key = world.pool.on_added_as(world.now, member);
    world.pool.on_health(world.now, key, true, "");
    world.endpoints.push(key);
    key
}

/// Where requests go that end at once.
fn shares(world: &mut World, requests: u32) -> BTreeMap<EndpointKey, f64> {
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        let mut call = world.call(Safety::Unsafe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        *shares.entry(endpoint).or_default() += 1.0 / f64::from(requests);
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
    }
    shares
}

fn assert_shares(got: &BTreeMap<EndpointKey, f64>, expected: &[(EndpointKey, f64)], tolerance: f64) {
    for (key, share) in expected {
        let found = got.get(key).copied().unwrap_or_default();
        assert!((found - share).abs() <= tolerance + 1e-9, "{key:?}: {got:?} instead of {expected:?}");
    }
}

const STRATEGIES: [Strategy; 3] = [Strategy::RoundRobin, Strategy::LeastInFlight, Strategy::P2c];

#[test]
fn every_strategy_obeys_weights() {
    for strategy in STRATEGIES {
        let members = [1, 2, 5].map(|weight| Member { weight, ..Member::default() });
        let mut world = world_of(&members, balanced(BalanceConfig { strategy, ..BalanceConfig::default() }));
        let keys = world.endpoints.clone();
        // An idle endpoint of the largest weight is the least loaded one for whoever counts what is in flight.
        let expected = match strategy {
            Strategy::LeastInFlight => [0.0, 0.0, 1.0],
            Strategy::RoundRobin | Strategy::P2c => [0.125, 0.25, 0.625],
        };
        let got = shares(&mut world, 4_000);
        assert_shares(&got, &[(keys[0], expected[0]), (keys[1], expected[1]), (keys[2], expected[2])], 0.03);
    }
}

#[test]
fn a_newcomer_gets_a_tenth_at_first_and_everything_in_the_end() {
    let balance = BalanceConfig { strategy: Strategy::RoundRobin, ..BalanceConfig::default() };
    let mut world = world_of(&[Member::default(); 2], balanced(balance));
    let newcomer = join(&mut world, Member::default());
    for (after, weight) in [(0, 0.1), (5_000, 0.5), (10_000, 1.0)] {
        let begun = world.now;
        world.wait(ms(after));
        let got = shares(&mut world, 2_100);
        assert_shares(&got, &[(newcomer, weight / (2.0 + weight))], 0.01);
        world.now = begun;
    }
}

#[test]
fn a_readmitted_endpoint_starts_slowly_too() {
    let balance = BalanceConfig { strategy: Strategy::RoundRobin, ..BalanceConfig::default() };
    let mut world = world_of(&[Member::default(); 3], balanced(balance));
    let bad = world.endpoints[0];
    for _ in 0..5 {
        let mut call = world.start_at(bad, Safety::Unsafe);
        world.on(&mut call, answered(0, Class::Error));
        world.on(&mut call, Event::BodyEnded);
    }
    world.wait(Duration::from_secs(30));
    world.pool.on_timer(world.now);
    world.warm_up(20, Duration::ZERO);
    assert_eq!(world.pool.view(world.now)[0].state, "available");
    let got = shares(&mut world, 2_100);
    assert_shares(&got, &[(bad, 0.1 / 2.1)], 0.01);
}

#[test]
fn the_own_zone_first_and_the_others_in_proportion_to_what_is_missing() {
    for strategy in STRATEGIES {
        let balance = BalanceConfig { own_zone: Some(0), strategy, ..BalanceConfig::default() };
        let members = [0, 0, 1].map(|zone| Member { zone, ..Member::default() });
        let mut world = world_of(&members, balanced(balance));
        let keys = world.endpoints.clone();
        for (lost, away) in [(None, 0.0), (Some(keys[0]), 1.0 - 0.5 / 0.7), (Some(keys[1]), 1.0)] {
            if let Some(key) = lost {
                world.pool.on_health(world.now, key, false, "test");
            }
            let got = shares(&mut world, 3_000);
            assert_shares(&got, &[(keys[2], away)], 0.04);
        }
        world.pool.on_health(world.now, keys[2], false, "test");
        world.pool.on_health(world.now, keys[0], true, "");
        assert_shares(&shares(&mut world, 10), &[(keys[0], 1.0)], 0.0);
    }
}

#[test]
fn a_standby_serves_while_no_active_one_does_and_hands_back_late() {
    let standby = Member { tier: Tier::Standby, ..Member::default() };
    let mut world = world_of(&[Member::default(), standby], balanced(BalanceConfig::default()));
    let keys = world.endpoints.clone();
    assert_shares(&shares(&mut world, 50), &[(keys[0], 1.0)], 0.0);
    world.pool.on_health(world.now, keys[0], false, "test");
    assert_eq!(world.pool.take_events().last(), Some(&PoolEvent::Standby(true)));
    assert_shares(&shares(&mut world, 50), &[(keys[1], 1.0)], 0.0);
    world.pool.on_health(world.now, keys[0], true, "");
    assert_shares(&shares(&mut world, 50), &[(keys[1], 1.0)], 0.0);
    assert_eq!(world.pool.next_deadline(), Some(world.now.after(Duration::from_secs(30))));
    world.wait(Duration::from_secs(30));
    world.pool.on_timer(world.now);
    assert_eq!(world.pool.take_events().last(), Some(&PoolEvent::Standby(false)));
    assert_shares(&shares(&mut world, 50), &[(keys[0], 1.0)], 0.0);
}

/// Envoy#2671: with tiers, panic in the first kept traffic from reaching the second.
#[test]
fn a_standby_that_is_well_comes_before_panic_envoy_2671() {
    let standby = Member { tier: Tier::Standby, ..Member::default() };
    let mut world = world_of(&[Member::default(), standby], balanced(BalanceConfig::default()));
    let keys = world.endpoints.clone();
    for _ in 0..5 {
        let mut call = world.start_at(keys[0], Safety::Unsafe);
        world.on(&mut call, answered(0, Class::Error));
        world.on(&mut call, Event::BodyEnded);
    }
    assert_eq!(world.pool.view(world.now)[0].state, "ejected");
    assert!(!world.pool.take_events().contains(&PoolEvent::Panic(true)));
    assert_shares(&shares(&mut world, 50), &[(keys[1], 1.0)], 0.0);
}

fn home(world: &mut World, session: u64) -> EndpointKey {
    let mut call = world.call(Safety::Unsafe).with_affinity(session);
    let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
    world.on(&mut call, answered(attempt, Class::Answered));
    world.on(&mut call, Event::BodyEnded);
    endpoint
}

#[test]
fn a_session_stays_where_it_is_and_comes_back_after_a_restart() {
    let named = |name: u64| Member { identity: Some(name), ..Member::default() };
    let mut world = world_of(&[named(11), named(12), named(13)], PoolConfig::default());
    let before: Vec<_> = (0..300).map(|session| home(&mut world, session)).collect();
    let lost = world.endpoints[1];
    world.pool.on_removed(world.now, lost, "exited");
    for (session, was) in (0..).zip(&before) {
        let now = home(&mut world, session);
        assert!(now == *was || *was == lost, "session {session} had no reason to move");
    }
    let restarted = join(&mut world, named(12));
    for (session, was) in (0..).zip(&before) {
        let expected = if *was == lost { restarted } else { *was };
        assert_eq!(home(&mut world, session), expected, "session {session}");
    }
}

fn capped(max_in_flight: u32) -> PoolConfig {
    PoolConfig { max_in_flight: Some(max_in_flight), ..PoolConfig::default() }
}

/// An attempt that is overtaken after 6 ms took at least 6 ms: of an endpoint that never answered, that is no latency.
#[test]
fn a_newcomer_that_was_overtaken_soon_is_not_taken_for_fast() {
    let balance = BalanceConfig { slow_start: Duration::ZERO, ..BalanceConfig::default() };
    let mut world = world_of(&[Member::default(); 2], balanced(balance));
    world.warm_up(100, ms(50));
    let newcomer = join(&mut world, Member::default());
    world.config.hedge_delay = Some(ms(5));
    let mut call = world.start_at(newcomer, Safety::Safe);
    world.wait(ms(5));
    let (hedge, _) = attempt_of(&world.on(&mut call, Event::Timer));
    world.wait(ms(1));
    world.on(&mut call, answered(hedge, Class::Answered));
    world.on(&mut call, Event::BodyEnded);
    let open: Vec<_> = (0..60)
        .map(|_| {
            let mut call = world.call(Safety::Unsafe);
            let (_, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
            (call, endpoint)
        })
        .collect();
    let there = open.iter().filter(|(_, endpoint)| *endpoint == newcomer).count();
    assert!((10..=30).contains(&there), "{there} of 60, where 20 are fair");
}

#[test]
fn who_is_full_is_passed_over_and_when_all_are_the_call_is_ours_to_refuse() {
    let mut world = World::new(2, capped(2));
    let mut open: Vec<(Call, u8)> = Vec::new();
    for _ in 0..4 {
        let mut call = world.call(Safety::Safe);
        let (attempt, _) = attempt_of(&world.on(&mut call, Event::Start));
        open.push((call, attempt));
    }
    let view = world.pool.view(world.now);
    assert!(view.iter().all(|view| view.in_flight == 2), "{view:?}");
    let balance = world.pool.budget_balance(world.now);
    for _ in 0..20 {
        let mut refused = world.call(Safety::Safe);
        let failure = failure_of(&world.on(&mut refused, Event::Start));
        assert_eq!((failure.kind, failure.kind.status()), (FailureKind::Full, 503));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(1)));
        assert!(!failure.outcome_unknown && refused.trail().is_empty());
    }
    let view = world.pool.view(world.now);
    assert!(
        view.iter().all(|view| view.state == "available"),
        "our own refusal is nobody's failure: {view:?}"
    );
    assert!((world.pool.budget_balance(world.now) - balance).abs() < f64::EPSILON, "nor a retry");
    let (mut call, attempt) = open.pop().expect("four are open");
    world.on(&mut call, answered(attempt, Class::Answered));
    world.on(&mut call, Event::BodyEnded);
    let mut next = world.call(Safety::Safe);
    attempt_of(&world.on(&mut next, Event::Start));
}

#[test]
fn nothing_is_sent_again_where_all_others_are_full() {
    let mut world = World::new(2, capped(1));
    let [first, second] = [world.endpoints[0], world.endpoints[1]];
    let mut elsewhere = world.call(Safety::Safe);
    let (_, taken) = attempt_of(&world.on(&mut elsewhere, Event::Start));
    let mut call = world.call(Safety::Safe);
    let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
    assert!(taken != endpoint && [first, second].contains(&endpoint));
    let balance = world.pool.budget_balance(world.now);
    let mut rival = world.call(Safety::Safe);
    assert_eq!(failure_of(&world.on(&mut rival, Event::Start)).kind, FailureKind::Full);
    // Its own place becomes free, so the resend waits for its back-off instead of being refused.
    let steps = world.on(&mut call, answered(attempt, Class::Unavailable));
    assert_eq!(steps, [Step::Cancel { attempt }]);
    assert!(world.pool.budget_balance(world.now) < balance);
    // Somebody else takes that place meanwhile.
    let mut quicker = world.call(Safety::Safe);
    attempt_of(&world.on(&mut quicker, Event::Start));
    world.wait(ms(250));
    assert_eq!(failure_of(&world.on(&mut call, Event::Timer)).kind, FailureKind::Full);
}

#[test]
fn a_trial_of_a_slow_endpoint_must_not_be_slow_again() {
    let balance = BalanceConfig { strategy: Strategy::RoundRobin, ..BalanceConfig::default() };
    let mut world = World::new(3, balanced(balance));
    world.config.hedge_percentile = None;
    world.warm_up(60, ms(5));
    let slow = world.endpoints[0];
    let mut reasons = Vec::new();
    // For 30 s it is out, and unsafe requests wait for 5 s more before they try it without a hedge.
    for _ in 0..8_000 {
        let mut call = world.call(Safety::Unsafe);
        let (attempt, endpoint) = attempt_of(&world.on(&mut call, Event::Start));
        world.wait(if endpoint == slow { ms(60) } else { ms(5) });
        world.on(&mut call, answered(attempt, Class::Answered));
        world.on(&mut call, Event::BodyEnded);
        world.pool.on_timer(world.now);
        reasons.extend(world.pool.take_events().into_iter().filter_map(|event| match event {
            PoolEvent::Ejected { endpoint, reason, .. } => Some((endpoint, reason)),
            _ => None,
        }));
    }
    assert_eq!(reasons, [(slow, EjectReason::Slow), (slow, EjectReason::Relapse)]);
}

/// Random endpoints, random trouble: whoever is asked is available, has room, and belongs to a tier that serves.
#[test]
fn nothing_unavailable_is_ever_picked() {
    for seed in 0..120 {
        let mut rng = Rng::seeded(seed);
        let balance = BalanceConfig {
            strategy: STRATEGIES[rng.below(3) as usize],
            own_zone: rng.chance(0.5).then_some(0),
            standby_below: 0.5 + 0.5 * rng.unit(),
            ..BalanceConfig::default()
        };
        let guard = if rng.chance(0.3) { Guard::Off } else { PoolConfig::default().guard };
        let config = PoolConfig {
            guard,
            balance,
            max_in_flight: rng.chance(0.5).then_some(3),
            ..PoolConfig::default()
        };
        assert_eq!(config.validate(), Ok(()));
        Chaos::new(config, rng).run(seed);
    }
}

struct Chaos {
    config: PoolConfig,
    world: World,
    rng: Rng,
    open: Vec<(Call, u8)>,
}

impl Chaos {
    fn new(config: PoolConfig, mut rng: Rng) -> Self {
        let mut world = World::new(0, config.clone());
        world.pool = Pool::new(config.clone());
        for _ in 0..=rng.below(6) {
            let tier = if rng.chance(0.3) { Tier::Standby } else { Tier::Active };
            let (zone, weight) = (rng.below(3) as u16, 1 + rng.below(5) as u32);
            join(&mut world, Member { zone, tier, weight, identity: None });
        }
        Self { config, world, rng, open: Vec::new() }
    }

    fn run(mut self, seed: u64) {
        for step in 0..400 {
            match self.rng.below(10) {
                0 => self.change_health(),
                1 => {
                    let pause = ms(self.rng.below(4_000));
                    self.world.wait(pause);
                    self.world.pool.on_timer(self.world.now);
                }
                2..6 => self.end_one(),
                _ => self.start(&format!("seed {seed}, step {step}")),
            }
        }
    }

    fn change_health(&mut self) {
        let index = self.rng.below(self.world.endpoints.len() as u64) as usize;
        let ready = self.rng.chance(0.6);
        self.world.pool.on_health(self.world.now, self.world.endpoints[index], ready, "test");
    }

    fn end_one(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.rng.below(self.open.len() as u64) as usize;
        let (mut call, attempt) = self.open.swap_remove(index);
        let class = if self.rng.chance(0.4) { Class::Error } else { Class::Answered };
        self.world.on(&mut call, answered(attempt, class));
        self.world.on(&mut call, Event::BodyEnded);
    }

    fn start(&mut self, story: &str) {
        let before = self.world.pool.view(self.world.now);
        let mut call = self.world.call(Safety::Unsafe);
        if self.rng.chance(0.3) {
            call = call.with_affinity(self.rng.below(5));
        }
        let steps = self.world.on(&mut call, Event::Start);
        let Some(Step::Attempt { attempt, endpoint, .. }) = steps.last().copied() else {
            self.nobody_could(&before, story);
            self.world.on(&mut call, Event::Dropped);
            return;
        };
        let chosen = before.iter().find(|view| view.endpoint == endpoint).expect("it is there");
        let fresh = |view: &&EndpointView| matches!(view.state, "available" | "probation");
        let few = |wanted: &dyn Fn(&EndpointView) -> bool| {
            let among = || before.iter().filter(|view| wanted(view));
            among().filter(fresh).count() * 2 < among().count()
        };
        assert!(chosen.ready, "{story}: {chosen:?}");
        // Below one half of those that serve, panic asks the ejected, too.
        let panic = few(&|_| true) || few(&|view| view.tier == chosen.tier);
        let allowed = fresh(&chosen) || panic || chosen.state == "readmitting";
        assert!(allowed, "{story}: {chosen:?} of {before:?}");
        let room = self.config.max_in_flight.is_none_or(|most| chosen.in_flight < most);
        assert!(room, "{story}: {chosen:?} is full");
        self.open.push((call, attempt));
    }

    /// No endpoint that is in the traffic was left out.
    fn nobody_could(&self, before: &[EndpointView], story: &str) {
        let room = |in_flight: u32| self.config.max_in_flight.is_none_or(|most| in_flight < most);
        let active = before.iter().filter(|view| view.tier == Tier::Active && view.state == "available");
        let standby = before.iter().any(|view| view.tier == Tier::Standby && view.state == "available");
        let left_out = active.filter(|view| room(view.in_flight)).count();
        assert!(left_out == 0 || standby, "{story}: {before:?}");
    }
}
