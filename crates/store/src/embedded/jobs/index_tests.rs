//! The index by itself: what loading and settling do to each other, step by step.

use std::sync::Arc;

use super::claims::Claims;
use super::index::{Index, Row, Settling};
use super::lease::{Lease, State};
use super::schema::FORMAT;
use super::shared::Shared;
use crate::embedded::file::open_to_write;
use crate::embedded::inbox::Inbox;
use crate::embedded::reader::Reading;
use crate::{Clock, JobId, Receipt};

const NOW: u64 = 1_000;
const BOUNDARY: u64 = 100;

fn row(id: u64, order: u64) -> Row {
    Row { id, queue: 1, due: NOW, priority: 0, order }
}

/// Jobs 1 to 10 are loaded; up to the boundary there may be others.
fn loading() -> Index {
    let mut index = Index::empty(0, BOUNDARY);
    index.tick(NOW);
    for id in 1..=10 {
        index.load(row(id, 0));
    }
    index.set_horizon(Some(10));
    index
}

fn ids(index: &mut Index, max: usize) -> Vec<u64> {
    index.claim(1, max, NOW + 10).iter().map(|(id, _)| *id).collect()
}

fn outside(id: u64) -> Lease {
    let Row { queue, due, priority, order, .. } = row(id, 0);
    Lease { queue, due, priority, order, token: 7, until: NOW + 50, attempts: 1, state: State::Held }
}

#[test]
fn the_loader_stops_where_new_jobs_begin() {
    let mut index = loading();
    assert_eq!(index.to_load(), Some((10, BOUNDARY)));
    index.insert(row(BOUNDARY, 0));
    assert_eq!(index.to_load(), Some((10, BOUNDARY)), "a new job is no business of the loader");
    assert_eq!(ids(&mut index, 20), (1..=10).chain([BOUNDARY]).collect::<Vec<_>>());
    index.set_horizon(None);
    assert_eq!((index.to_load(), ids(&mut index, 20)), (None, vec![]), "and nothing comes twice");
}

#[test]
fn the_loader_reads_no_new_job_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (connection, _) = open_to_write(folder.path(), &FORMAT).unwrap();
    for id in [1, 2, BOUNDARY - 1, BOUNDARY, BOUNDARY + 1] {
        let sql = "INSERT INTO jobs VALUES (?1, 1, 0, 0, 0, 0, 0, 0, NULL, NULL, x'', x'', x'')";
        connection.execute(sql, [id.cast_signed()]).unwrap();
    }
    let shared = Arc::new(Shared::new(0, BOUNDARY));
    let writer = Arc::new(Inbox::new(1, 1));
    let mut claims = Claims { shared: Arc::clone(&shared), clock: Clock::system(), writer };
    while claims.work(&connection).unwrap() {}
    let mut index = shared.index();
    assert_eq!((index.to_load(), index.len()), (None, 3));
    assert_eq!(ids(&mut index, 9), [1, 2, BOUNDARY - 1]);
}

#[test]
fn a_new_job_waits_until_its_predecessors_are_loaded() {
    let mut index = loading();
    index.insert(row(BOUNDARY, 5));
    assert_eq!(index.len(), 11, "it counts");
    assert_eq!(ids(&mut index, 20), (1..=10).collect::<Vec<_>>());
    index.load(row(40, 5));
    index.set_horizon(None);
    assert_eq!(ids(&mut index, 20), [40], "the older one of its order key goes first");
    index.finish(40);
    assert_eq!(ids(&mut index, 20), [BOUNDARY]);
}

#[test]
fn what_comes_back_while_loading_comes_once() {
    // The loader may pass it between the announcement and the commit, or before, or after.
    for loader_comes in ["after the announcement", "after all"] {
        let mut index = loading();
        index.announce(row(40, 0));
        if loader_comes == "after the announcement" {
            index.load(row(40, 0));
            index.set_horizon(Some(50));
            index.requeue(40, NOW);
        } else {
            index.requeue(40, NOW);
            index.load(row(40, 0));
            index.set_horizon(Some(50));
        }
        assert_eq!(index.len(), 11, "{loader_comes}");
        assert_eq!(ids(&mut index, 20), (1..=10).chain([40]).collect::<Vec<_>>(), "{loader_comes}");
    }
}

#[test]
fn a_receipt_from_before_is_looked_up_in_the_file_only_while_the_job_is_not_loaded() {
    let mut index = loading();
    let receipt = |id| Receipt { id: JobId(id), token: 7 };
    assert_eq!(index.settle(receipt(5)), Settling::Stale, "loaded, and nobody has it");
    assert_eq!(index.settle(receipt(40)), Settling::AskFile);
    assert_eq!(index.settle(receipt(BOUNDARY)), Settling::Stale, "new, and nobody has it");
    index.load_leased(row(40, 0), outside(40));
    assert!(matches!(index.settle(receipt(40)), Settling::Good(_)));
    assert_eq!(index.settle(receipt(40)), Settling::Stale, "being settled already");
    index.load(row(40, 0));
    index.finish(40);
    assert_eq!((index.len(), ids(&mut index, 20).contains(&40)), (10, false), "the loader has passed it by");
}

#[test]
fn a_late_receipt_takes_a_lapsed_job_back() {
    let mut index = Index::empty(0, 1);
    index.set_horizon(None);
    index.tick(NOW);
    for id in 1..=2 {
        index.insert(row(id, 9));
    }
    let claimed = index.claim(1, 5, NOW + 10);
    assert_eq!(claimed.len(), 1, "one of an order key at a time");
    let receipt = Receipt { id: JobId(1), token: claimed[0].1.token };
    index.tick(NOW + 10);
    assert_eq!(index.counts(1).ready, 1, "it can be claimed again");
    assert!(matches!(index.settle(receipt), Settling::Good(_)), "until then its receipt is good");
    assert_eq!(ids(&mut index, 5), Vec::<u64>::new(), "nobody gets it, or the one behind it, meanwhile");
    index.finish(1);
    assert_eq!(ids(&mut index, 5), [2]);
}
