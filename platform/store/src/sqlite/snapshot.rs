//! A copy of the database as it stood at one moment, made beside the process that writes it.
//! <https://www.sqlite.org/lang_vacuum.html#vacuuminto>

use super::{FILE, blocking, connect};
use crate::StoreError;
use rusqlite::OpenFlags;
use std::path::{Path, PathBuf};

/// Copies the database of `folder` into the new file `copy`. Not synced: it is for reading.
pub async fn snapshot(folder: PathBuf, copy: PathBuf) -> Result<(), StoreError> {
    blocking(move || {
        let connection = connect(&folder.join(FILE), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.execute("VACUUM INTO ?1", [text(&copy)?])?;
        Ok(())
    })
    .await
}

/// The keys of all documents of one kind in a database that nobody writes; and that the database is whole.
pub async fn keys_of(copy: PathBuf, kind: &'static str) -> Result<Vec<String>, StoreError> {
    blocking(move || {
        let connection = connect(&copy, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(StoreError::storage(format!("the database is damaged: {verdict}")));
        }
        let mut statement = connection.prepare("SELECT key FROM documents WHERE kind = ?1")?;
        let keys = statement.query_map([kind], |row| row.get(0))?;
        Ok(keys.collect::<Result<_, _>>()?)
    })
    .await
}

fn text(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or_else(|| StoreError::storage(format!("{} is not a text", path.display())))
}
