//! The walk of one host through a deployment's life-cycle events: `(host, event, now) -> step`.
//!
//! Events of an in-place deployment without a load balancer, in their order:
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html>.
//! Each is one host command with an unguessable nonce. A report with any other nonce than the open
//! command's changes nothing, so late, repeated and invented reports are harmless.

use super::deployment::HostEnd;
use serde::{Deserialize, Serialize};
use towpath_api::Timestamp;

pub const LIFECYCLE_EVENTS: [&str; 7] = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
];

/// AWS keeps the last 2 KB of a script's output.
pub const LOG_TAIL_BYTES: usize = 2_048;
/// A script's name or an error's message: bounded like the tail, they come from the host.
const TEXT_BYTES: usize = 2_048;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// AWS's LifecycleErrorCode.
    pub error_code: String,
    pub script_name: String,
    pub message: String,
    pub log_tail: String,
}

impl Diagnostics {
    pub fn new(error_code: &str, script_name: &str, message: &str, log: &str) -> Diagnostics {
        Diagnostics {
            error_code: error_code.into(),
            script_name: head(script_name, TEXT_BYTES).into(),
            message: head(message, TEXT_BYTES).into(),
            log_tail: tail(log, LOG_TAIL_BYTES).into(),
        }
    }
}

fn head(text: &str, limit_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(limit_bytes)]
}

fn tail(text: &str, limit_bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(limit_bytes))..]
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventState {
    Pending,
    InProgress { started_at: Timestamp },
    Succeeded { started_at: Timestamp, ended_at: Timestamp, diagnostics: Diagnostics },
    Failed { started_at: Option<Timestamp>, ended_at: Timestamp, diagnostics: Diagnostics },
    Skipped,
}

/// The command that the host's agent has to carry out next, or is carrying out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Index into [`LIFECYCLE_EVENTS`].
    pub event: usize,
    pub nonce: String,
    pub state: CommandState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandState {
    /// No agent has acknowledged it.
    Waiting { since: Timestamp },
    Running { since: Timestamp, heard_at: Option<Timestamp> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostStatus {
    Pending,
    InProgress { command: Command },
    Ended { end: HostEnd },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub status: HostStatus,
    pub events: Vec<EventState>,
    pub updated_at: Timestamp,
}

/// When a host is given up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A command that no agent takes, or an agent that went silent.
    pub agent_timeout_ms: i64,
    /// One life-cycle event from acknowledgement to completion.
    pub event_timeout_ms: i64,
}

/// What the deployment says while a host's command completes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    pub ignore_application_stop_failures: bool,
    /// The deployment is being stopped: no further event is begun.
    pub stopping: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Acknowledged { noop: bool },
    Heard,
    Succeeded(Diagnostics),
    Failed(Diagnostics),
}

