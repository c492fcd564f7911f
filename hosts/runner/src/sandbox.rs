//! One running sandbox, as the server sees it: requests over a channel to its supervisor, answers by number.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::{oneshot, watch};

use crate::channel::AsyncChannel;
use crate::messages::{ExecRequest, FromSupervisor, ToSupervisor};
use crate::runner::Launched;
use crate::{Command, ExitStatus, Output, Report, RunnerError, View};

/// Reads after a command's end: twice a pipe's usual size.
const LAST_READS: usize = 8;
/// From a supervisor's closed channel to the end of its process.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A handle on a running sandbox; clones share it, and the last one dropped kills it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    /// Ends the reader, and with it the channel, when the last handle goes.
    _alive: Arc<watch::Sender<()>>,
}

/// A command that runs inside. Dropping it does not end the command.
#[derive(Debug)]
pub struct Process {
    shared: Arc<Shared>,
    _alive: Arc<watch::Sender<()>>,
    seq: u64,
    pid: i32,
    terminal: Option<OwnedFd>,
    exit: Option<oneshot::Receiver<ExitStatus>>,
}

#[derive(Debug)]
struct Shared {
    id: String,
    report: Report,
    root: Mutex<Option<OwnedFd>>,
    channel: AsyncChannel,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
    ended: watch::Sender<Option<String>>,
}

/// Process id inside and terminal, or why it did not start.
type Start = Result<(i32, Option<OwnedFd>), String>;

