//! Failures: who answers them, what they rest on, how long they are watched.

use std::path::PathBuf;
use std::time::Duration;

use super::promises::Promised;
use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Object, Value, show_duration};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{FailurePlan, LoadPlan, Mechanism, Origin, Place, Response, ServicePlan, Word};
use crate::yaml::Name;

/// The window stays open at least this long.
const HOLD_DEFAULT: Duration = Duration::from_secs(10);
/// What is left of the window after the relaxed first moments, at least.
const AFTER_DURING: Duration = Duration::from_secs(5);
/// How long a write may still turn up unless the spec says otherwise.
const SETTLE_DEFAULT: Duration = Duration::from_secs(10);

impl Resolver<'_> {
    pub(super) fn failures(&mut self, services: &[ServicePlan], loads: &[LoadPlan]) -> Vec<FailurePlan> {
        let root = self.root;
        let mut failures = Vec::new();
        for (name, value) in root.map("failures") {
            if let Some(object) = value.as_object() {
                failures.push(self.failure(name, object, services, loads));
            }
        }
        failures
    }

    fn failure(
        &mut self,
        name: &Name,
        object: &Object,
        services: &[ServicePlan],
        loads: &[LoadPlan],
    ) -> FailurePlan {
        let section = Section::new(format!("failures.{}", name.text), Some(object));
        let required = self.required(name, object);
        let faults = self.faults(&section, services);
        let response = self.response(&section);
        let relies_on = self.relies_on(&section);
        for key in ["likelihood", "impact", "every"] {
            if let Some(value) = section.get(key) {
                let text = value
                    .as_duration()
                    .map_or_else(|| value.as_text().unwrap_or_default().to_owned(), show_duration);
                let origin = self.origin(value.span);
                self.setting(section.path_of(key), text, origin);
            }
        }
        let Promised { promises, during } = self.promises(&section, loads, &faults);
        let hold = self.hold(&section, &promises, &during);
        let settle = self.duration(&section, "settle", SETTLE_DEFAULT);
        FailurePlan {
            id: name.text.clone(),
            place: self.place(name.span),
            required,
            acceptable: object.text("acceptable").map(str::to_owned),
            faults,
            likelihood: object.text("likelihood").map(str::to_owned),
            impact: object.text("impact").map(str::to_owned),
            response,
            relies_on,
            every: object.duration("every"),
            hold,
            settle,
            promises,
            during,
        }
    }

    fn required(&mut self, name: &Name, object: &Object) -> String {
        let Some(value) = object.get("required") else { return String::new() };
        let text = value.as_text().unwrap_or_default().trim();
        if text.is_empty() {
            self.report(
                Diagnostic::new(
                    Code::OutOfRange,
                    value.span,
                    format!("{} requires nothing", quoted(&name.text)),
                )
                .label("empty")
                .help("say in a sentence what must hold, such as `Nobody notices.`")
                .path(format!("failures.{}.required", name.text)),
            );
        }
        text.to_owned()
    }

    fn response(&mut self, section: &Section<'_>) -> Response {
        let value = section.get("response");
        let runbook = value.and_then(Value::as_object).and_then(|object| object.text("runbook"));
        let response = match (value.and_then(Value::as_text), runbook) {
            (_, Some(path)) => Response::Runbook(PathBuf::from(path)),
            (Some("accept"), None) => Response::Accept,
            _ => Response::Automatic,
        };
        let shown = match &response {
            Response::Automatic => "automatic".to_owned(),
            Response::Runbook(path) => format!("runbook {}", path.display()),
            Response::Accept => "accept".to_owned(),
        };
        let origin = value.map_or(Origin::Default, |value| self.origin(value.span));
        self.setting(section.path_of("response"), shown, origin);
        response
    }

    fn relies_on(&mut self, section: &Section<'_>) -> Vec<(Mechanism, Place)> {
        let values = section.object.map(|object| object.list("relies_on")).unwrap_or_default();
        let mut mechanisms: Vec<(Mechanism, Place)> = Vec::new();
        for value in values {
            let word = value.as_text().unwrap_or_default();
            let Some(mechanism) = Mechanism::ALL.into_iter().find(|mechanism| mechanism.as_str() == word)
            else {
                continue;
            };
            if mechanisms.iter().all(|(known, _)| *known != mechanism) {
                mechanisms.push((mechanism, self.place(value.span)));
            }
        }
        if let Some(value) = section.get("relies_on") {
            let shown: Vec<&str> = mechanisms.iter().map(|(mechanism, _)| mechanism.as_str()).collect();
            let origin = self.origin(value.span);
            self.setting(section.path_of("relies_on"), format!("[{}]", shown.join(", ")), origin);
        }
        mechanisms
    }

    fn hold(
        &mut self,
        section: &Section<'_>,
        promises: &[crate::plan::Promise],
        during: &[crate::plan::During],
    ) -> Duration {
        let rto = promises.iter().find_map(|promise| match (promise.word, promise.limit) {
            (Word::Rto, crate::plan::Limit::AtMost(limit)) => Some(limit),
            _ => None,
        });
        let relaxed = during.iter().map(|during| during.for_at_most).max();
        let by_rto = rto.map_or(Duration::ZERO, |rto| rto * 2);
        let by_during = relaxed.map_or(Duration::ZERO, |relaxed| relaxed + AFTER_DURING);
        let longest = HOLD_DEFAULT.max(by_rto).max(by_during);
        let origin = match longest {
            HOLD_DEFAULT => Origin::Default,
            by if by == by_rto => Origin::Derived("2 x rto".to_owned()),
            _ => Origin::Derived("for_at_most + 5s".to_owned()),
        };
        let hold = self.duration_or(section, "hold", (longest, origin));
        let longest = [("for_at_most", relaxed), ("rto", rto)]
            .into_iter()
            .filter_map(|(what, needed)| Some((what, needed.filter(|needed| hold < *needed)?)))
            .max_by_key(|(_, needed)| *needed);
        if let (Some(value), Some((what, needed))) = (section.get("hold"), longest) {
            let (held, text) = (show_duration(hold), show_duration(needed));
            let message = format!("`hold` ({held}) ends before `{what}` ({text}) is over");
            self.report(
                Diagnostic::new(Code::Contradiction, value.span, message)
                    .label("the window closes too early")
                    .help(format!(
                        "hold at least {}, or leave `hold` out",
                        show_duration(needed + AFTER_DURING)
                    ))
                    .path(section.path_of("hold")),
            );
        }
        hold
    }
}
