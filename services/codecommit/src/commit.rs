//! A commit out of a list of changes: reads the parent, makes the new objects, moves nothing.

use crate::error::Error;
use crate::git::objects::{Entry, Mode, Objects, git_date, parse_id};
use crate::git::pack::NewObjects;
use crate::git::tree::{Conflict, Editor};
use gix::objs::Kind;
use towpath_api::sources::Signature;
use towpath_api::{Bytes, Timestamp};

/// All new content of one commit.
const MAX_COMMIT_MB: usize = 20;

pub struct Author {
    pub name: String,
    pub email: String,
}

pub enum Content {
    Bytes(Bytes),
    /// Another file of the parent, copied or moved.
    Source {
        path: String,
        is_move: bool,
    },
}

pub struct Put {
    pub path: String,
    /// None keeps a source's mode, and means normal for new content.
    pub mode: Option<Mode>,
    pub content: Content,
}

/// What a commit shall change. Paths are valid, and each is named once.
pub struct Change {
    pub parent: Option<String>,
    pub author: Author,
    pub message: String,
    pub at: Timestamp,
    pub puts: Vec<Put>,
    pub deletes: Vec<String>,
    pub modes: Vec<(String, Mode)>,
    pub keep_empty_folders: bool,
}

impl Change {
    pub fn new(parent: Option<String>, author: Author, message: String, at: Timestamp) -> Change {
        Change {
            parent,
            author,
            message,
            at,
            puts: Vec::new(),
            deletes: Vec::new(),
            modes: Vec::new(),
            keep_empty_folders: false,
        }
    }
}

/// A file as the commit has it, or had it when it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub path: String,
    pub entry: Entry,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub commit_id: String,
    pub tree_id: String,
    pub added: Vec<Touched>,
    pub updated: Vec<Touched>,
    pub deleted: Vec<Touched>,
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Error {
        match conflict {
            Conflict::IsFolder(path) => Error::FileIsFolder(path),
            Conflict::IsFile(path) => Error::FolderIsFile(path),
            Conflict::IsSubmodule(path) => Error::PathIsSubmodule(path),
        }
    }
}

/// Makes the objects. `NoChange` when the tree would be the parent's.
pub fn make(objects: &Objects, change: Change) -> Result<(Made, NewObjects), Error> {
    let parent_tree = match &change.parent {
        None => None,
        Some(id) => {
            let commit = match parse_id(id) {
                Some(id) => objects.commit(id)?,
                None => None,
            };
            Some(commit.ok_or_else(|| Error::ParentDoesNotExist(id.clone()))?.tree)
        }
    };
    let mut making = Making {
        editor: Editor::new(objects, parent_tree),
        new: NewObjects::default(),
        made: Made::default(),
        put_bytes: 0,
        keep_empty_folders: change.keep_empty_folders,
    };
    // Sources first, all as they are in the parent.
    let mut puts = Vec::new();
    for put in change.puts {
        puts.push(making.resolve(put)?);
    }
    let moved = puts.iter().filter_map(|put| put.moved_from.clone()).collect::<Vec<_>>();
    for path in change.deletes.iter().chain(&moved) {
        making.delete(path)?;
    }
    for put in puts {
        making.put(put.path, put.entry)?;
    }
    for (path, mode) in change.modes {
        making.set_mode(path, mode)?;
    }
    let Making { editor, mut new, mut made, .. } = making;
    let tree = editor.write(&mut new)?;
    if Some(tree) == parent_tree {
        return Err(Error::NoChange);
    }
    let Author { name, email } = change.author;
    let person = Signature { name, email, at: change.at, offset_minutes: 0 };
    let line = format!("{} <{}> {}", person.name, person.email, git_date(&person));
    let parent = change.parent.map(|id| format!("parent {id}\n")).unwrap_or_default();
    let content = format!("tree {tree}\n{parent}author {line}\ncommitter {line}\n\n{}", change.message);
    made.commit_id = new.add(Kind::Commit, content.into_bytes())?.to_string();
    made.tree_id = tree.to_string();
    Ok((made, new))
}

struct Making<'a> {
    editor: Editor<'a>,
    new: NewObjects,
    made: Made,
    put_bytes: usize,
    keep_empty_folders: bool,
}

/// A put with its content known.
struct Resolved {
    path: String,
    entry: Entry,
    moved_from: Option<String>,
}

impl Making<'_> {
    fn resolve(&mut self, put: Put) -> Result<Resolved, Error> {
        match put.content {
            Content::Bytes(content) => {
                self.put_bytes += content.len();
                if self.put_bytes > MAX_COMMIT_MB << 20 {
                    return Err(Error::FolderContentTooLarge(MAX_COMMIT_MB));
                }
                let id = self.new.add(Kind::Blob, content.to_vec())?;
                let entry = Entry { mode: put.mode.unwrap_or(Mode::Normal), id };
                Ok(Resolved { path: put.path, entry, moved_from: None })
            }
            Content::Source { path, is_move } => {
                let source = self.file(&path)?;
                let entry = Entry { mode: put.mode.unwrap_or(source.mode), id: source.id };
                Ok(Resolved { path: put.path, entry, moved_from: is_move.then_some(path) })
            }
        }
    }

    /// The file at a path; a submodule is none.
    fn file(&mut self, path: &str) -> Result<Entry, Error> {
        let found = self.editor.get(path)?.filter(|entry| entry.mode.api_name().is_some());
        found.ok_or_else(|| Error::FileDoesNotExist(path.to_owned()))
    }

    fn delete(&mut self, path: &str) -> Result<(), Error> {
        let entry = self.file(path)?;
        let keeper = match self.keep_empty_folders {
            true => Some(Entry { mode: Mode::Normal, id: self.new.add(Kind::Blob, Vec::new())? }),
            false => None,
        };
        if let (Some(path), Some(entry)) = (self.editor.remove(path, keeper)?, keeper) {
            self.made.added.push(Touched { path, entry });
        }
        self.made.deleted.push(Touched { path: path.to_owned(), entry });
        Ok(())
    }

    fn put(&mut self, path: String, entry: Entry) -> Result<(), Error> {
        let before = self.editor.get(&path)?;
        self.editor.put(&path, entry)??;
        let list = match before {
            None => &mut self.made.added,
            Some(before) if before != entry => &mut self.made.updated,
            Some(_) => return Ok(()),
        };
        list.push(Touched { path, entry });
        Ok(())
    }

    fn set_mode(&mut self, path: String, mode: Mode) -> Result<(), Error> {
        let entry = Entry { mode, ..self.file(&path)? };
        self.put(path, entry)
    }
}
