//! One failure, step by step.

use std::time::Duration;

use seaworthy_spec::plan::{FailurePlan, Promise, Response, Word};

use super::course::{Course, Pace, is_point, limit_of, promised_loads, restarts_are_off, stretch_nanos};
use super::judge::{Found, count_writes, judge, not_exercised};
use super::put_back::put_back;
use super::session::{Session, Stop};
use super::{DrillOptions, RunIds};
use crate::clock;
use crate::id::mix;
use crate::measure::{Restarted, Seen, Steady, Stretch, Track, first_stretch, restarted};
use crate::node::{Ended, FaultBody, FaultRequest, Node, NodeError};
use crate::progress::Phase;
use crate::readback::Reader;
use crate::report::FailureReport;
use crate::subject::Subject;

/// Longest wait for steady state before a fault; without it there is nothing to compare with.
pub const STEADY_BEFORE_MAX: Duration = Duration::from_mins(1);
/// How long steady state after a fault is waited for when nothing shorter or longer is promised.
pub const RECOVER_WITHIN_DEFAULT: Duration = Duration::from_secs(30);
/// How long a fault outlives its window when the drill does not end it.
const DEADLINE_MARGIN: Duration = Duration::from_secs(30);
/// Longest life that a node gives a fault; a window cannot be held for longer.
pub const FAULT_MAX: Duration = Duration::from_mins(10);
/// Faults strike at a random moment of this length, so that they meet timers of the system at every phase.
const PHASE_MAX: Duration = Duration::from_millis(500);
/// A system that is well but slower than promised, for so long, will not become faster by waiting: the drill goes on, and
/// that promise comes out broken instead of the failure unjudged.
const PACE_PATIENCE: Duration = Duration::from_secs(10);
/// How long all services may take to be ready before a failure begins without them.
const READY_MAX: Duration = Duration::from_secs(30);
/// Pause between two read-backs.
const READ_BACK_EVERY: Duration = Duration::from_millis(500);
/// What the node may be late with an event that we wait for.
const EVENT_MARGIN: Duration = Duration::from_millis(500);

/// Drills one failure and judges it.
pub(super) async fn drill_failure<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    options: &DrillOptions,
) -> FailureReport {
    if failure.response == Response::Accept {
        return not_exercised(failure, "accepted: nobody answers this failure, so it is not drilled");
    }
    if let Err(Stop::Interrupted) = session.check() {
        return not_exercised(failure, "interrupted before it began");
    }
    session.begin_failure();
    let mut course = Course::default();
    let stop = follow(session, failure, options.seed, &mut course).await.err();
    session.say(Phase::CleanUp, None, None);
    let cleanup = put_back(session, failure, &course, stop.is_some()).await;
    let report = judge(&Found {
        subject: session.subject,
        failure,
        history: session.loads.history(),
        events: &session.events,
        course: &course,
        stop: stop.as_ref(),
        cleanup,
    });
    session.say(Phase::Judged, None, Some(report.verdict.as_str()));
    if !options.no_reset && course.opened.is_some() {
        session.unreset = session.node.reset().await.err().map(|error| error.to_string());
    }
    report
}

async fn follow<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    seed: u64,
    course: &mut Course,
) -> Result<(), Stop> {
    if let Some(error) = session.unreset.take() {
        return Err(Stop::Error(format!("policy could not be reset after the failure before: {error}")));
    }
    let seed = mix(seed) ^ session.position.number as u64;
    steady_before(session, failure, seed, course).await?;
    apply(session, failure, seed, course).await?;
    session.wait_until(Phase::Window, course.closed).await?;
    end(session, failure, course).await?;
    steady_after(session, failure, course).await?;
    successors(session, failure, course).await?;
    read_back(session, failure, course).await?;
    session.catch_up().await
}

/// Steady state of the promised loads from a moment on.
fn look_for_steady<N>(session: &Session<'_, N>, failure: &FailurePlan, from: u64, pace: Pace) -> Steady {
    let counts = |promise: &Promise, load: usize| pace == Pace::Promised && promise.load == Some(load);
    let tracks: Vec<Track> = promised_loads(session.subject, failure)
        .into_iter()
        .map(|load| {
            let (_, records) = session.loads.history().since(load, from);
            Track::steady(&records, failure.promises.iter().filter(|promise| counts(promise, load)))
        })
        .collect();
    first_stretch(&tracks, from, u64::MAX)
}

