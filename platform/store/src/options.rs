//! Where a store is, and how it is opened.

use crate::steady::SteadyClock;
use std::path::PathBuf;
use std::sync::Arc;
use towpath_api::{Clock, SystemClock};

/// Where a store is.
#[derive(Clone)]
pub enum Location {
    /// A folder of the store's own, made (0700) where it is missing: an embedded database for one process.
    Folder(PathBuf),
    /// The URL of a PostgreSQL database, which other processes may have open too:
    /// `postgresql://user:password@host:port/database?sslmode=…`.
    Database(String),
}

/// Where a store is and how it is opened.
#[derive(Clone)]
pub struct Options {
    pub location: Location,
    /// What everything durable lives by.
    pub clock: Arc<dyn Clock>,
    /// The machine's own, for what must agree with the rest of the world.
    pub wall: Arc<dyn Clock>,
    /// `clock`, where it is one that follows `wall`: then it begins no earlier than the last event.
    pub steady: Option<Arc<SteadyClock>>,
    /// An operator's bound for the embedded database: commits beyond it fail as on a full disk.
    pub max_bytes: Option<u64>,
    /// Connections that read at the same time.
    pub readers: usize,
}

impl Options {
    /// A store in a folder.
    pub fn new(path: impl Into<PathBuf>) -> Options {
        Options::at(Location::Folder(path.into()))
    }

    /// A store in a PostgreSQL database.
    pub fn database(url: impl Into<String>) -> Options {
        Options::at(Location::Database(url.into()))
    }

    pub fn at(location: Location) -> Options {
        let folder = match &location {
            Location::Folder(path) => Some(path.as_path()),
            Location::Database(_) => None,
        };
        let steady = Arc::new(SteadyClock::new(folder));
        let (clock, wall) = (steady.clone(), Arc::new(SystemClock));
        Options { location, clock, wall, steady: Some(steady), max_bytes: None, readers: 4 }
    }

    /// One clock for everything, as tests want it.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Options {
        Options { clock: clock.clone(), wall: clock, steady: None, ..self }
    }

    /// For tests of a machine's clock that was set.
    pub fn with_wall(self, wall: Arc<dyn Clock>) -> Options {
        Options { wall, ..self }
    }
}
