//! Deadlines in the headers of requests: what is read, what is taken away, and what the endpoint is told.

use http::{HeaderMap, HeaderName, HeaderValue};
use seaworthy_policy::deadline::wire::{self, ENVOY_EXPECTED_TIMEOUT, GRPC_TIMEOUT};
use seaworthy_policy::deadline::{Deadline, DeadlineConfig, WireFormat};
use seaworthy_policy::{Time, call::CallConfig};
use seaworthy_spec::plan::TrafficPlan;

use crate::headers::DEADLINE;
use crate::seen::Seen;

/// The headers of other houses that say how long a caller waits.
const FOREIGN: [(HeaderName, WireFormat); 2] = [
    (HeaderName::from_static(GRPC_TIMEOUT), WireFormat::Grpc),
    (HeaderName::from_static(ENVOY_EXPECTED_TIMEOUT), WireFormat::Milliseconds),
];

/// How a target speaks about deadlines.
#[derive(Debug, Clone)]
pub(crate) struct DeadlineHeaders {
    /// In which whole milliseconds are told and understood.
    own: HeaderName,
    /// It is not the usual one, so that it has to be searched for.
    renamed: bool,
    config: DeadlineConfig,
    /// The endpoint is ours, so it is told in our header.
    supervised: bool,
}

/// What goes out with every attempt of a request: those headers in which an endpoint is told what is left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Telling {
    own: Option<HeaderName>,
    /// Those that our own service used towards the endpoint, by their place in [`FOREIGN`].
    foreign: [bool; 2],
}

impl DeadlineHeaders {
    pub(crate) fn new(traffic: &TrafficPlan, call: &CallConfig, supervised: bool) -> Self {
        let own = HeaderName::try_from(traffic.deadline_header.as_str()).unwrap_or(DEADLINE);
        let config = DeadlineConfig {
            total_timeout: call.total_timeout,
            deadline_margin: traffic.deadline_margin,
            // The call itself begins nothing with less than it was given.
            min_remaining: std::time::Duration::ZERO,
        };
        Self { renamed: own != DEADLINE, own, config, supervised }
    }

    /// The endpoint is ours, and is spoken to in our headers.
    pub(crate) fn is_supervised(&self) -> bool {
        self.supervised
    }

    /// What a trusted caller says is left; the shortest of what can be believed.
    pub(crate) fn told(&self, headers: &HeaderMap, seen: Seen) -> Option<std::time::Duration> {
        if !self.renamed && !seen.has(Seen::DEADLINE) {
            return None;
        }
        let own = headers.get_all(&self.own).iter().map(|value| (WireFormat::Milliseconds, value.as_bytes()));
        let foreign = FOREIGN.into_iter().flat_map(|(name, format)| {
            headers.get_all(name).iter().map(move |value| (format, value.as_bytes()))
        });
        wire::shortest(own.chain(foreign))
    }

    /// Takes every word about deadlines out of the request: what goes on is said anew. What a caller that is not
    /// `trusted` said is forgotten.
    pub(crate) fn take(&self, headers: &mut HeaderMap, seen: Seen, trusted: bool) -> Telling {
        let mut foreign = [false; 2];
        if seen.has(Seen::DEADLINE) {
            headers.remove(DEADLINE);
            foreign = FOREIGN.map(|(name, _)| headers.remove(name).is_some() && trusted);
        }
        if self.renamed {
            headers.remove(&self.own);
        }
        let own = self.supervised.then(|| self.own.clone());
        if let Some(own) = &own {
            // Makes room, once for all attempts, for what each is told.
            headers.insert(own, HeaderValue::from_static("0"));
        }
        Telling { own, foreign }
    }

    /// The same for a request that another target has prepared and that goes here now: its caller's dialects stay.
    pub(crate) fn take_again(&self, headers: &mut HeaderMap, before: &Telling) -> Telling {
        if let Some(own) = &before.own {
            headers.remove(own);
        }
        Telling { foreign: before.foreign, ..self.take(headers, Seen::DEADLINE, false) }
    }

    /// Tells the endpoint of an attempt that begins now what is left of the deadline, less the way back.
    pub(crate) fn tell(&self, telling: &Telling, now: Time, deadline: Time, headers: &mut HeaderMap) {
        if telling.own.is_none() && !telling.foreign.contains(&true) {
            return;
        }
        // A call begins nothing so late; if time passed since, the truth is that nothing is left.
        let left = self.config.forward(now, Deadline::at(deadline)).unwrap_or_default();
        let mut say = |name: HeaderName, format: WireFormat| {
            let value = HeaderValue::try_from(format.render(left).to_string());
            headers.insert(name, value.expect("digits and a letter"));
        };
        if let Some(own) = &telling.own {
            say(own.clone(), WireFormat::Milliseconds);
        }
        for ((name, format), _) in FOREIGN.into_iter().zip(telling.foreign).filter(|(_, used)| *used) {
            say(name, format);
        }
    }
}
