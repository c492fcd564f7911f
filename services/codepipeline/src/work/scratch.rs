//! A folder for artifacts on their way. Nothing in it outlives the process: it is emptied at start.

use std::io;
use std::path::{Path, PathBuf};
use towpath_api::id;

pub async fn prepare(folder: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    tokio::fs::create_dir_all(folder).await
}

/// A folder of one's own, deleted when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    pub async fn new(parent: &Path) -> io::Result<Scratch> {
        let folder = parent.join(id::uuid());
        tokio::fs::create_dir_all(&folder).await?;
        Ok(Scratch(folder))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a scratch folder stays");
        }
    }
}
