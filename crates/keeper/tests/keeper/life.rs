//! The keeper with real processes: what it starts, what it ends, and what it leaves behind (nothing).

use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::support::{Keeper, Target, all_gone, group, pause, poll, send, state};
use rustix::process::Signal;
use seaworthy_keeper::{Fault, Journal};
use tempfile::tempdir;

/// A node with one worker and two daemons of two processes each: five processes below it.
const BUSY_NODE: &str = "worker; daemon; daemon; await_pids 5; ready; serve";

#[test]
fn a_killed_node_takes_its_descendants_with_it_and_is_started_again() {
    let dir = tempdir().unwrap();
    let mut keeper = Keeper::start(dir.path(), "stdin", BUSY_NODE);
    keeper.await_ready();
    let (first, below) = (keeper.await_nodes(1), keeper.await_pids(5));
    assert!(below.iter().all(|pid| state(*pid).is_some()), "all are alive before the kill");
    assert_eq!(group(first), first, "a node has a process group of its own");

    send(first, Signal::KILL);
    let second = keeper.await_nodes(2);
    assert!(all_gone(&below), "the second node starts only after the clean-up");
    assert!(state(second).is_some());

    drop(keeper.stdin.take());
    let (code, said) = keeper.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("keeper: node died (signal 9), cleaned up 5 processes, starting it again\n"),
        "{said}"
    );
}

#[test]
fn a_process_that_forks_ahead_of_its_killer_is_caught() {
    let dir = tempdir().unwrap();
    // Each generation lives for a moment only: it starts the next one and ends. They end by themselves in the end.
    let script = r#"comet() { [ "$1" -gt 0 ] && comet $(($1 - 1)) & }; comet 50000; ready; serve"#;
    let mut keeper = Keeper::start(dir.path(), "stdin", script);
    keeper.await_ready();
    drop(keeper.stdin.take());
    let (code, said) = keeper.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn what_the_owner_writes_and_signals_to_its_group_stop_nothing() {
    let dir = tempdir().unwrap();
    let mut keeper = Keeper::start(dir.path(), "stdin", BUSY_NODE);
    keeper.await_ready();
    assert_eq!(group(keeper.child.id()), keeper.child.id(), "the keeper leads a session of its own");
    for round in 1..=3 {
        let node = keeper.await_nodes(round);
        keeper.stdin.as_mut().unwrap().write_all(&[b'x'; 1_000]).unwrap();
        for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
            keeper.signal(signal);
        }
        send(node, Signal::KILL);
        keeper.await_nodes(round + 1);
    }
    drop(keeper.stdin.take());
    let (code, said) = keeper.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("node died (signal 9)").count(), 3, "{said}");
}

#[test]
fn an_owner_that_does_not_block_is_not_taken_for_dead() {
    let dir = tempdir().unwrap();
    let (mut owner, stdin) = UnixStream::pair().unwrap();
    stdin.set_nonblocking(true).unwrap();
    let mut keeper = Keeper::start_on(dir.path(), OwnedFd::from(stdin).into(), "ready; serve");
    keeper.await_ready();
    owner.write_all(b"x").unwrap();
    send(keeper.await_nodes(1), Signal::KILL);
    keeper.await_nodes(2);
    drop(owner);
    let (code, said) = keeper.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.ends_with("keeper: owner is gone, cleaned up 1 process\n"), "{said}");
}

#[test]
fn restarts_in_a_row_pause_longer_and_exit_codes_are_named() {
    let dir = tempdir().unwrap();
    let mut keeper = Keeper::start(dir.path(), "stdin", "exit 7");
    keeper.await_nodes(4);
    drop(keeper.stdin.take());
    let (_, said) = keeper.end();
    let starts: Vec<&str> = said.lines().filter(|line| line.contains("exit code 7")).collect();
    for (line, end) in starts.iter().zip(["starting it again", "in 50 ms", "in 100 ms"]) {
        assert!(line.ends_with(end), "{said}");
    }
}

