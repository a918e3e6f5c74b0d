//! From a request to what has to be done, checked against what runs now. Pure.
//!
//! Shares that act on the same traffic become one proxy with one draw per request. The alternative, a chain of
//! proxies, was rejected: the second would see only what the first let through, so 30 % and 5 % would not add up.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use seaworthy_observe::dial::DetourScope;
use seaworthy_observe::ports::ProcessView;

use crate::error::FaultError;
use crate::mix::{Effect, Mix, SHARE_TOLERANCE, draw};
use crate::registry::Scope;
use crate::request::{DEADLINE_MAX, FAULTS_PER_REQUEST_MAX, FaultKind, FaultRequest, FaultSpec, Target};
use crate::victims::{World, processes, scope_name, scopes};

/// Answered by `errors` when the request names no status.
const STATUS_DEFAULT: u16 = 503;

/// What has to be done for one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    /// The traffic to break, each scope once.
    pub(crate) network: Vec<NetworkPart>,
    /// The processes to stop.
    pub(crate) pause: Vec<ProcessView>,
    /// The processes to kill; last, because nothing can undo it.
    pub(crate) kill: Vec<ProcessView>,
    /// What no other fault may act upon meanwhile, with the field that asked for it.
    pub(crate) scopes: Vec<(Scope, String)>,
    /// In words.
    pub(crate) what: String,
    /// Whom it hits: `api/a-1`, `egress:payments`; sorted, each once.
    pub(crate) targets: Vec<String>,
    /// When it ends by itself.
    pub(crate) limit: Duration,
}

/// How to break one scope's traffic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NetworkPart {
    /// Which traffic.
    pub(crate) scope: DetourScope,
    /// How.
    pub(crate) how: NetworkFault,
}

/// The ways of breaking traffic.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NetworkFault {
    /// Connections are refused.
    Refuse,
    /// Connections hang.
    Hang,
    /// Some requests meet an effect; the seed decides which.
    Mix(Mix, u64),
}

/// Checks a request and finds out whom it means.
pub(crate) fn resolve(request: &FaultRequest, world: &World<'_>) -> Result<Resolved, FaultError> {
    let limit = limit_of(request)?;
    if !(1..=FAULTS_PER_REQUEST_MAX).contains(&request.faults.len()) {
        return Err(invalid("faults", format!("must be 1 to {FAULTS_PER_REQUEST_MAX} faults")));
    }
    let mut builder = Builder::default();
    for (index, spec) in request.faults.iter().enumerate() {
        let field = format!("faults[{index}]");
        let action = action_of(spec, &field)?;
        builder.add(spec, action, world, request.seed, &field)?;
    }
    Ok(builder.build(request.seed, limit))
}

/// What one fault of a request does, with its numbers checked.
#[derive(Debug, Clone, Copy)]
enum Action {
    Kill,
    Pause,
    Refuse,
    Hang,
    Share(Effect, f64),
}

fn limit_of(request: &FaultRequest) -> Result<Duration, FaultError> {
    let limit = request.deadline_ms.map_or(DEADLINE_MAX, Duration::from_millis);
    if limit.is_zero() || limit > DEADLINE_MAX {
        return Err(invalid("deadline_ms", format!("must be 1 to {}", DEADLINE_MAX.as_millis())));
    }
    Ok(limit)
}

fn action_of(spec: &FaultSpec, field: &str) -> Result<Action, FaultError> {
    use FaultKind::{Blackhole, Errors, Kill, Latency, Pause, Refuse};
    let misplaced = |name: &str, kinds: &str| {
        invalid(&format!("{field}.{name}"), format!("means nothing for {}; it belongs to {kinds}", spec.kind))
    };
    if spec.share.is_some() && matches!(spec.kind, Kill | Pause | Refuse) {
        return Err(misplaced("share", "blackhole, latency and errors"));
    }
    if spec.add_ms.is_some() && spec.kind != Latency {
        return Err(misplaced("add_ms", "latency"));
    }
    if spec.status.is_some() && spec.kind != Errors {
        return Err(misplaced("status", "errors"));
    }
    let share = spec.share.unwrap_or(1.0);
    // Written so that not-a-number fails too.
    if !(share > 0.0 && share <= 1.0) {
        return Err(invalid(&format!("{field}.share"), format!("must be above 0 and at most 1, is {share}")));
    }
    match spec.kind {
        Kill => Ok(Action::Kill),
        Pause => Ok(Action::Pause),
        Refuse => Ok(Action::Refuse),
        Blackhole if share >= 1.0 - SHARE_TOLERANCE => Ok(Action::Hang),
        Blackhole => Ok(Action::Share(Effect::Swallow, share)),
        Latency => match spec.add_ms.map(Duration::from_millis) {
            Some(add) if !add.is_zero() && add <= DEADLINE_MAX => {
                Ok(Action::Share(Effect::Delay(add), share))
            }
            _ => Err(invalid(
                &format!("{field}.add_ms"),
                format!("must say by how many milliseconds: 1 to {}", DEADLINE_MAX.as_millis()),
            )),
        },
        Errors => match spec.status.unwrap_or(STATUS_DEFAULT) {
            status @ 400..=599 => Ok(Action::Share(Effect::Answer(status), share)),
            status => Err(invalid(&format!("{field}.status"), format!("must be 400 to 599, is {status}"))),
        },
    }
}