async fn steady_before<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    seed: u64,
    course: &mut Course,
) -> Result<(), Stop> {
    let begun = clock::now();
    let until = begun.saturating_add(clock::nanos(STEADY_BEFORE_MAX));
    let ready_until = begun.saturating_add(clock::nanos(READY_MAX));
    let mut is_ready = restarts_are_off(session.subject);
    loop {
        is_ready =
            is_ready || clock::now() > ready_until || matches!(session.node.is_ready().await, Ok(true));
        // Only what is steady while everybody is there counts.
        if clock::now().saturating_sub(begun) > clock::nanos(PACE_PATIENCE) {
            course.pace = Pace::AsItIs;
        }
        if is_ready && let Steady::Found(stretch) = look_for_steady(session, failure, begun, course.pace) {
            course.steady_before = Some(stretch);
            break;
        }
        if clock::now() >= until {
            return Err(Stop::Error(no_steady_state(session.subject, failure)));
        }
        session.step(Phase::SteadyBefore, until).await?;
    }
    let phase = mix(seed) % clock::nanos(PHASE_MAX);
    session.wait_until(Phase::SteadyBefore, clock::now().saturating_add(phase)).await
}

fn no_steady_state(subject: &Subject, failure: &FailurePlan) -> String {
    let needed = stretch_nanos(subject, &promised_loads(subject, failure));
    if needed > clock::nanos(STEADY_BEFORE_MAX) {
        let seconds = needed / clock::NANOS_PER_SECOND;
        return format!("a steady stretch of the slowest promised load takes {seconds} s; raise its rate");
    }
    format!("no steady state within {STEADY_BEFORE_MAX:?}; there is nothing to compare with")
}

async fn apply<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    seed: u64,
    course: &mut Course,
) -> Result<(), Stop> {
    session.check()?;
    if failure.hold > FAULT_MAX {
        return Err(Stop::Error(format!(
            "a window of {:?} is too long: no fault lasts longer than {FAULT_MAX:?}",
            failure.hold
        )));
    }
    session.say(Phase::Applying, None, None);
    let mut draws = 0;
    let mut draw = |below: u64| {
        draws += 1;
        mix(seed ^ mix(draws)) % below
    };
    let mut faults = Vec::with_capacity(failure.faults.len());
    for fault in &failure.faults {
        let target = session.subject.pick(&fault.target, &mut draw);
        course.victims.extend(session.subject.victims(&target));
        faults.push(FaultBody::new(session.subject, fault, &target));
    }
    let deadline = failure.hold.saturating_add(DEADLINE_MARGIN).min(FAULT_MAX);
    let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
    let opened = clock::now();
    course.opened = Some(opened);
    course.closed = opened.saturating_add(clock::nanos(failure.hold));
    let applied = session.node.apply(&FaultRequest { faults, deadline_ms, seed }).await;
    match applied {
        Ok(applied) => course.applied = Some(applied),
        Err(NodeError::Capability(detail)) => return Err(Stop::Capability(detail)),
        Err(error) => return Err(Stop::Error(format!("the fault could not be applied: {error}"))),
    }
    if course.closed <= clock::now() && !is_point(&failure.faults) {
        return Err(Stop::Error("applying the fault took longer than its window".to_owned()));
    }
    Ok(())
}

async fn end<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    course: &mut Course,
) -> Result<(), Stop> {
    let Some(applied) = course.applied.clone() else { return Ok(()) };
    session.say(Phase::Ending, None, None);
    let is_point = is_point(&failure.faults);
    match session.node.end(&applied.id).await {
        Ok(Ended { ended_at, met }) => {
            course.met = met;
            course.ended = Some(if is_point { applied.applied_at } else { ended_at });
        }
        Err(NodeError::Unknown(_)) if is_point => course.ended = Some(applied.applied_at),
        Err(NodeError::Unknown(_)) => {
            return Err(Stop::Error("the fault was over before its window closed".to_owned()));
        }
        Err(error) => return Err(Stop::Error(format!("the fault could not be ended: {error}"))),
    }
    if let Some(ended) = course.ended
        && !is_point
        && ended < course.closed
    {
        return Err(Stop::Error("the fault was over before its window closed".to_owned()));
    }
    Ok(())
}

