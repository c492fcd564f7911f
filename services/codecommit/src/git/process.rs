//! The `git` binary as a child process.
//!
//! Purpose: one place that decides what git may see. Its environment is built from nothing, its only
//! configuration besides the repository's own is a file that the server writes, and no hook can run.
//! Every child leads a process group of its own; whoever loses interest ends the group.
//! Invariants: at most [`Limits::processes`] children at once; a child that is no longer wanted first
//! sees its pipes close, then gets SIGTERM, then SIGKILL: git removes its quarantine when it ends by
//! itself, its lock files on SIGTERM, and nothing on SIGKILL.
//! Crash: children see their pipes close and end; lock files left behind are removed at the next start.
//!
//! Sources: <https://git-scm.com/docs/git-config>, <https://git-scm.com/docs/git#_environment_variables>.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Between closing a child's pipes, SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// What is kept of a child's error output.
const MAX_STDERR_BYTES: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git cannot be started: {0}. Is it installed and on the server's PATH?")]
    Start(#[source] io::Error),
    #[error("git {command} failed ({status}): {stderr}")]
    Failed { command: String, status: ExitStatus, stderr: String },
    #[error("git {command} took longer than {limit_ms} ms")]
    TooSlow { command: String, limit_ms: u128 },
    #[error("all {0} places for git processes were taken for too long")]
    Busy(usize),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("the repository cannot be read: {0}")]
    Unreadable(String),
}

impl GitError {
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> GitError {
        let what = what.into();
        move |source| GitError::Io { what, source }
    }

    pub fn unreadable(error: impl std::fmt::Display) -> GitError {
        GitError::Unreadable(error.to_string())
    }
}

/// Bounds on what git may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Children at the same time.
    pub processes: usize,
    /// How long a request waits for its turn: git's clients wait for as long as it takes, and do not come again
    /// after a refusal.
    pub turn_ms: u64,
    /// How long one command of our own may take.
    pub command_ms: u64,
    /// The largest pack of one push.
    pub push_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { processes: 32, turn_ms: 600_000, command_ms: 600_000, push_bytes: 16 << 30 }
    }
}

/// The `git` binary with its configuration.
#[derive(Clone)]
pub struct Git {
    config: Arc<PathBuf>,
    path: Arc<std::ffi::OsString>,
    turns: Arc<Semaphore>,
    pub limits: Arc<Limits>,
}

impl Git {
    /// Writes the configuration file to `folder`.
    pub fn new(folder: &Path, limits: Limits) -> Result<Git, GitError> {
        let config = folder.join("gitconfig");
        std::fs::write(&config, configuration(&limits))
            .map_err(GitError::io(config.display().to_string()))?;
        Ok(Git {
            config: Arc::new(config),
            path: Arc::new(std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())),
            turns: Arc::new(Semaphore::new(limits.processes)),
            limits: Arc::new(limits),
        })
    }

    /// A command with the clean environment. `--git-dir` is the caller's.
    pub fn command(&self, arguments: &[&OsStr]) -> Command {
        let mut command = Command::new("git");
        command
            .env_clear()
            .env("PATH", self.path.as_os_str())
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.config.as_os_str())
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .current_dir("/")
            .args(arguments);
        command
    }

    /// Waits for a place and starts the child with pipes on all three streams.
    pub async fn start(&self, command: Command) -> Result<Running, GitError> {
        self.start_on(command, Stdio::piped()).await
    }

    /// The same with another standard input.
    pub async fn start_on(&self, command: Command, stdin: Stdio) -> Result<Running, GitError> {
        let turn = self.turn().await?;
        self.spawn(command, stdin, turn)
    }

    /// The same with a socket as standard input, for what is long. Git reads 4 KiB at a time, and the writer of a
    /// full pipe is woken for each; the writer of a full socket when most of it is free again. For a pack of
    /// 157 MB the server's threads then wait 4,000 times instead of 34,000.
    pub async fn start_fed(&self, command: Command) -> Result<(Running, UnixStream), GitError> {
        let turn = self.turn().await?;
        let (ours, theirs) = UnixStream::pair().map_err(GitError::Start)?;
        let theirs = theirs.into_std().map_err(GitError::Start)?;
        theirs.set_nonblocking(false).map_err(GitError::Start)?;
        let running = self.spawn(command, OwnedFd::from(theirs).into(), turn)?;
        Ok((running, ours))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, GitError> {
        let limit = Duration::from_millis(self.limits.turn_ms);
        match tokio::time::timeout(limit, self.turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(GitError::Busy(self.limits.processes)),
        }
    }

    fn spawn(
        &self,
        mut command: Command,
        stdin: Stdio,
        turn: OwnedSemaphorePermit,
    ) -> Result<Running, GitError> {
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(GitError::Start)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let stderr = child.stderr.take().map(collect);
        Ok(Running { child: Some(child), group, stderr, _turn: turn })
    }

    /// Runs a command of our own to its end: no input, output in memory up to `limit_bytes`.
    pub async fn run(&self, command: Command, limit_bytes: usize) -> Result<Vec<u8>, GitError> {
        self.run_with(command, &[], limit_bytes).await
    }

    /// The same, with `input` on its standard input. A git that does not read it all says so by its status.
    pub async fn run_with(
        &self,
        command: Command,
        input: &[u8],
        limit_bytes: usize,
    ) -> Result<Vec<u8>, GitError> {
        let name = describe(&command);
        let mut running = self.start(command).await?;
        let stdin = running.stdin();
        let feed = async {
            match stdin {
                Some(mut stdin) => stdin.write_all(input).await.is_ok(),
                None => false,
            }
        };
        let limit = Duration::from_millis(self.limits.command_ms);
        let work = async {
            let stdout = running.stdout();
            let read = async {
                match stdout {
                    Some(stdout) => read_bounded(stdout, limit_bytes).await,
                    None => Ok(Vec::new()),
                }
            };
            let (_, output) = tokio::join!(feed, read);
            let output = output.map_err(GitError::io(format!("output of git {name}")))?;
            let (status, stderr) = running.finish().await?;
            if status.success() {
                Ok(output)
            } else {
                Err(GitError::Failed { command: name.clone(), status, stderr })
            }
        };
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(GitError::TooSlow { command: name, limit_ms: limit.as_millis() }))
    }
}

