//! Asks each machine whether it can work with what it was given, and says where the spec asked for it.

use seaworthy_policy::ConfigError;

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// The keys behind the fields of machines, where names differ or another key may be meant. The first one that was
/// written is pointed at.
const KEYS: [(&str, &[&str]); 8] = [
    ("hedge_percentile", &["hedge.percentile"]),
    ("min_remaining", &["min_remaining", "deadline_margin", "total_timeout"]),
    ("deadline_margin", &["deadline_margin", "total_timeout"]),
    (
        "minimum_number_of_calls",
        &[
            "circuit_breaker.minimum_number_of_calls",
            "circuit_breaker.sliding_window_size",
            "circuit_breaker.sliding_window_type",
        ],
    ),
    ("max_wait", &["circuit_breaker.max_wait_duration_in_open_state"]),
    ("affinity_load_factor", &["load_balancing.load_factor"]),
    ("slow_factor", &["ejection.peer_latency.slow_factor"]),
    ("failure_excess", &["ejection.peer_failures.excess"]),
];

impl Resolver<'_> {
    /// Reports what a machine refuses; `before` is how many problems there were when its section began, because what
    /// was said already explains this too.
    pub(super) fn require_sound(
        &mut self,
        section: &Section<'_>,
        before: usize,
        verdict: Result<(), ConfigError>,
    ) {
        let Err(error) = verdict else { return };
        // An attempt above the total is a finding about the plan (SW303).
        if self.problems.len() > before || error.field == "attempt_timeout" {
            return;
        }
        let listed = KEYS.iter().find(|(field, _)| *field == error.field).map(|(_, keys)| *keys);
        let own = [error.field];
        let keys = listed.unwrap_or(&own);
        let written = keys.iter().find_map(|key| Some((*key, span_of(section, key)?)));
        let (key, span) = written.unwrap_or_else(|| {
            let whole = section.object.map_or(Span { start: 0, end: 0 }, |object| object.span);
            (keys[0], whole)
        });
        let field = keys[0].rsplit('.').next().unwrap_or(keys[0]);
        let message = format!("`{field}` must {}", error.must);
        self.report(
            Diagnostic::new(Code::Contradiction, span, message)
                .label("cannot work")
                .help(format!("change {}", list(keys)))
                .path(section.path_of(key)),
        );
    }
}

/// The value of a dotted key, as far as it was given.
fn span_of(section: &Section<'_>, key: &str) -> Option<Span> {
    let (parents, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut object = section.object?;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        object = object.table.find(parent).and_then(|_| object.object(parent))?;
    }
    object.table.find(last)?;
    object.get(last).map(|value| value.span)
}

fn list(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" or ")
}
