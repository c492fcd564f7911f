//! Archives made byte by byte, because no library writes hostile ones; and a folder to open them in, beside
//! which there is something to break.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod tars;
pub mod zips;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use towpath_archive::{ArchiveError, Kind, Limits, Root, Summary, unpack};

const OUTSIDE: &str = "nobody's business";

/// What arrived: each path, with its content, `-> target` or `/`.
pub type Tree = BTreeMap<String, String>;

pub struct Opened {
    pub result: Result<Summary, ArchiveError>,
    pub tree: Tree,
    pub folder: tempfile::TempDir,
}

impl Opened {
    pub fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.folder.path().join("inside").join(path)).unwrap().permissions().mode()
            & 0o7777
    }
}

pub fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// Unpacks and checks that nothing outside changed.
pub fn open(bytes: &[u8], kind: Option<Kind>, limits: &Limits) -> Opened {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(place).unwrap();
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    fs::create_dir(&inside).unwrap();
    fs::write(&outside, OUTSIDE).unwrap();
    let result = unpack(file_of(bytes), kind, &Root::open(&inside).unwrap(), limits);
    let found = fs::metadata(&outside).unwrap();
    assert_eq!((found.nlink(), fs::read_to_string(&outside).unwrap().as_str()), (1, OUTSIDE));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something was made outside");
    let mut tree = Tree::new();
    list(&inside, "", &mut tree);
    Opened { result, tree, folder }
}

fn list(folder: &Path, above: &str, tree: &mut Tree) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{above}{}", entry.file_name().to_string_lossy());
        let found = fs::symlink_metadata(entry.path()).unwrap();
        assert_eq!(found.mode() & 0o7000, 0, "{name} has a special bit");
        let content = if found.is_dir() {
            list(&entry.path(), &format!("{name}/"), tree);
            "/".to_owned()
        } else if found.is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).unwrap().display())
        } else {
            assert!(found.is_file(), "{name} is a special file");
            String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()
        };
        tree.insert(name, content);
    }
}

/// What a hostile archive is answered with, and the harmless sibling that shows that the answer is not given to
/// everybody.
pub struct Case {
    pub what: &'static str,
    pub hostile: Vec<u8>,
    pub says: &'static str,
    pub sibling: Vec<u8>,
}

pub fn case(what: &'static str, hostile: Vec<u8>, says: &'static str, sibling: Vec<u8>) -> Case {
    Case { what, hostile, says, sibling }
}

/// Whether anything may be there after a refusal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaves {
    Nothing,
    Something,
}

pub fn judge(cases: Vec<Case>, kind: Kind, limits: &Limits, leaves: Leaves) {
    let mut wrong = Vec::new();
    for Case { what, hostile, says, sibling } in cases {
        let good = open(&sibling, Some(kind), limits);
        if let Err(error) = good.result {
            wrong.push(format!("{what}: the harmless sibling: {error}"));
        }
        let bad = open(&hostile, Some(kind), limits);
        let error = bad.result.map_or_else(|error| error.to_string(), |_| "it was unpacked".to_owned());
        if !error.contains(says) || error.chars().any(char::is_control) {
            wrong.push(format!("{what}: {error:?}"));
        }
        if leaves == Leaves::Nothing && !bad.tree.is_empty() {
            wrong.push(format!("{what}: left {:?}", bad.tree));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub fn arrives(what: &str, bytes: &[u8], kind: Kind, expected: &[(&str, &str)]) {
    let opened = open(bytes, Some(kind), &Limits::default());
    assert!(opened.result.is_ok(), "{what}: {:?}", opened.result);
    let expected: Tree =
        expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect();
    assert_eq!(opened.tree, expected, "{what}");
}
