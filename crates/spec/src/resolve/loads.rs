//! Loads: what a drill sends, and how it reads back what was acknowledged.

use std::time::Duration;

use seaworthy_policy::call::CallConfig;

use super::resolver::Resolver;
use super::routes::text_of;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Data, Object, Value, show_rate};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{LoadPlan, Origin, ReadBack, RoutePlan, Word};
use crate::yaml::Name;

/// A load waits this much longer than its route may take, so that it sees the route's own verdict.
const PATIENCE: Duration = Duration::from_secs(1);
/// The request's own id.
const ID: &str = "$id";
/// Methods that change nothing or may be repeated, so they need no key.
pub(super) const REPEATABLE: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

impl Resolver<'_> {
    pub(super) fn loads(&mut self, routes: &[RoutePlan]) -> Vec<LoadPlan> {
        let root = self.root;
        let mut loads = Vec::new();
        for (name, value) in root.map("load") {
            self.refuse_promise_word(name);
            if let Some(object) = value.as_object() {
                loads.push(self.load(name, object, routes));
            }
        }
        loads
    }

    fn refuse_promise_word(&mut self, name: &Name) {
        let words = Word::ALL.iter().map(|word| word.as_str()).chain(["during", "for_at_most"]);
        if words.into_iter().any(|word| word == name.text) {
            let message = format!("a load cannot be named {}", quoted(&name.text));
            self.report(
                Diagnostic::new(Code::BadName, name.span, message)
                    .label("a word of promises")
                    .help(format!(
                        "name it after who sends it, such as `{}-readers`",
                        name.text.replace('_', "-")
                    ))
                    .path(format!("load.{}", name.text)),
            );
        }
    }

    fn load(&mut self, name: &Name, object: &Object, routes: &[RoutePlan]) -> LoadPlan {
        let section = Section::new(format!("load.{}", name.text), Some(object));
        let rate = match object.get("rate").map(|value| &value.data) {
            Some(Data::Rate(rate)) => *rate,
            _ => 0.0,
        };
        let (method, path) = match object.get("send").map(|value| &value.data) {
            Some(Data::Request { method, path }) => (method.clone(), path.clone()),
            _ => (String::new(), String::new()),
        };
        self.note(&section, "rate", &show_rate(rate));
        self.note(&section, "send", &format!("{method} {path}"));
        let headers: Vec<(String, String)> = object
            .map("headers")
            .iter()
            .map(|(name, value)| (name.text.clone(), text_of(Some(value))))
            .collect();
        for (header, value) in &headers {
            self.note(&section, &format!("headers.{header}"), value);
        }
        let json = object.text("json").map(str::to_owned);
        let idempotency_key = object.text("idempotency_key").map(str::to_owned);
        for (key, value) in [("json", &json), ("idempotency_key", &idempotency_key)] {
            if let Some(value) = value {
                self.note(&section, key, value);
            }
        }
        let (expect, degraded) = (self.statuses(&section, "expect"), self.statuses(&section, "degraded"));
        self.refuse_both(&section, &expect, &degraded);
        let clean = path.split('?').next().unwrap_or_default();
        let route = routes.iter().find(|route| route.matcher.takes(&method, clean));
        let timeout = self.load_timeout(&section, route);
        let read_back = self.read_backs(&section);
        let load = LoadPlan {
            name: name.text.clone(),
            place: self.place(name.span),
            rate,
            method,
            path,
            json,
            headers,
            idempotency_key,
            expect,
            degraded,
            timeout,
            read_back,
        };
        self.check_ids(&load, name, object);
        self.check_key(&load, name, object, route);
        load
    }

    /// Records a value that has no default.
    fn note(&mut self, section: &Section<'_>, key: &str, value: &str) {
        let first = key.split('.').next().unwrap_or(key);
        if let Some(given) = section.get(first) {
            let origin = self.origin(given.span);
            self.setting(section.path_of(key), value, origin);
        }
    }

    fn statuses(&mut self, section: &Section<'_>, key: &str) -> Vec<u16> {
        let values = section.object.map(|object| object.list(key)).unwrap_or_default();
        let statuses: Vec<u16> = values
            .iter()
            .filter_map(Value::as_count)
            .filter_map(|status| u16::try_from(status).ok())
            .collect();
        let shown = statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        if let Some(value) = section.get(key) {
            let origin = self.origin(value.span);
            self.setting(section.path_of(key), format!("[{shown}]"), origin);
        } else {
            let default = if key == "expect" { "any 2xx" } else { "none" };
            self.setting(section.path_of(key), default, Origin::Default);
        }
        statuses
    }

    fn refuse_both(&mut self, section: &Section<'_>, expect: &[u16], degraded: &[u16]) {
        let Some(status) = expect.iter().find(|status| degraded.contains(status)) else { return };
        if let (Some(degraded), Some(expect)) = (section.get("degraded"), section.get("expect")) {
            self.report(
                Diagnostic::new(
                    Code::Contradiction,
                    degraded.span,
                    format!("{status} is both good and degraded"),
                )
                .label("counted as degraded")
                .also(expect.span, "counted as good")
                .help("a 2xx marked `Degraded` is degraded by itself; list other statuses in one of the two")
                .path(section.path_of("degraded")),
            );
        }
    }

    fn load_timeout(&mut self, section: &Section<'_>, route: Option<&RoutePlan>) -> Duration {
        let total = route.map_or(CallConfig::default().total_timeout, |route| route.call.total_timeout);
        let origin = match route {
            Some(route) => Origin::Derived(format!("routes.{}.policy.total_timeout + 1s", route.name)),
            None => Origin::Default,
        };
        self.duration_or(section, "timeout", (total + PATIENCE, origin))
    }

    fn read_backs(&mut self, section: &Section<'_>) -> Vec<ReadBack> {
        let values = section.object.map(|object| object.list("read_back")).unwrap_or_default();
        let mut read_backs = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let Some(object) = value.as_object() else { continue };
            let from = object.get("from").and_then(|from| self.service_named(from.as_text()?, from.span));
            let ids = object.get("ids").map(|ids| &ids.data);
            if let (Some(from), Some(get), Some(Data::Ids(ids))) = (from, object.text("get"), ids) {
                let origin = self.origin(value.span);
                let shown = format!("GET {get} from {}, {}", self.services[from].text, text_of_ids(ids));
                self.setting(format!("{}.{index}", section.path_of("read_back")), shown, origin);
                read_backs.push(ReadBack { from, get: get.to_owned(), ids: ids.clone() });
            }
        }
        read_backs
    }

    /// A write is found again by its id, and told apart from the others by its key.
    fn check_ids(&mut self, load: &LoadPlan, name: &Name, object: &Object) {
        let has_id = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(ID));
        let sends_id = load.path.contains(ID)
            || has_id(&load.json)
            || has_id(&load.idempotency_key)
            || load.headers.iter().any(|(_, value)| value.contains(ID));
        if let Some((key, _)) = object.given("read_back").filter(|_| !sends_id) {
            let span = key.span;
            self.report(
                Diagnostic::new(
                    Code::Unmeasured,
                    span,
                    format!("the requests of {} carry no `$id`", quoted(&name.text)),
                )
                .label("nothing to find them by")
                .help("put `\"$id\"` where the service stores it, such as `json: { buyer: \"$id\" }`")
                .path(format!("load.{}.read_back", name.text)),
            );
        }
        if let Some(value) = object.get("idempotency_key").filter(|_| !has_id(&load.idempotency_key)) {
            self.report(
                Diagnostic::new(Code::Contradiction, value.span, "every request would have the same key")
                    .label("only the first would be executed")
                    .help("write `idempotency_key: \"$id\"`")
                    .path(format!("load.{}.idempotency_key", name.text)),
            );
        }
    }

    fn check_key(&mut self, load: &LoadPlan, name: &Name, object: &Object, route: Option<&RoutePlan>) {
        let Some(route) = route.filter(|route| route.keyed || route.keys.is_some_and(|keys| keys.required))
        else {
            return;
        };
        let sends_key = load.idempotency_key.is_some()
            || object.given("idempotency_key").is_some()
            || load.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case("idempotency-key"));
        if sends_key || REPEATABLE.contains(&load.method.as_str()) || load.method.is_empty() {
            return;
        }
        let message = format!(
            "{} sends no idempotency key, and the route {} requires one",
            quoted(&name.text),
            quoted(&route.name)
        );
        self.report(
            Diagnostic::new(Code::Contradiction, name.span, message)
                .label("every request would be refused")
                .help("add `idempotency_key: \"$id\"`")
                .path(format!("load.{}", name.text)),
        );
    }
}

fn text_of_ids(ids: &crate::plan::IdPath) -> String {
    use crate::plan::IdStep;
    ids.0.iter().fold(String::new(), |text, step| match step {
        IdStep::Each => text + "[]",
        IdStep::Member(name) if text.is_empty() => name.clone(),
        IdStep::Member(name) => text + "." + name,
    })
}
