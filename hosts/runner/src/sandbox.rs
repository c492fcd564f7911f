//! One running sandbox, as the server sees it.

use std::os::fd::OwnedFd;

use crate::{Command, ExitStatus, Output, Report, RunnerError, View};

/// A handle on a running sandbox; clones share it, and the last one dropped kills it.
#[derive(Clone, Debug)]
pub struct Sandbox {}

/// A command that runs inside. Dropping it does not end the command.
#[derive(Debug)]
pub struct Process {}

impl Sandbox {
    pub fn id(&self) -> &str {
        ""
    }

    pub fn report(&self) -> &Report {
        unreachable!()
    }

    /// Starts a command. `Err(Spawn)` means that it never ran.
    pub async fn exec(&self, _command: Command) -> Result<Process, RunnerError> {
        Err(RunnerError::Invalid(String::new()))
    }

    /// Runs a command to its end and collects at most `limit_bytes` of each stream.
    pub async fn run(&self, _command: Command, _limit_bytes: usize) -> Result<Output, RunnerError> {
        Err(RunnerError::Invalid(String::new()))
    }

    /// The files inside, for reading from outside, while the sandbox lives.
    pub fn view(&self) -> Result<View, RunnerError> {
        Err(RunnerError::Invalid(String::new()))
    }

    /// Kills everything inside. Running commands end with 137.
    pub fn kill(&self) {}

    /// Resolves when the sandbox has ended by itself (wall limit, out of memory, supervisor killed), with why.
    pub async fn ended(&self) -> String {
        String::new()
    }

    /// Kills everything inside and waits until processes, mounts and cgroup are gone. Files are deleted in the
    /// background.
    pub async fn destroy(self) -> Result<(), RunnerError> {
        Ok(())
    }
}

impl Process {
    /// The command's process id as the inside counts.
    pub fn pid(&self) -> i32 {
        0
    }

    /// The terminal's near end, when the command asked for one.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        None
    }

    /// Sends a signal to the command and its process group.
    pub async fn signal(&self, _signal: i32) -> Result<(), RunnerError> {
        Ok(())
    }

    /// Waits for the end; `Err(Ended)` when the sandbox went away without telling.
    pub async fn wait(&mut self) -> Result<ExitStatus, RunnerError> {
        Err(RunnerError::Invalid(String::new()))
    }
}
