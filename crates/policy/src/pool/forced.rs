//! A person takes the place of the breakers of an edge, or gives it back.
//!
//! Taken is the whole edge, endpoints to come included: whoever says that nobody calls the payment provider any more
//! does not mean the process that answers there today.

use crate::breaker::Mode;
use crate::pool::{Guard, Pool};
use crate::time::Time;

impl Pool {
    /// Sets who decides. False where no breaker guards the endpoints, and nothing changes.
    pub fn set_breaker_mode(&mut self, now: Time, mode: Mode) -> bool {
        let Guard::Breaker(config) = &mut self.config.guard else { return false };
        config.mode = mode;
        for endpoint in &mut self.endpoints {
            endpoint.set_breaker_mode(now, mode);
        }
        self.collect_breaker_changes();
        self.after_change(now);
        true
    }

    /// Who decides; `None` where no breaker guards the endpoints.
    pub fn breaker_mode(&self) -> Option<Mode> {
        match &self.config.guard {
            Guard::Breaker(config) => Some(config.mode),
            Guard::Ejection(_) | Guard::Off => None,
        }
    }
}
