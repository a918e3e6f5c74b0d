//! What the disk can do: 4 KiB into a file that has been written before, and `fdatasync`, one after the other.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const SIZE: u64 = 16 << 20;
const PAGE: usize = 4_096;

pub(crate) fn syncs_per_second(path: &Path, lasts: Duration) -> f64 {
    let file = File::create(path).expect("a file can be made");
    let zeroes = vec![0_u8; 1 << 20];
    for offset in (0..SIZE).step_by(zeroes.len()) {
        file.write_all_at(&zeroes, offset).expect("a write succeeds");
    }
    file.sync_all().expect("a sync succeeds");
    let (begin, mut syncs) = (Instant::now(), 0_u64);
    while begin.elapsed() < lasts {
        let page = vec![syncs as u8; PAGE];
        file.write_all_at(&page, syncs * PAGE as u64 % SIZE).expect("a write succeeds");
        file.sync_data().expect("a sync succeeds");
        syncs += 1;
    }
    syncs as f64 / begin.elapsed().as_secs_f64()
}