#[derive(Default)]
struct Builder {
    network: BTreeMap<DetourScope, (NetworkFault, String)>,
    pause: Vec<ProcessView>,
    kill: Vec<ProcessView>,
    processes: BTreeMap<Scope, String>,
    what: Vec<String>,
}

impl Builder {
    fn add(
        &mut self,
        spec: &FaultSpec,
        action: Action,
        world: &World<'_>,
        seed: u64,
        field: &str,
    ) -> Result<(), FaultError> {
        let target_field = format!("{field}.target");
        self.what.push(in_words(spec, action));
        let fault = match action {
            Action::Kill | Action::Pause => {
                let found = processes(world, &spec.target, seed, &target_field)?;
                return self.add_processes(&found, action, field);
            }
            Action::Refuse => NetworkFault::Refuse,
            Action::Hang => NetworkFault::Hang,
            Action::Share(effect, share) => NetworkFault::Mix(Mix::one(effect, share), 0),
        };
        for scope in scopes(world, &spec.target, seed, &target_field)? {
            self.add_traffic(scope, fault.clone(), field)?;
        }
        Ok(())
    }

    fn add_traffic(
        &mut self,
        scope: DetourScope,
        fault: NetworkFault,
        field: &str,
    ) -> Result<(), FaultError> {
        let mut taken = match self.network.entry(scope) {
            Entry::Vacant(vacant) => {
                vacant.insert((fault, field.to_owned()));
                return Ok(());
            }
            Entry::Occupied(taken) => taken,
        };
        let on = scope_name(taken.key());
        match (taken.get_mut(), fault) {
            ((NetworkFault::Mix(mix, _), _), NetworkFault::Mix(more, _)) => {
                if mix.merge(&more) {
                    return Ok(());
                }
                let reason = format!("the shares of the faults on {on} add up to more than 1");
                Err(invalid(&format!("{field}.share"), reason))
            }
            ((_, by), _) => Err(conflict(field, format!("the traffic to {on}"), by)),
        }
    }

    fn add_processes(
        &mut self,
        found: &[&ProcessView],
        action: Action,
        field: &str,
    ) -> Result<(), FaultError> {
        for view in found {
            let scope =
                Scope::Process { service: view.id.service.to_string(), replica: view.id.replica.to_string() };
            match self.processes.entry(scope) {
                Entry::Vacant(vacant) => vacant.insert(field.to_owned()),
                Entry::Occupied(taken) => return Err(conflict(field, taken.key().to_string(), taken.get())),
            };
            let list = if matches!(action, Action::Kill) { &mut self.kill } else { &mut self.pause };
            list.push((*view).clone());
        }
        Ok(())
    }

    fn build(self, seed: u64, limit: Duration) -> Resolved {
        let mut targets: Vec<String> = self.network.keys().map(scope_name).collect();
        targets.extend(self.kill.iter().chain(&self.pause).map(|view| view.id.to_string()));
        targets.sort_unstable();
        targets.dedup();
        let traffic =
            self.network.iter().map(|(scope, (_, field))| (Scope::Traffic(scope.clone()), field.clone()));
        let scopes = traffic.chain(self.processes).collect();
        let network = self.network.into_iter().zip(0..).map(|((scope, (how, _)), number)| {
            let how = match how {
                // Each proxy draws from a sequence of its own, or all would break the same requests.
                NetworkFault::Mix(mix, _) => NetworkFault::Mix(mix, draw(seed, 1 + number)),
                plain => plain,
            };
            NetworkPart { scope, how }
        });
        Resolved {
            network: network.collect(),
            pause: self.pause,
            kill: self.kill,
            scopes,
            what: self.what.join(" and "),
            targets,
            limit,
        }
    }
}

fn in_words(spec: &FaultSpec, action: Action) -> String {
    let target = match &spec.target {
        Target::Replica { service, replica: Some(replica) } => format!("{service}/{replica}"),
        Target::Replica { service, replica: None } => format!("one replica of {service}"),
        Target::Service(service) => format!("every replica of {service}"),
        Target::Egress(service) => format!("egress:{service}"),
        Target::Zone(zone) => format!("zone {zone}"),
    };
    let percent = |share: f64| format!("{} % of requests", (share * 100_000.0).round() / 1000.0);
    match action {
        Action::Kill | Action::Pause | Action::Refuse | Action::Hang => format!("{} {target}", spec.kind),
        Action::Share(Effect::Swallow, share) => format!("blackhole {} to {target}", percent(share)),
        Action::Share(Effect::Delay(add), share) => {
            format!("latency +{} ms on {} to {target}", add.as_millis(), percent(share))
        }
        Action::Share(Effect::Answer(status), share) => {
            format!("errors {status} on {} to {target}", percent(share))
        }
    }
}

fn invalid(field: &str, reason: String) -> FaultError {
    FaultError::Invalid { field: field.to_owned(), reason }
}

fn conflict(field: &str, on: String, by: &str) -> FaultError {
    FaultError::Conflict { field: field.to_owned(), on, by: by.to_owned() }
}

#[cfg(test)]
mod tests;
