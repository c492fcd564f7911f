//! Writes of our own: an API call that moves references does what a push does. Git takes the objects
//! into quarantine, checks them, and moves the references in one transaction; then the move is recorded
//! with its event. So there is one path by which anything enters a repository.

use crate::error::Error;
use crate::git::GitError;
use crate::git::pack::NewObjects;
use crate::git::receive::{Command, Outcome, Push, Report, ZERO_ID};
use crate::reconcile::Scope;
use crate::service::CodeCommitService;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use towpath_api::Call;

/// A report about one reference.
const MAX_REPORT_BYTES: u64 = 1 << 20;

/// Moves one reference from `old` to `new`; none on either side means absent.
pub(crate) struct Write {
    pub name: String,
    pub old: Option<String>,
    pub new: Option<String>,
    pub objects: NewObjects,
}

/// Why git did not do it.
pub(crate) struct Refused(pub String);

impl CodeCommitService {
    /// The outer error is ours; the inner one is git's answer, typically that the reference moved.
    pub(crate) async fn write(
        &self,
        call: &Call,
        repository_id: &str,
        write: Write,
    ) -> Result<Result<(), Refused>, Error> {
        let id = |id: Option<String>| id.unwrap_or_else(|| ZERO_ID.to_owned());
        let command = Command { old: id(write.old), new: id(write.new), name: write.name.clone() };
        let push = Push {
            commands: vec![command],
            capabilities: vec!["report-status".into(), "atomic".into()],
            shallow: Vec::new(),
        };
        let mut request = push.encode();
        if push.has_pack() {
            request.extend_from_slice(&write.objects.into_pack()?);
        }
        let outcome = self.receive(call, &self.disk.path(repository_id), request).await?;
        self.reconcile(repository_id, Scope::Only(&[write.name].into()), Some(&call.caller.arn())).await?;
        match outcome {
            Outcome::Ok { .. } => Ok(Ok(())),
            Outcome::Refused { reason, .. } => Ok(Err(Refused(reason))),
        }
    }

    /// `git receive-pack` for one repository, with the caller in git's log.
    pub(crate) fn receive_command(&self, call: &Call, path: &Path) -> tokio::process::Command {
        let mut command =
            self.git.command(&[OsStr::new("receive-pack"), OsStr::new("--stateless-rpc"), path.as_os_str()]);
        command.env("GIT_COMMITTER_NAME", call.caller.arn()).env("GIT_COMMITTER_EMAIL", &call.request_id);
        command
    }

    async fn receive(&self, call: &Call, path: &Path, request: Vec<u8>) -> Result<Outcome, Error> {
        let mut running = self.git.start(self.receive_command(call, path)).await?;
        let (stdin, stdout) = (running.stdin(), running.stdout());
        let feed = async {
            if let Some(mut stdin) = stdin {
                stdin.write_all(&request).await?;
            }
            std::io::Result::Ok(())
        };
        let listen = async {
            let mut report = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(MAX_REPORT_BYTES).read_to_end(&mut report).await?;
            }
            std::io::Result::Ok(report)
        };
        let limit = Duration::from_millis(self.git.limits.command_ms);
        let work = async {
            let (fed, heard) = tokio::join!(feed, listen);
            let (status, stderr) = running.finish().await?;
            let report = heard.map_err(GitError::io("the report of git receive-pack"))?;
            let outcome = Report::decode(&report).and_then(|mut report| match report.unpack.as_str() {
                "ok" => report.outcomes.pop(),
                _ => None,
            });
            if let (None, Err(error)) = (&outcome, fed) {
                return Err(GitError::Io { what: "writing to git receive-pack".into(), source: error });
            }
            outcome.ok_or(GitError::Failed { command: "receive-pack".into(), status, stderr })
        };
        let slow = || GitError::TooSlow { command: "receive-pack".into(), limit_ms: limit.as_millis() };
        Ok(tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(slow()))?)
    }
}
