//! The walk over the whole spec.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Object, Value, nearest, show_duration};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{Origin, Place, Plan};
use crate::source::{Source, Span};
use crate::yaml::Name;

/// Where the admin API listens unless the spec says otherwise.
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);
/// How long a drain may take unless the spec says otherwise.
const DRAIN_DEFAULT: Duration = Duration::from_secs(30);
/// The most zones; their indices are small numbers.
const ZONES_MAX: usize = 1_000;

/// Makes a plan. It is only worth something when no error is among the diagnostics.
pub(crate) fn resolve(source: &Source, root: &Object) -> (Plan, Vec<Diagnostic>) {
    let mut resolver = Resolver::new(source, root);
    let plan = resolver.plan();
    (plan, resolver.problems)
}

/// What all parts of the walk share.
pub(super) struct Resolver<'a> {
    pub(super) source: &'a Source,
    pub(super) root: &'a Object,
    /// Names of zones; empty when the spec lists none.
    pub(super) zones: Vec<Name>,
    /// Names of services in the order of the spec.
    pub(super) services: Vec<Name>,
    pub(super) problems: Vec<Diagnostic>,
    pub(super) settings: Vec<crate::plan::Setting>,
}

impl<'a> Resolver<'a> {
    fn new(source: &'a Source, root: &'a Object) -> Self {
        let services = root.map("services").iter().map(|(name, _)| name.clone()).collect();
        Self { source, root, zones: Vec::new(), services, problems: Vec::new(), settings: Vec::new() }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.problems.push(diagnostic);
    }

    pub(super) fn place(&self, span: Span) -> Place {
        self.source.place(span.start)
    }

    fn plan(&mut self) -> Plan {
        self.version();
        let name = self.root.text("name").unwrap_or_default().to_owned();
        if let Some(value) = self.root.get("name") {
            let origin = self.origin(value.span);
            self.setting("name", name.clone(), origin);
        }
        let (listen, drain) = self.gateway();
        let client_body_timeout = self.client_body_timeout();
        let entrance = self.gateway_entrance();
        let cache = self.cache_limits();
        let admin = self.admin();
        self.zones();
        let services = self.services();
        let data = self.datasets(&services);
        let routes = self.routes(&services);
        let (queues, topics) = (self.queues(), self.topics());
        let loads = self.loads(&routes);
        let failures = self.failures(&services, &loads);
        self.addresses(listen, admin, &services);
        let file = PathBuf::from(self.source.name());
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let zones = self.zones.iter().map(|zone| zone.text.clone()).collect::<Vec<_>>();
        Plan {
            name,
            folder: folder.to_owned(),
            file,
            sha256: self.source.sha256().to_owned(),
            listen,
            admin,
            entrance,
            drain,
            client_body_timeout,
            cache,
            zones: if zones.is_empty() { vec![String::new()] } else { zones },
            services,
            routes,
            queues,
            topics,
            data,
            loads,
            failures,
            settings: std::mem::take(&mut self.settings),
            ablated: Vec::new(),
        }
    }

    fn version(&mut self) {
        if let Some(value) = self.root.get("seaworthy")
            && value.as_text() != Some("v1")
        {
            let message =
                format!("this is a spec of version {}", quoted(value.as_text().unwrap_or_default()));
            self.report(
                Diagnostic::new(Code::Version, value.span, message)
                    .label("this program reads `v1`")
                    .help("write `seaworthy: v1`")
                    .path("seaworthy"),
            );
        }
    }

    fn gateway(&mut self) -> (Option<SocketAddr>, Duration) {
        let section = Section::new("gateway", self.root.object("gateway"));
        let listen = section.object.and_then(|object| object.address("listen"));
        if let (Some(address), Some(value)) = (listen, section.get("listen")) {
            let origin = self.origin(value.span);
            self.setting("gateway.listen", address.to_string(), origin);
        }
        if section.object.is_some() {
            let drain = self.duration(&section, "drain", DRAIN_DEFAULT);
            return (listen, drain);
        }
        if let Some((name, _)) = self.root.given("routes").filter(|_| self.root.given("gateway").is_none()) {
            let span = name.span;
            self.report(
                Diagnostic::new(Code::MissingKey, span, "routes need a gateway")
                    .label("nothing listens for these requests")
                    .help("add `gateway: { listen: 127.0.0.1:8080 }`"),
            );
        }
        self.setting("gateway.drain", show_duration(DRAIN_DEFAULT), Origin::Default);
        (None, DRAIN_DEFAULT)
    }

    fn admin(&mut self) -> SocketAddr {
        let section = Section::new("admin", self.root.object("admin"));
        let given = section.object.and_then(|object| object.address("listen"));
        self.effective(&section, "listen", given, (ADMIN_DEFAULT, Origin::Default), SocketAddr::to_string)
    }

