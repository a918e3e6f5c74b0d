//! The load generator: closed loop, as fast as the proxy answers.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::bench::process::pinned;

/// Connections that wrk keeps busy.
pub(crate) const CONNECTIONS: usize = 64;

/// What one run of wrk saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) rate: f64,
    pub(crate) p99_us: f64,
    /// Failed connections, reads, writes, time-outs, and answers other than 2xx and 3xx.
    pub(crate) errors: u64,
}

/// What it sends.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) url: String,
    pub(crate) new_connections: bool,
    pub(crate) core: usize,
}

impl Load {
    /// Runs for so long.
    pub(crate) fn run(&self, duration: Duration) -> Result<Seen> {
        let mut command = pinned(self.core, "wrk");
        command.args(["--threads", "1", "--connections", &CONNECTIONS.to_string(), "--latency"]);
        command.args(["--duration", &format!("{}s", duration.as_secs())]);
        if self.new_connections {
            command.args(["--header", "Connection: close"]);
        }
        let output =
            command.arg(&self.url).stdout(std::process::Stdio::piped()).output().context("running wrk")?;
        if !output.status.success() {
            bail!("wrk failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).with_context(|| format!("reading what wrk said:\n{text}"))
    }
}

fn parse(text: &str) -> Option<Seen> {
    let lines = || text.lines().map(str::trim);
    let requests = lines().find_map(|line| line.split_once(" requests in "))?.0.parse().ok()?;
    let rate = lines().find_map(|line| line.strip_prefix("Requests/sec:"))?.trim().parse().ok()?;
    let p99_us = microseconds(lines().find_map(|line| line.strip_prefix("99%"))?.trim())?;
    let socket = lines().find_map(|line| line.strip_prefix("Socket errors:")).unwrap_or_default();
    let numbers = socket.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
    let refused = lines().find_map(|line| line.strip_prefix("Non-2xx or 3xx responses:"));
    let refused: u64 = refused.map_or(Some(0), |number| number.trim().parse().ok())?;
    Some(Seen { requests, rate, p99_us, errors: numbers.sum::<u64>() + refused })
}

fn microseconds(text: &str) -> Option<f64> {
    let number = text.trim_end_matches(char::is_alphabetic);
    let factor = match &text[number.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
Running 8s test @ http://127.0.0.1:18000/1k
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.07ms  190.22us   9.59ms   91.48%
  Latency Distribution
     50%    1.04ms
     99%    1.64ms
  480123 requests in 8.00s, 559.23MB read
Requests/sec:  60015.37
Transfer/sec:     69.90MB
";

    #[test]
    fn what_wrk_says_is_understood() {
        let seen = Seen { requests: 480_123, rate: 60_015.37, p99_us: 1640.0, errors: 0 };
        assert_eq!(parse(GOOD), Some(seen));
        let bad = GOOD.replace(
            "Requests/sec:",
            "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 30\nRequests/sec:",
        );
        assert_eq!(parse(&bad), Some(Seen { errors: 40, ..seen }));
        assert_eq!(parse("unable to connect"), None);
    }
}
