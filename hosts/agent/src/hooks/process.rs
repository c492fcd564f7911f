//! One script as a process: started as its user in a session of its own, watched, and ended with all that it
//! started when its time is over.
//!
//! One loop waits for output and for the end (a pidfd) at once, so a script that leaves a process behind
//! with its output still open holds nobody up: that process lives on, as a service should, and what it
//! writes from then on is read and dropped.

use super::Run;
use super::leftovers;
use super::log::{Pending, ScriptLog};
use super::user::Account;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, killpg, pthread_sigmask};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long output may trickle in after a script's end.
const DRAIN: Duration = Duration::from_millis(500);
/// Between the polite signal and the other one.
const TERM_GRACE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(100);
/// Services that were left behind with an open output, each read by a small thread.
const MAX_DRAINERS: usize = 64;

/// Passed on from the agent's own environment; none of them carries credentials.
const PASSED: [&str; 6] = ["PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"];
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    Exited(i32),
    Signalled(i32),
    TimedOut,
    Aborted,
}

pub struct Process {
    child: Child,
    pidfd: OwnedFd,
    outputs: [Output; 2],
}

struct Output {
    label: &'static str,
    file: Option<File>,
    pending: Pending,
}

fn command(program: &Path, run: &Run, account: &Account) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", DEFAULT_PATH);
    command.envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("HOME", &account.home).env("SHELL", &account.shell);
    command.env("USER", &account.name).env("LOGNAME", &account.name);
    command.envs(run.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(run.working_folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What happens in the child between fork and exec: system calls only, nothing that allocates.
fn prepare(command: &mut Command, account: &Account) {
    let switch = account.switch.as_ref().map(|switch| {
        let groups: Vec<libc::gid_t> = switch.groups.iter().map(|gid| gid.as_raw()).collect();
        (switch.uid.as_raw(), switch.gid.as_raw(), groups)
    });
    let check = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    let in_child = move || {
        // SAFETY: plain system calls on values that were made before the fork.
        unsafe {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            if let Some((uid, gid, groups)) = &switch {
                check(libc::setgroups(groups.len(), groups.as_ptr()))?;
                check(libc::setresgid(*gid, *gid, *gid))?;
                check(libc::setresuid(*uid, *uid, *uid))?;
            }
            // After the change of user, which clears it: a killed agent takes its script along.
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        }
        pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        Ok(())
    };
    // SAFETY: the closure makes async-signal-safe system calls only.
    unsafe {
        command.pre_exec(in_child);
    }
}

impl Process {
    pub fn start(script: &Path, run: &Run, account: &Account) -> io::Result<Process> {
        let mut direct = command(script, run, account);
        prepare(&mut direct, account);
        let mut child = match direct.spawn() {
            // No `#!` line: a shell script, as every exec*p has it.
            Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
                let mut shell = command(Path::new("/bin/sh"), run, account);
                shell.arg(script);
                prepare(&mut shell, account);
                shell.spawn()?
            }
            other => other?,
        };
        let pidfd = match pidfd_open(child.id()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                child.kill().ok();
                child.wait().ok();
                return Err(error);
            }
        };
        let output = |label, fd: Option<OwnedFd>| Output {
            label,
            file: fd.map(File::from),
            pending: Pending::default(),
        };
        let outputs = [
            output("stdout", child.stdout.take().map(OwnedFd::from)),
            output("stderr", child.stderr.take().map(OwnedFd::from)),
        ];
        Ok(Process { child, pidfd, outputs })
    }

    /// Watches it to its end.
    pub fn watch(mut self, timeout: Duration, log: &mut ScriptLog, run: &Run) -> io::Result<Ending> {
        let deadline = Instant::now() + timeout;
        let mut stop_by: Option<Instant> = None;
        let ending = loop {
            if self.step(deadline, log)? {
                let status = self.child.wait()?;
                break match (status.code(), status.signal()) {
                    (Some(code), _) => Ending::Exited(code),
                    (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
                };
            }
            let now = Instant::now();
            if stop_by.is_none() && run.stop.is_requested() {
                stop_by = Some(now + run.stop_grace);
            }
            let aborted = run.stop.is_abort()
                || run.over.load(Ordering::Relaxed)
                || stop_by.is_some_and(|stop_by| now >= stop_by);
            if aborted || now >= deadline {
                self.end(log)?;
                break if aborted { Ending::Aborted } else { Ending::TimedOut };
            }
        };
        self.drain(log)?;
        Ok(ending)
    }

    /// Takes what output there is; true when the script has ended.
    fn step(&mut self, deadline: Instant, log: &mut ScriptLog) -> io::Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now()).min(TICK);
        let mut fds = vec![PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let open: Vec<usize> = (0..2).filter(|index| self.outputs[*index].file.is_some()).collect();
        for index in &open {
            if let Some(file) = &self.outputs[*index].file {
                fds.push(PollFd::new(file.as_fd(), PollFlags::POLLIN));
            }
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            Err(nix::errno::Errno::EINTR) => return Ok(false),
            other => other?,
        };
        let ready = |fd: &PollFd| fd.revents().is_some_and(|events| !events.is_empty());
        let ended = ready(&fds[0]);
        let readable: Vec<usize> =
            open.iter().zip(&fds[1..]).filter(|(_, fd)| ready(fd)).map(|(index, _)| *index).collect();
        for index in readable {
            self.outputs[index].take(log)?;
        }
        Ok(ended)
    }

    /// Ends the script and everything in its session.
    fn end(&mut self, log: &mut ScriptLog) -> io::Result<()> {
        let group = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        killpg(group, Signal::SIGTERM).ok();
        let until = Instant::now() + TERM_GRACE;
        while Instant::now() < until && !self.step(until, log)? {}
        killpg(group, Signal::SIGKILL).ok();
        leftovers::end_session(group);
        self.child.wait()?;
        Ok(())
    }

    /// After the end: the rest of the output, and no waiting for whoever keeps it open.
    fn drain(mut self, log: &mut ScriptLog) -> io::Result<()> {
        let until = Instant::now() + DRAIN;
        for output in &mut self.outputs {
            while let Some(file) = &output.file {
                let left = until.saturating_duration_since(Instant::now());
                let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                match poll(&mut fds, timeout) {
                    Err(nix::errno::Errno::EINTR) => continue,
                    Ok(0) => break,
                    other => other?,
                };
                output.take(log)?;
                if left.is_zero() {
                    break;
                }
            }
            log.flush(output.label, &mut output.pending);
        }
        let mut left_open = false;
        for output in &mut self.outputs {
            left_open |= output.file.take().is_some_and(read_and_drop);
        }
        if left_open {
            log.line("The script left a process behind that holds its output open; what that writes from here on is not kept.");
        }
        Ok(())
    }
}

impl Output {
    fn take(&mut self, log: &mut ScriptLog) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut buffer = [0u8; 16 << 10];
        match file.read(&mut buffer) {
            Ok(0) => self.file = None,
            Ok(count) => log.output(self.label, &mut self.pending, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A service whose output nobody reads would stop when its pipe is full.
fn read_and_drop(mut file: File) -> bool {
    static DRAINERS: AtomicUsize = AtomicUsize::new(0);
    if DRAINERS.fetch_add(1, Ordering::Relaxed) < MAX_DRAINERS {
        let drain = move || {
            let mut buffer = [0u8; 4096];
            while file.read(&mut buffer).is_ok_and(|count| count > 0) {}
            DRAINERS.fetch_sub(1, Ordering::Relaxed);
        };
        let thread = std::thread::Builder::new().name("drain".into()).stack_size(64 << 10);
        if thread.spawn(drain).is_ok() {
            return true;
        }
    }
    DRAINERS.fetch_sub(1, Ordering::Relaxed);
    true
}

fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and gives a new descriptor, which is owned from here on.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
