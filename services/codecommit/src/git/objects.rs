//! Reading commits, trees and blobs in process. Blocking: callers run it off the async threads.

use super::{GitError, repository};
use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::objs::{CommitRef, Kind, TagRef, TreeRefIter};
use std::collections::BTreeMap;
use std::path::Path;
use towpath_api::Timestamp;
use towpath_api::sources::Signature;

/// How many tags may point at tags before a commit.
const MAX_PEEL: usize = 10;
/// Trees and commits beyond this are not worth reading into memory.
const MAX_METADATA_BYTES: u64 = 256 << 20;

/// The empty tree, which every repository has.
pub const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    Tree,
    Normal,
    Executable,
    Symlink,
    Submodule,
}

impl Mode {
    /// Six digits, as GetDifferences shows it.
    pub fn octal(self) -> &'static str {
        match self {
            Mode::Tree => "040000",
            Mode::Normal => "100644",
            Mode::Executable => "100755",
            Mode::Symlink => "120000",
            Mode::Submodule => "160000",
        }
    }

    /// As it stands in a tree object.
    pub fn in_tree(self) -> &'static str {
        self.octal().trim_start_matches('0')
    }

    /// The API's name for a file's mode; submodules and folders have none.
    pub fn api_name(self) -> Option<&'static str> {
        match self {
            Mode::Normal => Some("NORMAL"),
            Mode::Executable => Some("EXECUTABLE"),
            Mode::Symlink => Some("SYMLINK"),
            Mode::Tree | Mode::Submodule => None,
        }
    }

    pub fn from_api_name(name: &str) -> Option<Mode> {
        [Mode::Normal, Mode::Executable, Mode::Symlink].into_iter().find(|mode| mode.api_name() == Some(name))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mode: Mode,
    pub id: ObjectId,
}

/// A folder's entries by name. A name that is not UTF-8 is shown with replacement characters.
pub type Folder = BTreeMap<Vec<u8>, Entry>;

#[derive(Clone, Debug)]
pub struct Commit {
    pub id: ObjectId,
    pub tree: ObjectId,
    pub parents: Vec<ObjectId>,
    pub message: String,
    pub author: Signature,
    pub committer: Signature,
}

/// One repository, open for reading.
pub struct Objects {
    repo: gix::Repository,
}

impl Objects {
    pub fn open(path: &Path) -> Result<Objects, GitError> {
        Ok(Objects { repo: repository::open(path)? })
    }

    /// Kind and size, without reading the content.
    pub fn header(&self, id: ObjectId) -> Result<Option<(Kind, u64)>, GitError> {
        let header = self.repo.try_find_header(id).map_err(GitError::unreadable)?;
        Ok(header.map(|header| (header.kind(), header.size())))
    }

    fn content(&self, id: ObjectId, kind: Kind) -> Result<Option<Vec<u8>>, GitError> {
        match self.header(id)? {
            Some((found, size)) if found == kind && size <= MAX_METADATA_BYTES => {}
            _ => return Ok(None),
        }
        let object = self.repo.try_find_object(id).map_err(GitError::unreadable)?;
        Ok(object.map(|object| object.detach().data))
    }

    /// A blob's content; `None` when there is no blob with this id. The caller has looked at its size.
    pub fn blob(&self, id: ObjectId) -> Result<Option<Vec<u8>>, GitError> {
        self.content(id, Kind::Blob)
    }

    pub fn commit(&self, id: ObjectId) -> Result<Option<Commit>, GitError> {
        let Some(data) = self.content(id, Kind::Commit)? else { return Ok(None) };
        let commit = CommitRef::from_bytes(&data, gix::hash::Kind::Sha1).map_err(GitError::unreadable)?;
        Ok(Some(Commit {
            id,
            tree: commit.tree(),
            parents: commit.parents().collect(),
            message: commit.message.to_str_lossy().into_owned(),
            author: signature(commit.author),
            committer: signature(commit.committer),
        }))
    }

