//! From an archive to a data folder.

use super::manifest::FORMAT;
use super::{BackupError, MANIFEST, Manifest, STORE};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, EntryType};
use towpath_store::backup as database;

/// The manifest of many objects is some megabytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 30;
const BUFFER_BYTES: usize = 1 << 20;

/// Makes the new data folder `data` from the backup `from`. The folder has its name only when it is whole.
pub async fn restore(from: &Path, data: &Path) -> Result<Manifest, BackupError> {
    let entries = fs::read_dir(data).map(Iterator::count);
    match entries {
        Ok(1..) => return Err(BackupError::NotEmpty(data.to_owned())),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(BackupError::at(data)(error)),
        _ => {}
    }
    let mut partial = data.as_os_str().to_owned();
    partial.push(format!(".restoring-{}", towpath_api::id::uuid()));
    let partial = Partial(PathBuf::from(partial));
    let make = DirBuilder::new().recursive(true).mode(0o700).create(&partial.0);
    make.map_err(BackupError::at(&partial.0))?;
    let manifest = unpack(from, &partial.0)?;
    // Reads the whole database: damage is told now, not in a month.
    database::keys_of(partial.0.join(STORE).join(database::FILE), towpath_s3::BLOB_USE_KIND).await?;
    sync(&partial.0).map_err(BackupError::at(&partial.0))?;
    // An empty folder may be there: a rename replaces it.
    fs::rename(&partial.0, data).map_err(BackupError::at(data))?;
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(BackupError::at(parent))?;
    Ok(manifest)
}

/// A folder that goes unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn unpack(from: &Path, into: &Path) -> Result<Manifest, BackupError> {
    let damaged = |reason: String| BackupError::Damaged { path: from.to_owned(), reason };
    let broken = |error: io::Error| BackupError::Damaged { path: from.to_owned(), reason: error.to_string() };
    let file = File::open(from).map_err(BackupError::at(from))?;
    let mut archive = Archive::new(io::BufReader::with_capacity(BUFFER_BYTES, file));
    let (mut seen, mut manifest) = (BTreeMap::new(), None);
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let name = path.to_str().map(|name| name.trim_end_matches('/').to_owned());
        let Some(name) = name.filter(|_| is_within(&path)) else {
            return Err(damaged(format!("the name {} leads out of it", path.display())));
        };
        if manifest.is_some() {
            return Err(damaged(format!("{name} comes after the manifest")));
        }
        match entry.header().entry_type() {
            EntryType::Directory => folder(&into.join(&name))?,
            EntryType::Regular if name == MANIFEST => {
                manifest = Some(read_manifest(&mut entry).map_err(broken)?)
            }
            EntryType::Regular => {
                let at = into.join(&name);
                folder(at.parent().unwrap_or(into))?;
                let sum = write(&mut entry, &at).map_err(BackupError::at(&at))?;
                seen.insert(name, sum);
            }
            other => return Err(damaged(format!("{name} is neither a file nor a folder: {other:?}"))),
        }
    }
    let manifest: Manifest = manifest.ok_or_else(|| damaged("it ends before its manifest".to_owned()))?;
    if manifest.format > FORMAT {
        return Err(BackupError::Newer { found: manifest.format, known: FORMAT });
    }
    for (name, sum) in &manifest.files {
        match seen.get(name) {
            Some(found) if found == sum => {}
            Some(_) => return Err(damaged(format!("the content of {name} is not what was backed up"))),
            None => return Err(damaged(format!("{name} is missing"))),
        }
    }
    match seen.keys().find(|name| !manifest.files.contains_key(*name)) {
        Some(name) => Err(damaged(format!("{name} is not in its manifest"))),
        None => Ok(manifest),
    }
}

fn is_within(path: &Path) -> bool {
    let mut parts = path.components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

fn folder(path: &Path) -> Result<(), BackupError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(BackupError::at(path))
}

fn read_manifest(entry: &mut impl Read) -> io::Result<Manifest> {
    let mut json = Vec::new();
    entry.take(MAX_MANIFEST_BYTES).read_to_end(&mut json)?;
    serde_json::from_slice(&json).map_err(io::Error::other)
}

/// Writes and syncs one file; its SHA-256.
fn write(content: &mut impl Read, path: &Path) -> io::Result<String> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let (mut sha256, mut buffer) = (Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        let count = content.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        sha256.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
    }
    file.sync_all()?;
    Ok(towpath_api::id::hex(&sha256.finalize()))
}

/// Folders: the names of the files in them.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tar::{Builder, Header};

    type TestEntry<'a> = (&'a str, EntryType, &'a [u8]);

    fn archive(path: &Path, entries: &[TestEntry]) {
        let mut tar = Builder::new(File::create(path).unwrap());
        for (name, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_entry_type(*kind);
            header.set_mode(0o600);
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc").unwrap();
            }
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        tar.finish().unwrap();
    }

    fn manifest(files: &[(&str, &str)]) -> Vec<u8> {
        let files = files.iter().map(|(name, sum)| ((*name).to_owned(), (*sum).to_owned())).collect();
        let made = Manifest { format: FORMAT, version: "0".into(), created_at: "".into(), files, bytes: 0 };
        serde_json::to_vec(&made).unwrap()
    }

    #[tokio::test]
    async fn what_is_not_a_whole_backup_is_refused_and_leaves_nothing() {
        const X: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        let folder = tempfile::tempdir().unwrap();
        let (from, data) = (folder.path().join("b.tar"), folder.path().join("data"));
        let file = EntryType::Regular;
        let whole = manifest(&[("store/x", X)]);
        let missing = manifest(&[("store/x", X), ("store/y", X)]);
        let other = manifest(&[("store/x", "00")]);
        let newer = String::from_utf8(manifest(&[])).unwrap().replace("\"format\":1", "\"format\":2");
        let cases: [(&[TestEntry], &str); 9] = [
            (&[("store/x", file, b"x")], "ends before its manifest"),
            (&[("../x", file, b"x"), (MANIFEST, file, &whole)], "leads out"),
            (&[("/x", file, b"x"), (MANIFEST, file, &whole)], "leads out"),
            (
                &[("store/x", EntryType::Symlink, b""), (MANIFEST, file, &whole)],
                "neither a file nor a folder",
            ),
            (&[("store/x", file, b"x"), (MANIFEST, file, &missing)], "store/y is missing"),
            (&[("store/x", file, b"x"), (MANIFEST, file, &other)], "not what was backed up"),
            (&[("store/x", file, b"x"), ("z", file, b"x"), (MANIFEST, file, &whole)], "not in its manifest"),
            (&[(MANIFEST, file, &whole), ("store/x", file, b"x")], "after the manifest"),
            (&[(MANIFEST, file, newer.as_bytes())], "use a newer one"),
        ];
        for (entries, reason) in cases {
            archive(&from, entries);
            let error = restore(&from, &data).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}, not {reason}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{reason}: something was left");
        }
    }
}
