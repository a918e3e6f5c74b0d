//! Control runs switch off exactly one mechanism.
#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use seaworthy_policy::pool::Guard;
use seaworthy_policy::restart::Mode;
use seaworthy_spec::parse;
use seaworthy_spec::plan::{Mechanism, Plan, ServiceKind, ServicePlan};

const SPEC: &str = "
seaworthy: v1
name: s
gateway: { listen: 127.0.0.1:0 }
zones: [a, b]
services:
  api: { run: ./api, replicas: { a: 2, b: 1 }, needs: { pay: optional } }
  web: { run: ./web, replicas: { a: 2 } }
  pay: { run: ./pay, egress: 127.0.0.1:0, policy: { idempotency: { key: required, backend: honours } } }
routes:
  api: { match: /api/**, to: api, degrade: { static: { status: 503 } } }
  web: { match: /**, to: web }
failures:
  named: { required: x, fault: { kill: { replica: api/b-1 } } }
  zone: { required: x, fault: { lose: { zone: b } } }
";

fn plan() -> Plan {
    parse("test.yaml", SPEC).plan.unwrap()
}

fn ids(service: &ServicePlan) -> Vec<&str> {
    match &service.kind {
        ServiceKind::Supervised(process) => {
            process.replicas.iter().map(|replica| replica.id.as_str()).collect()
        }
        ServiceKind::External { .. } => Vec::new(),
    }
}

/// One line per mechanism that is on.
fn alive(plan: &Plan) -> Vec<Mechanism> {
    let calls = || {
        plan.services.iter().map(|service| &service.call).chain(plan.routes.iter().map(|route| &route.call))
    };
    let guards = || plan.services.iter().map(|service| &service.pool.guard);
    let restarts = || {
        plan.services.iter().filter_map(|service| match &service.kind {
            ServiceKind::Supervised(process) => Some(process.restart.mode),
            ServiceKind::External { .. } => None,
        })
    };
    let is_alive = |mechanism: &Mechanism| match mechanism {
        Mechanism::Replicas => ids(&plan.services[0]).len() > 1,
        Mechanism::Retry => calls().any(|call| call.retry),
        Mechanism::Hedge => calls().any(|call| call.hedge_percentile.is_some()),
        Mechanism::Ejection => guards().any(|guard| matches!(guard, Guard::Ejection(_))),
        Mechanism::Readiness => plan.services.iter().any(|service| service.pool.readiness),
        Mechanism::Restart => restarts().any(|mode| mode != Mode::Never),
        Mechanism::Parking => calls().any(|call| call.park),
        Mechanism::Breaker => guards().any(|guard| matches!(guard, Guard::Breaker(_))),
        Mechanism::AttemptTimeout => calls().any(|call| call.attempt_timeout < call.total_timeout),
        Mechanism::Degrade => plan.routes.iter().any(|route| !route.degrade.is_empty()),
        Mechanism::Idempotency => {
            plan.services.iter().any(|service| service.keyed) || plan.routes.iter().any(|route| route.keyed)
        }
    };
    Mechanism::ALL.into_iter().filter(is_alive).collect()
}

#[test]
fn each_mechanism_and_no_other_is_switched_off() {
    let plan = plan();
    assert_eq!(alive(&plan), Mechanism::ALL, "all are on");
    for mechanism in Mechanism::ALL {
        let ablated = plan.ablate(mechanism);
        let others: Vec<Mechanism> = Mechanism::ALL.into_iter().filter(|other| *other != mechanism).collect();
        assert_eq!(alive(&ablated), others, "without {mechanism}");
        assert_eq!(ablated.ablated, [mechanism]);
        assert_eq!(ablated.ablate(mechanism).ablated, [mechanism], "twice is once");
    }
    assert!(plan.ablated.is_empty(), "the plan itself does not change");
}

#[test]
fn one_replica_of_each_target_is_left_and_it_can_still_be_hit() {
    let plan = plan();
    let named = plan.only(&["named"]).unwrap().ablate(Mechanism::Replicas);
    assert_eq!(ids(&named.services[0]), ["b-1"], "the one that the fault names");
    assert_eq!(ids(&named.services[1]), ["a-1", "a-2"], "not a target");
    let zone = plan.only(&["zone"]).unwrap().ablate(Mechanism::Replicas);
    assert_eq!(ids(&zone.services[0]), ["b-1"], "one in the zone");
}

#[test]
fn only_keeps_the_named_failures_in_order() {
    let plan = plan();
    let names = |plan: &Plan| plan.failures.iter().map(|failure| failure.id.clone()).collect::<Vec<_>>();
    assert_eq!(names(&plan.only(&["zone", "named"]).unwrap()), ["named", "zone"]);
    assert_eq!(names(&plan.only(&["zone"]).unwrap()), ["zone"]);
    assert_eq!(plan.only(&["zone", "zoen"]).unwrap_err(), "zoen");
}
