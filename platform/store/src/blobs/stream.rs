//! Content on its way out, as a stream that reads as it is polled.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

const READ_BYTES: usize = 256 << 10;

/// Bytes of a blob or a file.
pub struct BlobStream {
    // Never locked: whoever polls has the only reference. The mutex makes the stream `Sync`, as the bodies
    // of HTTP answers must be.
    inner: Mutex<BoxStream<'static, io::Result<Bytes>>>,
}

impl BlobStream {
    pub(super) fn new(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> BlobStream {
        BlobStream { inner: Mutex::new(stream.boxed()) }
    }
}

impl Stream for BlobStream {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<io::Result<Bytes>>> {
        let inner = self.get_mut().inner.get_mut().unwrap_or_else(PoisonError::into_inner);
        inner.poll_next_unpin(context)
    }
}

/// The bytes `range` of a file.
pub fn of_file(path: PathBuf, range: Range<u64>) -> BlobStream {
    enum State {
        Closed(PathBuf, Range<u64>),
        Open(tokio::fs::File, u64),
        Done,
    }
    async fn step(state: State) -> io::Result<(Bytes, State)> {
        let (mut file, left) = match state {
            State::Closed(path, range) => {
                let mut file = tokio::fs::File::open(path).await?;
                if range.start > 0 {
                    file.seek(SeekFrom::Start(range.start)).await?;
                }
                (file, range.end - range.start)
            }
            State::Open(file, left) => (file, left),
            State::Done => return Ok((Bytes::new(), State::Done)),
        };
        let mut buffer = BytesMut::zeroed(left.min(READ_BYTES as u64) as usize);
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.truncate(count);
        let left = left - count as u64;
        Ok((buffer.freeze(), if left == 0 { State::Done } else { State::Open(file, left) }))
    }
    if range.is_empty() {
        return BlobStream::new(stream::empty());
    }
    BlobStream::new(stream::unfold(State::Closed(path, range), |state| async move {
        if matches!(state, State::Done) {
            return None;
        }
        match step(state).await {
            Ok((bytes, next)) => Some((Ok(bytes), next)),
            Err(error) => Some((Err(error), State::Done)),
        }
    }))
}

/// Writes a stream to a new file (0600); not synced. Where it fails, no file is left.
pub async fn to_new_file(mut content: BlobStream, destination: &Path) -> io::Result<()> {
    // Before the file is made: what is not there leaves nothing behind.
    let first = content.next().await.transpose()?;
    let mut file =
        tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(destination).await?;
    let copied = async {
        let mut next = first;
        while let Some(bytes) = next {
            file.write_all(&bytes).await?;
            next = content.next().await.transpose()?;
        }
        file.flush().await
    };
    let copied = copied.await;
    if copied.is_err() {
        let _ = tokio::fs::remove_file(destination).await;
    }
    copied
}
