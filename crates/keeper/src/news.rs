//! What a keeper waits for, as one channel: signals, and the end of its owner.

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, read};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::Owner;

/// Something that wakes the keeper.
#[derive(Debug)]
pub(crate) enum News {
    /// SIGINT or SIGTERM to a keeper without an owner.
    StopRequested,
    /// The end of the keeper's stdin.
    OwnerGone,
    /// A child may have ended.
    LookAround,
}

/// Takes over the signals of this process, and its stdin if that belongs to an owner. SIGHUP is handled and
/// forgotten rather than set to "ignore", because "ignore" would be inherited by the node.
pub(crate) fn listen(owner: Owner) -> io::Result<Receiver<News>> {
    // Room for one: whoever has more to tell waits, and signals that wait are merged by kind.
    let (tell, news) = sync_channel(1);
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGCHLD])?;
    if owner == Owner::Stdin {
        let tell = tell.clone();
        thread::Builder::new().spawn(move || {
            read_to_the_end();
            tell.send(News::OwnerGone)
        })?;
    }
    thread::Builder::new().spawn(move || {
        for signal in signals.forever() {
            let is_request = owner == Owner::None && matches!(signal, SIGINT | SIGTERM);
            let _keeper_ended = tell.send(if is_request { News::StopRequested } else { News::LookAround });
        }
    })?;
    Ok(news)
}

/// Words of the owner are read and dropped; only the end of them means something. A pipe that the owner made
/// non-blocking is waited for all the same.
fn read_to_the_end() {
    let stdin = io::stdin();
    while matches!(read(&stdin, &mut [0; 256]), Ok(1..) | Err(Errno::INTR | Errno::AGAIN)) {
        let _interrupted = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
    }
}