#[derive(Debug)]
struct Waiting {
    started: Option<oneshot::Sender<Start>>,
    exited: Option<oneshot::Sender<ExitStatus>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sandbox {
    /// Waits until a supervisor that was just started is ready.
    pub(crate) async fn await_ready(id: String, launched: Launched) -> Result<Sandbox, RunnerError> {
        let Launched { channel, ended } = launched;
        let channel = AsyncChannel::new(channel)?;
        // One that was killed may leave an error on the channel rather than its end.
        let (report, root) = match channel.receive::<FromSupervisor>().await.unwrap_or(None) {
            Some((FromSupervisor::Ready(report), fds)) => (report, fds.into_iter().next()),
            Some((FromSupervisor::Failed(failure), _)) => {
                return Err(match failure.remedy {
                    Some(remedy) => RunnerError::Unavailable {
                        what: format!("the sandbox ({}: {})", failure.step, failure.detail),
                        remedy,
                    },
                    None => RunnerError::Setup { id, step: failure.step, detail: failure.detail },
                });
            }
            _ => {
                let how = match tokio::time::timeout(LAST_WORD, ended).await {
                    Ok(Ok(how)) => how,
                    _ => "how is not known".to_owned(),
                };
                return Err(RunnerError::Ended {
                    id,
                    reason: format!("its supervisor ended at once: {how}"),
                });
            }
        };
        Ok(Sandbox::attach(id, report, root, channel))
    }

    /// Speaks to a supervisor that is ready.
    pub(crate) fn attach(
        id: String,
        report: Report,
        root: Option<OwnedFd>,
        channel: AsyncChannel,
    ) -> Sandbox {
        let (alive, gone) = watch::channel(());
        let shared = Arc::new(Shared {
            id,
            report,
            root: Mutex::new(root),
            channel,
            next: AtomicU64::new(1),
            waiting: Mutex::new(HashMap::new()),
            ended: watch::Sender::new(None),
        });
        tokio::spawn(read(shared.clone(), gone));
        Sandbox { shared, _alive: Arc::new(alive) }
    }

    pub fn id(&self) -> &str {
        &self.shared.id
    }

    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    fn gone(&self) -> RunnerError {
        let reason = self.shared.ended.borrow().clone().unwrap_or_else(|| "its supervisor is gone".into());
        RunnerError::Ended { id: self.shared.id.clone(), reason }
    }

    /// Starts a command. `Err(Spawn)` means that it never ran.
    pub async fn exec(&self, command: Command) -> Result<Process, RunnerError> {
        let program = command.argv.first().cloned().unwrap_or_default();
        let seq = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (started, wait_started) = oneshot::channel();
        let (exited, exit) = oneshot::channel();
        {
            let mut waiting = lock(&self.shared.waiting);
            if self.shared.ended.borrow().is_some() {
                return Err(self.gone());
            }
            waiting.insert(seq, Waiting { started: Some(started), exited: Some(exited) });
        }
        let mut fds = Vec::new();
        if command.terminal.is_none() {
            for stream in [command.stdin, command.stdout, command.stderr] {
                fds.push(match stream {
                    Some(fd) => fd,
                    None => File::options().read(true).write(true).open("/dev/null")?.into(),
                });
            }
        }
        let request = ExecRequest {
            argv: command.argv,
            env: command.env,
            cwd: command.cwd,
            user: command.user,
            terminal: command.terminal,
        };
        let raw: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Err(e) = self.shared.channel.send(&ToSupervisor::Exec { seq, request }, &raw).await {
            lock(&self.shared.waiting).remove(&seq);
            return Err(if e.kind() == std::io::ErrorKind::InvalidInput { e.into() } else { self.gone() });
        }
        drop(fds);
        match wait_started.await {
            Ok(Ok((pid, terminal))) => {
                let (shared, alive) = (self.shared.clone(), self._alive.clone());
                Ok(Process { shared, _alive: alive, seq, pid, terminal, exit: Some(exit) })
            }
            Ok(Err(detail)) => Err(RunnerError::Spawn { program, detail }),
            Err(_) => Err(self.gone()),
        }
    }

    /// Runs a command to its end and collects at most `limit_bytes` of each of its output streams. What the
    /// command leaves running keeps neither of them open for longer than the command itself.
    pub async fn run(&self, mut command: Command, limit_bytes: usize) -> Result<Output, RunnerError> {
        let (stdout, to_stdout) = pipe()?;
        let (stderr, to_stderr) = pipe()?;
        command.stdout = Some(to_stdout);
        command.stderr = Some(to_stderr);
        let mut process = self.exec(command).await?;
        let (ended, end) = watch::channel(false);
        let wait = async {
            let status = process.wait().await;
            ended.send_replace(true);
            status
        };
        let (status, stdout, stderr) =
            tokio::join!(wait, collect(stdout, limit_bytes, end.clone()), collect(stderr, limit_bytes, end));
        let ((stdout, cut_out), (stderr, cut_err)) = (stdout?, stderr?);
        Ok(Output { status: status?, stdout, stderr, truncated: cut_out || cut_err })
    }

    /// The files inside, for reading from outside, while the sandbox lives.
    pub fn view(&self) -> Result<View, RunnerError> {
        match &*lock(&self.shared.root) {
            Some(root) => Ok(View::of_root(root.try_clone()?)),
            None => Err(self.gone()),
        }
    }

    /// Kills everything inside. Running commands end with 137.
    pub async fn kill(&self) {
        // A supervisor that is gone has killed it already.
        self.shared.channel.send(&ToSupervisor::Stop, &[]).await.ok();
    }

    /// Resolves when the sandbox has ended and been taken down, with why.
    pub async fn ended(&self) -> String {
        let mut ended = self.shared.ended.subscribe();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "its supervisor is gone".into(),
        }
    }

    /// Kills everything inside and waits until processes, mounts and cgroup are gone. Files are deleted in the
    /// background.
    pub async fn destroy(self) -> Result<(), RunnerError> {
        lock(&self.shared.root).take();
        self.kill().await;
        self.ended().await;
        Ok(())
    }
}

impl Process {
    /// The command's process id as the inside counts.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The terminal's near end, when the command asked for one.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends a signal to the command and its process group. A command that has ended is not an error.
    pub async fn signal(&self, signal: i32) -> Result<(), RunnerError> {
        self.shared.channel.send(&ToSupervisor::Signal { seq: self.seq, signal }, &[]).await?;
        Ok(())
    }

