//! The one loop: recover, then poll, carry out, report, until told to stop.

use crate::backoff::Backoff;
use crate::client::{CallError, Client};
use crate::control::{Command, Control, Standing};
use crate::diagnostics::{Diagnostics, ErrorCode, Outcome};
use crate::hooks::leftovers;
use crate::identity::{Identity, Kept, Problem};
use crate::journal::{Entry, Journal};
use crate::layout::Layout;
use crate::register;
use crate::stop::Stop;
use crate::work::Work;
use crate::{AgentError, Config};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// What the server refuses for good is reported this often before the result is given up.
const MAX_REFUSALS: u32 = 5;
const TICK: Duration = Duration::from_millis(50);

/// Runs until `stop`. Errors are those of the start; later ones are waited out.
pub fn run(config: Config, stop: Arc<Stop>) -> Result<(), AgentError> {
    let folder = |source| AgentError::Folder { path: config.root_dir.clone(), source };
    let client = Client::new(&config)?;
    let layout = Layout::new(&config.root_dir).map_err(folder)?;
    let _lock = lock(&layout)?;
    let kept = Kept::new(&layout);
    let Some(identity) = introduce(&client, &config, &kept, &stop)? else { return Ok(()) };
    let agent = Agent {
        control: Arc::new(Control { client: identity.client, host: identity.arn }),
        journal: Journal::new(&layout),
        layout,
        config: &config,
        stop: &stop,
    };
    agent.recover().map_err(folder)?;
    agent.serve()
}

