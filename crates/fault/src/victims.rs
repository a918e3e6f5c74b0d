//! Whom a target means, given what runs now. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use seaworthy_observe::dial::DetourScope;
use seaworthy_observe::ports::ProcessView;

use crate::error::FaultError;
use crate::mix::draw;
use crate::request::{Target, ZoneName};

/// What a request is resolved against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    /// What runs now.
    pub(crate) processes: &'a [ProcessView],
    /// The names of the zones, in the spec's order.
    pub(crate) zones: &'a [String],
    /// The endpoints of services that run elsewhere; the first one is replica `1`.
    pub(crate) external: &'a BTreeMap<String, Vec<SocketAddr>>,
}

/// Names a scope for people: `api/a-1`, `egress:payments`.
pub(crate) fn scope_name(scope: &DetourScope) -> String {
    match scope {
        DetourScope::Replica { service, replica } => format!("{service}/{replica}"),
        DetourScope::Egress { service } => format!("egress:{service}"),
    }
}

/// The newest incarnation of each replica that `wanted` accepts, in the order of their names.
fn running<'a>(world: &World<'a>, wanted: impl Fn(&ProcessView) -> bool) -> Vec<&'a ProcessView> {
    let mut newest = BTreeMap::new();
    for view in world.processes.iter().filter(|view| wanted(view)) {
        let kept = newest.entry((&view.id.service, &view.id.replica)).or_insert(view);
        if kept.id.incarnation < view.id.incarnation {
            *kept = view;
        }
    }
    newest.into_values().collect()
}

/// The processes that a target means, at least one.
pub(crate) fn processes<'a>(
    world: &World<'a>,
    target: &Target,
    seed: u64,
    field: &str,
) -> Result<Vec<&'a ProcessView>, FaultError> {
    let of_service = |service: &str| {
        let found = running(world, |view| *view.id.service == *service);
        if found.is_empty() { Err(no_process(world, service, field)) } else { Ok(found) }
    };
    match target {
        Target::Service(service) => of_service(service),
        Target::Replica { service, replica: Some(replica) } => {
            let mut found = of_service(service)?;
            found.retain(|view| *view.id.replica == **replica);
            if found.is_empty() { Err(no_replica(service, replica, field)) } else { Ok(found) }
        }
        Target::Replica { service, replica: None } => {
            let found = of_service(service)?;
            Ok(vec![pick(&found, |view| view.ready, seed)])
        }
        Target::Zone(zone) => in_zone(world, zone, field),
        Target::Egress(_) => Err(FaultError::Invalid {
            field: field.to_owned(),
            reason: "an egress is traffic, not a process; name a replica, a service or a zone".to_owned(),
        }),
    }
}

/// The traffic that a target means, at least one scope.
pub(crate) fn scopes(
    world: &World<'_>,
    target: &Target,
    seed: u64,
    field: &str,
) -> Result<Vec<DetourScope>, FaultError> {
    let external = |service: &str| world.external.get(service).filter(|endpoints| !endpoints.is_empty());
    match target {
        Target::Egress(service) => {
            if external(service).is_none() {
                processes(world, &Target::Service(service.clone()), seed, field)?;
            }
            Ok(vec![DetourScope::Egress { service: service.clone() }])
        }
        Target::Service(service) | Target::Replica { service, .. } if external(service).is_some() => {
            let endpoints = external(service).map_or(0, Vec::len);
            external_scopes(service, endpoints, target, seed, field)
        }
        Target::Service(_) | Target::Replica { .. } | Target::Zone(_) => {
            let found = processes(world, target, seed, field)?;
            Ok(found.into_iter().map(replica_scope).collect())
        }
    }
}

fn external_scopes(
    service: &str,
    endpoints: usize,
    target: &Target,
    seed: u64,
    field: &str,
) -> Result<Vec<DetourScope>, FaultError> {
    let all: Vec<String> = (1..=endpoints).map(|number| number.to_string()).collect();
    let scope =
        |replica: &String| DetourScope::Replica { service: service.to_owned(), replica: replica.clone() };
    match target {
        Target::Replica { replica: Some(replica), .. } if !all.contains(replica) => {
            Err(no_replica(service, replica, field))
        }
        Target::Replica { replica: Some(replica), .. } => Ok(vec![scope(replica)]),
        Target::Replica { replica: None, .. } => {
            Ok(vec![scope(pick(&all.iter().collect::<Vec<_>>(), |_| true, seed))])
        }
        _ => Ok(all.iter().map(scope).collect()),
    }
}

fn replica_scope(view: &ProcessView) -> DetourScope {
    DetourScope::Replica { service: view.id.service.to_string(), replica: view.id.replica.to_string() }
}

/// One of those preferred, or of all when none is; `found` is not empty. A replica that is down already would make
/// a fault without effect.
fn pick<'a, T>(found: &[&'a T], preferred: impl Fn(&T) -> bool, seed: u64) -> &'a T {
    let best: Vec<&'a T> = found.iter().copied().filter(|one| preferred(one)).collect();
    let from = if best.is_empty() { found } else { &best };
    from[(draw(seed, 0) % from.len() as u64) as usize]
}

fn in_zone<'a>(world: &World<'a>, zone: &ZoneName, field: &str) -> Result<Vec<&'a ProcessView>, FaultError> {
    let unknown = |reason: String| FaultError::UnknownTarget { field: field.to_owned(), reason };
    let known = match world.zones {
        [] => "the spec names no zones".to_owned(),
        zones => format!("there are: {}", zones.join(", ")),
    };
    let index = match zone {
        ZoneName::Index(index) => Some(usize::from(*index)).filter(|index| *index < world.zones.len()),
        ZoneName::Name(name) => world.zones.iter().position(|known| known == name),
    };
    let index = index.ok_or_else(|| unknown(format!("no zone {zone}; {known}")))?;
    let found = running(world, |view| usize::from(view.zone) == index);
    if found.is_empty() {
        return Err(unknown(format!("nothing runs in zone {zone}")));
    }
    Ok(found)
}

fn no_process(world: &World<'_>, service: &str, field: &str) -> FaultError {
    let reason = if world.external.contains_key(service) {
        format!("`{service}` runs elsewhere; only its traffic can be broken from here")
    } else {
        let mut known: Vec<&str> = world.processes.iter().map(|view| &*view.id.service).collect();
        known.extend(world.external.keys().map(String::as_str));
        known.sort_unstable();
        known.dedup();
        format!("no replica of a service `{service}` runs now; of these some do: {}", known.join(", "))
    };
    FaultError::UnknownTarget { field: field.to_owned(), reason }
}

fn no_replica(service: &str, replica: &str, field: &str) -> FaultError {
    let reason = format!("no replica `{replica}` of service `{service}` runs now");
    FaultError::UnknownTarget { field: field.to_owned(), reason }
}
