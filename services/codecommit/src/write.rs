//! Writes of our own: an API call that moves references does what a push does. Git takes the objects
//! into quarantine, checks them, and moves the references in one transaction; then the move is recorded
//! with its event. So there is one path by which anything enters a repository.

use crate::error::Error;
use crate::git::GitError;
use crate::git::pack::NewObjects;
use crate::git::receive::{Command, Outcome, Push, Report, ZERO_ID};
use crate::git::repository;
use crate::reconcile::blocking;
use crate::service::CodeCommitService;
use crate::shared::Entry;
use std::collections::BTreeSet;
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

/// A push above this is kept as a pack.
pub(crate) const MANY_BYTES: usize = 1 << 20;
/// References that git flushes one by one; more are packed into one file and flushed with it.
const MANY_REFERENCES: usize = 20;

/// How git shall take a push in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivePlan {
    /// Keeps the pack as it came, instead of a file for each object: for what is large.
    pub keeps_pack: bool,
    /// References that the push moves.
    pub references: usize,
}

impl ReceivePlan {
    fn packs_references(self) -> bool {
        self.references > MANY_REFERENCES
    }
}

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
        let entry = self.enter(repository_id).await?;
        let plan = ReceivePlan { keeps_pack: request.len() > MANY_BYTES, references: 1 };
        let names = [write.name].into();
        let outcome = self.receive(call, entry.path(), plan, request).await?;
        self.flush_references(&entry, &names, plan).await?;
        let overtaken = self.leave(entry, repository_id, &names, &call.caller.arn()).await?;
        if plan.keeps_pack {
            self.upkeep.ask(repository_id);
        }
        if let Some((_, reason)) = overtaken.into_iter().next() {
            return Ok(Err(Refused(reason)));
        }
        match outcome {
            Outcome::Ok { .. } => Ok(Ok(())),
            Outcome::Refused { reason, .. } => Ok(Err(Refused(reason))),
        }
    }

    /// `git receive-pack` for one repository, with the caller in git's log.
    pub(crate) fn receive_command(
        &self,
        call: &Call,
        path: &Path,
        plan: ReceivePlan,
    ) -> tokio::process::Command {
        let words = [OsStr::new("receive-pack"), OsStr::new("--stateless-rpc"), path.as_os_str()];
        let mut command = self.git.command(&words);
        command.env("GIT_COMMITTER_NAME", call.caller.arn()).env("GIT_COMMITTER_EMAIL", &call.request_id);
        let mut settings = Vec::new();
        if plan.keeps_pack {
            settings.push(("receive.unpackLimit", "1"));
        }
        if plan.packs_references() {
            // `committed` would have the references, too.
            settings.push(("core.fsync", "objects"));
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (index, (name, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command
    }

    /// Puts on the disk what git leaves to the system: the names of references that it moved, in their folders;
    /// of many references their content, too, all at once. A push's own folder needs neither: what it moved
    /// is recorded elsewhere.
    pub(crate) async fn flush_references(
        &self,
        entry: &Entry,
        names: &BTreeSet<String>,
        plan: ReceivePlan,
    ) -> Result<(), Error> {
        let path = entry.path();
        if entry.is_apart() {
            return Ok(());
        }
        if !plan.packs_references() {
            let (path, names) = (path.to_owned(), names.clone());
            return blocking(move || repository::sync_references(&path, &names)).await;
        }
        let words = [OsStr::new("--git-dir"), path.as_os_str(), OsStr::new("pack-refs"), OsStr::new("--all")];
        self.git.run(self.git.command(&words), 1 << 20).await?;
        let path = path.to_owned();
        blocking(move || repository::sync_reference_folders(&path)).await
    }

    async fn receive(
        &self,
        call: &Call,
        path: &Path,
        plan: ReceivePlan,
        request: Vec<u8>,
    ) -> Result<Outcome, Error> {
        let mut running = self.git.start(self.receive_command(call, path, plan)).await?;
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
