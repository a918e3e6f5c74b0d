//! Signals as something to poll: a flag, and a socket pair that wakes the poll.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// The signals the keeper handles. SIGHUP is handled and forgotten rather than set to "ignore", because
/// "ignore" would be inherited by the node.
#[derive(Debug)]
pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    /// Readable when a signal has arrived.
    pub(crate) wake: UnixStream,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (wake, writer) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        flag::register(SIGHUP, Arc::default())?;
        // The flag before the wake-up: whoever wakes sees it set.
        flag::register(SIGINT, Arc::clone(&stop))?;
        flag::register(SIGTERM, Arc::clone(&stop))?;
        for signal in [SIGINT, SIGTERM, SIGCHLD] {
            pipe::register(signal, writer.try_clone()?)?;
        }
        Ok(Self { stop, wake })
    }

    /// Whether SIGINT or SIGTERM arrived since the last call.
    pub(crate) fn take_stop_request(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// Forgets pending wake-ups.
    pub(crate) fn clear(&self) {
        let mut discard = [0; 64];
        while (&self.wake).read(&mut discard).is_ok_and(|count| count > 0) {}
    }
}