/// The answer to a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing changes; the command's status as it is.
    Unchanged(&'static str),
    /// The agent broke the protocol: nothing changes, and it is told so.
    OutOfOrder,
    Changed { host: Host, command_status: &'static str, end: Option<HostEnd> },
}

impl Host {
    pub fn pending(now: Timestamp) -> Host {
        Host {
            status: HostStatus::Pending,
            events: vec![EventState::Pending; LIFECYCLE_EVENTS.len()],
            updated_at: now,
        }
    }

    /// Takes the host: its first command waits for an agent.
    pub fn take(&self, nonce: String, now: Timestamp) -> Host {
        let mut host = self.clone();
        host.offer(0, nonce, now);
        host
    }

    fn offer(&mut self, event: usize, nonce: String, now: Timestamp) {
        let state = CommandState::Waiting { since: now };
        self.status = HostStatus::InProgress { command: Command { event, nonce, state } };
        self.updated_at = now;
    }

    pub fn command(&self) -> Option<&Command> {
        match &self.status {
            HostStatus::InProgress { command } => Some(command),
            _ => None,
        }
    }

    /// Whether an agent ever took a command: from then on the host's installed revision is in doubt.
    pub fn is_touched(&self) -> bool {
        self.events.iter().any(|event| !matches!(event, EventState::Pending | EventState::Skipped))
    }

    /// AWS's TargetStatus. Hosts that were never taken count as skipped once the deployment is over; they
    /// are not rewritten one by one for that.
    pub fn shown_status(&self, takes_no_more: bool) -> &'static str {
        match &self.status {
            HostStatus::Pending if takes_no_more => "Skipped",
            HostStatus::Pending => "Pending",
            HostStatus::InProgress { .. } => "InProgress",
            HostStatus::Ended { end: HostEnd::Succeeded } => "Succeeded",
            HostStatus::Ended { end: HostEnd::Failed } => "Failed",
            HostStatus::Ended { end: HostEnd::Skipped } => "Skipped",
        }
    }

    /// When the host must be given up, if nothing is heard of it.
    pub fn deadline(&self, limits: Limits) -> Option<Timestamp> {
        Some(match &self.command()?.state {
            CommandState::Waiting { since } => since.plus_millis(limits.agent_timeout_ms),
            CommandState::Running { since, heard_at } => {
                let end = since.plus_millis(limits.event_timeout_ms);
                heard_at.map_or(end, |at| end.min(at.plus_millis(limits.agent_timeout_ms)))
            }
        })
    }

    /// A report about the command with `nonce`. `next_nonce` is for the command that may follow.
    pub fn report(
        &self,
        nonce: &str,
        report: Report,
        given: Circumstances,
        next_nonce: String,
        now: Timestamp,
    ) -> Step {
        let Some(command) = self.command().filter(|command| command.nonce == nonce) else {
            return Step::Unchanged(self.past_status());
        };
        let mut host = self.clone();
        host.updated_at = now;
        match (report, &command.state) {
            (Report::Acknowledged { noop: true }, CommandState::Waiting { .. }) if can_be_noop(command) => {
                let diagnostics = Diagnostics::new("Success", "", "Succeeded: CompletedNoopCommand", "");
                host.events[command.event] =
                    EventState::Succeeded { started_at: now, ended_at: now, diagnostics };
                host.after(command.event, given, next_nonce, now, "Succeeded")
            }
            (Report::Acknowledged { .. }, CommandState::Waiting { .. }) => {
                host.events[command.event] = EventState::InProgress { started_at: now };
                host.set_state(CommandState::Running { since: now, heard_at: None });
                Step::Changed { host, command_status: "InProgress", end: None }
            }
            (Report::Heard, CommandState::Running { since, .. }) => {
                host.set_state(CommandState::Running { since: *since, heard_at: Some(now) });
                Step::Changed { host, command_status: "InProgress", end: None }
            }
            (Report::Acknowledged { .. }, CommandState::Running { .. }) => Step::Unchanged("InProgress"),
            (Report::Heard, CommandState::Waiting { .. }) => Step::Unchanged("Pending"),
            (Report::Succeeded(_), CommandState::Waiting { .. }) => Step::OutOfOrder,
            (Report::Succeeded(diagnostics), CommandState::Running { since, .. }) => {
                host.events[command.event] =
                    EventState::Succeeded { started_at: *since, ended_at: now, diagnostics };
                host.after(command.event, given, next_nonce, now, "Succeeded")
            }
            (Report::Failed(diagnostics), state) => {
                let started_at = running_since(state);
                host.events[command.event] = EventState::Failed { started_at, ended_at: now, diagnostics };
                if command.event == 0 && given.ignore_application_stop_failures {
                    return host.after(command.event, given, next_nonce, now, "Failed");
                }
                host.finish(HostEnd::Failed, "Failed")
            }
        }
    }

    /// Gives a silent host up once its deadline has passed.
    pub fn give_up(&self, limits: Limits, now: Timestamp) -> Option<Host> {
        let command = self.command().filter(|_| self.deadline(limits).is_some_and(|at| at <= now))?;
        let name = LIFECYCLE_EVENTS[command.event];
        let message = match command.state {
            CommandState::Waiting { .. } => "CodeDeploy agent was not able to receive the lifecycle event. Check the CodeDeploy agent logs on your host and make sure the agent is running and can connect to the CodeDeploy server.".to_owned(),
            CommandState::Running { .. } => format!("The CodeDeploy agent took {name} and did not report how it ended in time."),
        };
        let mut host = self.clone();
        host.updated_at = now;
        host.events[command.event] = EventState::Failed {
            started_at: running_since(&command.state),
            ended_at: now,
            diagnostics: Diagnostics::new("UnknownError", "", &message, ""),
        };
        host.close(HostEnd::Failed);
        Some(host)
    }

    /// Takes the open command back while no agent has it: the deployment is being stopped. A host that has
    /// been touched is failed, because its revision is neither the old nor the new one.
    pub fn take_back(&self, now: Timestamp) -> Option<(Host, HostEnd)> {
        match self.command()?.state {
            CommandState::Running { .. } => None,
            CommandState::Waiting { .. } => {
                let end = if self.is_touched() { HostEnd::Failed } else { HostEnd::Skipped };
                let mut host = self.clone();
                host.updated_at = now;
                host.close(end);
                Some((host, end))
            }
        }
    }

    /// The host became the next in its queue: an agent has the full time from now.
    pub fn refresh(&self, now: Timestamp) -> Host {
        let mut host = self.clone();
        if matches!(self.command(), Some(Command { state: CommandState::Waiting { .. }, .. })) {
            host.set_state(CommandState::Waiting { since: now });
        }
        host
    }

    fn set_state(&mut self, state: CommandState) {
        if let HostStatus::InProgress { command } = &mut self.status {
            command.state = state;
        }
    }

    fn after(
        mut self,
        event: usize,
        given: Circumstances,
        nonce: String,
        now: Timestamp,
        command_status: &'static str,
    ) -> Step {
        let next = event + 1;
        if next == LIFECYCLE_EVENTS.len() {
            return self.finish(HostEnd::Succeeded, command_status);
        }
        if given.stopping {
            return self.finish(HostEnd::Failed, command_status);
        }
        self.offer(next, nonce, now);
        Step::Changed { host: self, command_status, end: None }
    }

    fn finish(mut self, end: HostEnd, command_status: &'static str) -> Step {
        self.close(end);
        Step::Changed { host: self, command_status, end: Some(end) }
    }

    fn close(&mut self, end: HostEnd) {
        for event in &mut self.events {
            if matches!(event, EventState::Pending) {
                *event = EventState::Skipped;
            }
        }
        self.status = HostStatus::Ended { end };
    }

    /// What an agent hears about a command that is no longer open.
    fn past_status(&self) -> &'static str {
        match &self.status {
            HostStatus::Ended { end: HostEnd::Failed | HostEnd::Skipped } => "Failed",
            _ => "Succeeded",
        }
    }
}

/// DownloadBundle and Install always have something to do.
fn can_be_noop(command: &Command) -> bool {
    !matches!(LIFECYCLE_EVENTS[command.event], "DownloadBundle" | "Install")
}

fn running_since(state: &CommandState) -> Option<Timestamp> {
    match state {
        CommandState::Running { since, .. } => Some(*since),
        CommandState::Waiting { .. } => None,
    }
}
