//! What the guards of endpoints look at: a breaker its window, ejection the peers.

use seaworthy_policy::breaker::{BreakerConfig, Mode, WindowType};
use seaworthy_policy::ejection::EjectionConfig;

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::Value;
use crate::diagnostic::Diagnostic;
use crate::plan::Origin;

impl Resolver<'_> {
    /// The comparison with peers, each half of which can be switched off.
    pub(super) fn peers(&mut self, section: &Section<'_>, own: &EjectionConfig) -> EjectionConfig {
        let slow_factor = if section.is_word("peer_latency", "off") {
            self.off(section, "peer_latency");
            f64::INFINITY
        } else {
            let latency = section.under("peer_latency");
            let given = latency.get("slow_factor").and_then(Value::as_factor);
            let default = (own.slow_factor, Origin::Default);
            self.effective(&latency, "slow_factor", given, default, f64::to_string)
        };
        if section.is_word("peer_failures", "off") {
            self.off(section, "peer_failures");
            // No share exceeds another one by everything.
            return EjectionConfig { slow_factor, failure_excess: 1.0, ..own.clone() };
        }
        let failures = section.under("peer_failures");
        let failure_excess = self.ratio(&failures, "excess", own.failure_excess);
        let failure_calls_min = self.count(&failures, "minimum_number_of_calls", own.failure_calls_min);
        EjectionConfig { slow_factor, failure_excess, failure_calls_min, ..own.clone() }
    }

    /// What a breaker's rates look back over.
    pub(super) fn window_by_count(
        &mut self,
        section: &Section<'_>,
        default: &BreakerConfig,
    ) -> (WindowType, u32) {
        let given = section.get("sliding_window_type").and_then(Value::as_text);
        let given = given
            .map(|word| if word == "count_based" { WindowType::CountBased } else { WindowType::TimeBased });
        let show = |kind: &WindowType| match kind {
            WindowType::TimeBased => "time_based".to_owned(),
            WindowType::CountBased => "count_based".to_owned(),
        };
        let fallback = (default.sliding_window_type, Origin::Default);
        let kind = self.effective(section, "sliding_window_type", given, fallback, show);
        let (idle, needed) = match kind {
            WindowType::TimeBased => ("sliding_window_size", "count_based"),
            WindowType::CountBased => ("sliding_window_duration", "time_based"),
        };
        if let Some(span) = section.key_span(idle) {
            let shown = show(&kind);
            self.report(
                Diagnostic::new(
                    Code::Contradiction,
                    span,
                    format!("`{idle}` has no effect on a `{shown}` window"),
                )
                .label("nothing looks at it")
                .help(format!("write `sliding_window_type: {needed}`, or leave `{idle}` out"))
                .path(section.path_of(idle)),
            );
        }
        (kind, self.count(section, "sliding_window_size", default.sliding_window_size))
    }

    /// Who decides.
    pub(super) fn mode(&mut self, section: &Section<'_>, default: Mode) -> Mode {
        let given = section.get("mode").and_then(Value::as_text).and_then(Mode::of);
        let show = |mode: &Mode| mode.as_str().to_owned();
        self.effective(section, "mode", given, (default, Origin::Default), show)
    }
}
