//! Scripts of a life-cycle event.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html>
//!
//! Each runs in a session of its own, so that a timeout reaches everything that it started. Its environment
//! is made from nothing: what AWS documents, the user's own HOME and the like, and a few variables of the
//! agent's that carry no secrets; the agent's credentials are not among them.

pub mod leftovers;
mod log;
mod process;
mod user;

use crate::appspec::{Event, MAX_EVENT_SECONDS, Script};
use crate::diagnostics::{Diagnostics, ErrorCode};
use crate::stop::Stop;
use crate::work_error::WorkError;
use log::ScriptLog;
use process::{Ending, Process};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use towpath_archive::{Follow, Root};

/// One event's run.
pub struct Run<'a> {
    pub event: Event,
    /// The unpacked revision that the scripts are in.
    pub archive: &'a Path,
    /// Always the current deployment's.
    pub log: &'a Path,
    pub working_folder: &'a Path,
    pub env: Vec<(&'static str, String)>,
    pub stop: &'a Stop,
    pub over: &'a AtomicBool,
    pub stop_grace: Duration,
}

/// Runs the scripts one after the other; gives the log's end.
pub fn run(run: &Run, scripts: &[Script]) -> Result<String, WorkError> {
    let mut log = ScriptLog::open(run.log)?;
    log.line(&format!("LifecycleEvent - {}", run.event));
    let deadline = Instant::now() + Duration::from_secs(MAX_EVENT_SECONDS);
    for script in scripts {
        if let Err((code, message)) = one(run, script, deadline, &mut log) {
            log.line(&message);
            tracing::warn!("{}: {message}", run.event);
            let script = script.location.clone();
            return Err(WorkError(Diagnostics { code, script, message, log: log.tail() }));
        }
    }
    Ok(log.tail())
}

type Failure = (ErrorCode, String);

fn prefix(script: &Script) -> String {
    match &script.runas {
        Some(user) => format!("Script at specified location: {} run as user {user}", script.location),
        None => format!("Script at specified location: {}", script.location),
    }
}

/// The script's path, once it is there, lies in the revision and can be run.
fn find(run: &Run, script: &Script) -> Result<PathBuf, Failure> {
    let path = run.archive.join(&script.location);
    let missing = || {
        let message = format!("Script does not exist at specified location: {}", path.display());
        (ErrorCode::ScriptMissing, message)
    };
    let root = Root::open(run.archive).map_err(|_| missing())?;
    let file = match root.open_file(Path::new(&script.location), Follow::Beneath) {
        Ok(file) => file,
        Err(error) if error.is_refusal() => {
            let message = format!("{} cannot be run: {error}", prefix(script));
            return Err((ErrorCode::ScriptMissing, message));
        }
        Err(_) => return Err(missing()),
    };
    let mode = file.metadata().map_err(|_| missing())?.permissions().mode();
    if mode & 0o111 == 0 {
        tracing::warn!("{} is not executable; trying to make it so", script.location);
        file.set_permissions(Permissions::from_mode((mode | 0o111) & 0o7777)).map_err(|_| {
            let message =
                format!("Unable to set script at specified location: {} as executable", script.location);
            (ErrorCode::ScriptNotExecutable, message)
        })?;
    }
    fs::canonicalize(&path).map_err(|_| missing())
}

fn one(run: &Run, script: &Script, deadline: Instant, log: &mut ScriptLog) -> Result<(), Failure> {
    let path = find(run, script)?;
    log.line(&format!("Script - {}", script.location));
    let never_ran = |reason: &dyn std::fmt::Display| {
        (ErrorCode::UnknownError, format!("{} could not be started and never ran: {reason}", prefix(script)))
    };
    let user = user::resolve(script.runas.as_deref()).map_err(|reason| never_ran(&reason))?;
    let timeout = Duration::from_secs(script.timeout_s);
    let left = deadline.saturating_duration_since(Instant::now());
    let process = Process::start(&path, run, &user).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => (ErrorCode::ScriptNotExecutable, never_ran(&error).1),
        _ => never_ran(&error),
    })?;
    let ending = process
        .watch(timeout.min(left), log, run)
        .map_err(|error| (ErrorCode::UnknownError, format!("{} failed: {error}", prefix(script))))?;
    match ending {
        Ending::Exited(0) => Ok(()),
        Ending::Exited(code) => {
            Err((ErrorCode::ScriptFailed, format!("{} failed with exit code {code}", prefix(script))))
        }
        Ending::Signalled(signal) => {
            Err((ErrorCode::ScriptFailed, format!("{} was ended by signal {signal}", prefix(script))))
        }
        Ending::TimedOut if left < timeout => Err((
            ErrorCode::ScriptTimedOut,
            format!(
                "{} failed to complete: the scripts of {} took longer than {MAX_EVENT_SECONDS} seconds together",
                prefix(script),
                run.event
            ),
        )),
        Ending::TimedOut => Err((
            ErrorCode::ScriptTimedOut,
            format!("{} failed to complete in {} seconds", prefix(script), script.timeout_s),
        )),
        Ending::Aborted => Err((
            ErrorCode::UnknownError,
            format!(
                "{} was aborted while it ran: the agent was stopped, or the deployment ended meanwhile",
                prefix(script)
            ),
        )),
    }
}
