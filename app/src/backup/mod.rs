//! A backup of a data folder: one tar file, made while the server runs or stands still.
//!
//! **What is in it**: the database as it stood at one moment; every object that it names; every git repository,
//! as it was at that moment or a little later (a push that came in between is in the copy as it is on the disk:
//! the next start records it, exactly as after a crash); the identity service's keys and the server's
//! certificates. **What is not**: sandboxes, work folders, caches: builds under way begin again after a restore.
//!
//! **Consistency.** Objects never change, so hard links hold them: all are linked first, then the database is
//! copied, then what came since is linked, and what the copy names is checked to be there; if an object went in
//! between, the copy is made again. A repository's references are read before its objects: whatever they name
//! was there before them. A repository that git repacks meanwhile is read again.
//!
//! **Invariants.** The file has its name only when it is whole and on the disk. Its last entry, `manifest.json`,
//! lists every file with its SHA-256: an archive without it, or that differs from it, is not restored. It holds
//! secrets (the key that protects all access keys), so it is 0600.

mod manifest;
mod read;
mod repositories;
mod write;

pub use manifest::Manifest;
pub use read::restore;
pub use write::backup;

use std::path::PathBuf;

/// The parts of a data folder that a backup holds, by their names in it.
const STORE: &str = "store";
const OBJECTS: &str = "objects";
const REPOSITORIES: &str = "codecommit/repositories";
/// Folders that are copied as they are: small, and seldom written.
const PLAIN: [&str; 2] = ["identity", "tls"];
const MANIFEST: &str = "manifest.json";

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{path}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
    #[error("the database cannot be copied: {0}")]
    Database(#[from] towpath_store::StoreError),
    #[error("{0} is no data folder of Towpath: it has no database")]
    NoData(PathBuf),
    #[error(
        "{0} is the folder of a node: what is to be kept is in the database and the object store. Dump the database \
         with pg_dump first, then copy the objects, within six hours: docs/configuration.md has the commands"
    )]
    Node(PathBuf),
    #[error("{0} is there already; choose another name")]
    Exists(PathBuf),
    #[error("{0} is not empty; a backup is restored into a new folder")]
    NotEmpty(PathBuf),
    #[error("objects keep disappearing while they are copied; try again when less is deleted")]
    Moving,
    #[error("the repository {0} keeps changing while it is copied; try again")]
    Repacked(PathBuf),
    #[error("{path} is not a whole backup: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("this backup is of format {found}; this version of Towpath reads up to {known}: use a newer one")]
    Newer { found: u32, known: u32 },
}

impl BackupError {
    /// For `map_err`: where it happened.
    fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> BackupError {
        let path = path.into();
        move |cause| BackupError::File { path, cause }
    }
}
