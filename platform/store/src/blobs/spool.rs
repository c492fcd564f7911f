//! A file that a blob passes through, with its digests. It is removed when it is dropped.

use super::{Blob, BlobId};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use towpath_api::id;

/// What is known of a blob once all its bytes have passed.
#[derive(Default)]
pub struct Digests {
    sha256: Sha256,
    md5: Md5,
    size_bytes: u64,
}

impl Digests {
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.md5.update(bytes);
        self.size_bytes += bytes.len() as u64;
    }

    pub fn blob(self, id: BlobId) -> Blob {
        Blob {
            id,
            size_bytes: self.size_bytes,
            sha256: id::hex(&self.sha256.finalize()),
            md5: id::hex(&self.md5.finalize()),
        }
    }
}

/// A new file (0600) that is written from start to end.
pub struct Spool {
    pub file: File,
    temporary: Temporary,
}

impl Spool {
    pub fn create(path: PathBuf) -> io::Result<Spool> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Spool { file, temporary: Temporary(path) })
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    pub fn path(&self) -> &Path {
        &self.temporary.0
    }
}

/// Removed when it is dropped; after a rename there is nothing left to remove.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes the folder where it is missing and empties it: nothing in it outlives its process.
pub fn empty(folder: &Path) -> io::Result<()> {
    private_folder(folder)?;
    for entry in fs::read_dir(folder)? {
        fs::remove_file(entry?.path())?;
    }
    Ok(())
}

pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
