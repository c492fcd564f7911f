//! A bare git repository, read while git works in it.

use std::fs;
use std::io;
use std::path::Path;

/// A small file, read whole.
pub struct Copied {
    pub name: String,
    pub content: Vec<u8>,
}

/// References first, in memory; then the objects' files, held by hard links.
pub struct Found {
    pub folders: Vec<String>,
    pub small: Vec<Copied>,
    /// Names below the repository and below the folder of links alike.
    pub objects: Vec<String>,
}

/// What is below these, and the files beside them, says which objects there must be. References are read
/// before `packed-refs`, into which git moves them.
const SMALL: [&str; 3] = ["info", "logs", "refs"];

/// Reads the repository at `path`, linking its objects into `links`. `None` when an object has gone in between:
/// a repack has put what was in it elsewhere.
pub fn read_repository(path: &Path, links: &Path) -> io::Result<Option<Found>> {
    let (mut folders, mut small, mut objects) = (Vec::new(), Vec::new(), Vec::new());
    for name in SMALL {
        walk(path, name, &mut folders, &mut |name, at| {
            small.extend(read(at)?.map(|content| Copied { name, content }));
            Ok(())
        })?;
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_file() && !is_passing(&name) {
            small.extend(read(&entry.path())?.map(|content| Copied { name, content }));
        }
    }
    let mut has_gone = false;
    walk(path, "objects", &mut folders, &mut |name, at| {
        let link = links.join(&name);
        fs::create_dir_all(link.parent().unwrap_or(links))?;
        match fs::hard_link(at, link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => has_gone = true,
            linked => linked?,
        }
        objects.push(name);
        Ok(())
    })?;
    Ok((!has_gone).then_some(Found { folders, small, objects }))
}

fn walk(
    root: &Path,
    name: &str,
    folders: &mut Vec<String>,
    each: &mut impl FnMut(String, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let listed = match fs::read_dir(root.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed?,
    };
    folders.push(name.to_owned());
    for entry in listed {
        let entry = entry?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let below = format!("{name}/{own}");
        let kind = entry.file_type()?;
        if is_passing(&own) {
            continue;
        }
        if kind.is_dir() {
            walk(root, &below, folders, each)?;
        } else if kind.is_file() {
            each(below, &entry.path())?;
        }
    }
    Ok(())
}

/// What git has only while it writes: locks, packs and objects that are not there yet, quarantines. And what is
/// made of the packs, because it may name a pack that came after they were listed; the server makes it again.
fn is_passing(name: &str) -> bool {
    name.ends_with(".lock")
        || name.starts_with("multi-pack-index")
        || name == "commit-graph"
        || name.starts_with("tmp_")
        || name.starts_with("incoming-")
        || name.starts_with(".tmp")
}

/// `None` when it has just gone.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
