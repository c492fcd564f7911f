//! Messages with descriptors between server, supervisor and init: JSON in one `SOCK_SEQPACKET` datagram each.
//!
//! A payload over [`INLINE_BYTES`] travels in a memory file, since a datagram is bounded by the socket's
//! buffer. The receiver bounds both. The other end may be hostile (init is inside): what does not parse is an
//! error, never a panic.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
    socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const INLINE_BYTES: usize = 32 * 1024;
const LARGEST_BYTES: u64 = 8 * 1024 * 1024;
const MAX_FDS: usize = 8;
const INLINE: u8 = b'i';
const IN_FILE: u8 = b'f';

/// One end of a message channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A received message and its descriptors.
pub type Received<T> = Option<(T, Vec<OwnedFd>)>;

/// Two connected ends.
pub fn pair() -> io::Result<(Channel, Channel)> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Channel(a), Channel(b)))
}

impl Channel {
    pub fn from_fd(fd: OwnedFd) -> Channel {
        Channel(fd)
    }

    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Sends, waiting for room.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let (frame, file) = encode(message)?;
        transmit(self.0.as_fd(), &frame, fds, file.as_ref(), MsgFlags::empty())
    }

    /// Receives, waiting; `None` when the other end is closed.
    pub fn receive<T: DeserializeOwned>(&self) -> io::Result<Received<T>> {
        take(self.0.as_fd(), MsgFlags::empty())
    }

    /// Whether the other end has gone.
    pub fn is_closed(&self) -> bool {
        let mut poll = libc::pollfd { fd: self.raw(), events: 0, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, 0) };
        poll.revents & (libc::POLLHUP | libc::POLLERR) != 0
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A channel in a tokio runtime.
#[derive(Debug)]
pub struct AsyncChannel(AsyncFd<OwnedFd>);

impl AsyncChannel {
    pub fn new(channel: Channel) -> io::Result<AsyncChannel> {
        Ok(AsyncChannel(watch(channel.0)?))
    }

    pub async fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let (frame, file) = encode(message)?;
        self.0
            .async_io(Interest::WRITABLE, |fd| {
                transmit(fd.as_fd(), &frame, fds, file.as_ref(), MsgFlags::MSG_DONTWAIT)
            })
            .await
    }

    pub async fn receive<T: DeserializeOwned>(&self) -> io::Result<Received<T>> {
        self.0.async_io(Interest::READABLE, |fd| take(fd.as_fd(), MsgFlags::MSG_DONTWAIT)).await
    }
}

/// A descriptor in the current runtime's event loop.
pub fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays open, and the same, for as long as the value lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

fn encode<T: Serialize>(message: &T) -> io::Result<(Vec<u8>, Option<File>)> {
    let mut frame = vec![INLINE];
    serde_json::to_writer(&mut frame, message)?;
    if frame.len() <= INLINE_BYTES {
        return Ok((frame, None));
    }
    if frame.len() as u64 > LARGEST_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "message over 8 MiB"));
    }
    let mut file = File::from(crate::sys::memory_file()?);
    file.write_all(&frame[1..])?;
    Ok((vec![IN_FILE], Some(file)))
}

fn transmit(
    socket: BorrowedFd<'_>,
    frame: &[u8],
    fds: &[BorrowedFd<'_>],
    file: Option<&File>,
    flags: MsgFlags,
) -> io::Result<()> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).chain(file.map(AsRawFd::as_raw_fd)).collect();
    if raw.len() > MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors in one message"));
    }
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(frame)],
            control,
            flags | MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(e) => return Err(e.into()),
            Ok(_) => return Ok(()),
        }
    }
}

fn take<T: DeserializeOwned>(socket: BorrowedFd<'_>, flags: MsgFlags) -> io::Result<Received<T>> {
    let mut frame = vec![0u8; INLINE_BYTES + 1];
    let mut control = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut parts = [IoSliceMut::new(&mut frame)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let (size_bytes, mut fds) = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Err(nix::errno::Errno::EINTR) => continue,
            Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
            Err(e) => return Err(e.into()),
            Ok(message) => {
                let mut fds = Vec::new();
                for part in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = part {
                        // SAFETY: the kernel has just made these descriptors for this process.
                        fds.extend(
                            raw.into_iter()
                                .map(|fd| unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) }),
                        );
                    }
                }
                break (message.bytes, fds);
            }
        }
    };
    frame.truncate(size_bytes);
    let Some((kind, body)) = frame.split_first() else { return Ok(None) };
    let message = if *kind == IN_FILE {
        let file = fds.pop().ok_or_else(|| io::Error::other("message without its file"))?;
        let mut file = File::from(file);
        file.rewind()?;
        let mut body = Vec::new();
        file.take(LARGEST_BYTES).read_to_end(&mut body)?;
        serde_json::from_slice(&body)?
    } else {
        serde_json::from_slice(body)?
    };
    Ok(Some((message, fds)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn small_and_large_messages_arrive_with_their_descriptors() {
        let (a, b) = pair().unwrap();
        for size in [3, 5 * INLINE_BYTES] {
            let text = "x".repeat(size);
            let file = File::open("/dev/null").unwrap();
            a.send(&text, &[file.as_fd()]).unwrap();
            let (got, fds) = b.receive::<String>().unwrap().unwrap();
            assert_eq!(got, text);
            assert_eq!(fds.len(), 1);
        }
        drop(a);
        assert!(b.is_closed());
        assert!(b.receive::<String>().unwrap().is_none());
    }

    #[test]
    fn garbage_is_an_error() {
        let (a, b) = pair().unwrap();
        a.send(&1, &[]).unwrap();
        assert!(b.receive::<String>().is_err());
    }
}