    /// Waits for the end; `Err(Ended)` when the sandbox went away without telling.
    pub async fn wait(&mut self) -> Result<ExitStatus, RunnerError> {
        let ended = |reason: String| RunnerError::Ended { id: self.shared.id.clone(), reason };
        let Some(exit) = &mut self.exit else {
            return Err(ended("the command was waited for already".into()));
        };
        match exit.await {
            Ok(status) => {
                self.exit = None;
                Ok(status)
            }
            Err(_) => {
                let reason = self.shared.ended.borrow().clone();
                Err(ended(reason.unwrap_or_else(|| "its supervisor is gone".into())))
            }
        }
    }
}

/// Takes answers until the supervisor or the last handle is gone.
async fn read(shared: Arc<Shared>, mut gone: watch::Receiver<()>) {
    let mut reason = "its supervisor was killed".to_owned();
    loop {
        let message = tokio::select! {
            message = shared.channel.receive::<FromSupervisor>() => message,
            // Every handle is dropped: closing the channel, by returning, ends the sandbox.
            _ = gone.changed() => break,
        };
        let Ok(Some((message, fds))) = message else { break };
        match message {
            FromSupervisor::Started { seq, pid } => {
                let started = lock(&shared.waiting).get_mut(&seq).and_then(|w| w.started.take());
                if let Some(started) = started {
                    started.send(Ok((pid, fds.into_iter().next()))).ok();
                }
            }
            FromSupervisor::SpawnFailed { seq, detail } => {
                let waiting = lock(&shared.waiting).remove(&seq);
                if let Some(started) = waiting.and_then(|w| w.started) {
                    started.send(Err(detail)).ok();
                }
            }
            FromSupervisor::Exited { seq, status } => {
                let waiting = lock(&shared.waiting).remove(&seq);
                if let Some(exited) = waiting.and_then(|w| w.exited) {
                    exited.send(status).ok();
                }
            }
            FromSupervisor::Ended { reason: told } => {
                reason = told;
                break;
            }
            FromSupervisor::Ready(_) | FromSupervisor::Failed(_) => {}
        }
    }
    lock(&shared.root).take();
    shared.ended.send_replace(Some(reason));
    lock(&shared.waiting).clear();
}

/// A pipe: the near end for reading here, the far end for a command.
pub(crate) fn pipe() -> Result<(tokio::net::unix::pipe::Receiver, OwnedFd), RunnerError> {
    let (near, far) = std::io::pipe()?;
    Ok((tokio::net::unix::pipe::Receiver::from_owned_fd(near.into())?, far.into()))
}

/// Reads to the end, or to what is there when the command has ended; keeps `limit_bytes`.
async fn collect(
    mut from: impl AsyncRead + Unpin + AsFd,
    limit_bytes: usize,
    mut end: watch::Receiver<bool>,
) -> Result<(Vec<u8>, bool), RunnerError> {
    let (mut kept, mut cut, mut part) = (Vec::new(), false, vec![0; 16 * 1024]);
    let mut keep = |part: &[u8]| {
        let room = limit_bytes.saturating_sub(kept.len()).min(part.len());
        cut |= room < part.len();
        kept.extend_from_slice(&part[..room]);
    };
    loop {
        tokio::select! {
            read = from.read(&mut part) => match read? {
                0 => return Ok((kept, cut)),
                size => keep(&part[..size]),
            },
            _ = end.wait_for(|ended| *ended) => break,
        }
    }
    // What the command wrote is in the pipe, which does not block. What it left running may write for ever: so
    // no more than a full pipe.
    let mut rest = File::from(from.as_fd().try_clone_to_owned()?);
    for _ in 0..LAST_READS {
        match rest.read(&mut part).unwrap_or_default() {
            0 => break,
            size => keep(&part[..size]),
        }
    }
    Ok((kept, cut))
}
