//! Comparing trees, and building a new one from an old one and a list of edits.

use super::objects::{Entry, Folder, Mode, Objects};
use super::pack::NewObjects;
use super::{GitError, objects::EMPTY_TREE};
use gix::ObjectId;
use gix::objs::Kind;
use std::collections::BTreeMap;

/// Files that one comparison may name: beyond it the answer would not fit anywhere.
pub const MAX_DIFFERENCES: usize = 1_000_000;
/// Folders inside folders. Deeper trees can be pushed; they are not walked.
const MAX_DEPTH: usize = 512;

/// One path that differs. `None` on the side where it does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub path: String,
    pub before: Option<Entry>,
    pub after: Option<Entry>,
}

/// The files that differ between two entries, in the order of their paths; nothing where both are the
/// same. Names are below `path`. Folders themselves are not reported, and renames are not guessed.
pub fn compare(
    objects: &Objects,
    path: &str,
    before: Option<Entry>,
    after: Option<Entry>,
) -> Result<Vec<Difference>, GitError> {
    let mut found = Vec::new();
    walk(objects, path, before, after, 0, &mut found)?;
    found.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(found)
}

fn walk(
    objects: &Objects,
    path: &str,
    before: Option<Entry>,
    after: Option<Entry>,
    depth: usize,
    found: &mut Vec<Difference>,
) -> Result<(), GitError> {
    if before == after {
        return Ok(());
    }
    let is_folder = |entry: &Option<Entry>| entry.is_some_and(|entry| entry.mode == Mode::Tree);
    let (old, new) = (before.filter(|_| !is_folder(&before)), after.filter(|_| !is_folder(&after)));
    if old.is_some() || new.is_some() {
        found.push(Difference { path: path.to_owned(), before: old, after: new });
    }
    if found.len() > MAX_DIFFERENCES || depth > MAX_DEPTH {
        return Err(GitError::Unreadable("the commits differ in too many files".into()));
    }
    let folder = |entry: Option<Entry>| match entry {
        Some(entry) if entry.mode == Mode::Tree => objects.folder(entry.id),
        _ => Ok(Folder::new()),
    };
    let (old, mut new) = (folder(before)?, folder(after)?);
    let child = |name: &[u8]| {
        let name = String::from_utf8_lossy(name);
        if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") }
    };
    for (name, entry) in old {
        let other = new.remove(&name);
        walk(objects, &child(&name), Some(entry), other, depth + 1, found)?;
    }
    for (name, entry) in new {
        walk(objects, &child(&name), None, Some(entry), depth + 1, found)?;
    }
    Ok(())
}

/// What stands in the way of an edit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("{0} is a folder")]
    IsFolder(String),
    #[error("{0} is a file")]
    IsFile(String),
    #[error("{0} is a submodule")]
    IsSubmodule(String),
}

/// A tree with changes that are not written yet. Folders are read only where an edit goes.
pub struct Editor<'a> {
    objects: &'a Objects,
    root: Node,
}

enum Node {
    /// As it is in the repository.
    Stored(Entry),
    Folder(BTreeMap<Vec<u8>, Node>),
}

