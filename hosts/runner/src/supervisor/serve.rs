//! The supervisor's loop: requests from its clients to init, answers back, and the end.
//!
//! One task owns all state; readers only forward to it. Clients are the server (one, which holds the sandbox)
//! or, for a host, whoever connects to its socket.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Made, discard, disk, memory, relay};
use crate::channel::{AsyncChannel, Channel, watch};
use crate::messages::{ExecRequest, FromInit, FromSupervisor, Holder, ToInit, ToSupervisor};
use crate::spec::{Access, BindSource, ExitStatus};
use crate::sys;

/// Requests waiting for the loop.
const QUEUE: usize = 64;
/// Clients of a host at a time.
const CLIENTS: usize = 64;
const SERVICE_PAUSE: Duration = Duration::from_secs(1);
const HOLDER: u64 = 0;
const SERVICE: u64 = u64::MAX;

enum Event {
    Client { client: u64, message: ToSupervisor, fds: Vec<OwnedFd> },
    Connected(Channel),
    Gone(u64),
    Init(FromInit, Vec<OwnedFd>),
    StartService,
    End(String),
}

/// A command that runs, by our number.
struct Running {
    client: u64,
    seq: u64,
    oom_kills_before: u64,
}

struct Loop {
    made: Made,
    init: Arc<AsyncChannel>,
    clients: HashMap<u64, Arc<AsyncChannel>>,
    running: HashMap<u64, Running>,
    sockets: HashMap<u64, oneshot::Sender<OwnedFd>>,
    next: u64,
    events: mpsc::Sender<Event>,
    /// Processes that the memory watch has killed, where no control group does.
    watch_kills: Arc<AtomicU64>,
}

/// Serves a made sandbox to its end. Returns the process's exit code.
pub fn run(made: Made, channel: Channel) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return 1 };
    runtime.block_on(serve(made, channel)).map_or(1, |()| 0)
}

async fn serve(mut made: Made, holder: Channel) -> std::io::Result<()> {
    let (events, mut queue) = mpsc::channel(QUEUE);
    let init = Channel::from_fd(made.init.as_fd().try_clone_to_owned()?);
    let init = Arc::new(AsyncChannel::new(init)?);
    let (socket_requests, mut wanted_sockets) = mpsc::channel::<oneshot::Sender<OwnedFd>>(QUEUE);
    let mut doors = JoinSet::new();
    for door in made.doors.drain(..) {
        doors.spawn(relay::serve(door, socket_requests.clone()));
    }
    let root = made.root.try_clone()?;
    let report = made.report.clone();
    let mut this = Loop {
        init: init.clone(),
        clients: HashMap::new(),
        running: HashMap::new(),
        sockets: HashMap::new(),
        next: 1,
        events: events.clone(),
        watch_kills: Arc::default(),
        made,
    };
    this.watch(&init)?;
    this.connect(HOLDER, holder)?;
    this.open_host()?;
    if let Some(holder) = this.clients.get(&HOLDER) {
        holder.send(&FromSupervisor::Ready(report), &[root.as_fd()]).await.ok();
    }
    drop(root);
    let reason = loop {
        tokio::select! {
            Some(event) = queue.recv() => {
                if let Some(reason) = this.handle(event).await {
                    break reason;
                }
            }
            Some(wanted) = wanted_sockets.recv() => this.ask_socket(wanted).await,
        }
    };
    doors.shutdown().await;
    this.end(&reason).await;
    Ok(())
}