/// Held as long as the agent runs; gone with its process.
fn lock(layout: &Layout) -> Result<Flock<File>, AgentError> {
    let path = layout.ongoing().join("lock");
    let failed = |source| AgentError::Folder { path: path.clone(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(AgentError::Busy(layout.root().to_owned())),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

/// Finds out who this host is, and registers it where that is allowed. `None` when told to stop first.
fn introduce(
    client: &Client,
    config: &Config,
    kept: &Kept,
    stop: &Stop,
) -> Result<Option<Identity>, AgentError> {
    let mut backoff = Backoff::default();
    loop {
        let error = match register::establish(client, config, kept) {
            Ok(identity) => return Ok(Some(identity)),
            Err(Problem::Fatal(error)) => return Err(error),
            Err(Problem::Call(error)) => error,
        };
        // Wrong keys stay wrong; a server that is not there comes.
        let rejected = matches!(error, CallError::Api(ref api) if api.status < 500);
        if rejected || !error.is_passing() {
            return Err(AgentError::Refused { name: config.name.clone(), reason: error.to_string() });
        }
        if backoff.attempts() == 0 {
            tracing::warn!("{error}; trying until it answers");
        }
        if stop.wait(backoff.next(&error)) {
            return Ok(None);
        }
    }
}

struct Agent<'a> {
    control: Arc<Control>,
    layout: Layout,
    journal: Journal,
    config: &'a Config,
    stop: &'a Stop,
}

/// A retried call that had no answer.
enum Unanswered {
    Stopped,
    Refused(CallError),
}

impl Agent<'_> {
    /// What the last agent here left: see the journal.
    fn recover(&self) -> io::Result<()> {
        match self.journal.load()? {
            None => Ok(()),
            Some(Entry::Accepted { command }) => {
                tracing::info!("{} was accepted and not begun before the agent ended", command.name);
                self.handle(&command);
                Ok(())
            }
            Some(Entry::Running { command, deployment_id }) => {
                tracing::warn!("the agent ended while {} ran; it is reported as failed", command.name);
                leftovers::end_command(&deployment_id, &command.name);
                let message = format!(
                    "Failed: the agent ended while {} was running, and what of it was done is not known. It is not run a second time.",
                    command.name
                );
                let diagnostics = Diagnostics::new(ErrorCode::FailedAfterRestart, message);
                self.finish(&command, Outcome::Failed(diagnostics));
                Ok(())
            }
            Some(Entry::Finished { command, outcome }) => {
                self.deliver(&command, &outcome);
                Ok(())
            }
        }
    }

    fn serve(&self) -> Result<(), AgentError> {
        let mut backoff = Backoff::default();
        let mut known = false;
        while !self.stop.is_requested() {
            // A result that was not delivered goes first.
            match self.journal.load() {
                Ok(Some(Entry::Finished { command, outcome })) => {
                    self.deliver(&command, &outcome);
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::error!("the journal cannot be read: {error}"),
            }
            let error = match self.poll() {
                None => break,
                Some(Ok(command)) => {
                    if !known {
                        tracing::info!(
                            "{} waits for deployments from {}",
                            self.config.name,
                            self.config.endpoint
                        );
                    } else if backoff.attempts() > 1 {
                        tracing::info!("{} answers again", self.config.endpoint);
                    }
                    known = true;
                    backoff.succeeded();
                    if let Some(command) = command {
                        self.handle(&command);
                    }
                    continue;
                }
                Some(Err(error)) => error,
            };
            if error.is_denied() && !known {
                return Err(AgentError::NotRegistered {
                    name: self.config.name.clone(),
                    arn: self.control.host.clone(),
                    reason: error.to_string(),
                });
            }
            if backoff.attempts() == 1 {
                tracing::warn!("{error}; trying until it answers");
            }
            self.stop.wait(backoff.next(&error));
        }
        Ok(())
    }

    /// The server may hold a poll open, so it waits on a thread of its own. `None` when told to stop; a
    /// command that comes too late is not acknowledged, so the server hands it out again.
    fn poll(&self) -> Option<Result<Option<Command>, CallError>> {
        let (sender, receiver) = channel();
        let control = self.control.clone();
        let ask = move || {
            sender.send(control.poll()).ok();
        };
        let thread = std::thread::Builder::new().name("poll".into()).stack_size(512 << 10);
        if let Err(error) = thread.spawn(ask) {
            return Some(Err(CallError::Network(error.to_string())));
        }
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Timeout) if self.stop.is_requested() => return None,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err(CallError::Network("the poll ended without an answer".into())));
                }
            }
        }
    }

    /// Asks until there is an answer, whatever the network does.
    fn insist<T>(&self, mut call: impl FnMut() -> Result<T, CallError>) -> Result<T, Unanswered> {
        let mut backoff = Backoff::default();
        loop {
            let error = match call() {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.is_passing() => return Err(Unanswered::Refused(error)),
                Err(error) => error,
            };
            if self.stop.wait(backoff.next(&error)) {
                return Err(Unanswered::Stopped);
            }
        }
    }

    /// One command, from its specification to its result. Nothing is begun before the journal says so.
    fn handle(&self, command: &Command) {
        let spec = match self.insist(|| self.control.specification(command)) {
            Ok(spec) => spec,
            Err(Unanswered::Stopped) => return,
            Err(Unanswered::Refused(error)) => return self.never_ran(command, &error.to_string()),
        };
        let over = Arc::new(AtomicBool::new(false));
        let work = Work {
            client: &self.control.client,
            layout: &self.layout,
            spec: &spec,
            stop: self.stop,
            over: &over,
            stop_grace: self.config.stop_grace,
            keep_revisions: self.config.keep_revisions,
        };
        let noop = match work.is_noop(command) {
            Ok(noop) => noop,
            Err(error) => return self.never_ran(command, &error.to_string()),
        };
        // What does nothing may be acknowledged twice: there is nothing to remember of it.
        if !noop && let Err(error) = self.journal.save(&Entry::Accepted { command: command.clone() }) {
            return self.never_ran(command, &format!("the agent's journal cannot be written: {error}"));
        }
        match self.insist(|| self.control.acknowledge(command, noop)) {
            Ok(Standing::InProgress) => {}
            Ok(Standing::Over) => return self.forget(),
            Err(Unanswered::Stopped) => return,
            Err(Unanswered::Refused(error)) => {
                tracing::warn!(
                    "{} of {} was not given to this host: {error}",
                    command.name,
                    spec.deployment_id
                );
                return self.forget();
            }
        }
        let running = Entry::Running { command: command.clone(), deployment_id: spec.deployment_id.clone() };
        if let Err(error) = self.journal.save(&running) {
            return self.never_ran(command, &format!("the agent's journal cannot be written: {error}"));
        }
        tracing::info!("{}: {}", spec.deployment_id, command.name);
        let beat =
            Heartbeat::start(self.control.clone(), command.clone(), over.clone(), self.config.heartbeat);
        let outcome = work.carry_out(command);
        drop(beat);
        if let Outcome::Failed(diagnostics) = &outcome {
            tracing::warn!("{}: {} failed: {}", spec.deployment_id, command.name, diagnostics.message);
        }
        self.finish(command, outcome);
    }

    fn never_ran(&self, command: &Command, reason: &str) {
        tracing::warn!("{} was not run: {reason}", command.name);
        self.finish(command, Outcome::Failed(Diagnostics::new(ErrorCode::UnknownError, reason)));
    }

    fn forget(&self) {
        if let Err(error) = self.journal.clear() {
            tracing::error!("the journal cannot be cleared: {error}");
        }
    }

    fn finish(&self, command: &Command, outcome: Outcome) {
        let entry = Entry::Finished { command: command.clone(), outcome: outcome.clone() };
        if let Err(error) = self.journal.save(&entry) {
            tracing::error!("the result of {} cannot be kept: {error}", command.name);
        }
        self.deliver(command, &outcome);
    }

    /// Until the server has it. When the agent is to stop, the journal keeps it for the next one.
    fn deliver(&self, command: &Command, outcome: &Outcome) {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.control.complete(command, outcome) {
                Ok(()) => return self.forget(),
                Err(error) => error,
            };
            if !error.is_passing() && (!error.is_denied() || backoff.attempts() >= MAX_REFUSALS) {
                tracing::warn!("the server did not take the result of {}: {error}", command.name);
                return self.forget();
            }
            if self.stop.wait(backoff.next(&error)) {
                tracing::info!("the result of {} is kept until the agent runs again", command.name);
                return;
            }
        }
    }
}

/// Tells the server now and then that a command is alive, and hears from it when the command is over.
struct Heartbeat {
    done: Arc<Stop>,
}

impl Heartbeat {
    fn start(control: Arc<Control>, command: Command, over: Arc<AtomicBool>, every: Duration) -> Heartbeat {
        let done = Stop::new();
        let told = done.clone();
        let beat = move || {
            while !told.wait(every) {
                match control.update(&command) {
                    Ok(Standing::Over) => over.store(true, Ordering::Relaxed),
                    Ok(Standing::InProgress) => {}
                    Err(error) => tracing::debug!("no answer to a sign of life: {error}"),
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".into()).stack_size(512 << 10);
        if let Err(error) = thread.spawn(beat) {
            // The first beat is what the server holds an agent to, so none at all is fine.
            tracing::warn!("no signs of life are sent: {error}");
        }
        Heartbeat { done }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.done.request();
    }
}
