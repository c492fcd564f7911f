//! The port to source repositories, for services that read commits: pipelines and builds. Implemented
//! by `services/codecommit`.
//!
//! Permissions: <https://docs.aws.amazon.com/codecommit/latest/userguide/auth-and-access-control-permissions-reference.html>.

use crate::{ApiError, Call, Timestamp, async_trait};
use std::path::Path;

/// What names a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revision {
    /// A branch's short name (`main`, `feature/x`).
    Branch(String),
    /// A tag's short name; an annotated tag stands for the commit that it points to.
    Tag(String),
    /// A full commit id: 40 hexadecimal digits.
    Commit(String),
}

impl Revision {
    /// Reads what people write in a source version: `refs/heads/x`, `refs/heads/x^{commit-id}`,
    /// `refs/tags/x`, a full commit id, else a branch's name.
    pub fn parse(text: &str) -> Self {
        if let Some((_, id)) = text.strip_suffix('}').and_then(|rest| rest.split_once("^{")) {
            return Revision::parse(id);
        }
        if let Some(branch) = text.strip_prefix("refs/heads/") {
            Revision::Branch(branch.to_owned())
        } else if let Some(tag) = text.strip_prefix("refs/tags/") {
            Revision::Tag(tag.to_owned())
        } else if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Revision::Commit(text.to_ascii_lowercase())
        } else {
            Revision::Branch(text.to_owned())
        }
    }
}

/// A person in a commit, with the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    pub email: String,
    pub at: Timestamp,
    /// Minutes east of UTC.
    pub offset_minutes: i32,
}

/// One commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitInfo {
    /// The repository's id: it survives a rename.
    pub repository_id: String,
    pub repository_name: String,
    /// `arn:aws:codecommit:…:NAME`.
    pub repository_arn: String,
    pub clone_url_http: String,
    pub commit_id: String,
    pub tree_id: String,
    pub parents: Vec<String>,
    /// Whole, as written; the first line is the subject.
    pub message: String,
    pub author: Signature,
    pub committer: Signature,
}

/// The form of an exported tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// A zip file with symbolic links and executable bits, as CodePipeline's source artifacts are.
    Zip,
    Tar,
}

/// How much history a clone brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneDepth {
    Full,
    /// The newest `n` commits; at least 1.
    Shallow(u32),
}

/// Each method authorizes the caller on the repository's ARN with the action that it names, and fails
/// with CodeCommit's codes (`RepositoryDoesNotExistException`, `BranchDoesNotExistException`,
/// `CommitDoesNotExistException`, `AccessDeniedException`).
#[async_trait]
pub trait Sources: Send + Sync {
    /// The commit that a revision names now. `codecommit:GetBranch` where a branch is named, and
    /// `codecommit:GetCommit`.
    async fn commit(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
    ) -> Result<CommitInfo, ApiError>;

    /// The name of the repository's default branch: what a build without a source version takes. `None`
    /// where there is none, or an implementation does not know. `codecommit:GitPull`.
    async fn default_branch(&self, call: &Call, repository: &str) -> Result<Option<String>, ApiError> {
        let _ = (call, repository);
        Ok(None)
    }

    /// Paths that differ between two commits, sorted, both names of a rename included; with no `before`,
    /// every path of `after`. An unknown `before` is `CommitDoesNotExistException`.
    /// `codecommit:GetDifferences`.
    async fn changed_paths(
        &self,
        call: &Call,
        repository: &str,
        before: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>, ApiError>;

    /// Writes the revision's tree, without history, to the file `destination`, which must not exist.
    /// `codecommit:UploadArchive`: CodePipeline's source action.
    async fn archive(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        format: ArchiveFormat,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError>;

    /// Writes the revision's tree, without history and without `.git`, into the folder `destination`,
    /// which must be empty or absent. Symbolic links are written as links and never followed.
    /// `codecommit:GitPull`.
    async fn checkout(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError>;

    /// Clones into the folder `destination`, which must be empty or absent, with a work tree at the
    /// revision, all branches and tags where `depth` is full, and `origin` set to the repository's HTTP
    /// address. Nothing is shared with the server's own files: the clone may be handed to a build.
    /// `codecommit:GitPull`.
    async fn clone_to(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        depth: CloneDepth,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError>;
}

#[cfg(test)]
mod tests {
    use super::Revision;

    #[test]
    fn source_versions_as_people_write_them() {
        let id = "4c925148f5d3f5a2d9e8f2cbbbd2bd0f1cf9a0a1";
        assert_eq!(Revision::parse("main"), Revision::Branch("main".into()));
        assert_eq!(Revision::parse("refs/heads/feature/x"), Revision::Branch("feature/x".into()));
        assert_eq!(Revision::parse("refs/tags/v1"), Revision::Tag("v1".into()));
        assert_eq!(Revision::parse(&id.to_uppercase()), Revision::Commit(id.into()));
        assert_eq!(Revision::parse(&format!("refs/heads/main^{{{id}}}")), Revision::Commit(id.into()));
    }
}