#[test]
fn when_the_owner_is_gone_everything_ends_within_two_seconds() {
    let dir = tempdir().unwrap();
    let script = "for i in 1 2 3 4 5 6 7 8 9; do worker; daemon; done; await_pids 27; ready; serve";
    let mut keeper = Keeper::start(dir.path(), "stdin", script);
    keeper.await_ready();
    let below = keeper.await_pids(27);
    let node = keeper.await_nodes(1);
    for pid in below.iter().step_by(2) {
        pause(*pid);
    }
    pause(node);
    assert!(dir.path().join("node.json").exists());

    let closed = Instant::now();
    drop(keeper.stdin.take());
    let (code, said) = keeper.end();
    let took = closed.elapsed();
    assert_eq!(code, Some(0), "{said}");
    assert!(all_gone(&below) && all_gone(&[node]), "{said}");
    assert!(took < Duration::from_secs(2), "took {took:?}");
    assert!(!dir.path().join("node.json").exists());
    assert!(said.ends_with("keeper: owner is gone, cleaned up 28 processes\n"), "{said}");
}

#[test]
fn a_paused_process_is_journalled_closed_and_gone_after_the_node_died() {
    let dir = tempdir().unwrap();
    let mut keeper = Keeper::start(dir.path(), "stdin", BUSY_NODE);
    keeper.await_ready();
    let target = keeper.await_pids(5)[2];
    let journal = Journal::open(dir.path()).unwrap();
    let id = journal.intend(&Fault::pause(target, Duration::from_mins(10), "daemon").unwrap()).unwrap();
    pause(target);
    journal.applied(&id).unwrap();

    send(keeper.await_nodes(1), Signal::KILL);
    keeper.await_nodes(2);
    assert!(all_gone(&[target]));
    assert_eq!(journal.open_entries().unwrap(), []);
    drop(keeper.stdin.take());
    let (_, said) = keeper.end();
    assert!(said.contains("cleaned up 5 processes, 1 fault already gone, starting it again"), "{said}");
}

#[test]
fn a_pause_ends_at_its_deadline_although_the_node_hangs() {
    let dir = tempdir().unwrap();
    let target = Target::new();
    let keeper = Keeper::start(dir.path(), "stdin", BUSY_NODE);
    keeper.await_ready();
    pause(keeper.await_nodes(1));
    let journal = Journal::open(dir.path()).unwrap();
    let limit = Duration::from_millis(700);
    let before = Instant::now();
    let id = journal.intend(&Fault::pause(target.pid(), limit, "target").unwrap()).unwrap();
    send(target.pid(), Signal::STOP);
    journal.applied(&id).unwrap();

    target.await_continued();
    assert!(before.elapsed() >= limit, "not before its deadline: {:?}", before.elapsed());
    poll("closed", || journal.open_entries().unwrap().is_empty().then_some(()));
}

#[test]
fn an_overdue_pause_stays_open_until_its_writer_says_that_it_was_applied() {
    let dir = tempdir().unwrap();
    let target = Target::new();
    let keeper = Keeper::start(dir.path(), "stdin", BUSY_NODE);
    keeper.await_ready();
    let journal = Journal::open(dir.path()).unwrap();
    let id = journal.intend(&Fault::pause(target.pid(), Duration::ZERO, "late").unwrap()).unwrap();
    // The writer hangs past the deadline, and applies the fault all the same; twice, to see more than one look.
    for _ in 0..2 {
        target.pause_until_continued();
        assert_eq!(journal.open_entries().unwrap().len(), 1);
    }
    journal.applied(&id).unwrap();
    poll("closed", || journal.open_entries().unwrap().is_empty().then_some(()));
}

#[test]
fn a_foreground_keeper_forwards_the_request_to_stop_and_ends_as_its_node_does() {
    let rows = [
        // what the node does, signal, exit code
        ("trap 'exit 0' TERM; worker; await_pids 1; ready; while :; do serve; done", Signal::TERM, 0),
        ("trap 'exit 0' TERM; worker; await_pids 1; ready; while :; do serve; done", Signal::INT, 0),
        ("trap 'exit 5' TERM; worker; await_pids 1; ready; while :; do serve; done", Signal::TERM, 5),
        // does not handle SIGTERM
        ("worker; await_pids 1; ready; serve", Signal::TERM, 128 + 15),
        // ignores SIGTERM: killed after the drain limit
        ("trap '' TERM; worker; await_pids 1; ready; serve", Signal::TERM, 128 + 9),
    ];
    for (script, signal, expected) in rows {
        let dir = tempdir().unwrap();
        let mut keeper = Keeper::start(dir.path(), "none", script);
        keeper.await_ready();
        drop(keeper.stdin.take()); // means nothing to a keeper without an owner
        let below = keeper.await_pids(1);
        keeper.signal(signal);
        let (code, said) = keeper.end();
        assert_eq!(code, Some(expected), "{script}: {said}");
        assert!(all_gone(&below) && all_gone(&keeper.nodes()), "{script}");
        assert_eq!(keeper.nodes().len(), 1, "{script}: not started again");
    }
}

