//! Writing a commit's files somewhere else: an archive, a folder, a clone.
//!
//! Invariant: what is written is what was committed. Links are written as links and never followed (git
//! checks each folder on its way), `.git` inside a tree is refused by git, no hook or filter runs.

use super::{Git, GitError};
use std::ffi::OsStr;
use std::path::Path;
use towpath_api::sources::{ArchiveFormat, CloneDepth};

/// Nothing of interest is printed by these commands.
const OUTPUT_BYTES: usize = 1 << 20;

impl Git {
    fn in_repository(&self, repository: &Path, arguments: &[&OsStr]) -> tokio::process::Command {
        let mut all: Vec<&OsStr> = vec![OsStr::new("--git-dir"), repository.as_os_str()];
        all.extend_from_slice(arguments);
        self.command(&all)
    }

    /// A zip or tar file. It must not exist: it appears whole, under its name, or not at all.
    pub async fn archive(
        &self,
        repository: &Path,
        commit: &str,
        format: ArchiveFormat,
        destination: &Path,
    ) -> Result<(), GitError> {
        if destination.exists() {
            return Err(GitError::Unreadable(format!("{} exists already", destination.display())));
        }
        let format = match format {
            ArchiveFormat::Zip => "--format=zip",
            ArchiveFormat::Tar => "--format=tar",
        };
        let mut partial = destination.as_os_str().to_owned();
        partial.push(".partial");
        let mut output = std::ffi::OsString::from("--output=");
        output.push(&partial);
        let command = self.in_repository(
            repository,
            &[OsStr::new("archive"), OsStr::new(format), &output, OsStr::new(commit)],
        );
        let result = self.run(command, OUTPUT_BYTES).await;
        let io = GitError::io(destination.display().to_string());
        match result {
            Ok(_) => tokio::fs::rename(&partial, destination).await.map_err(io),
            Err(error) => {
                if let Err(cleanup) = tokio::fs::remove_file(&partial).await {
                    tracing::debug!(%cleanup, "no partial archive to remove");
                }
                Err(error)
            }
        }
    }

    /// The files alone, in an empty folder.
    pub async fn checkout(
        &self,
        repository: &Path,
        commit: &str,
        destination: &Path,
    ) -> Result<(), GitError> {
        empty_folder(destination).await?;
        // Beside the folder: inside, a committed file could have its name.
        let index = index_beside(destination);
        let in_scratch = |arguments: &[&OsStr]| {
            let mut command = self.in_repository(repository, arguments);
            command.env("GIT_INDEX_FILE", &index).env("GIT_WORK_TREE", destination).current_dir(destination);
            command
        };
        let read = in_scratch(&[OsStr::new("read-tree"), OsStr::new(commit)]);
        let write = in_scratch(&["checkout-index", "--all", "--force", "--quiet"].map(OsStr::new));
        let result = match self.run(read, OUTPUT_BYTES).await {
            Ok(_) => self.run(write, OUTPUT_BYTES).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = tokio::fs::remove_file(&index).await {
            tracing::debug!(%error, "no index to remove");
        }
        result
    }

    /// A clone that shares nothing with the server's files, at `commit`: on `branch` where one is
    /// named, else detached.
    pub async fn clone_to(
        &self,
        repository: &Path,
        plan: &ClonePlan<'_>,
        destination: &Path,
    ) -> Result<(), GitError> {
        empty_folder(destination).await?;
        let url = format!("file://{}", repository.display());
        let mut arguments = vec!["clone", "--quiet", "--no-checkout"];
        let depth = match plan.depth {
            CloneDepth::Full => None,
            CloneDepth::Shallow(commits) => Some(format!("--depth={}", commits.max(1))),
        };
        arguments.extend(depth.as_deref());
        if let (Some(_), Some(branch)) = (&depth, plan.branch) {
            arguments.extend(["--branch", branch]);
        }
        let mut words: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
        words.extend([OsStr::new("--"), OsStr::new(&url), destination.as_os_str()]);
        self.run(self.command(&words), OUTPUT_BYTES).await?;
        let inside = |arguments: &[&str]| {
            let mut words = vec![OsStr::new("-C"), destination.as_os_str()];
            words.extend(arguments.iter().map(OsStr::new));
            self.command(&words)
        };
        if depth.is_some() {
            // The branch may have moved on since the commit was named.
            let depth = depth.as_deref().unwrap_or_default();
            self.run(inside(&["fetch", "--quiet", depth, "origin", plan.commit]), OUTPUT_BYTES).await?;
        }
        let checkout = match plan.branch {
            Some(branch) => inside(&["checkout", "--quiet", "--force", "-B", branch, plan.commit, "--"]),
            None => inside(&["checkout", "--quiet", "--force", "--detach", plan.commit, "--"]),
        };
        self.run(checkout, OUTPUT_BYTES).await?;
        self.run(inside(&["remote", "set-url", "origin", plan.origin]), OUTPUT_BYTES).await.map(drop)
    }
}

/// What a clone shall be.
pub struct ClonePlan<'a> {
    pub commit: &'a str,
    pub branch: Option<&'a str>,
    pub depth: CloneDepth,
    /// The address that `origin` gets.
    pub origin: &'a str,
}

async fn empty_folder(path: &Path) -> Result<(), GitError> {
    let io = || GitError::io(path.display().to_string());
    tokio::fs::create_dir_all(path).await.map_err(io())?;
    let mut entries = tokio::fs::read_dir(path).await.map_err(io())?;
    match entries.next_entry().await.map_err(io())? {
        None => Ok(()),
        Some(_) => Err(GitError::Unreadable(format!("{} is not empty", path.display()))),
    }
}

/// A name for a scratch file next to a folder.
fn index_beside(folder: &Path) -> std::path::PathBuf {
    let name = format!(".towpath-index-{}", towpath_api::id::uuid());
    folder.parent().unwrap_or(folder).join(name)
}
