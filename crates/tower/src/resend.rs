//! What the layers have in common that may send a request more than once: what failure is, what may be sent again, who pays,
//! and who hears of it.

use seaworthy_policy::{BudgetConfig, ConfigError};

use crate::budget::SharedBudget;
use crate::classify::FailOnError;
use crate::observe::Watch;

/// The common part; the layer around it adds when and how often.
#[derive(Clone, Debug)]
pub(crate) struct Resend<C, P> {
    pub(crate) classifier: C,
    pub(crate) replay: P,
    pub(crate) budget: SharedBudget,
    pub(crate) watch: Watch,
}

impl<P> Resend<FailOnError, P> {
    /// With a budget of its own.
    pub(crate) fn new(replay: P) -> Result<Self, ConfigError> {
        let budget = SharedBudget::new(BudgetConfig::default())?;
        Ok(Resend { classifier: FailOnError, replay, budget, watch: Watch::default() })
    }
}

impl<C, P> Resend<C, P> {
    pub(crate) fn classify<D>(self, classifier: D) -> Resend<D, P> {
        let Resend { replay, budget, watch, .. } = self;
        Resend { classifier, replay, budget, watch }
    }
}

/// The setters of a layer that consists of `config`, `resend` and `core`.
macro_rules! resending {
    ($Layer:ident) => {
        /// Reads answers with this classifier.
        pub fn classify<D>(self, classifier: D) -> $Layer<D, P> {
            let $Layer { config, resend, core } = self;
            $Layer { config, resend: resend.classify(classifier), core }
        }

        /// Pays from this budget; share it with whatever else sends requests of the same backend again.
        #[must_use]
        pub fn budget(mut self, budget: SharedBudget) -> Self {
            self.resend.budget = budget;
            self
        }

        watchable!(resend.watch);
    };
}
pub(crate) use resending;
