//! Services: who runs them, where their replicas are, what they need.

use std::collections::BTreeMap;
use std::time::Duration;

use seaworthy_policy::health::HealthConfig;
use seaworthy_policy::pool::Tier;
use seaworthy_policy::restart::{Mode, RestartConfig};

use super::policy::Policy;
use super::resolver::Resolver;
use super::settings::Section;
use super::traffic::{show_endpoint, tiers_of};
use crate::codes::Code;
use crate::decode::{Data, Object, Value};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{
    MemberPlan, Need, Origin, ProbeAction, ProbePlan, ProcessPlan, ReplicaPlan, ServiceKind, ServicePlan,
    TrafficPlan,
};
use crate::yaml::Name;

/// How long a replica may take to stop unless the spec says otherwise.
const STOP_GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// What endpoints are, by the replica's id.
type Members = BTreeMap<String, MemberPlan>;

/// Keys that mean nothing for a service that somebody else runs.
const ONLY_WITH_RUN: [&str; 7] =
    ["build", "environment", "replicas", "liveness", "restart", "stop_grace", "needs"];

impl Resolver<'_> {
    pub(super) fn services(&mut self) -> Vec<ServicePlan> {
        let root = self.root;
        let entries = root.map("services");
        let plans = entries.iter().map(|(name, value)| self.service(name, value.as_object())).collect();
        self.egress_of_needed(entries);
        plans
    }

    fn service(&mut self, name: &Name, object: Option<&Object>) -> ServicePlan {
        let section = Section::new(format!("services.{}", name.text), object);
        let (kind, members) = if section.is_given("endpoints") && !section.is_given("run") {
            self.external(&section)
        } else {
            let (process, members) = self.process(&section);
            (ServiceKind::Supervised(process), members)
        };
        let needs = self.needs(name, &section);
        let egress = object.and_then(|object| object.address("egress"));
        if let (Some(egress), Some(value)) = (egress, section.get("egress")) {
            let origin = self.origin(value.span);
            self.setting(section.path_of("egress"), egress.to_string(), origin);
        }
        let endpoint_count = match &kind {
            ServiceKind::Supervised(process) => process.replicas.len(),
            ServiceKind::External { endpoints, .. } => endpoints.len(),
        };
        let is_external = matches!(kind, ServiceKind::External { .. });
        let Policy { call, pool, keys, traffic } = self.service_policy(&section, endpoint_count, is_external);
        let entrance = self.service_entrance(&section, call.attempt_timeout);
        ServicePlan {
            name: name.text.clone(),
            place: self.place(name.span),
            kind,
            needs,
            egress,
            call: call.into(),
            pool,
            keyed: keys.is_some_and(|keys| keys.are_safe()),
            keys,
            entrance,
            traffic: TrafficPlan { members, ..traffic },
        }
    }

    fn external(&mut self, section: &Section<'_>) -> (ServiceKind, Members) {
        for key in ONLY_WITH_RUN {
            if let Some(span) = section.key_span(key) {
                self.report(
                    Diagnostic::new(
                        Code::Contradiction,
                        span,
                        format!("`{key}` has no effect with `endpoints`"),
                    )
                    .label("somebody else runs this service")
                    .help(format!("leave `{key}` out, or let Seaworthy run the service with `run`"))
                    .path(section.path_of(key)),
                );
            }
        }
        let values = section.object.map(|object| object.list("endpoints")).unwrap_or_default();
        let (endpoints, members) = self.endpoint_list(values);
        if let Some(value) = section.get("endpoints") {
            if values.is_empty() {
                let message = "a service without any endpoint";
                self.report(
                    Diagnostic::new(Code::OutOfRange, value.span, message).label("list at least one"),
                );
            }
            let member = |number: usize| members.get(&number.to_string()).copied().unwrap_or_default();
            let shown: Vec<String> = (1..)
                .zip(&endpoints)
                .map(|(number, (address, _))| show_endpoint(*address, member(number)))
                .collect();
            let origin = self.origin(value.span);
            self.setting(section.path_of("endpoints"), format!("[{}]", shown.join(", ")), origin);
        }
        let readiness = self.probe(&section.under("readiness"));
        (ServiceKind::External { endpoints, readiness }, members)
    }

    fn process(&mut self, section: &Section<'_>) -> (ProcessPlan, Members) {
        let build = self.command(section, "build");
        let run = self.command(section, "run").unwrap_or_default();
        let environment = self.environment(section);
        let (replicas, members) = self.replicas(section);
        let readiness = self.probe(&section.under("readiness"));
        let liveness = section.object.and_then(|object| object.object("liveness"));
        let liveness = liveness.map(|_| self.probe(&section.under("liveness")));
        if liveness.is_none() {
            self.setting(section.path_of("liveness"), "none", Origin::Default);
        }
        let restart = self.restart(&section.under("restart"));
        let stop_grace = self.duration(section, "stop_grace", STOP_GRACE_DEFAULT);
        let process =
            ProcessPlan { build, run, environment, replicas, readiness, liveness, restart, stop_grace };
        (process, members)
    }

    /// A command as a list: split already, or given as one.
    fn command(&mut self, section: &Section<'_>, key: &str) -> Option<Vec<String>> {
        let value = section.get(key)?;
        let words: Vec<String> = match &value.data {
            Data::Command(words) => words.clone(),
            Data::List(items) => items.iter().filter_map(Value::as_text).map(str::to_owned).collect(),
            _ => return None,
        };
        if words.first().is_none_or(String::is_empty) {
            self.report(
                Diagnostic::new(Code::OutOfRange, value.span, "a command without a program")
                    .label("empty")
                    .path(section.path_of(key)),
            );
        }
        let origin = self.origin(value.span);
        self.setting(section.path_of(key), words.join(" "), origin);
        Some(words)
    }

    fn environment(&mut self, section: &Section<'_>) -> Vec<(String, String)> {
        let entries = section.object.map(|object| object.map("environment")).unwrap_or_default();
        let mut variables = Vec::new();
        for (name, value) in entries {
            if name.text == "PORT" || name.text.starts_with("SEAWORTHY_") {
                let message = format!("the variable {} is set by Seaworthy", quoted(&name.text));
                self.report(
                    Diagnostic::new(Code::BadName, name.span, message).label("taken").help(
                        "each replica gets its own `PORT`, and what it needs to know in `SEAWORTHY_...`",
                    ),
                );
            }
            if let Some(text) = value.as_text() {
                let origin = self.origin(value.span);
                self.setting(format!("{}.{}", section.path_of("environment"), name.text), text, origin);
                variables.push((name.text.clone(), text.to_owned()));
            }
        }
        variables
    }

    fn replicas(&mut self, section: &Section<'_>) -> (Vec<ReplicaPlan>, Members) {
        // Active ones, standby ones, and the weight of each.
        let mut counts = vec![(0_u64, 0_u64, 1_u32); self.zones.len().max(1)];
        let given = section.get("replicas");
        match given.map(|value| &value.data) {
            Some(Data::Map(entries)) => {
                for (zone, count) in entries {
                    let index = self.zone_named(&zone.text, zone.span);
                    if let (Some(index), Some(count)) = (index, tiers_of(count)) {
                        counts[usize::from(index)] = count;
                    }
                }
                if let Some(value) = given
                    && entries.iter().all(|(_, count)| matches!(tiers_of(count), Some((0, 0, _))))
                {
                    let message = "a service without any replica";
                    self.report(
                        Diagnostic::new(Code::OutOfRange, value.span, message).label("at least one must run"),
                    );
                }
            }
            other => {
                // Spread evenly over the zones, the first ones get the rest.
                let total = if let Some(Data::Count(count)) = other { *count } else { 1 };
                let zones = counts.len() as u64;
                for (index, count) in counts.iter_mut().enumerate() {
                    count.0 = total / zones + u64::from((index as u64) < total % zones);
                }
            }
        }
        let zones = self.zones.clone();
        let (mut replicas, mut members) = (Vec::new(), Members::new());
        for (zone, (active, standby, weight)) in (0_u16..).zip(counts) {
            for number in 1..=active.saturating_add(standby) {
                let id = match zones.get(usize::from(zone)) {
                    Some(name) => format!("{}-{number}", name.text),
                    None => number.to_string(),
                };
                let tier = if number > active { Tier::Standby } else { Tier::Active };
                let member = MemberPlan { tier, weight };
                if member != MemberPlan::default() {
                    members.insert(id.clone(), member);
                }
                replicas.push(ReplicaPlan { id, zone });
            }
        }
        if let Some(value) = given {
            self.require_active(value.span, replicas.len(), &members);
        }
        let role = |id: &str| match members.get(id).map(|member| member.tier) {
            Some(Tier::Standby) => " standby",
            _ => "",
        };
        let shown = replicas.iter().map(|replica| format!("{}{}", replica.id, role(&replica.id)));
        let shown = shown.collect::<Vec<_>>().join(", ");
        let origin = given.map_or(Origin::Default, |value| self.origin(value.span));
        self.setting(section.path_of("replicas"), format!("{} ({shown})", replicas.len()), origin);
        (replicas, members)
    }

    fn probe(&mut self, section: &Section<'_>) -> ProbePlan {
        let default = HealthConfig::default();
        let action = if let Some(value) = section.get("http_get") {
            let path = value.as_text().unwrap_or_default().to_owned();
            let origin = self.origin(value.span);
            self.setting(section.path_of("http_get"), path.clone(), origin);
            ProbeAction::HttpGet(path)
        } else {
            let origin = section.get("tcp").map_or(Origin::Default, |value| self.origin(value.span));
            self.setting(section.path_of("tcp"), "true", origin);
            ProbeAction::Tcp
        };
        let rise = self.count(section, "success_threshold", default.rise);
        let period = self.duration(section, "period", default.period);
        let health = HealthConfig {
            rise,
            rise_after_start: if section.is_given("success_threshold") {
                rise
            } else {
                default.rise_after_start
            },
            fall: self.count(section, "failure_threshold", default.fall),
            period,
            fast_period: default.fast_period.min(period),
            timeout: self.duration(section, "timeout", default.timeout),
            initial_delay: self.duration(section, "initial_delay", default.initial_delay),
            ..self.flap(section, default)
        };
        debug_assert!(health.validate().is_ok(), "the shapes of probe keys imply a valid config");
        ProbePlan { action, health }
    }

    /// How much harder a return becomes for a replica that comes and goes.
    fn flap(&mut self, section: &Section<'_>, default: HealthConfig) -> HealthConfig {
        if let Some(value) = section.get("flap").filter(|_| section.is_word("flap", "off")) {
            let origin = self.origin(value.span);
            self.setting(section.path_of("flap"), "off", origin);
            return HealthConfig { flap_changes: 0, ..default };
        }
        let flap = section.under("flap");
        HealthConfig {
            flap_changes: self.count(&flap, "changes", default.flap_changes),
            flap_window: self.duration(&flap, "window", default.flap_window),
            rise_max: self.count(&flap, "max_success_threshold", default.rise_max),
            ..default
        }
    }

    fn restart(&mut self, section: &Section<'_>) -> RestartConfig {
        let default = RestartConfig::default();
        let mode = match section.get("mode").and_then(Value::as_text) {
            Some("on_failure") => Some(Mode::OnFailure),
            Some("never") => Some(Mode::Never),
            Some(_) => Some(Mode::Always),
            None => None,
        };
        let show = |mode: &Mode| match mode {
            Mode::Always => "always".to_owned(),
            Mode::OnFailure => "on_failure".to_owned(),
            Mode::Never => "never".to_owned(),
        };
        let mode = self.effective(section, "mode", mode, (default.mode, Origin::Default), show);
        let initial = self.duration(section, "initial_backoff", default.initial);
        let longest = initial.max(default.max);
        let max = self.duration_or(section, "max_backoff", (longest, Origin::Default));
        self.require_ascending(section, ("initial_backoff", initial), ("max_backoff", max));
        let reset_after = self.duration(section, "reset_after", default.reset_after);
        RestartConfig { mode, initial, max, reset_after, ..default }
    }

    fn needs(&mut self, own: &Name, section: &Section<'_>) -> Vec<Need> {
        let entries = section.object.map(|object| object.map("needs")).unwrap_or_default();
        let mut needs = Vec::new();
        for (name, value) in entries {
            let Some(service) = self.service_named(&name.text, name.span) else { continue };
            if name.text == own.text {
                self.report(
                    Diagnostic::new(
                        Code::Contradiction,
                        name.span,
                        format!("{} needs itself", quoted(&own.text)),
                    )
                    .label("the service itself")
                    .help("leave it out"),
                );
                continue;
            }
            let word = value.as_text().unwrap_or("required");
            let origin = self.origin(value.span);
            self.setting(format!("{}.{}", section.path_of("needs"), name.text), word, origin);
            needs.push(Need { service, required: word == "required" });
        }
        needs
    }

    /// Whoever is needed must say where it is reached.
    fn egress_of_needed(&mut self, entries: &[(Name, Value)]) {
        for (name, value) in entries {
            let Some(object) = value.as_object() else { continue };
            if object.given("egress").is_some() {
                continue;
            }
            let others = entries.iter().filter(|(caller, _)| caller.text != name.text);
            let callers = others.filter_map(|(caller, value)| {
                let needs = value.as_object()?.map("needs");
                needs.iter().find(|(needed, _)| needed.text == name.text).map(|(needed, _)| (caller, needed))
            });
            let Some((caller, needed)) = callers.into_iter().next() else { continue };
            let message =
                format!("{} is needed by {} and has no egress", quoted(&name.text), quoted(&caller.text));
            self.problems.push(
                Diagnostic::new(Code::NeedWithoutEgress, name.span, message)
                    .label("where do others reach it?")
                    .also(needed.span, "needed here")
                    .help(format!(
                        "add `egress: 127.0.0.1:0` to {}; port 0 picks a free one",
                        quoted(&name.text)
                    ))
                    .path(format!("services.{}", name.text)),
            );
        }
    }
}
