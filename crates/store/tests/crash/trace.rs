//! The record of a process's writes and syncs, and what a power cut would have left of them.
//!
//! Model: what was written before a sync began is durable when it has ended. Of everything else, each page of 4 KiB
//! may be there as it was after any of the writes to it, or after none. Names, truncations and removals are taken as
//! durable at once; no page is torn; power is not cut a second time while recovering.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use seaworthy_policy::Rng;

const PAGE: usize = 4_096;

/// One thing that the process did.
pub(crate) struct Step<'t> {
    kind: u8,
    name: &'t str,
    offset: u64,
    data: &'t [u8],
}

pub(crate) fn read(bytes: &[u8]) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = bytes;
    while rest.len() >= 17 {
        let number = |range: Range<usize>| {
            rest[range].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (name_size, size) = (number(1..5) as usize, number(5..9) as usize);
        if rest.len() < 17 + name_size + size {
            break;
        }
        let (head, data) = rest[17..17 + name_size + size].split_at(name_size);
        steps.push(Step {
            kind: rest[0],
            name: std::str::from_utf8(head).unwrap(),
            offset: number(9..17),
            data,
        });
        rest = &rest[17 + name_size + size..];
    }
    steps
}

/// Whether syncs do what they promise.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syncs {
    Kept,
    /// From this step on they do nothing.
    IgnoredFrom(usize),
}

#[derive(Default)]
struct Disk<'t> {
    durable: Vec<u8>,
    /// Written and not synced: when, where, what.
    pending: Vec<(usize, u64, &'t [u8])>,
}

/// The machine whose power is cut.
#[derive(Default)]
pub(crate) struct Machine<'t> {
    files: BTreeMap<&'t str, Disk<'t>>,
    /// Syncs under way: when they began.
    syncing: BTreeMap<u64, usize>,
    pub(crate) acknowledged: String,
}

impl<'t> Machine<'t> {
    pub(crate) fn step(&mut self, index: usize, step: &Step<'t>, syncs: Syncs) {
        if step.name == "acks" {
            self.acknowledged.push_str(std::str::from_utf8(step.data).unwrap());
            return;
        }
        let is_kept = match syncs {
            Syncs::Kept => true,
            Syncs::IgnoredFrom(first) => index < first,
        };
        let disk = self.files.entry(step.name).or_default();
        match step.kind {
            b'W' => disk.pending.push((index, step.offset, step.data)),
            b'T' => {
                disk.sync(index);
                disk.durable.resize(step.offset as usize, 0);
            }
            b'S' => self.syncing.extend([(step.offset, index)]),
            b'E' if is_kept => disk.sync(self.syncing[&step.offset]),
            b'U' => drop(self.files.remove(step.name)),
            _ => {}
        }
    }

    /// The files as they might be when the power is back.
    pub(crate) fn cut(&self, rng: &mut Rng, folder: &Path) {
        for (name, disk) in self.files.iter().filter(|(name, _)| name.contains('/')) {
            let path = folder.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, disk.cut(rng)).unwrap();
        }
    }
}

impl Disk<'_> {
    fn sync(&mut self, before: usize) {
        let Disk { durable, pending } = self;
        pending.retain(|(index, offset, data)| {
            let stays = *index >= before;
            if !stays {
                put(durable, *offset as usize, data);
            }
            stays
        });
    }

    fn cut(&self, rng: &mut Rng) -> Vec<u8> {
        let mut content = self.durable.clone();
        // By page: the pieces that were written to it, in order.
        let mut pages: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
        for (_, offset, data) in &self.pending {
            let (mut at, mut left) = (*offset as usize, *data);
            while !left.is_empty() {
                let (piece, rest) = left.split_at(left.len().min(PAGE - at % PAGE));
                pages.entry(at / PAGE).or_default().push((at, piece));
                at += piece.len();
                left = rest;
            }
        }
        for pieces in pages.values() {
            let kept = rng.below(pieces.len() as u64 + 1) as usize;
            for (at, piece) in &pieces[..kept] {
                put(&mut content, *at, piece);
            }
        }
        content
    }
}

fn put(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    if content.len() < at + data.len() {
        content.resize(at + data.len(), 0);
    }
    content[at..at + data.len()].copy_from_slice(data);
}
