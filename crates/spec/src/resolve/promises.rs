//! Promises: the words, their limits, and what must exist to measure them.

use std::time::Duration;

use super::resolver::Resolver;
use super::settings::Section;
use crate::codes::Code;
use crate::decode::{Data, Object, Value, nearest, show_duration, show_share};
use crate::diagnostic::{Diagnostic, quoted};
use crate::plan::{During, FaultPlan, Limit, LoadPlan, Promise, Word};
use crate::source::Span;
use crate::yaml::Name;

/// The promises of one failure.
#[derive(Default)]
pub(super) struct Promised {
    pub(super) promises: Vec<Promise>,
    pub(super) during: Vec<During>,
}

impl Resolver<'_> {
    pub(super) fn promises(
        &mut self,
        section: &Section<'_>,
        loads: &[LoadPlan],
        faults: &[FaultPlan],
    ) -> Promised {
        let mut promised = Promised::default();
        let promise = section.under("promise");
        let Some(object) = promise.object else { return promised };
        for (name, value) in &object.rest {
            let Some(load) = self.load_named(name, loads) else { continue };
            let Some(words) = value.as_object() else { continue };
            self.about_load(&promise, (name, load), words, &mut promised);
        }
        for (key, _, value) in &object.entries {
            let Some(word) = Word::ALL.into_iter().find(|word| word.as_str() == key.name) else { continue };
            if let Some(limit) = limit_of(value) {
                self.push(
                    &promise,
                    Promise {
                        name: key.name.to_owned(),
                        word,
                        load: None,
                        during: false,
                        limit,
                        place: self.place(value.span),
                    },
                    &mut promised,
                );
            }
        }
        self.require_measures(&promise, object, loads, faults);
        promised
    }

    fn push(&mut self, section: &Section<'_>, promise: Promise, promised: &mut Promised) {
        let shown = match promise.limit {
            Limit::AtLeastShare(share) => show_share(share),
            Limit::AtMost(duration) => show_duration(duration),
            Limit::AtMostCount(count) => count.to_string(),
        };
        self.setting(section.path_of(&promise.name), shown, crate::plan::Origin::Spec(promise.place));
        promised.promises.push(promise);
    }

    fn load_named(&mut self, name: &Name, loads: &[LoadPlan]) -> Option<usize> {
        let defined = self.root.map("load").iter().any(|(load, _)| load.text == name.text);
        let found = loads.iter().position(|load| load.name == name.text);
        if found.is_none() && !defined {
            let words = Word::ALL.iter().filter(|word| !word.is_about_load()).map(|word| word.as_str());
            if let Some(word) = nearest(&name.text, words) {
                let message = format!("there is no load {}", quoted(&name.text));
                self.report(
                    Diagnostic::new(Code::UnknownName, name.span, message)
                        .label("no such load")
                        .help(format!("the word `{word}` takes a value and no mapping")),
                );
            } else {
                let names: Vec<String> = loads.iter().map(|load| load.name.clone()).collect();
                self.unknown("load", &name.text, name.span, &names);
            }
        }
        found
    }

    fn about_load(
        &mut self,
        section: &Section<'_>,
        (name, load): (&Name, usize),
        words: &Object,
        promised: &mut Promised,
    ) {
        self.words(section, (&name.text, load, false), words, promised);
        if words.entries.is_empty() {
            self.report(
                Diagnostic::new(
                    Code::Unmeasured,
                    name.span,
                    format!("nothing is promised about {}", quoted(&name.text)),
                )
                .label("no words")
                .help("add a word such as `success: 100%` or `p99: 250ms`, or leave the load out"),
            );
        }
        let Some(during) = words.object("during") else { return };
        self.words(section, (&format!("{}.during", name.text), load, true), during, promised);
        let has_words = during.entries.iter().any(|(key, ..)| key.name != "for_at_most");
        if let Some((key, _)) = words.given("during").filter(|_| !has_words) {
            let span = key.span;
            self.report(
                Diagnostic::new(Code::Unmeasured, span, "`during` relaxes nothing")
                    .label("no words")
                    .help("add the words that are relaxed, such as `p99: 2s`"),
            );
        }
        if let Some(for_at_most) = during.duration("for_at_most") {
            promised.during.push(During { load, for_at_most });
        }
    }

    /// The words of one block; `prefix` is what its promises are called.
    fn words(
        &mut self,
        section: &Section<'_>,
        (prefix, load, during): (&str, usize, bool),
        words: &Object,
        promised: &mut Promised,
    ) {
        let mut latencies: Vec<(Word, Duration, Span)> = Vec::new();
        for (key, _, value) in &words.entries {
            let Some(word) = Word::ALL.into_iter().find(|word| word.as_str() == key.name) else { continue };
            let Some(limit) = limit_of(value) else { continue };
            if let (Limit::AtMost(limit), true) = (limit, word.quantile().is_some() || word == Word::Max) {
                latencies.push((word, limit, value.span));
            }
            let place = self.place(value.span);
            let promise = Promise {
                name: format!("{prefix}.{word}", word = word.as_str()),
                word,
                load: Some(load),
                during,
                limit,
                place,
            };
            self.push(section, promise, promised);
        }
        latencies.sort_by_key(|(word, ..)| *word);
        for pair in latencies.windows(2) {
            let [(low, low_limit, low_span), (high, high_limit, high_span)] = pair else { continue };
            if low_limit > high_limit {
                let (low, high) = (low.as_str(), high.as_str());
                let message = format!("`{high}` is promised below `{low}`, which it cannot be");
                self.report(
                    Diagnostic::new(Code::Contradiction, *high_span, message)
                        .label(format!("{high} at most {}", show_duration(*high_limit)))
                        .also(*low_span, format!("{low} at most {}", show_duration(*low_limit)))
                        .help(format!(
                            "`{high}` is never smaller than `{low}`: raise it, or lower the other"
                        )),
                );
            }
        }
        self.refuse_served_below_success(words);
    }

    fn refuse_served_below_success(&mut self, words: &Object) {
        let (Some(served), Some(success)) = (words.get("served"), words.get("success")) else { return };
        let (Some(served_share), Some(success_share)) = (served.as_ratio(), success.as_ratio()) else {
            return;
        };
        if served_share < success_share {
            self.report(
                Diagnostic::new(Code::Contradiction, served.span, "less is `served` than is `success`")
                    .label(show_share(served_share))
                    .also(success.span, show_share(success_share))
                    .help("every good answer is served too: `served` is at least `success`"),
            );
        }
    }

    /// What is promised must be measurable.
    fn require_measures(
        &mut self,
        section: &Section<'_>,
        object: &Object,
        loads: &[LoadPlan],
        faults: &[FaultPlan],
    ) {
        let writes = self
            .root
            .map("load")
            .iter()
            .any(|(_, load)| load.as_object().is_some_and(|load| load.given("read_back").is_some()))
            || loads.iter().any(|load| !load.read_back.is_empty());
        let kills = faults.is_empty() || faults.iter().any(|fault| fault.kind.is_point());
        let watches = !object.rest.is_empty();
        for (key, measured, label, help) in [
            ("rpo", writes, "no load reads its writes back", "add `read_back` to a load that writes"),
            ("duplicates", writes, "no load reads its writes back", "add `read_back` to a load that writes"),
            (
                "restarted_within",
                kills,
                "this fault ends no process",
                "promise it for a `kill` or `lose`, or leave it out",
            ),
            (
                "rto",
                watches,
                "no load is promised anything",
                "promise something about a load, such as `LOAD: { success: 99% }`",
            ),
            (
                "recover_within",
                watches,
                "no load is promised anything",
                "promise something about a load, such as `LOAD: { success: 99% }`",
            ),
        ] {
            if let Some((name, _)) = object.given(key).filter(|_| !measured) {
                let span = name.span;
                self.report(
                    Diagnostic::new(Code::Unmeasured, span, format!("nothing measures `{key}`"))
                        .label(label)
                        .help(help)
                        .path(section.path_of(key)),
                );
            }
        }
    }
}

fn limit_of(value: &Value) -> Option<Limit> {
    match value.data {
        Data::Ratio(share) => Some(Limit::AtLeastShare(share)),
        Data::Duration(duration) => Some(Limit::AtMost(duration)),
        Data::Count(count) => Some(Limit::AtMostCount(count)),
        _ => None,
    }
}
