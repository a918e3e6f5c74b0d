//! The journal of charges: one JSON object per line, appended and synchronized in groups.
//!
//! One thread owns the file. It writes all charges that wait in one go, synchronizes once, then answers all
//! of them: under load the disk is asked once per group and not once per charge. What a crash leaves half
//! written at the end was answered to nobody, and is cut off at the next start. Damage anywhere else is
//! refused: guessing about money is worse than not starting.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::StartError;

/// Charges that wait for the disk; the desk admits fewer, so nobody ever waits for a place.
const QUEUE_MAX: usize = 2048;
/// Charges written in one go.
const GROUP_MAX: usize = 512;

/// One card charged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Charge {
    /// Ascending; a number that was begun and not recorded leaves a gap.
    pub(super) id: u64,
    /// The customer's key.
    pub(super) key: String,
    /// In cents.
    pub(super) amount_cents: u64,
    /// Who pays.
    pub(super) buyer: String,
}

/// The journal cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[error("{path}, line {line}: not a charge; the journal is damaged, restore it from a copy")]
pub(crate) struct JournalDamaged {
    path: String,
    line: usize,
}

/// The charge is not in the journal.
#[derive(Debug, thiserror::Error)]
#[error("the journal cannot be written: {0}")]
pub(super) struct NotWritten(String);

/// The way to the thread that writes.
pub(super) struct Journal {
    entries: Option<mpsc::Sender<Entry>>,
    writer: Option<JoinHandle<()>>,
}

struct Entry {
    line: String,
    written: oneshot::Sender<Result<(), Arc<std::io::Error>>>,
}

impl Journal {
    /// Opens or creates the journal, and reads what it holds.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Charge>), StartError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let (charges, good) =
            read(&text).map_err(|line| JournalDamaged { path: path.display().to_string(), line })?;
        file.set_len(good)?;
        file.seek(SeekFrom::Start(good))?;
        file.sync_all()?;
        sync_folder(path)?;
        let (entries, queue) = mpsc::channel(QUEUE_MAX);
        let writer = std::thread::spawn(move || Writer { file, good, queue }.run());
        Ok((Self { entries: Some(entries), writer: Some(writer) }, charges))
    }

    /// Returns when the charge is on the disk.
    pub(super) async fn append(&self, charge: &Charge) -> Result<(), NotWritten> {
        let closed = || NotWritten("the writer has stopped".to_owned());
        let mut line = serde_json::to_string(charge).map_err(|error| NotWritten(error.to_string()))?;
        line.push('\n');
        let (written, result) = oneshot::channel();
        let entries = self.entries.as_ref().ok_or_else(closed)?;
        entries.send(Entry { line, written }).await.map_err(|_| closed())?;
        let result = result.await.map_err(|_| closed())?;
        result.map_err(|error| NotWritten(error.to_string()))
    }
}

impl Drop for Journal {
    /// Waits until the thread has let go of the file.
    fn drop(&mut self) {
        drop(self.entries.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// A new file is only there after a crash if its folder was synchronized as well.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf))?.sync_all()
}

/// The charges, and how many bytes of the file are whole lines; or the number of a line that is no charge.
fn read(text: &[u8]) -> Result<(Vec<Charge>, u64), usize> {
    let good = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
    let lines = text[..good].split_inclusive(|byte| *byte == b'\n');
    let charges = lines.enumerate().map(|(index, line)| serde_json::from_slice(line).map_err(|_| index + 1));
    Ok((charges.collect::<Result<_, _>>()?, good as u64))
}

struct Writer {
    file: File,
    /// Bytes that are certainly on the disk.
    good: u64,
    queue: mpsc::Receiver<Entry>,
}

impl Writer {
    fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while self.queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let lines: String = group.iter().map(|entry| entry.line.as_str()).collect();
            let result = self.write(&lines).map_err(Arc::new);
            for entry in group.drain(..) {
                // Whoever asked may be gone; the charge is recorded all the same.
                let _ = entry.written.send(result.clone());
            }
        }
    }

    fn write(&mut self, lines: &str) -> std::io::Result<()> {
        // Only out of place if an earlier failure could not be undone; then nothing more is recorded.
        if self.file.stream_position()? != self.good {
            self.undo()?;
        }
        let result = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        match result {
            Ok(()) => self.good += lines.len() as u64,
            // At once, so that a restart does not find what we are about to say is not there.
            Err(_) => drop(self.undo()),
        }
        result
    }

    fn undo(&mut self) -> std::io::Result<()> {
        self.file.set_len(self.good)?;
        self.file.seek(SeekFrom::Start(self.good)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64) -> String {
        format!("{{\"id\":{id},\"key\":\"k{id}\",\"amount_cents\":5,\"buyer\":\"b\"}}\n")
    }

    #[test]
    fn a_torn_end_is_cut_off_and_other_damage_is_refused() {
        // (content, Ok((charges, bytes kept)) or Err(line))
        let table = [
            (String::new(), Ok((0, 0))),
            (line(1), Ok((1, 49))),
            (line(1) + &line(2), Ok((2, 98))),
            (line(1) + "{\"id\":2", Ok((1, 49))),
            ("{\"id\"".to_owned(), Ok((0, 0))),
            (line(1) + "garbage\n" + &line(3), Err(2)),
        ];
        for (content, expected) in table {
            let found = read(content.as_bytes()).map(|(charges, good)| (charges.len(), good));
            assert_eq!(found, expected, "{content:?}");
        }
    }

    #[tokio::test]
    async fn appending_goes_on_after_a_torn_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("charges.jsonl");
        std::fs::write(&path, line(1) + "{\"id\":2,\"ke").unwrap();
        let (journal, charges) = Journal::open(&path).unwrap();
        assert_eq!(charges.len(), 1);
        let charge = Charge { id: 2, key: "k2".to_owned(), amount_cents: 5, buyer: "b".to_owned() };
        journal.append(&charge).await.unwrap();
        drop(journal);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line(1) + &line(2));
    }
}