impl Loop {
    /// Starts the tasks that watch init, the wall limit and SIGTERM.
    fn watch(&self, init: &Arc<AsyncChannel>) -> std::io::Result<()> {
        let (events, init) = (self.events.clone(), init.clone());
        tokio::spawn(async move {
            // Init is inside, so what it says may be garbage: that ends the sandbox.
            while let Ok(Some((message, fds))) = init.receive::<FromInit>().await {
                if events.send(Event::Init(message, fds)).await.is_err() {
                    return;
                }
            }
            events.send(Event::End("its first process ended".into())).await.ok();
        });
        let (events, pidfd) = (self.events.clone(), watch(self.made.init_fd.try_clone()?)?);
        tokio::spawn(async move {
            pidfd.readable().await.map(drop).ok();
            events.send(Event::End("its first process was killed".into())).await.ok();
        });
        if let Some(bytes) = self.made.plan.spec.limits.memory_bytes
            && !self.made.cgroup.enforces_memory()
        {
            tokio::spawn(memory::watch(self.made.init_pid, bytes, self.watch_kills.clone()));
        }
        if let Some(wall_ms) = self.made.plan.spec.limits.wall_ms {
            let events = self.events.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wall_ms)).await;
                events.send(Event::End(format!("over its time limit of {wall_ms} ms"))).await.ok();
            });
        }
        self.watch_disk();
        let (events, mut terminate) = (self.events.clone(), signal(SignalKind::terminate())?);
        tokio::spawn(async move {
            terminate.recv().await;
            events.send(Event::End("its supervisor was told to stop".into())).await.ok();
        });
        Ok(())
    }

    /// On a thread of its own: to count files takes its time, and this loop also carries the relays.
    fn watch_disk(&self) {
        let spec = &self.made.plan.spec;
        let Some(limit_bytes) = spec.limits.disk_bytes else { return };
        let mut places = vec![self.made.home.path.clone()];
        for bind in &spec.binds {
            if let (BindSource::Path(path), Access::Writable) = (&bind.source, bind.access) {
                places.push(path.clone());
            }
        }
        let watch = disk::Watch { places, limit_bytes, init_pid: self.made.init_pid };
        let events = self.events.clone();
        std::thread::spawn(move || events.blocking_send(Event::End(watch.run())).ok());
    }

    fn connect(&mut self, client: u64, channel: Channel) -> std::io::Result<()> {
        let channel = Arc::new(AsyncChannel::new(channel)?);
        self.clients.insert(client, channel.clone());
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Ok(Some((message, fds))) = channel.receive::<ToSupervisor>().await {
                if events.send(Event::Client { client, message, fds }).await.is_err() {
                    return;
                }
            }
            events.send(Event::Gone(client)).await.ok();
        });
        Ok(())
    }

    /// A host listens on its own socket and starts its service.
    fn open_host(&mut self) -> std::io::Result<()> {
        let Holder::Supervisor { socket, service, .. } = &self.made.plan.holder else { return Ok(()) };
        let listener = crate::host::socket::listen(socket)?;
        let listener = watch(listener)?;
        let events = self.events.clone();
        tokio::spawn(async move {
            while let Ok(channel) = crate::host::socket::accept(&listener).await {
                if events.send(Event::Connected(channel)).await.is_err() {
                    return;
                }
            }
        });
        if service.is_some() {
            self.events.try_send(Event::StartService).ok();
        }
        Ok(())
    }

    /// Returns why the sandbox ends, if it does.
    async fn handle(&mut self, event: Event) -> Option<String> {
        match event {
            Event::End(reason) => return Some(reason),
            Event::Gone(HOLDER) if matches!(self.made.plan.holder, Holder::Server) => {
                return Some("its server is gone".into());
            }
            Event::Gone(client) => {
                self.clients.remove(&client);
                self.hang_up(client).await;
            }
            Event::Connected(channel) => {
                self.next += 1;
                if self.clients.len() < CLIENTS {
                    self.connect(self.next, channel).ok();
                }
            }
            Event::Client { message: ToSupervisor::Stop, client, .. } => {
                // The one who asks is told when it is done, whoever else holds the sandbox.
                if let Some(asker) = self.clients.remove(&client) {
                    self.clients.insert(HOLDER, asker);
                }
                return Some("it was stopped".into());
            }
            Event::Client { client, message: ToSupervisor::Exec { seq, request }, fds } => {
                self.exec(client, seq, request, fds).await;
            }
            Event::Client { client, message: ToSupervisor::Signal { seq, signal }, .. } => {
                let ours = self.running.iter().find(|(_, r)| r.client == client && r.seq == seq);
                if let Some((ours, _)) = ours {
                    self.init.send(&ToInit::Signal { seq: *ours, signal }, &[]).await.ok();
                }
            }
            Event::Client { message: ToSupervisor::Start(_), .. } => {}
            Event::StartService => self.start_service().await,
            Event::Init(message, fds) => self.answer(message, fds).await,
        }
        None
    }

    /// A host's client that went away takes its commands along, as a closed terminal would.
    async fn hang_up(&mut self, client: u64) {
        for ours in self.running.iter().filter(|(_, r)| r.client == client).map(|(ours, _)| *ours) {
            self.init.send(&ToInit::Signal { seq: ours, signal: libc::SIGHUP }, &[]).await.ok();
        }
    }

    async fn exec(&mut self, client: u64, seq: u64, request: ExecRequest, fds: Vec<OwnedFd>) {
        self.next += 1;
        let ours = self.next;
        for fd in &fds {
            self.give_pipe(fd);
        }
        let oom_kills_before = self.oom_kills();
        self.running.insert(ours, Running { client, seq, oom_kills_before });
        let raw: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        if let Err(e) = self.init.send(&ToInit::Exec { seq: ours, request }, &raw).await {
            self.running.remove(&ours);
            self.tell(client, &FromSupervisor::SpawnFailed { seq, detail: e.to_string() }, &[]).await;
        }
    }

    /// Gives a pipe to the inside's root, so that a command can open `/dev/stdout` anew.
    fn give_pipe(&self, fd: &OwnedFd) {
        let Ok(status) = nix::sys::stat::fstat(fd) else { return };
        if status.st_mode & libc::S_IFMT == libc::S_IFIFO && self.made.owner != 0 {
            // SAFETY: no memory is involved; failing costs only that convenience.
            unsafe { libc::fchown(fd.as_raw_fd(), self.made.owner, self.made.owner) };
        }
    }

    async fn start_service(&mut self) {
        let Holder::Supervisor { service: Some(argv), service_log, .. } = self.made.plan.holder.clone()
        else {
            return;
        };
        let request = ExecRequest { argv, env: Vec::new(), cwd: None, user: None, terminal: None };
        let log = File::options().create(true).append(true).open(&service_log);
        let null = File::open("/dev/null");
        if let (Ok(log), Ok(null)) = (log, null)
            && let Ok(again) = log.try_clone()
        {
            self.exec(SERVICE, 0, request, vec![null.into(), log.into(), again.into()]).await;
        }
    }

    fn restart_service(&self) {
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SERVICE_PAUSE).await;
            events.send(Event::StartService).await.ok();
        });
    }

    async fn answer(&mut self, message: FromInit, fds: Vec<OwnedFd>) {
        match message {
            FromInit::Started { seq, pid } => {
                if let Some(Running { client, seq, .. }) = self.running.get(&seq) {
                    let (client, seq) = (*client, *seq);
                    let raw: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    self.tell(client, &FromSupervisor::Started { seq, pid }, &raw).await;
                }
            }
            FromInit::SpawnFailed { seq, detail } => {
                if let Some(Running { client, seq, .. }) = self.running.remove(&seq) {
                    if client == SERVICE {
                        self.restart_service();
                    }
                    self.tell(client, &FromSupervisor::SpawnFailed { seq, detail }, &[]).await;
                }
            }
            FromInit::Exited { seq, status } => {
                if let Some(running) = self.running.remove(&seq) {
                    if running.client == SERVICE {
                        self.restart_service();
                    }
                    let status = self.status(status, &running);
                    let seq = running.seq;
                    self.tell(running.client, &FromSupervisor::Exited { seq, status }, &[]).await;
                }
            }
            FromInit::Socket { seq } => {
                if let (Some(wanted), Some(fd)) = (self.sockets.remove(&seq), fds.into_iter().next()) {
                    wanted.send(fd).ok();
                }
            }
            FromInit::SocketFailed { seq, .. } => drop(self.sockets.remove(&seq)),
            FromInit::Ready { .. } | FromInit::Failed(_) => {}
        }
    }

    fn oom_kills(&self) -> u64 {
        self.made.cgroup.oom_kills() + self.watch_kills.load(Ordering::Relaxed)
    }

    fn status(&self, raw: i32, running: &Running) -> ExitStatus {
        let out_of_memory = self.oom_kills() > running.oom_kills_before;
        if libc::WIFSIGNALED(raw) {
            let signal = libc::WTERMSIG(raw);
            return ExitStatus { code: 128 + signal, signal: Some(signal), out_of_memory };
        }
        ExitStatus { code: libc::WEXITSTATUS(raw), signal: None, out_of_memory }
    }

    async fn ask_socket(&mut self, wanted: oneshot::Sender<OwnedFd>) {
        self.next += 1;
        self.sockets.insert(self.next, wanted);
        if self.init.send(&ToInit::Open { seq: self.next, v6: false }, &[]).await.is_err() {
            self.sockets.remove(&self.next);
        }
    }

    async fn tell(&self, client: u64, message: &FromSupervisor, fds: &[std::os::fd::BorrowedFd<'_>]) {
        if let Some(client) = self.clients.get(&client) {
            client.send(message, fds).await.ok();
        }
    }

    /// Kills everything inside, tells every command's end, takes down what was made.
    async fn end(mut self, reason: &str) {
        sys::signal_pidfd(self.made.init_fd.as_fd(), libc::SIGKILL).ok();
        let mut status = 0;
        // When it has been reaped, every process of its namespace is dead.
        // SAFETY: `status` outlives the call.
        unsafe { libc::waitpid(self.made.init_pid, &raw mut status, 0) };
        let running = std::mem::take(&mut self.running);
        // Whoever waits for a command of a sandbox that is over its disk limit learns that, not that somebody
        // killed it.
        for command in running.values().filter(|_| !reason.starts_with(crate::OVER_DISK)) {
            let status = self.status(libc::SIGKILL, command);
            self.tell(command.client, &FromSupervisor::Exited { seq: command.seq, status }, &[]).await;
        }
        let clients = std::mem::take(&mut self.clients);
        let Made { plan, home, cgroup, root, init, usernet, _slot, .. } = self.made;
        drop((root, init, usernet));
        let group = cgroup.remove();
        discard(&plan.state_dir, &home.path);
        if let Holder::Supervisor { socket, .. } = &plan.holder
            && let Some(folder) = socket.parent()
        {
            crate::trash::discard(&plan.state_dir, folder).ok();
        }
        let reason = match group {
            Ok(()) => reason.to_owned(),
            Err(e) => format!("{reason}; its control group is still there: {e}"),
        };
        for client in clients.values() {
            client.send(&FromSupervisor::Ended { reason: reason.clone() }, &[]).await.ok();
        }
    }
}
