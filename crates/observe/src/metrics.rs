//! Counts of what is too frequent to be an event, in the text format of Prometheus.
//!
//! Families and their label sets are registered once, at start, so the number of series is known and bounded, and a
//! series is an index. Counts are kept per shard (one per core), each on cache lines of its own, and summed when
//! somebody asks: counting is one relaxed atomic add that no other core contends for. A map from labels to counters
//! was rejected: it costs a hash per request and lets a client invent series without end.

mod family;
mod text;

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use family::{Counters, Gauges, Histograms, LATENCY_SECONDS};
use family::{Shape, Values};

/// Series per family at most.
pub const SERIES_MAX: usize = 10_000;

/// The content type of [`Registry::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Why a family was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetricError {
    /// Not a name that Prometheus takes or that its linter likes; why.
    Name(String, &'static str),
    /// A family of this name exists.
    Twice(String),
    /// A label set has another number of values than there are label names.
    Labels(String),
    /// More than [`SERIES_MAX`] label sets.
    TooMany(String),
}

impl std::fmt::Display for MetricError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name, why) => write!(formatter, "metric `{name}`: {why}"),
            Self::Twice(name) => write!(formatter, "metric `{name}` is registered twice"),
            Self::Labels(name) => {
                write!(formatter, "metric `{name}`: label values do not match the label names")
            }
            Self::TooMany(name) => write!(formatter, "metric `{name}`: more than {SERIES_MAX} label sets"),
        }
    }
}

impl std::error::Error for MetricError {}

/// What a family is called and which series it has.
#[derive(Debug, Clone, Copy)]
pub struct Describe<'a> {
    /// Its name: unit last, `_total` at the end of counters.
    pub name: &'a str,
    /// What it counts, in one sentence.
    pub help: &'a str,
    /// The names of its labels.
    pub labels: &'a [&'a str],
    /// The values of the labels of every series; the index into this list names the series from here on.
    pub series: &'a [Vec<String>],
}

/// What a family computed at scrape time reports: label values and the value.
pub type Samples = Vec<(Vec<String>, f64)>;

/// All families of a process. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    shards: usize,
    families: Arc<Mutex<Vec<Family>>>,
}

#[derive(Clone)]
struct Family {
    name: String,
    help: String,
    kind: &'static str,
    labels: Vec<String>,
    source: Source,
}

#[derive(Clone)]
enum Source {
    Cells { series: Vec<Vec<String>>, values: Values },
    Asked(Arc<dyn Fn() -> Samples + Send + Sync>),
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Registry").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Registry {
    /// An empty registry for this many shards (at least one).
    pub fn new(shards: usize) -> Self {
        Self { shards: shards.max(1), families: Arc::default() }
    }

    /// Registers counters, which only ever grow.
    pub fn counters(&self, describe: Describe<'_>) -> Result<Counters, MetricError> {
        Ok(Counters::new(self.add(describe, "counter", Shape::Single)?))
    }

    /// Registers gauges that are changed by differences, such as the number of requests in flight.
    pub fn gauges(&self, describe: Describe<'_>) -> Result<Gauges, MetricError> {
        Ok(Gauges::new(self.add(describe, "gauge", Shape::Single)?))
    }

    /// Registers histograms of durations with these upper bounds in seconds, in rising order.
    pub fn histograms(
        &self,
        describe: Describe<'_>,
        bounds: &'static [f64],
    ) -> Result<Histograms, MetricError> {
        Ok(Histograms::new(self.add(describe, "histogram", Shape::Histogram(bounds))?, bounds))
    }

    /// Registers a gauge whose series are computed when somebody asks (the `series` of `describe` are not used).
    /// `ask` may not block; what it returns beyond [`SERIES_MAX`] is left out.
    pub fn gauge_asked(
        &self,
        describe: Describe<'_>,
        ask: impl Fn() -> Samples + Send + Sync + 'static,
    ) -> Result<(), MetricError> {
        self.push(describe, "gauge", Source::Asked(Arc::new(ask)))
    }

    /// Registers a counter that is kept elsewhere and read when somebody asks.
    pub fn counter_asked(
        &self,
        describe: Describe<'_>,
        ask: impl Fn() -> Samples + Send + Sync + 'static,
    ) -> Result<(), MetricError> {
        self.push(describe, "counter", Source::Asked(Arc::new(ask)))
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> String {
        // Copied first: whoever is asked for samples may take locks, and must not do it under ours.
        let families = self.families.lock().expect("no holder panics").clone();
        let mut out = String::new();
        for family in &families {
            text::family(&mut out, family);
        }
        out
    }

    fn add(&self, describe: Describe<'_>, kind: &'static str, shape: Shape) -> Result<Values, MetricError> {
        let refused = || describe.name.to_owned();
        if describe.series.len() > SERIES_MAX {
            return Err(MetricError::TooMany(refused()));
        }
        if describe.series.iter().any(|values| values.len() != describe.labels.len()) {
            return Err(MetricError::Labels(refused()));
        }
        let values = Values::new(self.shards, describe.series.len(), shape);
        let source = Source::Cells { series: describe.series.to_vec(), values: values.clone() };
        self.push(describe, kind, source)?;
        Ok(values)
    }

    fn push(&self, describe: Describe<'_>, kind: &'static str, source: Source) -> Result<(), MetricError> {
        text::check_names(describe.name, kind, describe.labels)?;
        let mut families = self.families.lock().expect("no holder panics");
        if families.iter().any(|family| family.name == describe.name) {
            return Err(MetricError::Twice(describe.name.to_owned()));
        }
        families.push(Family {
            name: describe.name.to_owned(),
            help: describe.help.to_owned(),
            kind,
            labels: describe.labels.iter().map(|label| (*label).to_owned()).collect(),
            source,
        });
        Ok(())
    }
}

/// Seconds of a duration in whole nanoseconds, as far as a cell can hold them.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
