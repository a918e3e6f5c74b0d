//! Faults: what is done, and to whom it can be done.

use std::time::Duration;

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Object, Value, nearest, show_duration, show_share};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{FaultKind, FaultPlan, ServiceKind, ServicePlan, Target};
use crate::source::Span;

/// The most faults of one failure.
const FAULTS_MAX: usize = 100;
/// What `errors` answers unless the spec says otherwise.
const ERROR_STATUS_DEFAULT: u16 = 503;
const TARGETS: [&str; 4] = ["replica", "service", "egress", "zone"];

impl Resolver<'_> {
    pub(super) fn faults(&mut self, section: &Section<'_>, services: &[ServicePlan]) -> Vec<FaultPlan> {
        let values = section.object.map(|object| object.list("fault")).unwrap_or_default();
        if let Some(value) = section.get("fault").filter(|_| values.is_empty()) {
            let problem = Diagnostic::new(Code::OutOfRange, value.span, "a failure without a fault");
            self.report(problem.label("list at least one").path(section.path_of("fault")));
        }
        if let Some(value) = values.get(FAULTS_MAX) {
            let message = format!("more than {FAULTS_MAX} faults at once");
            self.report(Diagnostic::new(Code::OutOfRange, value.span, message).label("one too many"));
        }
        let mut faults = Vec::new();
        for (index, value) in values.iter().enumerate().take(FAULTS_MAX) {
            let Some(object) = value.as_object() else { continue };
            for (key, name, value) in &object.entries {
                let Some(details) = value.as_object() else { continue };
                let Some(fault) = self.fault(key.name, name.span, details, services) else { continue };
                let shown = self.show_fault(&fault, services);
                let path = if values.len() == 1 {
                    section.path_of("fault")
                } else {
                    format!("{}.{index}", section.path_of("fault"))
                };
                let origin = self.origin(name.span);
                self.setting(path, shown, origin);
                faults.push(fault);
            }
        }
        faults
    }

    fn fault(
        &mut self,
        kind: &str,
        span: Span,
        details: &Object,
        services: &[ServicePlan],
    ) -> Option<FaultPlan> {
        let target_key = TARGETS.into_iter().find(|key| details.given(key).is_some())?;
        let value = details.get(target_key)?;
        self.refuse_target_kind(kind, target_key, details)?;
        let target = self.target(target_key, value, services)?;
        self.refuse_target(kind, &target, value.span, services)?;
        let share = |object: &Object| object.ratio("share").unwrap_or(1.0);
        let kind = match kind {
            "kill" | "lose" => FaultKind::Kill,
            "pause" => FaultKind::Pause,
            "refuse" => FaultKind::Refuse,
            "blackhole" => FaultKind::BlackHole { share: share(details) },
            "latency" => FaultKind::Latency {
                add: details.duration("add").unwrap_or(Duration::ZERO),
                share: share(details),
            },
            _ => FaultKind::Errors { status: self.error_status(details), share: share(details) },
        };
        Some(FaultPlan { kind, target, place: self.place(span) })
    }

    fn error_status(&mut self, details: &Object) -> u16 {
        let status = details.count("status").and_then(|status| u16::try_from(status).ok());
        if let (Some(given), Some(value)) = (status.filter(|status| *status < 400), details.get("status")) {
            self.report(
                Diagnostic::new(Code::OutOfRange, value.span, format!("{given} is no error"))
                    .label("must be from 400 to 599"),
            );
        }
        status.unwrap_or(ERROR_STATUS_DEFAULT)
    }

    /// Processes end and stop; edges refuse, delay and lose.
    fn refuse_target_kind(&mut self, kind: &str, target: &str, details: &Object) -> Option<()> {
        let allowed: &[&str] = match kind {
            "kill" | "pause" => &["replica", "service", "zone"],
            "lose" => &["zone"],
            _ => &["replica", "service", "egress"],
        };
        if allowed.contains(&target) {
            return Some(());
        }
        let span = details.given(target).map(|(name, _)| name.span)?;
        let words: Vec<String> = allowed.iter().map(|word| format!("`{word}`")).collect();
        let why = if target == "egress" { "an egress is no process" } else { "not for this fault" };
        self.report(
            Diagnostic::new(
                Code::FaultTarget,
                span,
                format!("`{kind}` cannot be done to {}", article(target)),
            )
            .label(why)
            .help(format!("aim it at {}", words.join(", "))),
        );
        None
    }

    fn target(&mut self, key: &str, value: &Value, services: &[ServicePlan]) -> Option<Target> {
        let text = value.as_text()?;
        match key {
            "service" => self.service_named(text, value.span).map(Target::Service),
            "egress" => self.service_named(text, value.span).map(Target::Egress),
            "zone" => self.zone_named(text, value.span).map(Target::Zone),
            _ => {
                let (service, replica) = match text.split_once('/') {
                    Some((service, replica)) => (service, Some(replica.to_owned())),
                    None => (text, None),
                };
                let service = self.service_named(service, value.span)?;
                if let Some(id) = &replica {
                    self.require_replica(id, value.span, services.get(service)?)?;
                }
                Some(Target::Replica { service, replica })
            }
        }
    }

    fn require_replica(&mut self, id: &str, span: Span, service: &ServicePlan) -> Option<()> {
        let ids: Vec<String> = match &service.kind {
            ServiceKind::Supervised(process) => {
                process.replicas.iter().map(|replica| replica.id.clone()).collect()
            }
            ServiceKind::External { .. } => return Some(()),
        };
        // Without replicas something about them was reported already.
        if ids.is_empty() || ids.iter().any(|known| known == id) {
            return Some(());
        }
        let message = format!("{} has no replica {}", quoted(&service.name), quoted(id));
        let help = match nearest(id, ids.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{}/{near}`? it has {}", service.name, ids.join(", ")),
            None => format!("it has {}", ids.join(", ")),
        };
        self.report(Diagnostic::new(Code::UnknownName, span, message).label("no such replica").help(help));
        None
    }

    fn refuse_target(
        &mut self,
        kind: &str,
        target: &Target,
        span: Span,
        services: &[ServicePlan],
    ) -> Option<()> {
        let problem = match target {
            Target::Replica { service, .. } | Target::Service(service) => {
                let service = services.get(*service)?;
                let is_external = matches!(service.kind, ServiceKind::External { .. });
                let is_replica = matches!(target, Target::Replica { .. });
                if is_external && ["kill", "pause"].contains(&kind) {
                    let message =
                        format!("{} runs elsewhere and cannot be {}", quoted(&service.name), past(kind));
                    Some((
                        message,
                        "somebody else's process",
                        "make it unreachable instead: `refuse: { egress: NAME }`",
                    ))
                } else if is_external && is_replica {
                    let message = format!("{} runs elsewhere and has no replicas", quoted(&service.name));
                    Some((message, "somebody else's process", "aim at all of it: `service` or `egress`"))
                } else {
                    None
                }
            }
            Target::Egress(service) => {
                let service = services.get(*service)?;
                let message = format!("{} has no egress", quoted(&service.name));
                service.egress.is_none().then_some((
                    message,
                    "no such edge",
                    "give the service an `egress`, or aim at the `service`",
                ))
            }
            Target::Zone(zone) => {
                let is_there = |service: &ServicePlan| match &service.kind {
                    ServiceKind::Supervised(process) => {
                        process.replicas.iter().any(|replica| replica.zone == *zone)
                    }
                    ServiceKind::External { .. } => false,
                };
                let is_empty = !services.iter().any(is_there);
                is_empty.then_some((
                    "nothing runs in this zone".to_owned(),
                    "no replica here",
                    "choose a zone with replicas",
                ))
            }
        };
        let Some((message, label, help)) = problem else { return Some(()) };
        self.report(Diagnostic::new(Code::FaultTarget, span, message).label(label).help(help));
        None
    }

    fn show_fault(&self, fault: &FaultPlan, services: &[ServicePlan]) -> String {
        let name = |index: usize| services.get(index).map_or("?", |service| service.name.as_str());
        let target = match &fault.target {
            Target::Replica { service, replica: Some(id) } => format!("replica {}/{id}", name(*service)),
            Target::Replica { service, replica: None } => format!("one replica of {}", name(*service)),
            Target::Service(service) => format!("service {}", name(*service)),
            Target::Egress(service) => format!("egress of {}", name(*service)),
            Target::Zone(zone) => {
                format!("zone {}", self.zones.get(usize::from(*zone)).map_or("", |zone| &zone.text))
            }
        };
        match fault.kind {
            FaultKind::Kill => format!("kill {target}"),
            FaultKind::Pause => format!("pause {target}"),
            FaultKind::Refuse => format!("refuse {target}"),
            FaultKind::BlackHole { share } => format!("blackhole {target}, {}", show_share(share)),
            FaultKind::Latency { add, share } => {
                format!("latency {target}, + {}, {}", show_duration(add), show_share(share))
            }
            FaultKind::Errors { status, share } => {
                format!("errors {target}, {status}, {}", show_share(share))
            }
        }
    }
}

fn article(target: &str) -> &'static str {
    match target {
        "replica" => "a replica",
        "service" => "a service",
        "egress" => "an egress",
        _ => "a zone",
    }
}

fn past(kind: &str) -> &'static str {
    if kind == "kill" { "killed" } else { "paused" }
}
