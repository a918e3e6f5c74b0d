//! Power cuts, replayed.

use std::path::Path;
use std::time::Duration;

use seaworthy_policy::Rng;
use tempfile::TempDir;

use crate::child;
use crate::ledger::{Ledger, Verdict};
use crate::trace::{self, Machine, Step, Syncs};

/// Recorded until so much is acknowledged, however slow the disk is ...
const LINES: usize = 4_000;
/// ... or for so long.
const LASTS_MAX: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(10);

#[test]
fn a_power_cut_loses_nothing_and_nothing_done_comes_back() {
    let seed = child::seed();
    let cuts = child::rounds(12, 200);
    let (_folder, bytes) = record();
    let steps = trace::read(&bytes);
    let (verdict, acknowledged) = cut_at_random(&steps, cuts, Syncs::Kept, seed);
    println!(
        "{cuts} cuts in {} steps, {acknowledged} acknowledgements at the cuts, {verdict:?}",
        steps.len()
    );
    assert_eq!(verdict, Verdict::default());
    assert!(acknowledged > 100 * cuts, "cuts before anything happened prove nothing: {acknowledged}");
}

#[test]
fn without_syncs_the_same_check_finds_losses() {
    let seed = child::seed();
    let (_folder, bytes) = record();
    let steps = trace::read(&bytes);
    // The files are made with syncs: what could not be opened at all would be caught too easily.
    let syncs = Syncs::IgnoredFrom(steps.len() / 3);
    let (verdict, _) = cut_at_random(&steps, 8, syncs, seed);
    println!("without syncs: {verdict:?}");
    assert!(verdict.lost > 0, "the check would not notice a missing sync: {verdict:?}");
}

fn record() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let mut child = child::recorded(folder.path(), LASTS_MAX, ("RECORDER_TRACE", path.to_str().unwrap()));
    let lines = || std::fs::read_to_string(folder.path().join("acks")).unwrap_or_default().lines().count();
    while lines() < LINES && child.try_wait().unwrap().is_none() {
        std::thread::sleep(POLL);
    }
    // Whatever it was doing: power can be cut there as well.
    child.kill().unwrap();
    child.wait().unwrap();
    let bytes = std::fs::read(path).unwrap();
    (folder, bytes)
}

fn cut_at_random(steps: &[Step<'_>], cuts: usize, syncs: Syncs, seed: u64) -> (Verdict, usize) {
    let mut rng = Rng::seeded(seed);
    // Mostly where something has been acknowledged already, sometimes where the files are being made.
    let early = steps.len() as u64 / 10;
    let mut points: Vec<usize> = (0..cuts)
        .map(|number| match number % 6 {
            0 => rng.below(steps.len() as u64) as usize,
            _ => (early + rng.below(steps.len() as u64 - early)) as usize,
        })
        .collect();
    points.sort_unstable();
    let (mut machine, mut next) = (Machine::default(), 0);
    let (mut verdict, mut acknowledged) = (Verdict::default(), 0);
    for point in points {
        for (index, step) in steps.iter().enumerate().take(point).skip(next) {
            machine.step(index, step, syncs);
        }
        next = next.max(point);
        let folder = tempfile::tempdir().unwrap();
        machine.cut(&mut rng, folder.path());
        let ledger = Ledger::read(complete(&machine.acknowledged));
        acknowledged += ledger.acknowledgements;
        let found = check(&ledger, folder.path());
        if found != Verdict::default() {
            println!("cut at step {point}: {found:?}");
        }
        verdict += found;
    }
    (verdict, acknowledged)
}

fn complete(text: &str) -> &str {
    text.rfind('\n').map_or("", |end| &text[..end])
}

fn check(ledger: &Ledger, folder: &Path) -> Verdict {
    ledger.check(&folder.join("store"))
}
