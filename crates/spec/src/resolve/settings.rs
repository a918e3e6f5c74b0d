//! Effective values and who set them.

use std::time::Duration;

use super::resolver::Resolver;
use crate::codes::Code;
use crate::decode::{Object, Value, show_duration, show_share};
use crate::diagnostic::Diagnostic;
use crate::plan::{Origin, Setting};
use crate::source::Span;

/// A mapping of the spec, given or not, and its dotted path.
#[derive(Debug, Clone)]
pub(super) struct Section<'a> {
    pub(super) path: String,
    pub(super) object: Option<&'a Object>,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: impl Into<String>, object: Option<&'a Object>) -> Self {
        Self { path: path.into(), object }
    }

    /// The section under one of its keys.
    pub(super) fn under(&self, key: &str) -> Section<'a> {
        Section::new(self.path_of(key), self.object.and_then(|object| object.object(key)))
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.and_then(|object| object.get(key))
    }

    pub(super) fn is_given(&self, key: &str) -> bool {
        self.object.is_some_and(|object| object.given(key).is_some())
    }

    /// True when the key has a word, such as `off`, rather than a mapping.
    pub(super) fn is_word(&self, key: &str, word: &str) -> bool {
        self.get(key).and_then(Value::as_text) == Some(word)
    }

    /// Where the key stands; nowhere when it was not given.
    pub(super) fn key_span(&self, key: &str) -> Option<Span> {
        self.object.and_then(|object| object.given(key)).map(|(name, _)| name.span)
    }
}

impl Resolver<'_> {
    /// Records an effective value: the one given, or the other one with its origin.
    pub(super) fn effective<T>(
        &mut self,
        section: &Section<'_>,
        key: &str,
        given: Option<T>,
        otherwise: (T, Origin),
        show: impl Fn(&T) -> String,
    ) -> T {
        let (value, origin) = match (given, section.get(key)) {
            (Some(value), Some(written)) => (value, self.origin(written.span)),
            _ => otherwise,
        };
        self.setting(section.path_of(key), show(&value), origin);
        value
    }

    pub(super) fn origin(&self, span: Span) -> Origin {
        Origin::Spec(self.source.place(span.start))
    }

    pub(super) fn setting(&mut self, path: impl Into<String>, value: impl Into<String>, origin: Origin) {
        self.settings.push(Setting { path: path.into(), value: value.into(), origin });
    }

    pub(super) fn duration(&mut self, section: &Section<'_>, key: &str, default: Duration) -> Duration {
        self.duration_or(section, key, (default, Origin::Default))
    }

    pub(super) fn duration_or(
        &mut self,
        section: &Section<'_>,
        key: &str,
        otherwise: (Duration, Origin),
    ) -> Duration {
        let given = section.get(key).and_then(Value::as_duration);
        self.effective(section, key, given, otherwise, |duration| show_duration(*duration))
    }

    pub(super) fn ratio(&mut self, section: &Section<'_>, key: &str, default: f64) -> f64 {
        let given = section.get(key).and_then(Value::as_ratio);
        self.effective(section, key, given, (default, Origin::Default), |share| show_share(*share))
    }

    pub(super) fn count(&mut self, section: &Section<'_>, key: &str, default: u32) -> u32 {
        self.count_or(section, key, (default, Origin::Default))
    }

    pub(super) fn count_or(&mut self, section: &Section<'_>, key: &str, otherwise: (u32, Origin)) -> u32 {
        let given =
            section.get(key).and_then(Value::as_count).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        self.effective(section, key, given, otherwise, u32::to_string)
    }

    /// Reports two values of a section that stand in the wrong order. Each is a key and its effective value.
    pub(super) fn require_ascending(
        &mut self,
        section: &Section<'_>,
        (low_key, low): (&str, Duration),
        (high_key, high): (&str, Duration),
    ) {
        if low <= high {
            return;
        }
        let (low_text, high_text) = (show_duration(low), show_duration(high));
        let message = format!("`{high_key}` ({high_text}) is shorter than `{low_key}` ({low_text})");
        let at = |key| section.get(key).map(|value| value.span);
        let (low_span, high_span) = (at(low_key), at(high_key));
        let Some(place) = high_span.or(low_span) else {
            debug_assert!(false, "the defaults of {} contradict each other", section.path);
            return;
        };
        let mut diagnostic = Diagnostic::new(Code::Contradiction, place, message)
            .path(section.path.clone())
            .help(format!("raise `{high_key}` to at least {low_text}, or lower `{low_key}`"));
        diagnostic = match (low_span, high_span) {
            (Some(low_span), Some(_)) => diagnostic
                .label("shorter than the other")
                .also(low_span, format!("`{low_key}` is {low_text}")),
            (None, _) => diagnostic.label(format!("`{low_key}` is {low_text} by default")),
            (_, None) => diagnostic.label(format!("`{high_key}` is {high_text} by default")),
        };
        self.report(diagnostic);
    }
}
