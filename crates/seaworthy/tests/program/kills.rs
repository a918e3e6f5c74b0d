//! SIGKILL of the driver, the node and the keeper at random moments of a drill: nothing is left, nothing lies.
//!
//! `SEAWORTHY_KILLS` says how often each is killed (10 by default) and `SEAWORTHY_SEED` repeats the moments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::stage::{Stage, eventually, kill, ports};
use seaworthy_policy::Rng;

/// The drill: hold times are short, so that every phase is hit.
const DRILL: &[&str] =
    &["drill", "seaworthy.yaml", "--only", "replica-hangs", "--state-dir", "drill", "--format", "json"];

fn kills() -> u64 {
    std::env::var("SEAWORTHY_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(10)
}

fn moments(name: &str) -> Rng {
    let chosen = std::env::var("SEAWORTHY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = chosen.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    println!("{name}: repeat with SEAWORTHY_SEED={seed}");
    Rng::seeded(seed)
}

fn stage() -> Stage {
    Stage::new(|spec| {
        spec.replace(
            "    fault: { pause: { replica: api } }",
            "    fault: { pause: { replica: api } }\n    hold: 3s",
        )
    })
}

/// Somewhere between the start and the end of the one failure.
fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.below(7_000))
}

#[test]
fn a_killed_driver_leaves_nothing() {
    let mut rng = moments("driver");
    for round in 0..kills() {
        let stage = stage();
        let mut drill = stage.spawn(DRILL);
        let node = stage.node("drill");
        let after = moment(&mut rng);
        println!("round {round}: kill after {after:?}");
        std::thread::sleep(after);
        drill.signal("KILL");
        let _ = drill.child.wait();
        stage.assert_empty_within(Duration::from_secs(2), &ports(&node));
    }
}

#[test]
fn a_killed_node_makes_the_drill_an_execution_error_and_leaves_nothing() {
    let mut rng = moments("node");
    for round in 0..kills() {
        let stage = stage();
        let mut drill = stage.spawn(DRILL);
        let node = stage.node("drill");
        let old: Vec<u32> = stage
            .processes(&[drill.pid()])
            .iter()
            .filter(|(_, text)| text.contains("iticket"))
            .map(|(pid, _)| *pid)
            .collect();
        let after = moment(&mut rng).min(Duration::from_secs(4));
        println!("round {round}: kill after {after:?}");
        std::thread::sleep(after);
        let pid = u32::try_from(node["pid"].as_u64().unwrap()).unwrap();
        kill(pid, "KILL");
        eventually(Duration::from_secs(2), "end of the old services", || {
            let alive = stage.processes(&[]).into_iter().any(|(pid, _)| old.contains(&pid));
            (!alive).then_some(())
        });
        let status = drill.wait(Duration::from_mins(1));
        assert_eq!(status.code(), Some(2), "{}\n{}", stage.stdout(), stage.stderr());
        assert!(stage.stdout().contains("\"execution\": \"error\""), "{}", stage.stdout());
        stage.assert_empty_within(Duration::from_secs(2), &ports(&node));
    }
}

#[test]
fn a_killed_keeper_ends_node_services_and_drill() {
    let mut rng = moments("keeper");
    for round in 0..kills().div_ceil(3) {
        let stage = stage();
        let mut drill = stage.spawn(DRILL);
        let node = stage.node("drill");
        let after = moment(&mut rng).min(Duration::from_secs(4));
        println!("round {round}: kill after {after:?}");
        std::thread::sleep(after);
        let processes = stage.processes(&[drill.pid()]);
        let keeper = processes.iter().find(|(_, text)| text.contains(" keeper ")).expect("a keeper");
        kill(keeper.0, "KILL");
        // Nobody is left who would start the node again, so nobody waits for that.
        let status = drill.wait(Duration::from_secs(5));
        assert_eq!(status.code(), Some(2), "{}\n{}", stage.stdout(), stage.stderr());
        stage.assert_empty_within(Duration::from_secs(2), &ports(&node));
    }
}
