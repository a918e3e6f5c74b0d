//! What is wrong with a configuration, said so that a person can repair it.

use std::fmt;
use std::time::Duration;

/// A configuration value that the machine cannot work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, spelled as in the configuration struct; `outer.inner` for a nested one.
    pub field: &'static str,
    /// What must hold for it, completing the sentence "`field` must ...".
    pub must: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "`{}` must {}", self.field, self.must)
    }
}

impl std::error::Error for ConfigError {}

/// `Ok` when the condition holds, otherwise the error that names the field.
pub(crate) fn require(holds: bool, field: &'static str, must: &'static str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError { field, must }) }
}

/// A number that is a share: finite, from 0 to 1.
pub(crate) fn require_share(value: f64, field: &'static str) -> Result<(), ConfigError> {
    require((0.0..=1.0).contains(&value), field, "be from 0 to 1")
}

/// A duration that is longer than nothing.
pub(crate) fn require_positive(value: Duration, field: &'static str) -> Result<(), ConfigError> {
    require(value > Duration::ZERO, field, "be longer than 0")
}
