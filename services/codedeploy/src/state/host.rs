//! The walk of one host through a deployment's life-cycle events: `(host, event, now) -> step`.
//!
//! Events of an in-place deployment without a load balancer, in their order:
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html>.
//! Each is one host command, open one after the other. A report about any other than the open command
//! changes nothing, so late, repeated and invented reports are harmless.

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
    pub state: CommandState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CommandState {
    /// No agent has acknowledged it.
    Waiting {
        since: Timestamp,
    },
    Running {
        since: Timestamp,
        heard_at: Option<Timestamp>,
    },
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
    Changed {
        host: Host,
        command_status: &'static str,
        end: Option<HostEnd>,
    },
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
    pub fn take(&self, now: Timestamp) -> Host {
        let mut host = self.clone();
        host.offer(0, now);
        host
    }

    fn offer(&mut self, event: usize, now: Timestamp) {
        let state = CommandState::Waiting { since: now };
        self.status = HostStatus::InProgress { command: Command { event, state } };
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

    /// A report about the command of the life-cycle event with index `event`.
    pub fn report(&self, event: usize, report: Report, given: Circumstances, now: Timestamp) -> Step {
        let Some(command) = self.command().filter(|command| command.event == event) else {
            return self.past(event);
        };
        let mut host = self.clone();
        host.updated_at = now;
        match (report, &command.state) {
            (Report::Acknowledged { noop: true }, CommandState::Waiting { .. }) if can_be_noop(command) => {
                let diagnostics = Diagnostics::new("Success", "", "Succeeded: CompletedNoopCommand", "");
                host.events[command.event] =
                    EventState::Succeeded { started_at: now, ended_at: now, diagnostics };
                host.after(command.event, given, now, "Succeeded")
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
                host.after(command.event, given, now, "Succeeded")
            }
            (Report::Failed(diagnostics), state) => {
                let started_at = running_since(state);
                host.events[command.event] = EventState::Failed { started_at, ended_at: now, diagnostics };
                if command.event == 0 && given.ignore_application_stop_failures {
                    return host.after(command.event, given, now, "Failed");
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
        self.offer(next, now);
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

    /// What an agent hears about a command that is not open: how it ended, or that there never was one.
    fn past(&self, event: usize) -> Step {
        let opened = self.command().map_or(LIFECYCLE_EVENTS.len(), |command| command.event);
        match self.events.get(event) {
            Some(EventState::Succeeded { .. }) => Step::Unchanged("Succeeded"),
            // A command that was offered and taken back before an agent acknowledged it.
            Some(EventState::Failed { .. } | EventState::Skipped) if event < opened => {
                Step::Unchanged("Failed")
            }
            _ => Step::OutOfOrder,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LIMITS: Limits = Limits { agent_timeout_ms: 300_000, event_timeout_ms: 3_600_000 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn ok() -> Diagnostics {
        Diagnostics::new("Success", "", "Succeeded: ", "")
    }

    fn broken() -> Diagnostics {
        Diagnostics::new("ScriptFailed", "scripts/check.sh", "exit code 1", "[stderr]no\n")
    }

    fn changed(step: Step) -> (Host, &'static str, Option<HostEnd>) {
        match step {
            Step::Changed { host, command_status, end } => (host, command_status, end),
            other => panic!("nothing changed: {other:?}"),
        }
    }

    fn through(
        mut host: Host,
        events: std::ops::Range<usize>,
        given: Circumstances,
    ) -> (Host, Option<HostEnd>) {
        let mut last = None;
        for event in events {
            host = changed(host.report(event, Report::Acknowledged { noop: false }, given, at(10))).0;
            let (next, _, end) = changed(host.report(event, Report::Succeeded(ok()), given, at(20)));
            (host, last) = (next, end);
        }
        (host, last)
    }

    fn taken() -> Host {
        Host::pending(at(0)).take(at(5))
    }

    #[test]
    fn a_host_walks_through_every_event_in_order() {
        let (host, end) = through(taken(), 0..7, Circumstances::default());
        assert_eq!(end, Some(HostEnd::Succeeded));
        assert_eq!(host.shown_status(false), "Succeeded");
        assert!(host.events.iter().all(|event| matches!(event, EventState::Succeeded { .. })));
    }

    #[test]
    fn a_failure_skips_what_follows() {
        let (host, _) = through(taken(), 0..6, Circumstances::default());
        let given = Circumstances::default();
        let (host, _, _) = changed(host.report(6, Report::Acknowledged { noop: false }, given, at(30)));
        let (host, status, end) = changed(host.report(6, Report::Failed(broken()), given, at(40)));
        assert_eq!((status, end), ("Failed", Some(HostEnd::Failed)));
        assert!(
            matches!(&host.events[6], EventState::Failed { diagnostics, .. } if *diagnostics == broken())
        );
    }

    #[test]
    fn application_stop_may_be_ignored_and_nothing_else() {
        let given = Circumstances { ignore_application_stop_failures: true, stopping: false };
        let (host, status, end) = changed(taken().report(0, Report::Failed(broken()), given, at(10)));
        assert_eq!((status, end), ("Failed", None));
        assert_eq!(host.command().map(|command| command.event), Some(1));
        let (_, _, end) = changed(host.report(1, Report::Failed(broken()), given, at(10)));
        assert_eq!(end, Some(HostEnd::Failed));
        let strict = changed(taken().report(0, Report::Failed(broken()), Circumstances::default(), at(10)));
        assert_eq!(strict.2, Some(HostEnd::Failed));
    }

    #[test]
    fn repeated_late_and_invented_reports_change_nothing() {
        let given = Circumstances::default();
        let host = taken();
        assert_eq!(host.report(0, Report::Succeeded(ok()), given, at(9)), Step::OutOfOrder);
        assert_eq!(host.report(3, Report::Succeeded(ok()), given, at(9)), Step::OutOfOrder);
        assert_eq!(host.report(99, Report::Acknowledged { noop: true }, given, at(9)), Step::OutOfOrder);
        let (host, _, _) = changed(host.report(0, Report::Acknowledged { noop: false }, given, at(9)));
        let twice = host.report(0, Report::Acknowledged { noop: false }, given, at(11));
        assert_eq!(twice, Step::Unchanged("InProgress"));
        let (host, _, _) = changed(host.report(0, Report::Succeeded(ok()), given, at(12)));
        assert_eq!(host.report(0, Report::Succeeded(ok()), given, at(13)), Step::Unchanged("Succeeded"));
        assert_eq!(host.report(0, Report::Failed(broken()), given, at(13)), Step::Unchanged("Succeeded"));
    }

    #[test]
    fn a_noop_ends_with_its_acknowledgement_except_download_and_install() {
        let given = Circumstances::default();
        let (host, status, _) = changed(taken().report(0, Report::Acknowledged { noop: true }, given, at(9)));
        assert_eq!(status, "Succeeded");
        let (_, status, _) = changed(host.report(1, Report::Acknowledged { noop: true }, given, at(9)));
        assert_eq!(status, "InProgress");
    }

    #[test]
    fn silence_is_given_up_at_the_deadline_and_not_before() {
        let host = taken();
        assert_eq!(host.give_up(LIMITS, at(300_004)), None);
        let lost = host.give_up(LIMITS, at(300_005)).unwrap();
        assert_eq!(lost.shown_status(false), "Failed");
        assert_eq!(lost.give_up(LIMITS, at(900_000)), None);

        let given = Circumstances::default();
        let (host, _, _) = changed(host.report(0, Report::Acknowledged { noop: false }, given, at(10)));
        assert_eq!(host.deadline(LIMITS), Some(at(3_600_010)));
        let (host, _, _) = changed(host.report(0, Report::Heard, given, at(1_000)));
        assert_eq!(host.deadline(LIMITS), Some(at(301_000)));
    }

    #[test]
    fn a_stop_takes_back_what_nobody_runs() {
        let (host, end) = taken().take_back(at(9)).unwrap();
        assert_eq!((end, host.shown_status(true)), (HostEnd::Skipped, "Skipped"));
        let (touched, _) = through(taken(), 0..2, Circumstances::default());
        assert_eq!(touched.take_back(at(30)).unwrap().1, HostEnd::Failed);
        let given = Circumstances { stopping: true, ..Circumstances::default() };
        let (running, _, _) = changed(taken().report(0, Report::Acknowledged { noop: false }, given, at(9)));
        assert_eq!(running.take_back(at(10)), None);
        assert_eq!(
            changed(running.report(0, Report::Succeeded(ok()), given, at(11))).2,
            Some(HostEnd::Failed)
        );
        let (last, end) = through(taken(), 0..6, Circumstances::default());
        assert_eq!(end, None);
        assert_eq!(through(last, 6..7, given).1, Some(HostEnd::Succeeded));
    }

    #[test]
    fn diagnostics_keep_the_end_of_the_log_at_a_character() {
        let log = "ä".repeat(3_000) + "end";
        let kept = Diagnostics::new("ScriptFailed", "", "", &log).log_tail;
        assert!(kept.len() <= LOG_TAIL_BYTES && kept.ends_with("end"));
    }
}
