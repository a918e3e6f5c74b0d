//! Power cuts, replayed.

use std::path::Path;
use std::time::Duration;

use seaworthy_policy::Rng;
use tempfile::TempDir;

use crate::child;
use crate::ledger::{Ledger, Verdict};
use crate::trace::{self, Machine, Step, Syncs};

const LASTS: Duration = Duration::from_millis(700);

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
    let syncs = Syncs::IgnoredFrom(steps.len() / 3);
    let (verdict, _) = cut_at_random(&steps, 8, syncs, seed);
    println!("without syncs: {verdict:?}");
    assert!(verdict.lost > 0, "the check would not notice a missing sync: {verdict:?}");
}

fn record() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let mut child = child::recorded(folder.path(), LASTS, ("RECORDER_TRACE", path.to_str().unwrap()));
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
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
