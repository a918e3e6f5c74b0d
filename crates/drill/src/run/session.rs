//! What lasts for a whole drill: the loads, the events so far, and waiting without missing either.

use std::time::Duration;

use seaworthy_observe::event::{Event, EventKind};

use crate::clock;
use crate::id::RunIds;
use crate::interrupt::Interrupt;
use crate::load::Loads;
use crate::node::{EventPage, Node, NodeError};
use crate::progress::{Phase, Progress, Update};
use crate::subject::Subject;

/// A node that did not answer for so long is lost.
pub const NODE_SILENT_MAX: Duration = Duration::from_secs(5);
/// Longest single wait; what is decided while waiting is decided at least this often.
const STEP: Duration = Duration::from_millis(200);
/// Wait before a node that did not answer is asked again.
const RETRY: Duration = Duration::from_millis(100);
/// Most events kept of one failure; a node that tells more is not believed to be well.
const EVENTS_MAX: usize = 200_000;
/// How often progress repeats itself within a phase.
const PROGRESS_EVERY: Duration = Duration::from_millis(900);

/// Why a failure cannot be drilled to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// The caller said so.
    Interrupted,
    /// This host cannot apply the fault.
    Capability(String),
    /// Something went wrong.
    Error(String),
}

/// Which failure it is about.
#[derive(Debug, Clone, Default)]
pub(super) struct Position {
    pub(super) failure: String,
    pub(super) number: usize,
    pub(super) of: usize,
}

/// What a session is made of.
pub(super) struct SessionParts<'a, N> {
    pub(super) subject: &'a Subject,
    pub(super) node: &'a N,
    pub(super) ids: &'a RunIds,
    pub(super) loads: Loads,
    pub(super) since: u64,
}

/// A drill in progress.
pub(super) struct Session<'a, N> {
    pub(super) subject: &'a Subject,
    pub(super) node: &'a N,
    pub(super) ids: &'a RunIds,
    pub(super) loads: Loads,
    pub(super) position: Position,
    /// Events since the failure began.
    pub(super) events: Vec<Event>,
    /// A reset that failed: the next failure would be judged on what this one left behind.
    pub(super) unreset: Option<String>,
    since: u64,
    /// The node that spoke last.
    speaker: Option<u32>,
    silent_since: Option<u64>,
    progress: &'a dyn Progress,
    interrupt: &'a Interrupt,
    said: Option<(Phase, u64)>,
}

impl<'a, N: Node> Session<'a, N> {
    pub(super) fn new(
        parts: SessionParts<'a, N>,
        progress: &'a dyn Progress,
        interrupt: &'a Interrupt,
    ) -> Self {
        let SessionParts { subject, node, ids, loads, since } = parts;
        Self {
            subject,
            node,
            ids,
            loads,
            position: Position::default(),
            events: Vec::new(),
            unreset: None,
            since,
            speaker: None,
            silent_since: None,
            progress,
            interrupt,
            said: None,
        }
    }

    /// Forgets the events of the failure before.
    pub(super) fn begin_failure(&mut self) {
        self.events.clear();
        self.silent_since = None;
        self.said = None;
    }

    /// Fails when the drill must not go on.
    pub(super) fn check(&self) -> Result<(), Stop> {
        if self.interrupt.is_raised() {
            return Err(Stop::Interrupted);
        }
        if self.loads.is_full() {
            return Err(Stop::Error("a load was stopped: its history is full".to_owned()));
        }
        if self.loads.is_broken() {
            return Err(Stop::Error("a sender of a load is gone".to_owned()));
        }
        if self.events.len() > EVENTS_MAX {
            return Err(Stop::Error(format!("the node told more than {EVENTS_MAX} events")));
        }
        Ok(())
    }

    /// Waits until `until`, but not for long, and takes in what the node has to tell.
    pub(super) async fn step(&mut self, phase: Phase, until: u64) -> Result<(), Stop> {
        self.check()?;
        self.say(phase, Some(until), None);
        let wait = clock::until(until).min(STEP);
        let (node, since) = (self.node, self.since);
        let listen = async {
            let begun = clock::now();
            let page = node.events(since, wait).await;
            let told = page.as_ref().is_ok_and(|page| !page.events.is_empty());
            // A node that does not wait itself, or cannot be reached, must not make us spin.
            if !told && clock::now().saturating_sub(begun) < clock::nanos(wait / 2) {
                tokio::time::sleep(RETRY.min(wait)).await;
            }
            page
        };
        let page = tokio::select! {
            biased;
            () = self.interrupt.raised() => return Err(Stop::Interrupted),
            page = listen => page,
            () = tokio::time::sleep(clock::until(until)) => return Ok(()),
        };
        self.take_in(page)
    }

    /// Waits until `until`.
    pub(super) async fn wait_until(&mut self, phase: Phase, until: u64) -> Result<(), Stop> {
        while clock::now() < until {
            self.step(phase, until).await?;
        }
        Ok(())
    }

    /// Takes in what the node has told so far, without waiting.
    pub(super) async fn catch_up(&mut self) -> Result<(), Stop> {
        let page = self.node.events(self.since, Duration::ZERO).await;
        self.take_in(page)
    }

    fn take_in(&mut self, page: Result<EventPage, NodeError>) -> Result<(), Stop> {
        match page {
            Ok(page) => {
                self.silent_since = None;
                self.since = page.next;
                let began = |event: &Event| matches!(event.kind, EventKind::NodeStarted { .. });
                let another = self.speaker.replace(page.node).is_some_and(|before| before != page.node);
                let restarted = another || page.events.iter().any(began);
                self.events.extend(page.events);
                if restarted {
                    return Err(Stop::Error("the node was started again in the middle".to_owned()));
                }
                Ok(())
            }
            Err(error) => {
                let since = *self.silent_since.get_or_insert_with(clock::now);
                let is_silent = clock::now().saturating_sub(since) > clock::nanos(NODE_SILENT_MAX);
                if is_silent || matches!(error, NodeError::Gone(_)) {
                    return Err(Stop::Error(format!("the node is lost: {error}")));
                }
                Ok(())
            }
        }
    }

    /// Tells the caller where the drill stands.
    pub(super) fn say(&mut self, phase: Phase, until: Option<u64>, detail: Option<&str>) {
        let now = clock::now();
        if let Some((said, at)) = self.said
            && said == phase
            && now.saturating_sub(at) < clock::nanos(PROGRESS_EVERY)
        {
            return;
        }
        self.said = Some((phase, now));
        self.progress.update(&Update {
            failure: &self.position.failure,
            number: self.position.number,
            of: self.position.of,
            phase,
            left: until.map(clock::until),
            detail,
        });
    }
}
