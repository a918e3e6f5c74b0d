//! What happened, in the order in which it happened, for people who want to know what failed first.

use super::judge::Found;
use crate::measure::Measurements;
use crate::record::{Class, Record};
use crate::report::Moment;

/// Most events of the node in a story; the first ones tell what failed first.
const EVENTS_IN_STORY_MAX: usize = 12;

/// The story of a failure; empty when its fault was never requested.
pub(super) fn story(found: &Found<'_>, measured: Option<&Measurements>) -> Vec<Moment> {
    let course = found.course;
    let Some(opened) = course.opened else { return Vec::new() };
    let mut moments: Vec<(u64, String)> = vec![(opened, "fault requested".to_owned())];
    if let Some(applied) = &course.applied {
        let whom = applied.targets.join(", ");
        moments.push((applied.applied_at, format!("fault in effect on {whom}: {}", applied.proof)));
    }
    let naming = found.events.iter().filter(|event| event.at >= opened).filter(|event| {
        event.kind.subject().is_some_and(|(service, replica)| {
            course.victims.iter().any(|victim| victim.is_named_by(service, replica))
        })
    });
    moments.extend(naming.take(EVENTS_IN_STORY_MAX).map(|event| (event.at, event.kind.sentence())));
    for (load, plan) in found.subject.loads.iter().enumerate() {
        let (_, records) = found.history.since(load, opened);
        let first = records.iter().find(|record| record.class == Class::Failed);
        moments.extend(first.map(|record| (record.intended, first_failed(&plan.name, record))));
    }
    if let Some(ended) = course.ended {
        moments.push((ended, "fault over".to_owned()));
    }
    if let (Some(stretch), Some(_)) = (course.steady_after, measured) {
        moments.push((stretch.start, "steady state".to_owned()));
    }
    moments.sort_by_key(|(at, _)| *at);
    moments.into_iter().map(|(at, what)| Moment { after: at.saturating_sub(opened), what }).collect()
}

fn first_failed(load: &str, record: &Record) -> String {
    let what = match record.status {
        0 => "no answer".to_owned(),
        status => format!("status {status}"),
    };
    format!("first failed request of {load}: {what} after {} ms", record.latency() / 1_000_000)
}