async fn steady_after<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    course: &mut Course,
) -> Result<(), Stop> {
    let Some(from) = course.ended else { return Ok(()) };
    let loads = promised_loads(session.subject, failure);
    let patience = limit_of(failure, Word::RecoverWithin)
        .unwrap_or(0)
        .max(clock::nanos(RECOVER_WITHIN_DEFAULT))
        .saturating_add(stretch_nanos(session.subject, &loads));
    let until = clock::now().max(from).saturating_add(patience);
    loop {
        if let Steady::Found(stretch) = look_for_steady(session, failure, from, course.pace) {
            course.steady_after = Some(stretch);
            return Ok(());
        }
        if clock::now() >= until {
            return Ok(());
        }
        session.step(Phase::SteadyAfter, until).await?;
    }
}

/// Waits for the successors of processes that ended, when it is promised that they will be ready.
async fn successors<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    course: &Course,
) -> Result<(), Stop> {
    let (Some(limit), Some(opened)) = (limit_of(failure, Word::RestartedWithin), course.opened) else {
        return Ok(());
    };
    session.catch_up().await?;
    while let Restarted::Missing { since } = restarted(&session.events, &course.victims, opened) {
        let until = since.saturating_add(limit).saturating_add(clock::nanos(EVENT_MARGIN));
        if clock::now() >= until {
            break;
        }
        session.step(Phase::Restarting, until).await?;
    }
    Ok(())
}

/// Reads back until nothing that was acknowledged is missing, or `settle` after steady state.
async fn read_back<N: Node>(
    session: &mut Session<'_, N>,
    failure: &FailurePlan,
    course: &mut Course,
) -> Result<(), Stop> {
    let steady_end = course.steady_after.map_or_else(clock::now, |stretch: Stretch| stretch.end);
    course.writes_until = steady_end;
    answered(session, course).await?;
    if session.subject.loads.iter().all(|load| load.read_back.is_empty()) {
        return Ok(());
    }
    let until = clock::now().max(steady_end).saturating_add(clock::nanos(failure.settle));
    loop {
        let is_last = clock::now() >= until;
        let seen = read_once(session.subject, session.ids, session.node).await;
        let is_complete = seen.as_ref().is_ok_and(|seen| nothing_is_missing(session, course, seen));
        // What could be read once is not unread because a later attempt failed; but the latest one counts.
        if seen.is_ok() || !matches!(course.seen, Some(Ok(_))) || is_last {
            course.seen = Some(seen);
        }
        if is_complete || is_last {
            return Ok(());
        }
        let next = clock::now().saturating_add(clock::nanos(READ_BACK_EVERY)).min(until);
        session.wait_until(Phase::ReadBack, next).await?;
    }
}

async fn read_once<N: Node>(subject: &Subject, ids: &RunIds, node: &N) -> Result<Vec<Vec<Seen>>, String> {
    let status = node.status().await.map_err(|error| error.to_string())?;
    Reader::new(subject, ids).read(&status).await.map_err(|error| error.to_string())
}

fn nothing_is_missing<N>(session: &Session<'_, N>, course: &Course, seen: &[Vec<Seen>]) -> bool {
    let writes = count_writes(session.subject, session.loads.history(), course, Some(seen));
    writes.iter().flatten().filter_map(|writes| writes.effects.as_ref()).all(|effects| effects.lost == 0)
}

/// Waits until every request that will be judged has its outcome; its own timeout sees to that.
async fn answered<N: Node>(session: &mut Session<'_, N>, course: &Course) -> Result<(), Stop> {
    let end = course.writes_until.max(course.closed);
    let longest = session.subject.loads.iter().map(|load| load.timeout).max().unwrap_or_default();
    let start = course.steady_before.map_or(0, |stretch| stretch.start).saturating_sub(clock::nanos(longest));
    let until = end.saturating_add(clock::nanos(longest)).saturating_add(clock::nanos(EVENT_MARGIN));
    let is_done = |session: &Session<'_, N>| {
        let history = session.loads.history();
        (0..session.subject.loads.len()).all(|load| history.is_done_before(load, start, end))
    };
    while !is_done(session) && clock::now() < until {
        session.step(Phase::ReadBack, until).await?;
    }
    Ok(())
}
