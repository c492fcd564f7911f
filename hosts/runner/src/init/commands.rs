//! Starting one command inside: the last steps between pid 1 and `execve`.
//!
//! Everything that allocates is done before the fork. The child reports a failure of its own steps through a
//! close-on-exec pipe, so "never ran" is told apart from "ran and failed".

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;

use crate::messages::{ExecRequest, InitPlan};
use crate::spec::{Mode, WindowSize};
use crate::sys::{self, check};

/// Largest `/etc/passwd` or `/etc/group` that is read; both are the inside's own and may be hostile.
const ACCOUNTS_BYTES: u64 = 4 * 1024 * 1024;

/// A command that runs.
pub struct Started {
    pub pid: i32,
    pub terminal: Option<OwnedFd>,
}

struct Account {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

struct Prepared {
    argv: Vec<CString>,
    env: Vec<CString>,
    candidates: Vec<CString>,
    cwd: CString,
    account: Option<Account>,
    streams: [RawFd; 3],
    terminal: bool,
}

/// Starts `request` with the three streams `fds`, or on a new terminal.
pub fn start(plan: &InitPlan, request: &ExecRequest, fds: Vec<OwnedFd>) -> Result<Started, String> {
    let (terminal, fds) = match request.terminal {
        Some(size) => {
            let (near, far) = open_terminal(size).map_err(|e| format!("open a terminal: {e}"))?;
            let again = far.try_clone().and_then(|second| Ok((second, far.try_clone()?)));
            let (second, third) = again.map_err(|e| e.to_string())?;
            (Some(near), vec![far, second, third])
        }
        None => (None, fds),
    };
    let streams: [RawFd; 3] = fds
        .iter()
        .map(AsRawFd::as_raw_fd)
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| "a command needs exactly three streams".to_owned())?;
    let prepared = prepare(plan, request, streams)?;
    if let Some(account) = &prepared.account {
        give_streams(&fds, account);
    }
    let (mut result, report) = io::pipe().map_err(|e| e.to_string())?;
    // SAFETY: this process has one thread, so the child may use everything it inherits.
    let pid = check(unsafe { libc::fork() }.into()).map_err(|e| format!("fork: {e}"))? as i32;
    if pid == 0 {
        let (step, error) = become_command(&prepared, report.as_raw_fd());
        let text = format!("{step}: {error}");
        // SAFETY: writes a buffer that outlives the call, then ends the child.
        unsafe {
            libc::write(report.as_raw_fd(), text.as_ptr().cast(), text.len());
            libc::_exit(127)
        }
    }
    drop(report);
    let mut failure = String::new();
    result.read_to_string(&mut failure).ok();
    if failure.is_empty() { Ok(Started { pid, terminal }) } else { Err(failure) }
}

fn prepare(plan: &InitPlan, request: &ExecRequest, streams: [RawFd; 3]) -> Result<Prepared, String> {
    let c = |text: &[u8]| CString::new(text).map_err(|_| "a NUL byte in an argument or variable".to_owned());
    let program = request.argv.first().filter(|p| !p.is_empty()).ok_or("an empty command")?;
    let account = request.user.as_deref().map(find_account).transpose()?;
    if plan.mode == Mode::Rootless && account.as_ref().is_some_and(|a| a.uid != 0) {
        return Err("a rootless sandbox has no user but root; run the server as root for others".to_owned());
    }
    let mut env: Vec<(String, String)> = Vec::new();
    for (name, value) in plan.env.iter().chain(&request.env) {
        if name.is_empty() || name.contains('=') {
            return Err(format!("{name:?} cannot name a variable"));
        }
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    let path = env.iter().find(|(n, _)| n == "PATH").map_or("/usr/bin:/bin", |(_, v)| v.as_str());
    let candidates = if program.contains('/') {
        vec![c(program.as_bytes())?]
    } else {
        let folders = path.split(':').filter(|f| f.starts_with('/'));
        folders.map(|f| c(format!("{f}/{program}").as_bytes())).collect::<Result<_, _>>()?
    };
    let cwd = request.cwd.as_ref().map_or(OsStr::new("/"), |p| p.as_os_str());
    Ok(Prepared {
        argv: request.argv.iter().map(|a| c(a.as_bytes())).collect::<Result<_, _>>()?,
        env: env.iter().map(|(n, v)| c(format!("{n}={v}").as_bytes())).collect::<Result<_, _>>()?,
        candidates,
        cwd: c(cwd.as_bytes())?,
        account,
        streams,
        terminal: request.terminal.is_some(),
    })
}

/// Turns this process into the command; returns only with the step that failed.
fn become_command(prepared: &Prepared, report: RawFd) -> (&'static str, io::Error) {
    let failed = |step: &'static str| (step, io::Error::last_os_error());
    // SAFETY: the calls get descriptors, constants and buffers that outlive them; this child is single-threaded.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        if libc::setsid() < 0 {
            return failed("setsid");
        }
        // Out of the way first: a stream's number may itself be 0, 1 or 2.
        let mut high = [0; 3];
        for (target, fd) in prepared.streams.iter().enumerate() {
            high[target] = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 10);
            if high[target] < 0 {
                return failed("dup");
            }
        }
        for (target, fd) in high.iter().enumerate() {
            if libc::dup2(*fd, target as i32) < 0 {
                return failed("dup2");
            }
        }
        if prepared.terminal && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
            return failed("take the terminal");
        }
        sys::close_from(3, &[report]);
        if let Some(account) = &prepared.account
            && account.uid != 0
        {
            if libc::setgroups(account.groups.len(), account.groups.as_ptr()) < 0 {
                return failed("set groups");
            }
            if libc::setresgid(account.gid, account.gid, account.gid) < 0 {
                return failed("set the group");
            }
            if libc::setresuid(account.uid, account.uid, account.uid) < 0 {
                return failed("set the user");
            }
        }
        if libc::chdir(prepared.cwd.as_ptr()) < 0 {
            return failed("enter the working folder");
        }
    }
    execute(prepared)
}

