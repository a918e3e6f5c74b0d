//! Decisions as they arrive at `tracing` and `metrics`.
#![cfg(all(feature = "tracing", feature = "metrics"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use seaworthy_tower::{BreakerConfig, Error, Event, Observer, Policy, RetryConfig, ToMetrics, ToTracing};
use tracing::field::{Field, Visit};

/// What arrived, a line each.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "seaworthy"
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl Visit for Text {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                if ["message", "policy", "attempt", "by", "why"].contains(&field.name()) {
                    write!(self.0, " {field}={value:?}").unwrap();
                }
            }
        }
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        self.push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct CountTo(Lines, Key);

impl CounterFn for CountTo {
    fn increment(&self, value: u64) {
        let labels: Vec<_> = self.1.labels().map(metrics::Label::value).collect();
        self.0.push(format!("{} {} +{value}", self.1.name(), labels.join(",")));
    }

    fn absolute(&self, _: u64) {}
}

impl Recorder for Lines {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::new(CountTo(self.clone(), key.clone())))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// A backend that fails once, then opens the circuit, with what each adapter made of it.
#[tokio::test(start_paused = true)]
async fn both_tell_the_same_story() {
    let (traced, counted) = (Lines::default(), Lines::default());
    let _tracing = tracing::subscriber::set_default(traced.clone());
    let both = |event: &Event<'_>| {
        ToTracing.on_event(event);
        ToMetrics.on_event(event);
    };
    let policy = Policy::builder("payments")
        .observed_by(Arc::new(both))
        .total_timeout(Duration::from_secs(5))
        .retry(RetryConfig::default())
        .circuit_breaker(BreakerConfig {
            consecutive_failures: 2,
            quiet: Duration::ZERO,
            ..BreakerConfig::default()
        })
        .build()
        .unwrap();
    let _metrics = metrics::set_default_local_recorder(&counted);
    let answer = policy.call(|_| async { Err::<(), ()>(()) }).await;
    assert!(matches!(answer, Err(Error::Rejected(_))), "the third attempt meets an open circuit");
    assert_eq!(
        traced.take(),
        [
            r#"INFO message=sending again policy="payments" attempt=2"#,
            r#"WARN message=circuit changed policy="payments""#,
            r#"INFO message=sending again policy="payments" attempt=3"#,
            r#"WARN message=rejected policy="payments" by="circuit_breaker""#,
        ]
    );
    assert_eq!(
        counted.take(),
        [
            "seaworthy_decisions_total payments,retry, +1",
            "seaworthy_decisions_total payments,transition,open +1",
            "seaworthy_decisions_total payments,retry, +1",
            "seaworthy_decisions_total payments,rejected,circuit_breaker +1",
        ]
    );
}
