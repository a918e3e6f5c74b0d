//! What the policies cost, for people, and whether the targets are met.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};

use crate::bench::policy::heading;
use crate::bench::statistics::{Samples, two_decimals};

const OURS: &str = "seaworthy";
/// Theirs exists as a layer only, with what it wraps in futures and reads of clocks; so it is compared with both of ours.
const AS_A_LAYER: &str = ", as a layer";
const OUR_LAYER: &str = "seaworthy, as a layer";
const THEIR_LAYER: &str = "tower-resilience, as a layer";
/// Every failure to open a circuit counts against it from here on: more calls than these are not made.
const NEVER: &str = "never";

/// One row, as the package measured it.
struct Row<'a>(&'a Value);

impl Row<'_> {
    fn word(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn samples(&self, name: &str) -> Samples {
        let all = self.0[name].as_array().into_iter().flatten();
        all.filter_map(Value::as_f64).collect()
    }

    /// Nanoseconds of CPU time per call.
    fn cost(&self) -> f64 {
        self.samples("cpu_ns").median()
    }

    fn threads(&self) -> u64 {
        self.0["threads"].as_u64().unwrap_or_default()
    }

    fn is(&self, group: &str, what: &str, who: &str) -> bool {
        self.word("group") == group && self.word("what") == what && self.word("who") == who
    }
}

fn rows(report: &Value) -> Vec<Row<'_>> {
    report["rows"].as_array().into_iter().flatten().map(Row).collect()
}

fn find<'a>(rows: &'a [Row<'a>], group: &str, what: &str, who: &str, threads: u64) -> Option<&'a Row<'a>> {
    rows.iter().find(|row| row.is(group, what, who) && row.threads() == threads)
}

