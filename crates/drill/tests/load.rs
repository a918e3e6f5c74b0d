//! The sender: what it sends, and how it names what it sees.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use seaworthy_drill::RunIds;
use seaworthy_drill::load::{Loads, LoadsConfig};
use seaworthy_drill::measure::{Seen, WriteSpan, Writes};
use seaworthy_drill::record::{Class, Record, WriteOutcome};
use seaworthy_spec::plan::LoadPlan;
use support::backend::Backend;
use support::subject::writers;

/// Sends until so many requests are done, and returns all that are.
fn send(load: &LoadPlan, gateway: SocketAddr, count: usize) -> Vec<Record> {
    let ids = RunIds::new(7, 1);
    let config = LoadsConfig { loads: std::slice::from_ref(load), gateway, ids: &ids, seed: 7 };
    let mut loads = Loads::start(&config).unwrap();
    let begun = Instant::now();
    let records = loop {
        let (_, records) = loads.history().since(0, 0);
        let done: Vec<Record> = records.into_iter().take_while(Record::is_done).collect();
        if done.len() >= count {
            break done;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "only {} are done", done.len());
        assert!(!loads.is_broken());
        std::thread::sleep(Duration::from_millis(10));
    };
    loads.stop();
    records
}

fn lost(records: &[Record]) -> u64 {
    let span = WriteSpan { start: 0, end: u64::MAX };
    Writes::count(records, 0, span, Some(&[Seen::new()])).effects.unwrap().lost
}

#[test]
fn refused_connections_are_refused_writes() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let records = send(&writers(100.0), address, 30);
    assert!(records.iter().all(|record| record.class == Class::Failed && record.status == 0));
    assert!(records.iter().all(|record| record.write == WriteOutcome::Refused), "{records:?}");
    assert_eq!(lost(&records), 0);
}

#[test]
fn silence_is_unknown_after_the_timeout_and_never_lost() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let mut load = writers(50.0);
    load.timeout = Duration::from_millis(300);
    let records = send(&load, address, 20);
    assert!(records.iter().all(|record| record.class == Class::Failed));
    assert!(records.iter().all(|record| record.write == WriteOutcome::Unknown), "{records:?}");
    assert!(
        records.iter().all(|record| (295..2_000).contains(&(record.latency() / 1_000_000))),
        "{records:?}"
    );
    assert_eq!(lost(&records), 0);
    // And each was really sent: a connection of its own with a whole request on it.
    let (mut stream, _) = silent.accept().unwrap();
    let mut request = Vec::new();
    stream.read_to_end(&mut request).unwrap();
    let request = String::from_utf8(request).unwrap();
    assert!(request.starts_with("POST /tickets HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("idempotency-key: sw"), "{request}");
    assert!(request.contains("x-load: sw"), "{request}");
    assert!(request.ends_with("-0-0\"}"), "{request}");
}

#[test]
fn connections_are_kept_and_every_id_is_sent_once() {
    let backend = Backend::start();
    let records = send(&writers(200.0), backend.address, 200);
    assert!(records.iter().all(|record| record.class == Class::Good), "{records:?}");
    assert!(records.iter().all(|record| record.write == WriteOutcome::Acknowledged));
    assert!(backend.connections() <= 20, "{} connections", backend.connections());
    let ids = RunIds::new(7, 1);
    let mut numbers: Vec<u64> = backend.effects().iter().map(|id| ids.parse(id).unwrap().1).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{numbers:?}");
    assert!(numbers.len() >= 200);
    backend.close();
}

#[test]
fn the_schedule_is_kept_and_its_lag_is_known() {
    let backend = Backend::start();
    let records = send(&writers(500.0), backend.address, 500);
    for pair in records.windows(2) {
        let gap = pair[1].intended - pair[0].intended;
        assert!((1_999_999..=2_000_001).contains(&gap), "{gap}");
    }
    assert!(records.iter().all(|record| record.sent >= record.intended));
    let lag = seaworthy_drill::measure::lag_p99(&records).unwrap();
    let later = records.iter().filter(|record| record.sent - record.intended > lag).count();
    assert!(later * 100 <= records.len(), "{later} of {}", records.len());
    // The timer ticks once a millisecond: a sender that claims to be never late does not look.
    assert!((1..1_000_000_000).contains(&lag), "{lag}");
    backend.close();
}
