//! What reading from and writing to sockets has in common on both sides of the gateway.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Slices that are shorter together are joined before they are written.
const JOIN_MAX: usize = 4096;

/// Writes slices; few bytes by the plain call, which costs the kernel more than a copy less than the one for many.
pub(crate) fn poll_write_slices<S: AsyncWrite + Unpin>(
    stream: &mut S,
    context: &mut Context<'_>,
    slices: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let mut filled = slices.iter().filter(|slice| !slice.is_empty());
    if let (Some(only), None) = (filled.next(), filled.next()) {
        return Pin::new(stream).poll_write(context, only);
    }
    if slices.iter().map(|slice| slice.len()).sum::<usize>() > JOIN_MAX {
        return Pin::new(stream).poll_write_vectored(context, slices);
    }
    let mut joined = [0; JOIN_MAX];
    let mut end = 0;
    for slice in slices {
        joined[end..end + slice.len()].copy_from_slice(slice);
        end += slice.len();
    }
    Pin::new(stream).poll_write(context, &joined[..end])
}
