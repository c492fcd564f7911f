//! The socket on which a host's supervisor answers: `SOCK_SEQPACKET`, in a folder that only its owner enters.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, connect as connect_to,
    listen as start, socket,
};
use tokio::io::unix::AsyncFd;

use crate::channel::Channel;
use crate::sys;

fn open(flags: SockFlag) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, flags | SockFlag::SOCK_CLOEXEC, None)?)
}

/// A name for `path` that fits into a socket address (108 bytes), valid while the folder is held open.
fn short(path: &Path) -> io::Result<(OwnedFd, String)> {
    let folder = sys::open_place(path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let short = format!("{}/{name}", sys::fd_path(&folder));
    Ok((folder, short))
}

/// A listening socket at `path`.
pub fn listen(path: &Path) -> io::Result<OwnedFd> {
    let listener = open(SockFlag::SOCK_NONBLOCK)?;
    let (_folder, path) = short(path)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    start(&listener, Backlog::new(16)?)?;
    Ok(listener)
}

/// The next client.
pub async fn accept(listener: &AsyncFd<OwnedFd>) -> io::Result<Channel> {
    let fd = listener
        .async_io(tokio::io::Interest::READABLE, |fd| Ok(accept4(fd.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?))
        .await?;
    // SAFETY: the kernel has just returned this descriptor.
    Ok(Channel::from_fd(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) }))
}

/// A channel to the supervisor that listens at `path`.
pub fn connect(path: &Path) -> io::Result<Channel> {
    let client = open(SockFlag::empty())?;
    let (_folder, path) = short(path)?;
    connect_to(client.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    Ok(Channel::from_fd(client))
}