/// Cost of a row, without what the bare service costs where there is one; NaN without such a row.
fn cost(rows: &[Row<'_>], group: &str, what: &str, who: &str) -> f64 {
    let Some(row) = find(rows, group, what, who, 1) else { return f64::NAN };
    row.cost() - bare(rows, group, what)
}

fn bare(rows: &[Row<'_>], group: &str, what: &str) -> f64 {
    let through_a_service = matches!(group, "layer" | "stack") || what.ends_with("as a layer");
    let bare = || find(rows, "layer", "bare service", "none", 1).map_or(f64::NAN, Row::cost);
    if through_a_service && what != "bare service" { bare() } else { 0.0 }
}

/// Every target, what was measured, and whether it is met.
pub(crate) fn verdicts(report: &Value) -> Value {
    let rows = rows(report);
    let calls = "admit and complete";
    let breaker = cost(&rows, "breaker", calls, OURS);
    let eight =
        find(&rows, "breaker", calls, OURS, 8).map_or(f64::NAN, |row| row.samples("elapsed_ns").median());
    let our_layer = cost(&rows, "breaker", calls, OUR_LAYER);
    let their_layer = cost(&rows, "breaker", calls, THEIR_LAYER);
    let stack = find(&rows, "stack", "five policies", OURS, 1);
    let allocations = stack.and_then(|row| row.0["allocations"].as_f64()).unwrap_or(f64::NAN);
    let rejection = cost(&rows, "rejection", "turned away by an open circuit", OURS);
    let held = |calls: &str| cost(&rows, "window", &format!("{calls} calls in a window by time"), OURS);
    let bytes = |what: &str| {
        let mut all = report["memory"].as_array().into_iter().flatten();
        let row =
            all.find(|row| row["who"] == OURS && row["what"].as_str().is_some_and(|it| it.starts_with(what)));
        row.and_then(|row| row["bytes_per_key"].as_f64()).unwrap_or(f64::NAN)
    };
    let all = [
        ("breaker behind a lock, one thread, ns", breaker, 30.0),
        ("the same on eight threads, elapsed ns", eight, 80.0),
        ("our machine behind a lock / tower-resilience's layer", breaker / their_layer, 0.25),
        ("our layer / tower-resilience's layer", our_layer / their_layer, 1.0),
        ("five policies, ns", cost(&rows, "stack", "five policies", OURS), 250.0),
        ("five policies, allocations", allocations, 0.0),
        ("rejection, ns", rejection, 50.0),
        ("100,000 calls in the window / 1,000", held("100000") / held("1000"), 1.2),
        ("bytes per breaker", bytes("breaker"), 256.0),
        ("bytes per rate limit key", bytes("rate limit"), 256.0),
    ];
    all.iter()
        .map(|(target, measured, limit)| {
            json!({ "target": target, "measured": two_decimals(*measured), "limit": limit, "met": measured <= limit })
        })
        .collect()
}

pub(crate) fn text(report: &Value) -> Result<String, fmt::Error> {
    let mut out = heading(report);
    let quiet = if report["quiet"] == true { "no compiler ran" } else { "NOISY: compilers ran meanwhile" };
    let effort = &report["effort"];
    writeln!(out, "median (min..max) of {} rounds of {} ms; {quiet}", effort["rounds"], effort["batch_ms"])?;
    writeln!(
        out,
        "ns per call: CPU time; elapsed, all threads together; what is left without the bare service\n"
    )?;
    let rows = rows(report);
    let mut last = String::new();
    for row in &rows {
        let headline = format!("{}: {}, {} threads", row.word("group"), row.word("what"), row.threads());
        if headline != last {
            writeln!(out, "{}", headline.replace(", 1 threads", ""))?;
            last = headline;
        }
        line(&mut out, &rows, row)?;
    }
    memory(&mut out, report)?;
    opening(&mut out, report)?;
    for verdict in report["verdicts"].as_array().into_iter().flatten() {
        let met = if verdict["met"] == true { "MET" } else { "MISSED" };
        let (target, measured) = (verdict["target"].as_str().unwrap_or_default(), &verdict["measured"]);
        writeln!(out, "verdict: {met}: {target}: {measured}, target <= {}", verdict["limit"])?;
    }
    Ok(out)
}

fn line(out: &mut String, rows: &[Row<'_>], row: &Row<'_>) -> fmt::Result {
    let cpu = row.samples("cpu_ns");
    let spread = format!("{:.1} ({:.1}..{:.1})", cpu.median(), cpu.least(), cpu.most());
    let net = cpu.median() - bare(rows, row.word("group"), row.word("what"));
    let elapsed = row.samples("elapsed_ns").median();
    write!(out, "  {:<38} {spread:>32} {elapsed:>10.1} {net:>10.1}", row.word("who"))?;
    for (who, name) in [(OURS, "ours"), (OUR_LAYER, "our layer")] {
        let ours = find(rows, row.word("group"), row.word("what"), who, row.threads());
        let is_comparable = who == OURS || row.word("who").ends_with(AS_A_LAYER);
        if let Some(ours) = ours.filter(|_| row.word("who") != who && is_comparable) {
            let ours = ours.cost() - bare(rows, row.word("group"), row.word("what"));
            write!(out, "  x {:.2} of {name}", net / ours)?;
        }
    }
    if let Some(allocations) = row.0["allocations"].as_f64().filter(|count| *count >= 0.01) {
        write!(out, "  {allocations:.0} allocations")?;
    }
    writeln!(out)
}

fn memory(out: &mut String, report: &Value) -> fmt::Result {
    writeln!(out, "bytes per key, of 10,000")?;
    for row in report["memory"].as_array().into_iter().flatten() {
        let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let bytes = row["bytes_per_key"].as_f64().unwrap_or(f64::NAN);
        writeln!(out, "  {:<38} {:<42} {bytes:>7.0}", word("who"), word("what"))?;
    }
    Ok(())
}

fn opening(out: &mut String, report: &Value) -> fmt::Result {
    writeln!(out, "failures that open the circuit after 100, 10,000 and 1,000,000 successes")?;
    for row in report["calls_to_open"].as_array().into_iter().flatten() {
        let word = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let failures = row["failures_to_open"].as_array().cloned().unwrap_or_default();
        let failures: Vec<String> = failures
            .iter()
            .map(|count| if count.is_null() { NEVER.to_owned() } else { count.to_string() })
            .collect();
        writeln!(out, "  {:<38} {:<34} {}", word("who"), word("what"), failures.join(", "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_compared_with_our_machine_and_with_our_layer() {
        let row = |who: &str, cpu_ns: f64| {
            json!({ "group": "breaker", "what": "admit and complete", "who": who,
            "threads": 1, "cpu_ns": [cpu_ns], "elapsed_ns": [cpu_ns], "allocations": 0.0, "calls": 1 })
        };
        let rows = [row(OURS, 10.0), row(OUR_LAYER, 60.0), row(THEIR_LAYER, 120.0), row("recloser", 5.0)];
        let mut report = json!({ "rows": rows });
        report["verdicts"] = verdicts(&report);
        let text = text(&report).unwrap();
        let line =
            |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap().trim_end();
        assert!(line(THEIR_LAYER).ends_with("x 12.00 of ours  x 2.00 of our layer"));
        assert!(line("recloser").ends_with("x 0.50 of ours"), "what is no layer is not compared with one");
        assert!(line(OUR_LAYER).ends_with("x 6.00 of ours"));
        assert!(text.contains("our machine behind a lock / tower-resilience's layer: 0.08, target <= 0.25"));
        assert!(text.contains("our layer / tower-resilience's layer: 0.5, target <= 1.0"));
    }
}
