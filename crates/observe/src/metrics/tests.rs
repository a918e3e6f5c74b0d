use super::*;

fn set(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn describe<'a>(name: &'a str, labels: &'a [&'a str], series: &'a [Vec<String>]) -> Describe<'a> {
    Describe { name, help: "Help.", labels, series }
}

#[test]
fn the_text_is_what_prometheus_reads() {
    let registry = Registry::new(2);
    let series = [set(&["a", "x\"y\\z\nw"]), set(&["b", ""])];
    let counters = registry.counters(describe("sw_requests_total", &["route", "code"], &series)).unwrap();
    counters.add(0, 0, 2);
    counters.add(1, 0, 3);
    let gauges = registry.gauges(describe("sw_in_flight", &[], &[vec![]])).unwrap();
    gauges.add(0, 0, 1);
    gauges.add(1, 0, -3);
    let histograms =
        registry.histograms(describe("sw_latency_seconds", &["r"], &[set(&["a"])]), &[0.1, 1.0]).unwrap();
    for millis in [50, 100, 101, 5000] {
        histograms.observe(0, 0, Duration::from_millis(millis));
    }
    registry.gauge_asked(describe("sw_asked", &["k"], &[]), || vec![(set(&["v"]), 0.5)]).unwrap();
    registry.gauge_asked(describe("sw_empty", &["k"], &[]), Vec::new).unwrap();
    let expected = concat!(
        "# HELP sw_requests_total Help.\n# TYPE sw_requests_total counter\n",
        "sw_requests_total{route=\"a\",code=\"x\\\"y\\\\z\\nw\"} 5\n",
        "sw_requests_total{route=\"b\",code=\"\"} 0\n",
        "# HELP sw_in_flight Help.\n# TYPE sw_in_flight gauge\nsw_in_flight -2\n",
        "# HELP sw_latency_seconds Help.\n# TYPE sw_latency_seconds histogram\n",
        "sw_latency_seconds_bucket{r=\"a\",le=\"0.1\"} 2\n",
        "sw_latency_seconds_bucket{r=\"a\",le=\"1\"} 3\n",
        "sw_latency_seconds_bucket{r=\"a\",le=\"+Inf\"} 4\n",
        "sw_latency_seconds_sum{r=\"a\"} 5.251\n",
        "sw_latency_seconds_count{r=\"a\"} 4\n",
        "# HELP sw_asked Help.\n# TYPE sw_asked gauge\nsw_asked{k=\"v\"} 0.5\n",
    );
    assert_eq!(registry.render(), expected);
    assert_eq!((counters.get(0), gauges.get(0), histograms.count(0)), (5, -2, 4));
}

#[test]
fn names_that_the_linter_refuses_are_refused_here() {
    let registry = Registry::new(1);
    let one = [vec![]];
    let counter = |name| registry.counters(describe(name, &[], &one)).map(drop);
    assert_eq!(counter("sw_requests_total"), Ok(()));
    assert_eq!(counter("sw_requests_total"), Err(MetricError::Twice("sw_requests_total".to_owned())));
    for bad in ["sw_requests", "Sw_total", "sw_latency_ms_total", "sw-x_total", "_total", "1_total"] {
        assert!(matches!(counter(bad), Err(MetricError::Name(..))), "{bad}");
    }
    assert!(registry.gauges(describe("sw_x_total", &[], &one)).is_err());
    assert!(registry.gauges(describe("sw_x_count", &[], &one)).is_err());
    assert!(registry.histograms(describe("sw_latency", &[], &one), LATENCY_SECONDS).is_err());
    assert!(registry.histograms(describe("sw_a_seconds", &["le"], &[]), LATENCY_SECONDS).is_err());
    assert!(matches!(
        registry.counters(describe("sw_b_total", &["a"], &one)).map(drop),
        Err(MetricError::Labels(_))
    ));
    let many = vec![vec![]; SERIES_MAX + 1];
    assert!(matches!(
        registry.counters(describe("sw_c_total", &[], &many)).map(drop),
        Err(MetricError::TooMany(_))
    ));
}

#[test]
fn shards_add_up_from_many_threads() {
    let registry = Registry::new(4);
    let counters = registry.counters(describe("sw_n_total", &[], &[vec![]])).unwrap();
    std::thread::scope(|scope| {
        for shard in 0..8 {
            let counters = counters.clone();
            scope.spawn(move || (0..10_000).for_each(|_| counters.add(shard, 0, 1)));
        }
    });
    assert_eq!(counters.get(0), 80_000);
}
