//! Where log lines go, and in which dress.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::record::Record;

/// A log file that has grown beyond this is renamed to `NAME.old`, replacing the one before, and begun anew.
pub const LOG_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Text collected before it is handed to the operating system.
const BUFFER_BYTES: usize = 64 * 1024;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendering {
    /// One JSON object.
    Json,
    /// `12:03:04.123 api/a-1 | text`.
    Human,
    /// The same, with warnings and errors in colour as well as in words.
    HumanColour,
}

/// One place that log lines are written to.
pub struct Destination {
    rendering: Rendering,
    buffer: Vec<u8>,
    output: Output,
}

enum Output {
    Writer(Box<dyn Write + Send>),
    File(RotatingFile),
    /// Its reader went away; nothing more is written there.
    Gone,
}

struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Destination").field("rendering", &self.rendering).finish_non_exhaustive()
    }
}

impl Destination {
    /// Appends JSON lines to a file, which is created if need be and replaced when it gets too large.
    pub fn file(path: &Path) -> io::Result<Self> {
        Self::file_up_to(path, LOG_FILE_BYTES_MAX)
    }

    pub(super) fn file_up_to(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = open(path)?;
        let bytes = file.metadata()?.len();
        let rotating = RotatingFile { path: path.to_owned(), file, bytes, bytes_max };
        Ok(Self { rendering: Rendering::Json, buffer: Vec::new(), output: Output::File(rotating) })
    }

    /// Writes to standard error.
    pub fn stderr(rendering: Rendering) -> Self {
        Self::writer(Box::new(io::stderr()), rendering)
    }

    /// Writes to standard output.
    pub fn stdout(rendering: Rendering) -> Self {
        Self::writer(Box::new(io::stdout()), rendering)
    }

    /// Writes to anything.
    pub fn writer(writer: Box<dyn Write + Send>, rendering: Rendering) -> Self {
        Self { rendering, buffer: Vec::new(), output: Output::Writer(writer) }
    }

    pub(super) fn append(&mut self, record: &Record) {
        match self.rendering {
            Rendering::Json => record.write_json(&mut self.buffer),
            Rendering::Human => record.write_human(&mut self.buffer, ["", "", ""]),
            Rendering::HumanColour => {
                record.write_human(&mut self.buffer, ["\x1b[33m", "\x1b[31m", "\x1b[0m"]);
            }
        }
        self.write_out_when_full();
    }

    /// Takes whole lines of JSON with their line breaks.
    pub(super) fn append_raw(&mut self, lines: &[u8]) {
        self.buffer.extend_from_slice(lines);
        self.write_out_when_full();
    }

    pub(super) fn is_json(&self) -> bool {
        matches!(self.rendering, Rendering::Json)
    }

    fn write_out_when_full(&mut self) {
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out();
        }
    }

    /// Hands the collected text over. A full disk loses these lines and is tried again with the next ones; a closed
    /// pipe is given up.
    pub(super) fn write_out(&mut self) {
        let result = match &mut self.output {
            Output::Writer(writer) => writer.write_all(&self.buffer).and_then(|()| writer.flush()),
            Output::File(file) => file.write(&self.buffer),
            Output::Gone => Ok(()),
        };
        self.buffer.clear();
        if result.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.output = Output::Gone;
        }
    }
}

impl RotatingFile {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.bytes > self.bytes_max {
            let mut old = self.path.clone().into_os_string();
            old.push(".old");
            std::fs::rename(&self.path, old)?;
            self.file = open(&self.path)?;
            self.bytes = 0;
        }
        self.bytes += text.len() as u64;
        self.file.write_all(text)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
