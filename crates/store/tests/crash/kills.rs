//! SIGKILL at random moments, one life after the other on the same files.

use std::time::Duration;

use seaworthy_policy::Rng;

use crate::child;
use crate::ledger::{Ledger, Verdict};

/// A life of the process takes at most so long.
const LIFE_MS: u64 = 250;
/// So many lives are lived on the same files.
const LIVES: usize = 5;

#[test]
fn a_killed_process_loses_nothing_and_nothing_done_comes_back() {
    let rounds = child::rounds(30, 200);
    let mut rng = Rng::seeded(child::seed());
    let (mut verdict, mut acknowledgements) = (Verdict::default(), 0);
    for _ in 0..rounds / LIVES {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..LIVES {
            let mut child = child::start(folder.path(), Duration::from_mins(1));
            std::thread::sleep(Duration::from_millis(30 + rng.below(LIFE_MS)));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let text = std::fs::read_to_string(folder.path().join("acks")).unwrap();
        let ledger = Ledger::read(&text);
        acknowledgements += ledger.acknowledgements;
        verdict += ledger.check(&folder.path().join("store"));
    }
    println!("{rounds} kills, {acknowledgements} acknowledgements, {verdict:?}");
    assert_eq!(verdict, Verdict::default());
    assert!(acknowledgements > 10 * rounds, "a load that does nothing proves nothing: {acknowledgements}");
}
