//! From a data folder to an archive.

use super::manifest::FORMAT;
use super::repositories::{Copied, Found, read_repository};
use super::{BackupError, MANIFEST, Manifest, OBJECTS, PLAIN, REPOSITORIES, STORE};
use crate::server::cluster;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};
use towpath_api::{Clock, SystemClock};
use towpath_store::backup as database;

/// How often a copy is made again because something went away meanwhile.
const ROUNDS: usize = 5;

/// Writes the backup of `data` to the new file `to`.
pub async fn backup(data: &Path, to: &Path) -> Result<Manifest, BackupError> {
    if !data.join(STORE).join(database::FILE).is_file() {
        return Err(match data.join(cluster::LOCK).exists() {
            true => BackupError::Node(data.to_owned()),
            false => BackupError::NoData(data.to_owned()),
        });
    }
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let staging = Staging::new(data)?;
    let copy = freeze(data, &staging).await?;
    let mut partial = to.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Partial(PathBuf::from(partial));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial.0);
    let file = file.map_err(BackupError::at(&partial.0))?;
    let mut archive =
        Archive { tar: Builder::new(io::BufWriter::new(file)), files: BTreeMap::new(), bytes: 0 };
    archive.file(&format!("{STORE}/{}", database::FILE), &copy)?;
    for (name, path) in staging.objects()? {
        archive.file(&name, &path)?;
    }
    for (name, path) in folders(&data.join(REPOSITORIES))? {
        archive.repository(&format!("{REPOSITORIES}/{name}"), &path, &staging)?;
    }
    for folder in PLAIN {
        archive.plain(folder, &data.join(folder))?;
    }
    let manifest = archive.finish(&partial.0)?;
    fs::rename(&partial.0, to).map_err(BackupError::at(to))?;
    let folder = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(BackupError::at(folder))?;
    Ok(manifest)
}

/// A copy of the database, with links to every object that it names.
async fn freeze(data: &Path, staging: &Staging) -> Result<PathBuf, BackupError> {
    let (objects, copy) = (data.join(OBJECTS), staging.0.join(database::FILE));
    for _ in 0..ROUNDS {
        staging.link_all(&objects)?;
        match fs::remove_file(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::at(&copy)(error));
            }
            _ => {}
        }
        database::snapshot(data.join(STORE), copy.clone()).await?;
        staging.link_all(&objects)?;
        let named = database::keys_of(copy.clone(), towpath_s3::BLOB_USE_KIND).await?;
        let named: std::collections::BTreeSet<String> =
            named.iter().filter_map(|key| towpath_s3::blob_of_use(key)).map(String::from).collect();
        if staging.keep_only(&named)? == named.len() {
            return Ok(copy);
        }
    }
    Err(BackupError::Moving)
}

/// A folder within the data folder, so that objects can be linked into it; removed at the end.
struct Staging(PathBuf);

impl Staging {
    fn new(data: &Path) -> Result<Staging, BackupError> {
        let path = data.join(format!("backup-{}", towpath_api::id::uuid()));
        DirBuilder::new().mode(0o700).create(&path).map_err(BackupError::at(&path))?;
        Ok(Staging(path))
    }

    fn objects_folder(&self) -> PathBuf {
        self.0.join(OBJECTS)
    }

