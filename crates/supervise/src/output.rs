//! What services write, line by line into the log.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use seaworthy_observe::LogSink;
use seaworthy_observe::lines::LineSplitter;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// How long output is still read after the exit; somebody who left the process group could hold it open for ever.
const OUTPUT_AFTER_EXIT_MAX: Duration = Duration::from_secs(1);

/// Who writes, and where to.
#[derive(Debug, Clone)]
pub(crate) struct OutputTag {
    pub(crate) logs: LogSink,
    pub(crate) service: Arc<str>,
    pub(crate) replica: Arc<str>,
}

/// The readers of one process. They end with its output, or when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts to read one more pipe.
    pub(crate) fn add(&mut self, pipe: OwnedFd, tag: OutputTag) -> std::io::Result<()> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        self.tasks.push(tokio::spawn(copy(pipe, tag)));
        Ok(())
    }

    /// Waits for the end of the output of a process that has exited, but not for ever.
    pub(crate) async fn finish(mut self) {
        for task in &mut self.tasks {
            // Too late, or it panicked: either way nothing more comes.
            let _ended = timeout(OUTPUT_AFTER_EXIT_MAX, task).await;
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The log never blocks and a line never grows, so a flood costs lines and nothing else.
async fn copy(mut pipe: pipe::Receiver, tag: OutputTag) {
    let mut lines = LineSplitter::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => lines.push(&buffer[..count], |line| {
                tag.logs.service_line(&tag.service, &tag.replica, line);
            }),
        }
    }
    if let Some(line) = lines.finish() {
        tag.logs.service_line(&tag.service, &tag.replica, line);
    }
}
