//! What reading from and writing to sockets has in common on both sides of the gateway.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Writes slices; a single one by the plain call, which costs the kernel less than the one for many.
pub(crate) fn poll_write_slices<S: AsyncWrite + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    slices: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut filled = slices.iter().filter(|slice| !slice.is_empty());
    match (filled.next(), filled.next()) {
        (Some(only), None) => Pin::new(stream).poll_write(context, only),
        _ => Pin::new(stream).poll_write_vectored(context, slices),
    }
}