#[test]
fn a_node_that_ends_well_by_itself_ends_the_keeper_and_leaves_nothing() {
    let dir = tempdir().unwrap();
    let mut keeper = Keeper::start(dir.path(), "none", "daemon; await_pids 2; ready; exit 0");
    let (code, said) = keeper.end();
    assert_eq!(code, Some(0));
    assert!(all_gone(&keeper.await_pids(2)), "{said}");
    assert!(!dir.path().join("node.json").exists());
}

#[test]
fn a_node_that_could_not_start_is_not_started_again() {
    let dir = tempdir().unwrap();
    // A ready file of an earlier life must not count.
    fs::write(dir.path().join("node.json"), "{}").unwrap();
    let mut keeper = Keeper::start(dir.path(), "none", "exit 2");
    let (code, said) = keeper.end();
    assert_eq!((code, keeper.nodes().len()), (Some(2), 1), "{said}");

    for node in [&["/nonexistent/program"][..], &[]] {
        let mut keeper = Keeper::start_command(dir.path(), "none", node);
        let (code, said) = keeper.end();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("cannot start the node"), "{said}");
    }
}

#[test]
fn a_node_that_was_ready_once_is_started_again_even_when_it_cannot() {
    let dir = tempdir().unwrap();
    let script = r#"[ "$(cat "$STATE/nodes" | wc -l)" -gt 1 ] && exit 2; ready; exit 1"#;
    let keeper = Keeper::start(dir.path(), "stdin", script);
    keeper.await_nodes(4);
}

#[test]
fn a_second_keeper_is_refused_and_told_who_holds_the_state() {
    let dir = tempdir().unwrap();
    let keeper = Keeper::start(dir.path(), "stdin", BUSY_NODE);
    keeper.await_ready();
    let mut second = Keeper::start(dir.path(), "stdin", BUSY_NODE);
    let (code, said) = second.end();
    assert_eq!(code, Some(2));
    assert!(said.contains(&format!("in use by another keeper, pid {}\n", keeper.child.id())), "{said}");
    assert!(dir.path().join("node.json").exists(), "the first one's state is untouched");
    assert_eq!(keeper.nodes().len(), 1);
}

#[test]
fn when_the_keeper_is_killed_the_node_sees_it_and_the_next_keeper_heals() {
    let dir = tempdir().unwrap();
    // Stands for a process outside of the keeper's reach, which it cannot kill but has to continue.
    let outsider = Target::new();
    let mut keeper = Keeper::start(dir.path(), "stdin", "ready; serve");
    keeper.await_ready();
    let node = keeper.await_nodes(1);
    let journal = Journal::open(dir.path()).unwrap();
    let fault = Fault::pause(outsider.pid(), Duration::from_mins(10), "outsider").unwrap();
    let id = journal.intend(&fault).unwrap();
    pause(outsider.pid());
    journal.applied(&id).unwrap();

    keeper.signal(Signal::KILL);
    keeper.end();
    poll("the node sees the end of its stdin", || all_gone(&[node]).then_some(()));
    assert_eq!(journal.open_entries().unwrap().len(), 1);
    assert_eq!(state(outsider.pid()), Some('T'));

    let mut next = Keeper::start(dir.path(), "stdin", "ready; serve");
    next.await_nodes(2);
    outsider.await_continued();
    assert_eq!(journal.open_entries().unwrap(), []);
    drop(next.stdin.take());
    let (_, said) = next.end();
    assert!(
        said.contains("an earlier run left faults behind, cleaned up 0 processes, 1 fault undone"),
        "{said}"
    );
}
