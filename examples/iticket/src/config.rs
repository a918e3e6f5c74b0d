//! What a process is told by its environment.
//!
//! | variable | meaning |
//! |---|---|
//! | `PORT` | listen on 127.0.0.1 at this port; 0 takes a free one, which the log line `listening` reports |
//! | `SEAWORTHY_ZONE`, `SEAWORTHY_REPLICA` | who we are, for the log |
//! | `SEAWORTHY_STATE_DIR` | a folder of our own that survives restarts (`ledger` and `payments` need it) |
//! | `SEAWORTHY_EGRESS_<NAME>` | `http://host:port` by which we reach another service |
//! | `SEAWORTHY_ABLATE` | comma-separated abilities we must do without; we know `degrade` |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const EGRESS_PREFIX: &str = "SEAWORTHY_EGRESS_";

/// The services that this binary can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Answers people: pages and purchases.
    Api,
    /// Owns the tickets.
    Ledger,
    /// Plays the third party that charges cards.
    Payments,
    /// Holds copies of event pages.
    Cache,
    /// The rooms in which people talk about an event.
    Chat,
    /// Counts things.
    Analytics,
    /// Sends confirmations.
    Mail,
}

impl Service {
    const ALL: [Service; 7] = [
        Service::Api,
        Service::Ledger,
        Service::Payments,
        Service::Cache,
        Service::Chat,
        Service::Analytics,
        Service::Mail,
    ];

    /// The subcommand, and the name in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Service::Api => "api",
            Service::Ledger => "ledger",
            Service::Payments => "payments",
            Service::Cache => "cache",
            Service::Chat => "chat",
            Service::Analytics => "analytics",
            Service::Mail => "mail",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, ConfigError> {
        let found = Self::ALL.into_iter().find(|service| service.name() == name);
        found.ok_or_else(|| ConfigError::UnknownService {
            name: name.to_owned(),
            known: Self::ALL.map(Service::name).join("|"),
        })
    }
}

/// The environment, understood.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Which service this process is.
    pub(crate) service: Service,
    /// 0 = any free port.
    pub(crate) port: u16,
    /// The failure domain, or empty.
    pub(crate) zone: String,
    /// The copy's name, or empty.
    pub(crate) replica: String,
    /// Whether a service may answer less than the whole; `degrade` in `SEAWORTHY_ABLATE` forbids it.
    pub(crate) degradation: Degradation,
    state_dir: Option<PathBuf>,
    egress: BTreeMap<String, String>,
}

/// May a service answer less than was asked for?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Degradation {
    /// The product as designed.
    Allowed,
    /// The counter-experiment: any missing part is a plain failure.
    Ablated,
}

/// The environment does not say what it has to say.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ConfigError {
    /// The subcommand names nothing.
    #[error("unknown service {name:?}; usage: iticket {known}")]
    UnknownService {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A variable without which the service cannot work.
    #[error("the environment variable {name} is missing")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A variable that makes no sense.
    #[error("{name}={value:?} is not {expected}")]
    Invalid {
        /// Its name.
        name: String,
        /// What it says.
        value: String,
        /// What it should have been.
        expected: &'static str,
    },
}

impl Config {
    /// Reads `(name, value)` pairs; names that are not ours are ignored.
    pub(crate) fn from_variables(
        service: Service,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let variables: BTreeMap<String, String> = variables.collect();
        let text = |name: &str| variables.get(name).cloned().unwrap_or_default();
        let mut egress = BTreeMap::new();
        for (name, value) in &variables {
            let Some(target) = name.strip_prefix(EGRESS_PREFIX) else { continue };
            egress.insert(target.to_ascii_lowercase(), authority(name, value)?);
        }
        let ablated = text("SEAWORTHY_ABLATE").split(',').any(|ability| ability.trim() == "degrade");
        Ok(Self {
            service,
            port: port(variables.get("PORT"))?,
            zone: text("SEAWORTHY_ZONE"),
            replica: text("SEAWORTHY_REPLICA"),
            degradation: if ablated { Degradation::Ablated } else { Degradation::Allowed },
            state_dir: variables
                .get("SEAWORTHY_STATE_DIR")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            egress,
        })
    }

    /// `host:port` of a service, if we were given a way to it.
    pub(crate) fn egress(&self, service: Service) -> Option<&str> {
        self.egress.get(service.name()).map(String::as_str)
    }

    /// The same, for a service without which we cannot work.
    pub(crate) fn required_egress(&self, service: Service) -> Result<&str, ConfigError> {
        self.egress(service).ok_or_else(|| ConfigError::Missing {
            name: format!("{EGRESS_PREFIX}{}", service.name().to_ascii_uppercase()),
        })
    }

    /// The folder that survives restarts.
    pub(crate) fn state_dir(&self) -> Result<&Path, ConfigError> {
        self.state_dir
            .as_deref()
            .ok_or_else(|| ConfigError::Missing { name: "SEAWORTHY_STATE_DIR".to_owned() })
    }
}

fn port(value: Option<&String>) -> Result<u16, ConfigError> {
    let value = value.ok_or_else(|| ConfigError::Missing { name: "PORT".to_owned() })?;
    value.parse().map_err(|_| invalid("PORT", value, "a port number"))
}

fn authority(name: &str, url: &str) -> Result<String, ConfigError> {
    let refuse = || invalid(name, url, "of the form http://host:port");
    let uri: ::http::Uri = url.parse().map_err(|_| refuse())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if authority.port_u16().is_some() => Ok(authority.to_string()),
        _ => Err(refuse()),
    }
}

fn invalid(name: &str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Invalid { name: name.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_variables(Service::Api, pairs)
    }

    #[test]
    fn every_variable_is_understood() {
        let config = read(&[
            ("PORT", "7001"),
            ("SEAWORTHY_ZONE", "a"),
            ("SEAWORTHY_REPLICA", "api-1"),
            ("SEAWORTHY_STATE_DIR", "/var/lib/api"),
            ("SEAWORTHY_EGRESS_LEDGER", "http://127.0.0.1:7102"),
            ("SEAWORTHY_ABLATE", "retry, degrade"),
            ("HOME", "/root"),
        ])
        .unwrap();
        assert_eq!((config.port, config.zone.as_str(), config.replica.as_str()), (7001, "a", "api-1"));
        assert_eq!(config.state_dir().unwrap(), Path::new("/var/lib/api"));
        assert_eq!(config.required_egress(Service::Ledger), Ok("127.0.0.1:7102"));
        assert_eq!(config.egress(Service::Chat), None);
        assert_eq!(config.degradation, Degradation::Ablated);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let name_of = |variables: &[(&str, &str)]| match read(variables) {
            Err(ConfigError::Missing { name } | ConfigError::Invalid { name, .. }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name_of(&[]), "PORT");
        assert_eq!(name_of(&[("PORT", "http")]), "PORT");
        for url in ["", "127.0.0.1:1", "http://host", "https://host:1", "http://"] {
            let variables = [("PORT", "0"), ("SEAWORTHY_EGRESS_CHAT", url)];
            assert_eq!(name_of(&variables), "SEAWORTHY_EGRESS_CHAT", "{url}");
        }
        let bare = read(&[("PORT", "0")]).unwrap();
        assert_eq!(bare.degradation, Degradation::Allowed);
        let missing = ConfigError::Missing { name: "SEAWORTHY_EGRESS_LEDGER".to_owned() };
        assert_eq!(bare.required_egress(Service::Ledger), Err(missing));
        assert!(bare.state_dir().is_err());
        assert!(Service::parse("apis").is_err());
        assert_eq!(Service::parse("mail"), Ok(Service::Mail));
    }
}
