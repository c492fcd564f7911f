//! The embedded backend: one SQLite file in WAL mode, one thread that writes, a few connections that
//! read. <https://www.sqlite.org/wal.html>.

mod apply;
mod read;
mod schema;
mod snapshot;
mod writer;

use crate::backend::{Backend, ClaimRequest, Row, Rows, Scan};
use crate::txn::{Durability, Hold, Op};
use crate::{Lease, Options, StoreError};
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use towpath_api::{Event, Timestamp, async_trait};
use writer::{Outcome, Task, Writer};

pub use snapshot::{keys_of, snapshot};

/// The database within the store's folder.
pub const FILE: &str = "towpath.db";

/// Pages of the log (16 MiB) after which a commit carries them over into the database, which takes some
/// milliseconds. Most commits write the same few pages, so four times as many cost hardly more to carry over; and they
/// still fit into the first table of the log's index, of 4,062 pages.
const CHECKPOINT_PAGES: i64 = 4000;

/// How long a connection waits for SQLite's own locks: only a checkpoint or a backup tool holds them.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Sqlite {
    writer: Writer,
    readers: Readers,
}

impl Sqlite {
    pub async fn open(folder: PathBuf, options: Options) -> Result<Sqlite, StoreError> {
        blocking(move || Sqlite::open_blocking(&folder, &options)).await
    }

    fn open_blocking(folder: &Path, options: &Options) -> Result<Sqlite, StoreError> {
        private_folder(folder)?;
        let lock = lock(folder)?;
        let path = folder.join(FILE);
        // SQLite gives its -wal and -shm files the permissions of the database.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Takes effect for a new file only, and only before anything else is written to it.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
        let journal: String =
            connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if journal != "wal" {
            let reason =
                format!("{} is on a file system without shared memory: SQLite needs it", path.display());
            return Err(StoreError::storage(reason));
        }
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        if let Some(max_bytes) = options.max_bytes {
            let page_bytes: u64 =
                connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))? as u64;
            connection.pragma_update(
                None,
                "max_page_count",
                (max_bytes / page_bytes.max(1)).max(1) as i64,
            )?;
        }
        schema::migrate(&mut connection, &path)?;
        let connections = (0..options.readers.max(1))
            .map(|_| connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Sqlite { readers: Readers::new(connections), writer: Writer::start(connection, lock)? })
    }
}

#[async_trait]
impl Backend for Sqlite {
    async fn get(&self, kind: &'static str, key: String) -> Result<Option<Row>, StoreError> {
        self.readers.here(move |connection| read::get(connection, kind, key)).await
    }

    async fn scan(&self, scan: Scan) -> Result<Rows, StoreError> {
        match self.readers.here(|connection| read::scan_short(connection, &scan)).await? {
            Some(rows) => Ok(rows),
            None => self.readers.with(move |connection| read::scan(connection, &scan)).await,
        }
    }

    async fn commit(
        &self,
        ops: Vec<Op>,
        bytes: usize,
        now: Timestamp,
        durability: Durability,
    ) -> Result<(), StoreError> {
        self.writer.run(Task::Commit { ops, bytes, now, durability }).await.map(|_| ())
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Lease>, StoreError> {
        match self.writer.run(Task::Claim(request)).await? {
            Outcome::Leases(leases) => Ok(leases),
            _ => Err(StoreError::Closed),
        }
    }

    async fn renew(&self, hold: Hold, expires_at: Timestamp) -> Result<(), StoreError> {
        self.writer.run(Task::Renew { hold, expires_at }).await.map(|_| ())
    }

    async fn next_due(&self, queue: String) -> Result<Option<Timestamp>, StoreError> {
        self.readers.with(move |connection| read::next_due(connection, &queue)).await
    }

    async fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.readers.with(move |connection| read::events_after(connection, sequence, limit)).await
    }

    async fn last_sequence(&self) -> Result<u64, StoreError> {
        self.readers.with(read::last_sequence).await
    }

    async fn last_emitted(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.with(read::last_emitted).await
    }

    async fn prune_events(&self, through: u64, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        match self.writer.run(Task::Prune { through, before, limit }).await? {
            Outcome::Removed(count) => Ok(count),
            _ => Err(StoreError::Closed),
        }
    }

    /// The folder's lock keeps others out.
    async fn check_version(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(&self) {
        self.readers.close();
        self.writer.close().await;
    }
}

/// Connections that are not reading at the moment. A permit of the semaphore stands for one of them.
struct Readers {
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    fn new(connections: Vec<Connection>) -> Readers {
        Readers {
            permits: Arc::new(Semaphore::new(connections.len())),
            idle: Arc::new(Mutex::new(connections)),
        }
    }

    /// Runs a query that takes microseconds on the thread that asks: handing it to another thread and back
    /// costs several times as much. See `docs/decisions/0014-short-reads-stay-on-their-thread.md`.
    async fn here<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _permit = self.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        run(&self.idle, query)
    }

    /// Runs a query that may take long on a thread for blocking work.
    async fn with<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let idle = self.idle.clone();
        blocking(move || {
            let result = run(&idle, query);
            drop(permit);
            result
        })
        .await
    }

    fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// For the holder of a permit: there is a connection for each.
fn run<T>(
    idle: &Mutex<Vec<Connection>>,
    query: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let connection = taken.ok_or(StoreError::Closed)?;
    let result = query(&connection);
    idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    result
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn private_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    Ok(())
}

/// How often, and how long apart, a held lock is tried: a process that is just ending, or a child between
/// its fork and its exec, holds it for a moment.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The lock lives as long as the file is open; the kernel frees it when the process dies.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
    Err(StoreError::InUse(folder.to_owned()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(StoreError::storage(error)))
}