    fn zones(&mut self) {
        let values: &[Value] = self.root.list("zones");
        if let Some(value) = values.get(ZONES_MAX) {
            let message = format!("more than {ZONES_MAX} zones");
            self.report(Diagnostic::new(Code::OutOfRange, value.span, message).label("one too many"));
        }
        for value in values.iter().take(ZONES_MAX) {
            let Some(text) = value.as_text() else { continue };
            if let Some(first) = self.zones.iter().find(|zone| zone.text == text) {
                let first = first.span;
                self.report(
                    Diagnostic::new(
                        Code::Contradiction,
                        value.span,
                        format!("the zone {} is listed twice", quoted(text)),
                    )
                    .label("again here")
                    .also(first, "first here")
                    .help("list each zone once"),
                );
                continue;
            }
            self.zones.push(Name { text: text.to_owned(), span: value.span });
        }
        let names: Vec<&str> = self.zones.iter().map(|zone| zone.text.as_str()).collect();
        let shown = format!("[{}]", names.join(", "));
        if let Some(value) = self.root.get("zones") {
            let origin = self.origin(value.span);
            self.setting("zones", shown, origin);
        }
    }

    /// The index of a service, or a report of who it might have been.
    pub(super) fn service_named(&mut self, name: &str, span: Span) -> Option<usize> {
        let found = self.services.iter().position(|service| service.text == name);
        if found.is_none() {
            let names: Vec<String> = self.services.iter().map(|service| service.text.clone()).collect();
            self.unknown("service", name, span, &names);
        }
        found
    }

    /// The index of a zone, or a report.
    pub(super) fn zone_named(&mut self, name: &str, span: Span) -> Option<u16> {
        let found = self.zones.iter().position(|zone| zone.text == name);
        if found.is_none() {
            let names: Vec<String> = self.zones.iter().map(|zone| zone.text.clone()).collect();
            self.unknown("zone", name, span, &names);
        }
        found.and_then(|index| u16::try_from(index).ok())
    }

    pub(super) fn unknown(&mut self, kind: &str, name: &str, span: Span, candidates: &[String]) {
        let diagnostic =
            Diagnostic::new(Code::UnknownName, span, format!("there is no {kind} {}", quoted(name)))
                .label(format!("no such {kind}"));
        let help = match nearest(name, candidates.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if candidates.is_empty() => format!("the spec defines no {kind} at all"),
            None => {
                let known: Vec<String> = candidates.iter().take(20).map(|name| format!("`{name}`")).collect();
                format!("the spec has {}", known.join(", "))
            }
        };
        self.report(diagnostic.help(help));
    }

    /// Reports listeners that ask for the same port.
    fn addresses(
        &mut self,
        listen: Option<SocketAddr>,
        admin: SocketAddr,
        services: &[crate::plan::ServicePlan],
    ) {
        let root = self.root;
        let at = |key: &str| root.object(key).and_then(|object| object.get("listen")).map(|value| value.span);
        let mut listeners: Vec<(String, SocketAddr, Option<Span>)> = Vec::new();
        listeners.extend(listen.map(|address| ("the gateway".to_owned(), address, at("gateway"))));
        listeners.push(("the admin API".to_owned(), admin, at("admin")));
        for (service, (_, value)) in services.iter().zip(root.map("services")) {
            let span = value.as_object().and_then(|object| object.get("egress")).map(|value| value.span);
            listeners.extend(
                service.egress.map(|egress| (format!("the egress of `{}`", service.name), egress, span)),
            );
        }
        for index in 1..listeners.len() {
            let (name, address, span) = &listeners[index];
            let Some((other_name, _, other)) =
                listeners[..index].iter().find(|(_, other, _)| is_same_listener(*address, *other))
            else {
                continue;
            };
            let Some(place) = span.or(*other) else { continue };
            let message = format!("{name} and {other_name} both listen on port {}", address.port());
            let mut diagnostic = Diagnostic::new(Code::AddressTaken, place, message)
                .label("taken")
                .help("give one of them another port; port 0 picks a free one");
            match (span, other) {
                (Some(_), Some(other)) => {
                    diagnostic = diagnostic.also(*other, format!("{other_name} listens here"));
                }
                (Some(_), None) => {
                    diagnostic = diagnostic.label(format!("{other_name} listens there by default"));
                }
                (None, _) => diagnostic = diagnostic.label(format!("{name} listens there by default")),
            }
            self.problems.push(diagnostic);
        }
    }
}

fn is_same_listener(left: SocketAddr, right: SocketAddr) -> bool {
    let same_host = left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() == right.port() && left.port() != 0 && same_host
}