    fn link_all(&self, objects: &Path) -> Result<(), BackupError> {
        let to = self.objects_folder();
        for (shard, folder) in folders(objects)?.into_iter().filter(|(name, _)| name != "tmp") {
            let to = to.join(shard);
            fs::create_dir_all(&to).map_err(BackupError::at(&to))?;
            for (name, path) in entries(&folder)? {
                match fs::hard_link(&path, to.join(name)) {
                    // Linked before, or deleted just now.
                    Err(error)
                        if !matches!(
                            error.kind(),
                            io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound
                        ) =>
                    {
                        return Err(BackupError::at(path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Drops the links to what is not named, and counts the others.
    fn keep_only(&self, named: &std::collections::BTreeSet<String>) -> Result<usize, BackupError> {
        let mut kept = 0;
        for (_, folder) in folders(&self.objects_folder())? {
            for (name, path) in entries(&folder)? {
                if named.contains(&name) {
                    kept += 1;
                } else {
                    fs::remove_file(&path).map_err(BackupError::at(path))?;
                }
            }
        }
        Ok(kept)
    }

    fn objects(&self) -> Result<Vec<(String, PathBuf)>, BackupError> {
        let mut found = Vec::new();
        for (shard, folder) in folders(&self.objects_folder())? {
            for (name, path) in entries(&folder)? {
                found.push((format!("{OBJECTS}/{shard}/{name}"), path));
            }
        }
        Ok(found)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file that goes unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

struct Archive {
    tar: Builder<io::BufWriter<File>>,
    files: BTreeMap<String, String>,
    bytes: u64,
}

impl Archive {
    fn file(&mut self, name: &str, path: &Path) -> Result<(), BackupError> {
        let file = File::open(path).map_err(BackupError::at(path))?;
        let size = file.metadata().map_err(BackupError::at(path))?.len();
        // No more than what was there when the header was written.
        self.entry(name, size, file.take(size)).map_err(BackupError::at(path))
    }

    fn entry(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<()> {
        let mut hashing = Hashing { content, sha256: Sha256::new() };
        self.tar.append_data(&mut header(size, EntryType::Regular), name, &mut hashing)?;
        self.files.insert(name.to_owned(), towpath_api::id::hex(&hashing.sha256.finalize()));
        self.bytes += size;
        Ok(())
    }

    fn repository(&mut self, name: &str, path: &Path, staging: &Staging) -> Result<(), BackupError> {
        let links = staging.0.join("links");
        for _ in 0..ROUNDS {
            match fs::remove_dir_all(&links) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(BackupError::at(links)(error));
                }
                _ => {}
            }
            let found = read_repository(path, &links).map_err(BackupError::at(path))?;
            let Some(Found { folders, small, objects }) = found else { continue };
            for folder in folders {
                let mut header = header(0, EntryType::Directory);
                let at = format!("{name}/{folder}/");
                self.tar.append_data(&mut header, at, io::empty()).map_err(BackupError::at(path))?;
            }
            for Copied { name: own, content } in small {
                let at = format!("{name}/{own}");
                self.entry(&at, content.len() as u64, content.as_slice()).map_err(BackupError::at(path))?;
            }
            for own in objects {
                self.file(&format!("{name}/{own}"), &links.join(&own))?;
            }
            return Ok(());
        }
        Err(BackupError::Repacked(path.to_owned()))
    }

    fn plain(&mut self, name: &str, folder: &Path) -> Result<(), BackupError> {
        for (own, path) in entries(folder)? {
            if path.is_file() {
                self.file(&format!("{name}/{own}"), &path)?;
            }
        }
        Ok(())
    }

    fn finish(mut self, path: &Path) -> Result<Manifest, BackupError> {
        let manifest = Manifest {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: SystemClock.now().to_string(),
            files: std::mem::take(&mut self.files),
            bytes: self.bytes,
        };
        let json = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other);
        let write = |json: Vec<u8>| {
            let mut header = header(json.len() as u64, EntryType::Regular);
            self.tar.append_data(&mut header, MANIFEST, json.as_slice())?;
            let mut buffered = self.tar.into_inner()?;
            buffered.flush()?;
            buffered.get_ref().sync_all()
        };
        json.and_then(write).map_err(BackupError::at(path))?;
        Ok(manifest)
    }
}

fn header(size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_size(size);
    header.set_mode(if kind == EntryType::Directory { 0o700 } else { 0o600 });
    header.set_entry_type(kind);
    header
}

struct Hashing<R> {
    content: R,
    sha256: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.sha256.update(&buffer[..count]);
        Ok(count)
    }
}

/// Names and paths in a folder, sorted; none where there is no such folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, BackupError> {
    let mut found = Vec::new();
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        listed => listed.map_err(BackupError::at(folder))?,
    };
    for entry in listed {
        let entry = entry.map_err(BackupError::at(folder))?;
        if let Ok(name) = entry.file_name().into_string() {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, BackupError> {
    Ok(entries(folder)?.into_iter().filter(|(_, path)| path.is_dir()).collect())
}
