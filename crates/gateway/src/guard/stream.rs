//! The guard inside a socket's read side.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::framing::Guard;
use super::violation::Violation;
use crate::socket::poll_write_slices;

/// What the HTTP library gets to see in place of a rejected head.
pub const REJECTED_HEAD: &[u8] =
    b"SEAWORTHY-REJECTED / HTTP/1.1\r\nhost: rejected\r\nconnection: close\r\n\r\n";

/// A head must be complete this long after its first byte.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// A client that takes nothing of what is sent to it for this long is given up.
const WRITE_LIMIT: Duration = Duration::from_mins(1);
/// How much is read at once while a head is held back.
const HELD_READ: usize = 4096;

/// What the read side tells the rest of the connection.
#[derive(Debug, Default)]
pub struct Signals {
    violation: Cell<Option<Violation>>,
    ended: Cell<bool>,
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Signals {
    /// Why the connection's last request was rejected.
    pub fn violation(&self) -> Option<Violation> {
        self.violation.get()
    }

    /// True when the client closed its side.
    pub fn ended(&self) -> bool {
        self.ended.get()
    }

    /// Bytes received since the last call.
    pub fn take_received(&self) -> u64 {
        self.received.take()
    }

    /// Bytes sent since the last call.
    pub fn take_sent(&self) -> u64 {
        self.sent.take()
    }
}

/// A stream whose read side shows only what the guard let pass.
#[derive(Debug)]
pub struct GuardedStream<S> {
    stream: S,
    guard: Guard,
    signals: Rc<Signals>,
    /// Bytes that were read and not shown yet: first those that passed, then the beginning of a head.
    held: Vec<u8>,
    /// How many of them passed.
    passed: usize,
    /// How many of those were shown.
    shown: usize,
    head_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl<S> GuardedStream<S> {
    /// Guards a fresh connection.
    pub fn new(stream: S, signals: Rc<Signals>) -> Self {
        let guard = Guard::default();
        Self {
            stream,
            guard,
            signals,
            held: Vec::new(),
            passed: 0,
            shown: 0,
            head_timer: None,
            write_timer: None,
        }
    }

    /// The stream without its guard.
    pub fn into_inner(self) -> S {
        self.stream
    }

    /// Counts what was written, or waits for the client to make room, but not for ever.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = polled {
            self.write_timer = None;
            let written = result?;
            self.signals.sent.set(self.signals.sent.get() + written as u64);
            return Poll::Ready(Ok(written));
        }
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_LIMIT)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Shows what passed already; true when that was something.
    fn show(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        if self.shown == self.passed {
            return false;
        }
        let length = (self.passed - self.shown).min(buffer.remaining());
        buffer.put_slice(&self.held[self.shown..self.shown + length]);
        self.shown += length;
        if self.shown == self.passed {
            self.held.drain(..self.passed);
            self.passed = 0;
            self.shown = 0;
        }
        true
    }

    /// Puts the stand-in for a rejected request behind what passed.
    fn reject(&mut self, violation: Violation) {
        self.signals.violation.set(Some(violation));
        self.held.truncate(self.passed);
        if !violation.is_in_body() {
            self.held.extend_from_slice(REJECTED_HEAD);
            self.passed = self.held.len();
        }
        self.head_timer = None;
    }

    /// Judges the bytes that a read put into `buffer` behind `start`, in place.
    fn judge_in_place(&mut self, buffer: &mut ReadBuf<'_>, start: usize) {
        let window = &buffer.filled()[start..];
        let advance = self.guard.advance(window);
        match advance.rejected {
            Some(violation) => self.reject(violation),
            None => self.held.extend_from_slice(&window[advance.pass..]),
        }
        buffer.set_filled(start + advance.pass);
    }

    fn judge_held(&mut self) {
        let advance = self.guard.advance(&self.held);
        self.passed = advance.pass;
        if let Some(violation) = advance.rejected {
            self.reject(violation);
        }
        if self.passed > 0 {
            self.head_timer = None;
        }
    }
}