fn describe(command: &Command) -> String {
    let words: Vec<_> = command.as_std().get_args().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Reads to the end; what goes beyond `limit_bytes` is an error.
async fn read_bounded(stream: impl AsyncRead + Unpin, limit_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(limit_bytes as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > limit_bytes {
        return Err(io::Error::other(format!("more than {limit_bytes} bytes")));
    }
    Ok(bytes)
}

/// Keeps the beginning of a child's error output and reads the rest, so that the child never blocks.
fn collect(mut stream: ChildStderr) -> tokio::task::JoinHandle<String> {
    tokio::spawn(async move {
        let mut kept = Vec::new();
        let mut chunk = [0u8; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            let room = MAX_STDERR_BYTES.saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..count.min(room)]);
        }
        String::from_utf8_lossy(&kept).trim().to_owned()
    })
}

/// A running child. Dropping it ends the whole group.
pub struct Running {
    child: Option<Child>,
    group: Option<Pid>,
    stderr: Option<tokio::task::JoinHandle<String>>,
    _turn: OwnedSemaphorePermit,
}

impl Running {
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.as_mut()?.stdin.take()
    }

    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.as_mut()?.stdout.take()
    }

    /// The number of the child's process group.
    pub fn group(&self) -> Option<i32> {
        self.group.map(Pid::as_raw)
    }

    /// Waits for the end; the status and the error output.
    pub async fn finish(&mut self) -> Result<(ExitStatus, String), GitError> {
        let Some(child) = self.child.as_mut() else {
            return Err(GitError::Unreadable("git was ended".into()));
        };
        let status = child.wait().await.map_err(GitError::io("waiting for git"))?;
        self.group = None;
        let stderr = match self.stderr.take() {
            Some(task) => task.await.unwrap_or_default(),
            None => String::new(),
        };
        Ok((status, stderr))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (Some(group), Some(mut child)) = (self.group.take(), self.child.take()) else { return };
        drop((child.stdin.take(), child.stdout.take()));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return end_group(group, Signal::SIGKILL);
        };
        runtime.spawn(async move {
            for signal in [Signal::SIGTERM, Signal::SIGKILL] {
                if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
                    return;
                }
                end_group(group, signal);
            }
            if let Err(error) = child.wait().await {
                tracing::warn!(%error, "a git process could not be reaped");
            }
        });
    }
}

fn end_group(group: Pid, signal: Signal) {
    // ESRCH means that it has ended by itself: nothing to do.
    let _gone = killpg(group, signal);
}

/// The one configuration besides a repository's own.
///
/// Objects and refs are on the disk before git answers. Malformed objects are refused, apart from old
/// blemishes that real histories carry. Housekeeping never runs in a request.
fn configuration(limits: &Limits) -> String {
    format!(
        "[core]
\tfsync = committed,reference
\tfsyncMethod = fsync
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tlogAllRefUpdates = always
\tprotectHFS = true
\tprotectNTFS = true
\tsymlinks = true
[gc]
\tauto = 0
[maintenance]
\tauto = false
[safe]
\tdirectory = *
[init]
\tdefaultBranch = main
[transfer]
\tfsckObjects = true
[receive]
\tautogc = false
\tdenyDeletes = false
\tdenyDeleteCurrent = refuse
\tdenyNonFastForwards = false
\tadvertiseAtomic = true
\tmaxInputSize = {push_bytes}
\tunpackLimit = 100
[receive \"fsck\"]
\tzeroPaddedFilemode = warn
\tmissingSpaceBeforeDate = warn
\tmissingEmail = warn
\tmissingNameBeforeEmail = warn
\tbadTimezone = warn
[uploadpack]
\tallowFilter = true
\tallowAnySHA1InWant = true
[pack]
\tthreads = 2
\twindowMemory = 128m
[protocol]
\tversion = 2
[advice]
\tdetachedHead = false
",
        push_bytes = limits.push_bytes
    )
}
