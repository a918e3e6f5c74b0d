//! One budget of extra attempts for everything that may cause some: retries and hedges of one backend.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use seaworthy_policy::{Budget, BudgetConfig, ConfigError};

use crate::ambient::Ambient;
use crate::clock::{Clock, Moment};

/// A handle to a budget; clones share it.
#[derive(Clone, Debug)]
pub struct SharedBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    budget: Mutex<Budget>,
    clock: Clock,
}

impl SharedBudget {
    /// A budget that holds its burst.
    pub fn new(config: BudgetConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let budget = Mutex::new(Budget::new(config));
        Ok(SharedBudget { shared: Arc::new(Shared { budget, clock: Clock::starting_now() }) })
    }

    /// Tokens in store: extra attempts that could be made at once.
    pub fn balance(&self) -> f64 {
        self.lock().balance(self.shared.clock.now())
    }

    /// Extra attempts decided and not yet ended.
    pub fn concurrent(&self) -> u32 {
        self.lock().concurrent()
    }

    /// Counts a request, unless a layer further out has counted it in this very budget.
    pub(crate) fn begin(&self, ambient: &mut Ambient, now: Moment) -> bool {
        let identity = Arc::as_ptr(&self.shared).addr();
        if ambient.counted_by == identity {
            return false;
        }
        ambient.counted_by = identity;
        self.lock().on_request(self.shared.clock.time_at(now));
        true
    }

    pub(crate) fn succeeded(&self, now: Moment) {
        self.lock().on_success(self.shared.clock.time_at(now));
    }

    pub(crate) fn try_retry(&self, now: Moment) -> Option<Charge> {
        let charged = self.lock().try_retry(self.shared.clock.time_at(now));
        charged.then(|| Charge { budget: self.clone() })
    }

    pub(crate) fn try_hedge(&self, now: Moment) -> Option<Charge> {
        let charged = self.lock().try_hedge(self.shared.clock.time_at(now));
        charged.then(|| Charge { budget: self.clone() })
    }

    /// Forgets the past and holds its burst again.
    pub fn reset(&self) {
        let now = self.shared.clock.now();
        self.lock().reset(now);
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        self.shared.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An extra attempt that was paid for; it counts as under way until this is dropped.
#[derive(Debug)]
pub struct Charge {
    budget: SharedBudget,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.lock().release();
    }
}
