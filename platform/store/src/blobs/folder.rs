//! Blobs as files of this machine.
//!
//! `tmp/` holds what is being written, `ab/<id>` what is complete, `files/` the files with chosen names.
//! All 256 folders are made and synced by [`Folder::open`], so that a new blob syncs its file and one
//! folder, and never a parent: a sync of a folder costs as much as everything else of a small blob together.

use super::spool::{self, Digests, Spool, private_folder, sync_folder};
use super::{Blob, BlobId, BlobStream, FileEntry, blocking, lost, stream};
use crate::StoreError;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use towpath_api::id;

#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    pub async fn open(root: PathBuf) -> Result<Folder, StoreError> {
        blocking(move || {
            spool::empty(&root.join("tmp"))?;
            for shard in 0..=u8::MAX {
                private_folder(&root.join(id::hex(&[shard])))?;
            }
            private_folder(&root.join("files"))?;
            // Also when they were there: the process that made them may have died before it synced.
            sync_folder(&root)?;
            Ok(Folder { root })
        })
        .await
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.root.join(id.shard()).join(id.as_str())
    }

    pub async fn sink(&self, id: &BlobId) -> Result<Sink, StoreError> {
        let temporary = self.root.join("tmp").join(id.as_str());
        let spool = blocking(move || Spool::create(temporary)).await?;
        Ok(Sink { destination: self.path(id), work: Some((spool, Digests::default())) })
    }

    pub fn read(&self, id: &BlobId, range: Range<u64>) -> BlobStream {
        stream::of_file(self.path(id), range)
    }

    pub async fn delete(&self, id: &BlobId) -> Result<(), StoreError> {
        gone_is_fine(tokio::fs::remove_file(self.path(id)).await)
    }

    pub async fn ids(&self, shard: u8) -> Result<Vec<(BlobId, SystemTime)>, StoreError> {
        let folder = self.root.join(id::hex(&[shard]));
        blocking(move || {
            let mut found = Vec::new();
            for file in entries(&folder)? {
                let name = file.file_name().and_then(|name| name.to_str()).map(str::to_owned);
                let Some(id) = name.and_then(|name| BlobId::try_from(name).ok()) else { continue };
                found.push((id, fs::metadata(&file)?.modified()?));
            }
            Ok(found)
        })
        .await
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join("files").join(name)
    }

    /// Copies `source` to `name`, where nothing may be yet; `false` where something is.
    pub async fn put_file(&self, name: &str, source: &Path) -> Result<bool, StoreError> {
        let temporary = self.root.join("tmp").join(BlobId::random().as_str());
        let (source, destination, top) = (source.to_owned(), self.file(name), self.root.join("files"));
        blocking(move || {
            let mut spool = Spool::create(temporary)?;
            io::copy(&mut fs::File::open(source)?, &mut spool.file)?;
            spool.file.sync_all()?;
            let folder = destination.parent().unwrap_or(&top);
            private_folder(folder)?;
            // A link, unlike a rename, never replaces what is there.
            match fs::hard_link(spool.path(), &destination) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                other => other?,
            }
            for made in folder.ancestors().take_while(|made| made.starts_with(&top)) {
                sync_folder(made)?;
            }
            Ok(true)
        })
        .await
    }

    pub async fn get_file(&self, name: &str, destination: &Path) -> Result<bool, StoreError> {
        let source = self.file(name);
        let size_bytes = match tokio::fs::metadata(&source).await {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        stream::to_new_file(stream::of_file(source, 0..size_bytes), destination).await?;
        Ok(true)
    }

    pub async fn delete_file(&self, name: &str) -> Result<(), StoreError> {
        gone_is_fine(tokio::fs::remove_file(self.file(name)).await)
    }

    pub async fn list_files(&self, folder: &str) -> Result<Vec<FileEntry>, StoreError> {
        let (top, from) = (self.root.join("files"), self.file(folder));
        blocking(move || {
            let (mut found, mut left) = (Vec::new(), vec![from]);
            while let Some(folder) = left.pop() {
                for path in entries(&folder)? {
                    let metadata = fs::symlink_metadata(&path)?;
                    if metadata.is_dir() {
                        left.push(path);
                    } else if let Some(name) = path.strip_prefix(&top).ok().and_then(Path::to_str) {
                        let modified_at = metadata.modified()?;
                        found.push(FileEntry {
                            name: name.to_owned(),
                            size_bytes: metadata.len(),
                            modified_at,
                        });
                    }
                }
            }
            Ok(found)
        })
        .await
    }
}

/// A blob on its way into the folder.
pub struct Sink {
    destination: PathBuf,
    /// `None` after a failed write: the blob is lost.
    work: Option<(Spool, Digests)>,
}

impl Sink {
    /// Gives the buffer back, empty.
    pub async fn write(&mut self, mut buffer: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let (mut spool, mut digests) = self.work.take().ok_or_else(lost)?;
        let (work, buffer) = blocking(move || {
            spool.write(&buffer)?;
            digests.update(&buffer);
            buffer.clear();
            Ok(((spool, digests), buffer))
        })
        .await?;
        self.work = Some(work);
        Ok(buffer)
    }

    pub async fn finish(self, id: BlobId) -> Result<Blob, StoreError> {
        let (spool, digests) = self.work.ok_or_else(lost)?;
        let destination = self.destination;
        blocking(move || {
            spool.file.sync_all()?;
            // The blob exists once it has its name: a rename that was not synced can be undone by a crash.
            fs::rename(spool.path(), &destination)?;
            sync_folder(destination.parent().unwrap_or(Path::new(".")))?;
            Ok(digests.blob(id))
        })
        .await
    }
}

fn gone_is_fine(removed: io::Result<()>) -> Result<(), StoreError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