    /// The commit that an object stands for: itself, or what an annotated tag points to.
    pub fn peel(&self, id: ObjectId) -> Result<Option<Commit>, GitError> {
        let mut id = id;
        for _ in 0..MAX_PEEL {
            if let Some(commit) = self.commit(id)? {
                return Ok(Some(commit));
            }
            let Some(data) = self.content(id, Kind::Tag)? else { return Ok(None) };
            id = TagRef::from_bytes(&data, gix::hash::Kind::Sha1).map_err(GitError::unreadable)?.target();
        }
        Ok(None)
    }

    pub fn folder(&self, tree: ObjectId) -> Result<Folder, GitError> {
        if tree == ObjectId::empty_tree(gix::hash::Kind::Sha1) {
            return Ok(Folder::new());
        }
        let data = self
            .content(tree, Kind::Tree)?
            .ok_or_else(|| GitError::Unreadable(format!("tree {tree} is missing")))?;
        let mut folder = Folder::new();
        for entry in TreeRefIter::from_bytes(&data, gix::hash::Kind::Sha1) {
            let entry = entry.map_err(GitError::unreadable)?;
            let mode = match entry.mode.kind() {
                gix::objs::tree::EntryKind::Tree => Mode::Tree,
                gix::objs::tree::EntryKind::Blob => Mode::Normal,
                gix::objs::tree::EntryKind::BlobExecutable => Mode::Executable,
                gix::objs::tree::EntryKind::Link => Mode::Symlink,
                gix::objs::tree::EntryKind::Commit => Mode::Submodule,
            };
            folder.insert(entry.filename.to_vec(), Entry { mode, id: entry.oid.to_owned() });
        }
        Ok(folder)
    }

    /// What is at `path` (no leading slash; empty for the root) below `tree`.
    pub fn lookup(&self, tree: ObjectId, path: &str) -> Result<Option<Entry>, GitError> {
        let mut entry = Entry { mode: Mode::Tree, id: tree };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if entry.mode != Mode::Tree {
                return Ok(None);
            }
            match self.folder(entry.id)?.get(name.as_bytes()) {
                Some(found) => entry = *found,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }
}

/// `Name <email> seconds zone`, read leniently: histories hold every kind of mistake.
fn signature(raw: &gix::bstr::BStr) -> Signature {
    let text = raw.to_str_lossy();
    let (name, rest) = text.split_once('<').unwrap_or((&text, ""));
    let (email, time) = rest.rsplit_once('>').unwrap_or((rest, ""));
    let mut time = time.split_whitespace();
    let seconds = time.next().and_then(|word| word.parse::<i64>().ok()).unwrap_or(0);
    let zone = time.next().and_then(|word| word.parse::<i32>().ok()).unwrap_or(0);
    Signature {
        name: name.trim().to_owned(),
        email: email.trim().to_owned(),
        at: Timestamp::from_millis(seconds.saturating_mul(1000)),
        offset_minutes: zone.clamp(-2400, 2400) / 100 * 60 + zone.clamp(-2400, 2400) % 100,
    }
}

/// `1508280564 -0800`: how CodeCommit's API and git both write a moment.
pub fn git_date(signature: &Signature) -> String {
    let offset = signature.offset_minutes;
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
    format!("{} {sign}{hours:02}{minutes:02}", signature.at.as_millis().div_euclid(1000))
}

pub fn parse_id(text: &str) -> Option<ObjectId> {
    (text.len() == 40).then(|| ObjectId::from_hex(text.to_ascii_lowercase().as_bytes()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_moments_as_histories_have_them() {
        let person = signature("Ann Lee <ann@example.com> 1508280564 -0830".into());
        assert_eq!((person.name.as_str(), person.email.as_str()), ("Ann Lee", "ann@example.com"));
        assert_eq!(git_date(&person), "1508280564 -0830");
        assert_eq!(git_date(&signature("broken".into())), "0 +0000");
        assert_eq!(git_date(&signature("A <a> 12 +0530".into())), "12 +0530");
    }

    #[test]
    fn only_full_ids_are_ids() {
        assert!(parse_id(EMPTY_TREE).is_some());
        assert!(parse_id(&EMPTY_TREE.to_uppercase()).is_some());
        for bad in ["", "4b825dc", "zb825dc642cb6eb9a060e54bf8d69288fbee4904"] {
            assert!(parse_id(bad).is_none(), "{bad}");
        }
    }
}
