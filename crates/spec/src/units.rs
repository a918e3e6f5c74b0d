//! Numbers with units as people write them outside of a spec, on a command line.

use std::time::Duration;

use crate::decode::forms;

/// Reads a duration such as `250ms`; the error says what to write instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    forms::duration(text)
        .map_err(|unreadable| unreadable.help.unwrap_or_else(|| "write it like `250ms` or `5m`".to_owned()))
}

/// Reads a share such as `30%`, as 0 to 1; the error says what to write instead.
pub fn share(text: &str) -> Result<f64, String> {
    forms::share(text)
        .map_err(|unreadable| unreadable.help.unwrap_or_else(|| "write it like `30%`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_units_of_the_spec_hold_here_too() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("250").is_err_and(|help| help.contains("250s")));
        assert_eq!(share("30%"), Ok(0.3));
        assert!(share("a lot").is_err());
    }
}
