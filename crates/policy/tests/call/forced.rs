//! Breakers in the hands of a person: the whole edge, endpoints to come included.

use seaworthy_policy::breaker::{BreakerConfig, Mode};
use seaworthy_policy::call::{Event, FailureKind, Safety};
use seaworthy_policy::pool::{Guard, PoolConfig, PoolEvent};

use crate::world::{World, failure_of};

#[test]
fn what_a_person_decides_holds_for_endpoints_to_come_and_through_resets() {
    let config = PoolConfig { guard: Guard::Breaker(BreakerConfig::default()), ..PoolConfig::default() };
    let mut world = World::new(1, config);
    assert_eq!(world.pool.breaker_mode(), Some(Mode::Automatic));
    world.pool.take_events();
    assert!(world.pool.set_breaker_mode(world.now, Mode::ForceOpen));
    let told = world.pool.take_events();
    assert!(
        told.iter().any(|event| matches!(event, PoolEvent::Breaker { to: "forced_open", .. })),
        "{told:?}"
    );
    let refused = |world: &mut World| {
        let mut call = world.call(Safety::Safe);
        let steps = world.on(&mut call, Event::Start);
        failure_of(&steps).kind == FailureKind::BreakerOpen
    };
    assert!(refused(&mut world));
    world.pool.reset(world.now);
    assert!(refused(&mut world), "what was learnt is forgotten, not what was decided");
    let old = world.endpoints[0];
    world.pool.on_removed(world.now, old, "restarted");
    let key = world.pool.on_added(world.now, 0);
    world.pool.on_health(world.now, key, true, "");
    assert!(refused(&mut world));
    assert!(world.pool.set_breaker_mode(world.now, Mode::Automatic));
    let mut call = world.call(Safety::Safe);
    assert!(!world.on(&mut call, Event::Start).is_empty());
    world.pool.check_invariants();
}

#[test]
fn without_breakers_there_is_nothing_to_take() {
    for guard in [Guard::Off, PoolConfig::default().guard] {
        let is_breaker = matches!(guard, Guard::Breaker(_));
        let mut world = World::new(2, PoolConfig { guard, ..PoolConfig::default() });
        assert_eq!(world.pool.set_breaker_mode(world.now, Mode::ForceOpen), is_breaker);
        assert_eq!(world.pool.breaker_mode().is_some(), is_breaker);
    }
}