impl<S: AsyncRead + Unpin> GuardedStream<S> {
    /// Reads more of a head whose beginning is held back. Ready(true) = the stream ended.
    fn poll_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let before = self.held.len();
        self.held.resize(before + HELD_READ, 0);
        let mut buffer = ReadBuf::new(&mut self.held[before..]);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
        let length = buffer.filled().len();
        self.held.truncate(before + length);
        if polled.is_ready() {
            ready!(polled)?;
            self.signals.received.set(self.signals.received.get() + length as u64);
            if length > 0 {
                self.judge_held();
            }
            return Poll::Ready(Ok(length == 0));
        }
        let timer = self
            .head_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + HEAD_LIMIT)));
        ready!(timer.as_mut().poll(context));
        self.reject(Violation::HeadTimeout);
        Poll::Ready(Ok(false))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for GuardedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.show(buffer) {
                return Poll::Ready(Ok(()));
            }
            match this.signals.violation.get() {
                Some(violation) if violation.is_in_body() => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, violation.details())));
                }
                // Nothing more is read. Not the end of the stream either: that would read as "the client went away"
                // and cancel the answer. The connection goes on by writing the answer, and closes after it.
                Some(_) => return Poll::Pending,
                None => {}
            }
            if !this.held.is_empty() {
                if ready!(this.poll_held(context))? {
                    this.signals.ended.set(true);
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let start = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
            let length = buffer.filled().len() - start;
            if length == 0 {
                this.signals.ended.set(true);
                return Poll::Ready(Ok(()));
            }
            this.signals.received.set(this.signals.received.get() + length as u64);
            this.judge_in_place(buffer, start);
            if buffer.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for GuardedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = poll_write_slices(&mut self.stream, context, slices);
        self.written(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// Writes pieces with a pause between them; returns what was shown, until the stream ends or falls silent.
    async fn shown(pieces: &[&[u8]], pause: Duration, read_size: usize) -> (Vec<u8>, Rc<Signals>) {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let signals = Rc::new(Signals::default());
        let mut guarded = GuardedStream::new(server, Rc::clone(&signals));
        let send = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::time::sleep(pause).await;
            }
            // Silence, not the end: the client is still there.
            tokio::time::sleep(Duration::from_hours(1)).await;
        };
        let receive = async {
            let (mut all, mut buffer) = (Vec::new(), vec![0; read_size]);
            while let Ok(Ok(length)) =
                tokio::time::timeout(Duration::from_mins(1), guarded.read(&mut buffer)).await
            {
                all.extend_from_slice(&buffer[..length]);
            }
            all
        };
        let all = tokio::select! {
            all = receive => all,
            () = send => panic!("the reader never fell silent"),
        };
        (all, signals)
    }

    #[tokio::test(start_paused = true)]
    async fn good_bytes_come_through_however_they_are_cut() {
        let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let all = [GET, post, GET].concat();
        for (piece, read_size) in [(all.len(), 8192), (all.len(), 3), (1, 8192), (1, 1), (7, 5), (40, 16)] {
            let pieces: Vec<&[u8]> = all.chunks(piece).collect();
            let (seen, signals) = shown(&pieces, Duration::from_millis(1), read_size).await;
            assert_eq!(seen, all, "pieces of {piece}, reads of {read_size}");
            assert_eq!((signals.violation(), signals.take_received()), (None, all.len() as u64));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_head_is_replaced_and_nothing_follows() {
        let bad = b"GET / HTTP/1.1\nHost: a\r\n\r\n";
        for pieces in [vec![[GET, bad, GET].concat()], vec![GET.to_vec(), bad.to_vec(), GET.to_vec()]] {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let (seen, signals) = shown(&pieces, Duration::from_millis(1), 8192).await;
            assert_eq!(seen, [GET, REJECTED_HEAD].concat());
            assert_eq!(signals.violation(), Some(Violation::BareLf));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_must_not_trickle() {
        let pieces: Vec<&[u8]> = GET.chunks(1).collect();
        let (seen, signals) = shown(&pieces, Duration::from_secs(1), 8192).await;
        assert_eq!((seen.as_slice(), signals.violation()), (REJECTED_HEAD, Some(Violation::HeadTimeout)));
        let (seen, signals) = shown(&pieces, Duration::from_millis(300), 8192).await;
        assert_eq!((seen.as_slice(), signals.violation()), (GET, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_a_head_begins_with_its_first_byte() {
        let pieces: Vec<&[u8]> = GET.chunks(14).collect();
        let twice = [pieces.as_slice(), pieces.as_slice()].concat();
        let (seen, signals) = shown(&twice, Duration::from_secs(6), 8192).await;
        assert_eq!((seen, signals.violation()), ([GET, GET].concat(), None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_chunk_is_an_error_behind_the_good_ones() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut guarded = GuardedStream::new(server, Rc::default());
        client.write_all(&[head.as_slice(), b"zz\r\n"].concat()).await.unwrap();
        let mut all = Vec::new();
        let error = guarded.read_to_end(&mut all).await.unwrap_err();
        assert_eq!((all.as_slice(), error.kind()), (head.as_slice(), io::ErrorKind::InvalidData));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_given_up() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut guarded = GuardedStream::new(server, Rc::default());
        let begun = Instant::now();
        let slowly = async {
            // Takes a little now and then: slow is not gone.
            for _ in 0..3 {
                tokio::time::sleep(WRITE_LIMIT / 2).await;
                client.read_exact(&mut [0; 32]).await.unwrap();
            }
            tokio::time::sleep(WRITE_LIMIT * 10).await;
        };
        let error = tokio::select! {
            written = guarded.write_all(&[b'x'; 1000]) => written.unwrap_err(),
            () = slowly => panic!("never given up"),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= WRITE_LIMIT * 5 / 2, "{:?}", begun.elapsed());
    }
}
