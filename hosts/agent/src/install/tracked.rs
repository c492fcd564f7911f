//! What the last install of a group made.

use crate::layout::{Layout, path_bytes};
use crate::work_error::WorkError;
use serde::Deserialize;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub struct Tracked {
    /// In the order in which they were made.
    pub paths: Vec<PathBuf>,
    pub text: Vec<u8>,
    set: HashSet<PathBuf>,
    /// Those whose rights an AppSpec set, so that a revision that sets none gets the plain ones again.
    with_rights: HashSet<PathBuf>,
    with_acl: HashSet<PathBuf>,
}

#[derive(Deserialize)]
struct Instructions {
    instructions: Vec<Instruction>,
}

#[derive(Deserialize)]
struct Instruction {
    #[serde(rename = "type")]
    kind: String,
    file: Option<PathBuf>,
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    }
}

/// One path per line.
pub fn lines<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<u8> {
    let mut seen = HashSet::new();
    let mut text = Vec::new();
    for path in paths {
        if seen.insert(path) {
            text.extend_from_slice(path_bytes(path));
            text.push(b'\n');
        }
    }
    text
}

impl Tracked {
    pub fn load(layout: &Layout, group: &str) -> Result<Tracked, WorkError> {
        let text = read(&layout.instructions(group, "-cleanup"))?;
        // A last line without an end was cut off. Lines with a zero byte are SELinux labels of AWS's agent.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut tracked = Tracked::default();
        for line in text[..whole].split(|byte| *byte == b'\n') {
            if line.first() != Some(&b'/') || line.contains(&0) {
                continue;
            }
            let path = PathBuf::from(OsStr::from_bytes(line));
            if tracked.set.insert(path.clone()) {
                tracked.paths.push(path);
            }
        }
        tracked.text = text;
        let instructions = read(&layout.instructions(group, "-install.json"))?;
        if let Ok(read) = serde_json::from_slice::<Instructions>(&instructions) {
            for one in read.instructions {
                let Some(file) = one.file else { continue };
                if one.kind == "setfacl" {
                    tracked.with_acl.insert(file.clone());
                }
                tracked.with_rights.insert(file);
            }
        }
        Ok(tracked)
    }

    pub fn has(&self, path: &Path) -> bool {
        self.set.contains(path)
    }

    pub fn had_rights(&self, path: &Path) -> bool {
        self.with_rights.contains(path)
    }

    pub fn had_acl(&self, path: &Path) -> bool {
        self.with_acl.contains(path)
    }
}
