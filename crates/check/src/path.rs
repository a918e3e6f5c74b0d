//! Who reaches whom: what several rules ask of a plan.

use std::collections::BTreeSet;

use seaworthy_policy::call::CallConfig;
use seaworthy_spec::plan::{FailurePlan, LoadPlan, Origin, Place, Plan, ServiceKind, ServicePlan, Target};

/// Where an effective value was set; the other place when the spec does not say it.
pub(crate) fn place_of(plan: &Plan, path: &str, otherwise: Place) -> Place {
    match plan.setting(path).map(|setting| &setting.origin) {
        Some(Origin::Spec(place)) => *place,
        _ => otherwise,
    }
}

/// True when the spec itself says this value.
pub(crate) fn is_written(plan: &Plan, path: &str) -> bool {
    plan.setting(path).is_some_and(|setting| matches!(setting.origin, Origin::Spec(_)))
}

/// The services that a failure hits.
pub(crate) fn services_hit(plan: &Plan, failure: &FailurePlan) -> BTreeSet<usize> {
    failure.faults.iter().flat_map(|fault| plan.services_hit(&fault.target)).collect()
}

/// These services and all that need them, directly or not.
pub(crate) fn with_dependents(plan: &Plan, services: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut reached = services.clone();
    loop {
        let needs_one =
            |service: &ServicePlan| service.needs.iter().any(|need| reached.contains(&need.service));
        let more: BTreeSet<usize> = indices(plan, needs_one).collect();
        let before = reached.len();
        reached.extend(more);
        if reached.len() == before {
            return reached;
        }
    }
}

/// The service that a load reaches and all that this one needs, directly or not; empty when no route takes it.
pub(crate) fn services_of_load(plan: &Plan, load: &LoadPlan) -> BTreeSet<usize> {
    let mut reached: BTreeSet<usize> = BTreeSet::new();
    let mut open: Vec<usize> =
        plan.route(&load.method, &load.path).map(|route| route.to).into_iter().collect();
    while let Some(service) = open.pop() {
        if reached.insert(service) {
            open.extend(plan.services[service].needs.iter().map(|need| need.service));
        }
    }
    reached
}

/// The policies of all edges that lead to one of these services.
pub(crate) fn calls_to<'a>(
    plan: &'a Plan,
    services: &'a BTreeSet<usize>,
) -> impl Iterator<Item = &'a CallConfig> + use<'a> {
    let egresses = plan
        .services
        .iter()
        .enumerate()
        .filter(|(index, service)| services.contains(index) && service.egress.is_some());
    let routes = plan.routes.iter().filter(|route| services.contains(&route.to));
    egresses.map(|(_, service)| service.call.as_ref()).chain(routes.map(|route| route.call.as_ref()))
}

/// How many endpoints of a service are left while the fault holds.
pub(crate) fn survivors(service: &ServicePlan, target: &Target) -> usize {
    match target {
        Target::Replica { .. } => service.endpoint_count().saturating_sub(1),
        Target::Service(_) | Target::Egress(_) => 0,
        Target::Zone(zone) => match &service.kind {
            ServiceKind::Supervised(process) => {
                process.replicas.iter().filter(|replica| replica.zone != *zone).count()
            }
            ServiceKind::External { endpoints, .. } => endpoints.len(),
        },
    }
}

fn indices(plan: &Plan, fits: impl Fn(&ServicePlan) -> bool) -> impl Iterator<Item = usize> {
    plan.services.iter().enumerate().filter(move |(_, service)| fits(service)).map(|(index, _)| index)
}

/// Names in backticks, joined for a sentence.
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