fn execute(prepared: &Prepared) -> (&'static str, io::Error) {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(&prepared.argv), pointers(&prepared.env));
    let mut error = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in &prepared.candidates {
        // SAFETY: both arrays end with a null pointer and outlive the call.
        unsafe { libc::execve(candidate.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let now = io::Error::last_os_error();
        match now.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            // As shells do: go on, but remember that something was there.
            Some(libc::EACCES) => error = now,
            _ => return ("execute", now),
        }
    }
    ("execute", error)
}

/// Pipes made outside belong to the inside's root by now; give them on, so that `/dev/stdout` opens.
fn give_streams(fds: &[OwnedFd], account: &Account) {
    for fd in fds {
        // Failure only means that this user cannot reopen the stream by name.
        // SAFETY: no memory is involved.
        unsafe { libc::fchown(fd.as_raw_fd(), account.uid, account.gid) };
    }
}

fn open_terminal(size: WindowSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: constant path; the descriptors are fresh from the kernel; the structures outlive the calls.
    unsafe {
        let near = check(libc::open(c"/dev/ptmx".as_ptr(), flags).into())?;
        let near = OwnedFd::from_raw_fd(near as i32);
        let unlock: libc::c_int = 0;
        check(libc::ioctl(near.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock).into())?;
        let far = check(libc::ioctl(near.as_raw_fd(), libc::TIOCGPTPEER, flags).into())?;
        let far = OwnedFd::from_raw_fd(far as i32);
        let window = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        check(libc::ioctl(near.as_raw_fd(), libc::TIOCSWINSZ, &raw const window).into())?;
        Ok((near, far))
    }
}

fn find_account(user: &str) -> Result<Account, String> {
    if user.starts_with(|c: char| c.is_ascii_digit()) {
        let (uid, gid) = user.split_once(':').unwrap_or((user, user));
        let parse = |text: &str| text.parse::<u32>().map_err(|_| format!("{user:?} is not UID or UID:GID"));
        let (uid, gid) = (parse(uid)?, parse(gid)?);
        return Ok(Account { uid, gid, groups: vec![gid] });
    }
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let passwd = read_accounts("/etc/passwd")?;
    let entry = passwd.iter().map(|l| fields(l)).find(|f| f.first().is_some_and(|n| n == user));
    let number = |entry: &[String], at: usize| entry.get(at).and_then(|f| f.parse::<u32>().ok());
    let missing = || format!("no user {user:?} in the sandbox");
    let entry = entry.ok_or_else(missing)?;
    let (uid, gid) = number(&entry, 2).zip(number(&entry, 3)).ok_or_else(missing)?;
    let mut groups = vec![gid];
    for line in read_accounts("/etc/group").unwrap_or_default() {
        let group = fields(&line);
        let member = group.get(3).is_some_and(|members| members.split(',').any(|m| m == user));
        groups.extend(number(&group, 2).filter(|_| member && groups.len() < 1024));
    }
    Ok(Account { uid, gid, groups })
}

fn read_accounts(path: &str) -> Result<Vec<String>, String> {
    // Not blocking: it may be a named pipe by now.
    let mut options = File::options();
    let file =
        options.read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(|e| format!("{path}: {e}"))?;
    let lines = BufReader::new(file.take(ACCOUNTS_BYTES)).lines();
    lines.collect::<Result<_, _>>().map_err(|e| format!("{path}: {e}"))
}
