//! Broken is for good.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::StoreError;

/// Told once, with the reason, when the store breaks.
pub(super) type OnBroken = Arc<dyn Fn(&str) + Send + Sync>;

/// Remembers the first failure of any file.
pub(super) struct Latch {
    reason: OnceLock<String>,
    on_broken: Option<OnBroken>,
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Latch").field(&self.reason).finish()
    }
}

impl Latch {
    pub(super) fn new(on_broken: Option<OnBroken>) -> Self {
        Latch { reason: OnceLock::new(), on_broken }
    }

    /// The first failure is the cause; later ones follow from it.
    pub(super) fn trip(&self, file: &str, error: &rusqlite::Error) {
        let reason = format!("{file}: {error}{}", code(error));
        if self.reason.set(reason).is_ok()
            && let (Some(tell), Some(reason)) = (&self.on_broken, self.reason.get())
        {
            tell(reason);
        }
    }

    pub(super) fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.reason().map_or(Ok(()), |reason| Err(StoreError::Broken(reason.to_owned())))
    }
}

/// The extended code tells a failed sync from a failed write; the message does not.
fn code(error: &rusqlite::Error) -> String {
    error.sqlite_error().map(|error| format!(" (SQLite code {})", error.extended_code)).unwrap_or_default()
}
