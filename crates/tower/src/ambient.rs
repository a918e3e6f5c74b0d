//! What the outer layers of a call want the inner ones to know: the deadline, and which attempt this is.
//!
//! **Problem.** A deadline must reach every layer below it, past layers of other people, for any request type.
//! **Model.** While a layer calls or polls what is inside it, its knowledge lies in a thread-local cell; when
//! that returns, the cell holds again what it held before. **Rejected:** a field of the request (the request
//! types are other people's), a task-local of tokio (one layer of ours is one future, but need not be a task).
//!
//! What runs in a task of its own (`tower::buffer`, `tokio::spawn`) starts without this knowledge.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{self, Moment};

/// What a call knows about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// 1 for the first attempt, 2 for the first retry.
    pub number: u32,
    /// When the answer stops being of use; send what remains of it to the backend.
    pub deadline: Option<Instant>,
    /// Whether this is a second copy of an attempt that took too long.
    pub is_hedge: bool,
}

impl Attempt {
    /// How long there is left; `None` without a deadline.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(clock::now().instant()))
    }
}

/// What the layers around the code that runs now have said; number 1 and no deadline when there are none.
pub fn current() -> Attempt {
    let ambient = Ambient::get();
    let deadline = ambient.deadline.map(Moment::instant);
    Attempt { number: ambient.number, deadline, is_hedge: ambient.is_hedge }
}

/// The content of the cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ambient {
    pub(crate) number: u32,
    pub(crate) deadline: Option<Moment>,
    pub(crate) is_hedge: bool,
    /// Which budget has counted this request already, by its identity; 0 for none.
    pub(crate) counted_by: usize,
}

thread_local! {
    static AMBIENT: Cell<Ambient> =
        const { Cell::new(Ambient { number: 1, deadline: None, is_hedge: false, counted_by: 0 }) };
}

impl Ambient {
    pub(crate) fn get() -> Ambient {
        AMBIENT.get()
    }

    /// The earlier of the two deadlines; a deadline is never extended.
    #[must_use]
    pub(crate) fn no_later_than(self, deadline: Moment) -> Ambient {
        let deadline = self.deadline.map_or(deadline, |outer| outer.min(deadline));
        Ambient { deadline: Some(deadline), ..self }
    }

    /// Makes this the present knowledge until the scope is dropped.
    pub(crate) fn enter(self) -> Scope {
        Scope { before: AMBIENT.replace(self) }
    }
}

/// Puts the former knowledge back, also when the inner service panics.
pub(crate) struct Scope {
    before: Ambient,
}

impl Drop for Scope {
    fn drop(&mut self) {
        AMBIENT.set(self.before);
    }
}
