//! Processes that outlive what started them: those of a session that is ended, and those of a command
//! whose agent was killed.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};
use std::collections::BTreeSet;
use std::fs;

/// A process that forks while it is looked for is found the next time round.
const MAX_ROUNDS: usize = 20;

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw)
}

/// Kills whatever is left in a session.
pub fn end_session(session: Pid) {
    for _ in 0..MAX_ROUNDS {
        let left: Vec<Pid> = processes().filter(|pid| getsid(Some(*pid)) == Ok(session)).collect();
        let killed =
            left.iter().filter(|pid| !is_zombie(**pid)).filter(|pid| kill(**pid, Signal::SIGKILL).is_ok());
        if killed.count() == 0 {
            return;
        }
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

/// Kills what scripts of one event of one deployment left running: they are known by their environment.
pub fn end_command(deployment: &str, event: &str) {
    let marks = [format!("DEPLOYMENT_ID={deployment}"), format!("LIFECYCLE_EVENT={event}")];
    let own = getsid(None).ok();
    for round in 0..MAX_ROUNDS {
        let marked = processes().filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let entries: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
            marks.iter().all(|mark| entries.contains(&mark.as_bytes()))
        });
        let sessions: BTreeSet<Pid> =
            marked.filter_map(|pid| getsid(Some(pid)).ok()).filter(|session| Some(*session) != own).collect();
        if sessions.is_empty() {
            return;
        }
        if round == 0 {
            tracing::warn!("ending {} session(s) that {event} of {deployment} left behind", sessions.len());
        }
        sessions.into_iter().for_each(end_session);
    }
}
