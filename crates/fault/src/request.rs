//! What can be asked for, as it comes over the wire.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// The longest life of a fault; also its life when the request names none. Long enough for any drill, short enough
/// that a forgotten fault does not outlive the meeting in which somebody asks about it.
pub const DEADLINE_MAX: Duration = Duration::from_mins(10);

/// The most faults in one request: a compound failure has a handful of parts.
pub const FAULTS_PER_REQUEST_MAX: usize = 32;

/// Faults to be applied together, all or none, under one id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    /// What to break; 1 to [`FAULTS_PER_REQUEST_MAX`] of them.
    pub faults: Vec<FaultSpec>,
    /// After how many milliseconds the faults end by themselves; 1 to [`DEADLINE_MAX`], which is also the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Decides which replica is picked and which requests meet the fault.
    #[serde(default)]
    pub seed: u64,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What.
    pub kind: FaultKind,
    /// To whom.
    pub target: Target,
    /// `latency` only: milliseconds by which a request is delayed, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_ms: Option<u64>,
    /// `blackhole`, `latency` and `errors` only: share of requests that meet the fault, above 0, at most 1 (default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// `errors` only: the status answered, 400 to 599; 503 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// The faults that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// SIGKILL; over as soon as it is proven.
    Kill,
    /// SIGSTOP.
    Pause,
    /// Connections are refused.
    Refuse,
    /// Connections hang, or a share of requests is never answered.
    Blackhole,
    /// A share of requests is delayed.
    Latency,
    /// A share of requests is answered with an error and not executed.
    Errors,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Kill, Self::Pause, Self::Refuse, Self::Blackhole, Self::Latency, Self::Errors];

    /// Its word in requests and reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Refuse => "refuse",
            Self::Blackhole => "blackhole",
            Self::Latency => "latency",
            Self::Errors => "errors",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// Whom a fault is aimed at. Network faults on a service or a zone act on each of its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Target {
    /// One replica.
    Replica {
        /// The service's name.
        service: String,
        /// The replica's id; one that runs is picked by the seed when it is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replica: Option<String>,
    },
    /// Every running replica of a service.
    Service(String),
    /// The traffic that leaves through the egress listener of a service. Network faults only.
    Egress(String),
    /// Every running replica in a zone.
    Zone(ZoneName),
}

/// A zone: a number is its index in the spec's list, a string its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneName {
    /// Index into the spec's zones, from 0.
    Index(u16),
    /// Its name.
    Name(String),
}

impl fmt::Display for ZoneName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(index) => write!(out, "number {index}"),
            Self::Name(name) => write!(out, "`{name}`"),
        }
    }
}

impl Serialize for ZoneName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Index(index) => serializer.serialize_u16(*index),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for ZoneName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ZoneVisitor;
        impl Visitor<'_> for ZoneVisitor {
            type Value = ZoneName;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("the name of a zone, or its index from 0")
            }

            fn visit_u64<E: de::Error>(self, index: u64) -> Result<ZoneName, E> {
                u16::try_from(index)
                    .map(ZoneName::Index)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(index), &self))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<ZoneName, E> {
                Ok(ZoneName::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(ZoneVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(target: &str) -> Result<Target, String> {
        let text = format!(r#"{{"faults":[{{"kind":"kill","target":{target}}}],"deadline_ms":1000}}"#);
        let request: FaultRequest = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let again: FaultRequest = serde_json::from_str(&serde_json::to_string(&request).expect("serializes"))
            .expect("parses again");
        assert_eq!(request, again);
        Ok(request.faults[0].target.clone())
    }

    #[test]
    fn targets_are_read_as_documented() {
        let replica = |replica: Option<&str>| Target::Replica {
            service: "api".to_owned(),
            replica: replica.map(ToOwned::to_owned),
        };
        let rows = [
            (r#"{"replica":{"service":"api"}}"#, replica(None)),
            (r#"{"replica":{"service":"api","replica":"a-1"}}"#, replica(Some("a-1"))),
            (r#"{"service":"api"}"#, Target::Service("api".to_owned())),
            (r#"{"egress":"api"}"#, Target::Egress("api".to_owned())),
            (r#"{"zone":1}"#, Target::Zone(ZoneName::Index(1))),
            (r#"{"zone":"b"}"#, Target::Zone(ZoneName::Name("b".to_owned()))),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let rows = [
            (r#"{"faults":[],"sead":1}"#, "unknown field `sead`"),
            (r#"{"faults":[{"kind":"kil","target":{"zone":1}}]}"#, "unknown variant `kil`"),
            (r#"{"faults":[{"kind":"kill","target":{"zone":1},"ad_ms":1}]}"#, "unknown field `ad_ms`"),
            (r#"{"faults":[{"kind":"kill","target":{"rack":1}}]}"#, "unknown variant `rack`"),
            (r#"{"faults":[{"kind":"kill","target":{"zone":70000}}]}"#, "the name of a zone, or its index"),
            (r#"{"faults":[{"kind":"kill","target":{"zone":true}}]}"#, "the name of a zone, or its index"),
            (r#"{"faults":[{"kind":"kill"}]}"#, "missing field `target`"),
            (
                r#"{"faults":[{"kind":"kill","target":{"replica":{"service":"a","id":"b"}}}]}"#,
                "unknown field `id`",
            ),
        ];
        for (text, expected) in rows {
            let error = serde_json::from_str::<FaultRequest>(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
