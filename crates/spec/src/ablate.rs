//! Control runs: the same plan without one mechanism, or with some of the failures only.
//!
//! A promise that is kept proves little while nobody knows whether it would be kept anyway. The control run
//! answers that: without the mechanism that a failure relies on, its promise must come out broken.

use std::sync::Arc;

use seaworthy_policy::call::CallConfig;
use seaworthy_policy::pool::Guard;
use seaworthy_policy::restart::Mode;

use crate::plan::{Mechanism, Plan, ServiceKind, Target};

impl Plan {
    /// The same plan without one mechanism. Only that mechanism changes; what follows from it in the plan, such
    /// as the guard that belongs to a number of replicas, stays as it was.
    ///
    /// For `replicas`, the services that the plan's failures hit keep one replica each: apply [`Plan::only`] first.
    #[must_use]
    pub fn ablate(&self, mechanism: Mechanism) -> Plan {
        let mut plan = self.clone();
        match mechanism {
            Mechanism::Replicas => plan.keep_one_replica(),
            Mechanism::Retry => plan.each_call(|call| call.retry = false),
            Mechanism::Hedge => plan.each_call(|call| {
                call.hedge_percentile = None;
                call.hedge_delay = None;
            }),
            Mechanism::Parking => {
                plan.each_call(|call| call.park = false);
                plan.services.iter_mut().for_each(|service| service.pool.parking.max_requests = 0);
            }
            Mechanism::AttemptTimeout => plan.each_call(|call| call.attempt_timeout = call.total_timeout),
            Mechanism::Ejection => plan.drop_guards(|guard| matches!(guard, Guard::Ejection(_))),
            Mechanism::Breaker => plan.drop_guards(|guard| matches!(guard, Guard::Breaker(_))),
            Mechanism::Readiness => {
                plan.services.iter_mut().for_each(|service| service.pool.readiness = false);
            }
            Mechanism::Restart => plan.services.iter_mut().for_each(|service| {
                if let ServiceKind::Supervised(process) = &mut service.kind {
                    process.restart.mode = Mode::Never;
                }
            }),
            Mechanism::Degrade => plan.routes.iter_mut().for_each(|route| route.degrade.clear()),
            Mechanism::Idempotency => {
                plan.services.iter_mut().for_each(|service| {
                    service.keyed = false;
                    service.keys = None;
                });
                plan.routes.iter_mut().for_each(|route| {
                    route.keyed = false;
                    route.keys = None;
                });
            }
        }
        if !plan.ablated.contains(&mechanism) {
            plan.ablated.push(mechanism);
        }
        plan
    }

    /// The same plan with these failures only, in the order of the spec; the error names the first unknown one.
    pub fn only(&self, ids: &[impl AsRef<str>]) -> Result<Plan, String> {
        for id in ids {
            if self.failures.iter().all(|failure| failure.id != id.as_ref()) {
                return Err(id.as_ref().to_owned());
            }
        }
        let mut plan = self.clone();
        plan.failures.retain(|failure| ids.iter().any(|id| id.as_ref() == failure.id));
        Ok(plan)
    }

    fn each_call(&mut self, change: impl Fn(&mut CallConfig)) {
        let services = self.services.iter_mut().map(|service| &mut service.call);
        let routes = self.routes.iter_mut().map(|route| &mut route.call);
        services.chain(routes).for_each(|call| change(Arc::make_mut(call)));
    }

    fn drop_guards(&mut self, is_dropped: impl Fn(&Guard) -> bool) {
        for service in &mut self.services {
            if is_dropped(&service.pool.guard) {
                service.pool.guard = Guard::Off;
            }
        }
    }

    /// One replica stays of every service that a fault hits: the one that the fault names or, for a zone, one in it.
    fn keep_one_replica(&mut self) {
        let targets: Vec<Target> = self
            .failures
            .iter()
            .flat_map(|failure| &failure.faults)
            .map(|fault| fault.target.clone())
            .collect();
        for target in &targets {
            for index in self.services_hit(target) {
                match &mut self.services[index].kind {
                    ServiceKind::Supervised(process) => {
                        let kept = process.replicas.iter().position(|replica| match target {
                            Target::Replica { replica: Some(id), .. } => replica.id == *id,
                            Target::Zone(zone) => replica.zone == *zone,
                            _ => true,
                        });
                        let kept = kept.unwrap_or(0);
                        process.replicas = process.replicas.get(kept).cloned().into_iter().collect();
                    }
                    ServiceKind::External { endpoints, .. } => endpoints.truncate(1),
                }
            }
        }
    }
}
