//! pid 1 of a sandbox: sets up the inside of its namespaces, confines itself, then starts commands on request
//! and reaps every orphan.
//!
//! State: the commands that run (pid -> the client's number). It shares the sandbox with hostile processes, so
//! it is not dumpable (nothing inside can trace it), holds the same few capabilities as they do, and what it
//! says is not trusted outside. It dies with the supervisor, and the kernel then kills all else inside.

mod commands;
mod confine;
mod setup;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::channel::Channel;
use crate::messages::{FromInit, InitPlan, Socket, Step, ToInit};
use crate::sys::{self, check};

/// Runs as pid 1; never returns.
pub fn run(channel: Channel) -> ! {
    let code = match serve(&channel) {
        Ok(()) => 0,
        Err(_) => 1,
    };
    // SAFETY: ends this process without running the supervisor's exit handlers.
    unsafe { libc::_exit(code) }
}

fn serve(channel: &Channel) -> io::Result<()> {
    sys::close_from(3, &[channel.raw()]);
    let Some((ToInit::Setup(plan), fds)) = channel.receive()? else { return Ok(()) };
    let ready = fds
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::other("no root"))
        .step(|| "receive root".into())
        .and_then(|root| setup::enter(&plan, root, channel));
    match ready {
        Ok(weaknesses) => {
            let root = sys::open_place("/".as_ref())?;
            channel.send(&FromInit::Ready { weaknesses }, &[root.as_fd()])?;
        }
        Err(failure) => {
            channel.send(&FromInit::Failed(failure), &[])?;
            return Ok(());
        }
    }
    Init { channel, plan, running: HashMap::new(), signals: signal_file()? }.run()
}

struct Init<'a> {
    channel: &'a Channel,
    plan: InitPlan,
    running: HashMap<i32, u64>,
    signals: OwnedFd,
}

impl Init<'_> {
    fn run(mut self) -> io::Result<()> {
        let mut polls = [
            libc::pollfd { fd: self.channel.raw(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: self.signals.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
        loop {
            // SAFETY: two pollfds, which outlive the call.
            if unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) } < 0 {
                continue;
            }
            if polls[1].revents != 0 {
                let mut info = [0u8; 1024];
                // SAFETY: the kernel writes at most the buffer's length.
                unsafe { libc::read(self.signals.as_raw_fd(), info.as_mut_ptr().cast(), info.len()) };
                self.reap()?;
            }
            if polls[0].revents != 0 {
                match self.channel.receive::<ToInit>()? {
                    Some((message, fds)) => self.handle(message, fds)?,
                    None => return Ok(()),
                }
            }
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        loop {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return Ok(());
            }
            if let Some(seq) = self.running.remove(&pid) {
                self.channel.send(&FromInit::Exited { seq, status }, &[])?;
            }
        }
    }

    fn handle(&mut self, message: ToInit, fds: Vec<OwnedFd>) -> io::Result<()> {
        match message {
            ToInit::Setup(_) => Ok(()),
            ToInit::Exec { seq, request } => match commands::start(&self.plan, &request, fds) {
                Ok(started) => {
                    self.running.insert(started.pid, seq);
                    let terminal: Vec<_> = started.terminal.iter().map(AsFd::as_fd).collect();
                    self.channel.send(&FromInit::Started { seq, pid: started.pid }, &terminal)
                }
                Err(detail) => self.channel.send(&FromInit::SpawnFailed { seq, detail }, &[]),
            },
            ToInit::Signal { seq, signal } => {
                if let Some((pid, _)) = self.running.iter().find(|(_, s)| **s == seq) {
                    // SAFETY: no memory is involved. The command leads its own process group, so this is
                    // it and what it started; as it is not reaped yet, the number is still its own.
                    unsafe { libc::kill(-*pid, signal) };
                }
                Ok(())
            }
            ToInit::Listen { seq, address, kind } => self.give(seq, listen(address, kind)),
            ToInit::Open { seq, v6 } => self.give(seq, socket(v6, libc::SOCK_STREAM)),
        }
    }

    fn give(&self, seq: u64, socket: io::Result<OwnedFd>) -> io::Result<()> {
        match socket {
            Ok(socket) => self.channel.send(&FromInit::Socket { seq }, &[socket.as_fd()]),
            Err(e) => self.channel.send(&FromInit::SocketFailed { seq, detail: e.to_string() }, &[]),
        }
    }
}

fn socket(v6: bool, kind: libc::c_int) -> io::Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    // SAFETY: no pointers are passed.
    let fd =
        check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0) }.into())?;
    // SAFETY: the kernel has just returned this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn listen(address: std::net::SocketAddr, kind: Socket) -> io::Result<OwnedFd> {
    let listener: OwnedFd = match kind {
        Socket::Stream => {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            listener.into()
        }
        Socket::Datagram => {
            let socket = std::net::UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            socket.into()
        }
    };
    Ok(listener)
}

/// A descriptor that turns readable when a child ends.
fn signal_file() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before use, and outlives the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()).into())?;
        let fd = check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
