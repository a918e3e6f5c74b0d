//! What is drilled: the part of a plan that a drill needs, and nothing about how calls are protected.

use std::net::SocketAddr;

use seaworthy_spec::plan::{FailurePlan, LoadPlan, Mechanism, Plan, ServiceKind, Target};

/// The system under test, its loads and its failures.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The `name` of the spec.
    pub name: String,
    /// The spec's file as the user named it.
    pub file: String,
    /// SHA-256 of the file's bytes, in hex.
    pub sha256: String,
    /// Names of the zones.
    pub zones: Vec<String>,
    /// The services.
    pub services: Vec<ServiceSubject>,
    /// What is sent.
    pub loads: Vec<LoadPlan>,
    /// What is done to it, and promised.
    pub failures: Vec<FailurePlan>,
    /// What is switched off in this run.
    pub ablated: Vec<Mechanism>,
}

/// A service under test.
#[derive(Debug, Clone)]
pub struct ServiceSubject {
    /// Its name.
    pub name: String,
    /// Its replicas; those of a service that runs elsewhere are called `1`, `2` and so on.
    pub replicas: Vec<ReplicaSubject>,
}

/// A replica under test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaSubject {
    /// Its id.
    pub id: String,
    /// Index into the zones.
    pub zone: u16,
    /// Where it is when it runs elsewhere; `None` = supervised, ask the node.
    pub external: Option<SocketAddr>,
}

impl From<&Plan> for Subject {
    fn from(plan: &Plan) -> Self {
        let services = plan
            .services
            .iter()
            .map(|service| ServiceSubject { name: service.name.clone(), replicas: replicas(&service.kind) });
        Self {
            name: plan.name.clone(),
            file: plan.file.display().to_string(),
            sha256: plan.sha256.clone(),
            zones: plan.zones.clone(),
            services: services.collect(),
            loads: plan.loads.clone(),
            failures: plan.failures.clone(),
            ablated: plan.ablated.clone(),
        }
    }
}

fn replicas(kind: &ServiceKind) -> Vec<ReplicaSubject> {
    match kind {
        ServiceKind::Supervised(process) => process
            .replicas
            .iter()
            .map(|replica| ReplicaSubject { id: replica.id.clone(), zone: replica.zone, external: None })
            .collect(),
        ServiceKind::External { endpoints, .. } => endpoints
            .iter()
            .zip(1_usize..)
            .map(|((address, zone), number)| ReplicaSubject {
                id: number.to_string(),
                zone: *zone,
                external: Some(*address),
            })
            .collect(),
    }
}

/// A fault's target with the pick made: whom events must name to be about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Victim {
    /// The service.
    pub service: String,
    /// The replica; `None` = any of the service.
    pub replica: Option<String>,
}

impl Subject {
    /// Makes the pick of targets that name a service but no replica: `draw` gives a number below its argument.
    pub(crate) fn pick(&self, target: &Target, draw: &mut impl FnMut(u64) -> u64) -> Target {
        match target {
            Target::Replica { service, replica: None } => {
                let replicas = &self.services[*service].replicas;
                let picked = (!replicas.is_empty()).then(|| draw(replicas.len() as u64) as usize);
                let replica = picked.map(|index| replicas[index].id.clone());
                Target::Replica { service: *service, replica }
            }
            _ => target.clone(),
        }
    }

    /// Whom a target is about.
    pub(crate) fn victims(&self, target: &Target) -> Vec<Victim> {
        let whole = |service: usize| Victim { service: self.services[service].name.clone(), replica: None };
        match target {
            Target::Replica { service, replica } => {
                vec![Victim { replica: replica.clone(), ..whole(*service) }]
            }
            Target::Service(service) | Target::Egress(service) => vec![whole(*service)],
            Target::Zone(zone) => self
                .services
                .iter()
                .flat_map(|service| service.replicas.iter().map(move |replica| (service, replica)))
                .filter(|(_, replica)| replica.zone == *zone)
                .map(|(service, replica)| Victim {
                    service: service.name.clone(),
                    replica: Some(replica.id.clone()),
                })
                .collect(),
        }
    }
}

impl Victim {
    /// True when this names the victim: the same service, and not another replica than the one meant.
    pub fn is_named_by(&self, service: &str, replica: Option<&str>) -> bool {
        self.service == service
            && match (self.replica.as_deref(), replica) {
                (Some(mine), Some(named)) => mine == named,
                _ => true,
            }
    }
}
