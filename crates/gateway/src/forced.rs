//! Breakers in the hands of a person.

use seaworthy_observe::EventKind;
use seaworthy_policy::breaker::Mode;

use crate::gateway::Gateway;

/// Why nobody can take over the breakers of an edge.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ForceError {
    /// There is no such edge.
    #[error("there is no edge `{name}`; there are {}", known.join(", "))]
    Unknown {
        /// The name given.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// Its endpoints are guarded otherwise.
    #[error(
        "`{name}` has no circuit breaker: several endpoints are guarded by ejection, and `circuit_breaker` may be off"
    )]
    NoBreaker {
        /// The edge.
        name: String,
    },
}

impl Gateway {
    /// Puts the breakers of an edge (`egress:payments`) into this mode until told otherwise; `None` = back to what the
    /// spec says. Answers the mode that is in effect now.
    ///
    /// # Errors
    /// When there is no such edge, or no breaker guards it.
    pub fn force_breaker(&self, edge: &str, mode: Option<Mode>) -> Result<Mode, ForceError> {
        let edges = self.edges();
        let name = || edge.to_owned();
        let Some(found) = edges.iter().find(|known| known.name == edge) else {
            let known = edges.iter().map(|edge| edge.name.clone()).collect();
            return Err(ForceError::Unknown { name: name(), known });
        };
        let Some(by_spec) = found.breaker_mode else { return Err(ForceError::NoBreaker { name: name() }) };
        let mode = mode.unwrap_or(by_spec);
        if found.breaker_mode() != Some(mode) {
            // Told first: what changes with it follows from it.
            found.bus.emit(EventKind::BreakerModeChanged {
                edge: name(),
                service: found.service.to_string(),
                mode: mode.as_str().to_owned(),
                forced: mode != by_spec,
            });
            found.set_breaker_mode(mode);
        }
        Ok(mode)
    }
}