impl<'a> Editor<'a> {
    pub fn new(objects: &'a Objects, tree: Option<ObjectId>) -> Editor<'a> {
        let id = tree.unwrap_or_else(|| ObjectId::empty_tree(gix::hash::Kind::Sha1));
        Editor { objects, root: Node::Stored(Entry { mode: Mode::Tree, id }) }
    }

    /// The file, link or submodule at `path`.
    pub fn get(&mut self, path: &str) -> Result<Option<Entry>, GitError> {
        let objects = self.objects;
        let mut node = &mut self.root;
        for name in path.split('/') {
            if matches!(node, Node::Stored(entry) if entry.mode != Mode::Tree) {
                return Ok(None);
            }
            match open(objects, node)?.get_mut(name.as_bytes()) {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        match node {
            Node::Stored(entry) if entry.mode != Mode::Tree => Ok(Some(*entry)),
            _ => Ok(None),
        }
    }

    /// Puts a file at `path`, with the folders above it.
    pub fn put(&mut self, path: &str, entry: Entry) -> Result<Result<(), Conflict>, GitError> {
        let objects = self.objects;
        let mut node = &mut self.root;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut walked = String::new();
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            walked = if walked.is_empty() { folder.to_owned() } else { format!("{walked}/{folder}") };
            let children = open(objects, node)?;
            node = children.entry(folder.into()).or_insert_with(|| Node::Folder(BTreeMap::new()));
            if let Node::Stored(found) = node {
                match found.mode {
                    Mode::Tree => {}
                    Mode::Submodule => return Ok(Err(Conflict::IsSubmodule(walked))),
                    _ => return Ok(Err(Conflict::IsFile(walked))),
                }
            }
        }
        let children = open(objects, node)?;
        match children.get(name.as_bytes()) {
            Some(Node::Folder(_)) => return Ok(Err(Conflict::IsFolder(path.to_owned()))),
            Some(Node::Stored(found)) if found.mode == Mode::Tree => {
                return Ok(Err(Conflict::IsFolder(path.to_owned())));
            }
            Some(Node::Stored(found)) if found.mode == Mode::Submodule => {
                return Ok(Err(Conflict::IsSubmodule(path.to_owned())));
            }
            _ => {}
        }
        children.insert(name.into(), Node::Stored(entry));
        Ok(Ok(()))
    }

    /// Removes the file at `path`. The folder above it goes with it when it is left empty, unless
    /// `keep_empty` is an entry to leave there as `.gitkeep`; the path of that file is the answer.
    pub fn remove(&mut self, path: &str, keep_empty: Option<Entry>) -> Result<Option<String>, GitError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let objects = self.objects;
        let mut node = &mut self.root;
        for part in folder.split('/').filter(|part| !part.is_empty()) {
            match open(objects, node)?.get_mut(part.as_bytes()) {
                Some(child) => node = child,
                None => return Ok(None),
            }
        }
        let children = open(objects, node)?;
        children.remove(name.as_bytes());
        match keep_empty {
            Some(entry) if children.is_empty() && !folder.is_empty() => {
                children.insert(b".gitkeep".to_vec(), Node::Stored(entry));
                Ok(Some(format!("{folder}/.gitkeep")))
            }
            _ => Ok(None),
        }
    }

    /// Adds the changed trees to `new`; the root's id.
    pub fn write(self, new: &mut NewObjects) -> Result<ObjectId, GitError> {
        let root = write_node(self.root, new)?;
        let empty = || ObjectId::from_hex(EMPTY_TREE.as_bytes()).map_err(GitError::unreadable);
        match root {
            Some(entry) => Ok(entry.id),
            None => {
                new.add(Kind::Tree, Vec::new())?;
                empty()
            }
        }
    }
}

/// The children of a folder, read from the repository the first time.
fn open<'n>(objects: &Objects, node: &'n mut Node) -> Result<&'n mut BTreeMap<Vec<u8>, Node>, GitError> {
    if let Node::Stored(entry) = node {
        let folder = objects.folder(entry.id)?;
        *node = Node::Folder(folder.into_iter().map(|(name, entry)| (name, Node::Stored(entry))).collect());
    }
    match node {
        Node::Folder(children) => Ok(children),
        Node::Stored(entry) => Err(GitError::Unreadable(format!("{} is no tree", entry.id))),
    }
}

/// Writes a folder bottom up; `None` for one without files, which git does not keep.
fn write_node(node: Node, new: &mut NewObjects) -> Result<Option<Entry>, GitError> {
    let children = match node {
        Node::Stored(entry) => return Ok(Some(entry)),
        Node::Folder(children) => children,
    };
    let mut entries = Vec::new();
    for (name, child) in children {
        if let Some(entry) = write_node(child, new)? {
            entries.push((name, entry));
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    // Git sorts a folder as if its name ended in a slash.
    entries.sort_by(|(left, left_entry), (right, right_entry)| {
        let key = |name: &[u8], entry: &Entry| {
            let mut key = name.to_vec();
            if entry.mode == Mode::Tree {
                key.push(b'/');
            }
            key
        };
        key(left, left_entry).cmp(&key(right, right_entry))
    });
    let mut content = Vec::new();
    for (name, entry) in entries {
        content.extend_from_slice(entry.mode.in_tree().as_bytes());
        content.push(b' ');
        content.extend_from_slice(&name);
        content.push(0);
        content.extend_from_slice(entry.id.as_slice());
    }
    Ok(Some(Entry { mode: Mode::Tree, id: new.add(Kind::Tree, content)? }))
}
