//! What makes a server a node: the database, the object store and the key that all nodes share, and what a
//! node has alone, its name and its data folder.
//!
//! A node's data folder holds caches, builds under way and the command line's connection. Nothing in it is
//! needed by another node; a lock keeps two nodes from having one folder.

use super::{StartError, part};
use crate::config::{Config, Hidden};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use towpath_iam::{ClusterError, ClusterKey};
use towpath_store::blobs::{Location, LocationError};

const KEY_VARIABLE: &str = "TOWPATH_CLUSTER_KEY";
/// In the data folder of a node, and of nothing else.
pub const LOCK: &str = "node.lock";
const MAX_NAME: usize = 63;

#[derive(Debug, thiserror::Error)]
pub enum ClusterSettingsError {
    #[error("`towpath server` needs {0}; `towpath up` is the server that needs nothing")]
    Missing(&'static str),
    #[error("{0} is for `towpath server`, whose nodes share it; `towpath up` keeps everything in --data")]
    Alone(&'static str),
    #[error("set {KEY_VARIABLE} or --cluster-key-file, not both")]
    TwoKeys,
    #[error("the node's name is {0:?}, but must be up to {MAX_NAME} letters, digits, '.', '_' and '-'")]
    Name(String),
    #[error(transparent)]
    Key(#[from] ClusterError),
    #[error(transparent)]
    Objects(#[from] LocationError),
}

/// The settings of a node, decided.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub name: String,
    pub database: Hidden,
    pub objects: Location,
    pub key: ClusterKey,
}

impl Cluster {
    pub fn decide(config: &Config) -> Result<Cluster, ClusterSettingsError> {
        let missing = ClusterSettingsError::Missing;
        let shared = &config.shared;
        let database = shared.database.clone();
        let database = database.ok_or(missing("--database, the PostgreSQL database of all nodes"))?;
        let objects = shared.objects.as_ref().ok_or(missing("--objects, the object store of all nodes"))?;
        let given = std::env::var(KEY_VARIABLE).ok().filter(|text| !text.is_empty());
        let key = match (given, &shared.cluster_key_file) {
            (Some(text), None) => text.parse()?,
            (None, Some(path)) => ClusterKey::read(path)?,
            (Some(_), Some(_)) => return Err(ClusterSettingsError::TwoKeys),
            (None, None) => {
                return Err(missing(
                    "TOWPATH_CLUSTER_KEY or --cluster-key-file, the secret of all nodes (`openssl rand -hex 32` makes one)",
                ));
            }
        };
        let name = shared.name.clone().unwrap_or_else(host_name);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(ClusterSettingsError::Name(name));
        }
        Ok(Cluster { name, database, objects: objects.0.parse()?, key })
    }

    /// What a server alone does not take, by name.
    pub fn refuse(config: &Config) -> Result<(), ClusterSettingsError> {
        let shared = &config.shared;
        let given = [
            ("--database", shared.database.is_some()),
            ("--objects", shared.objects.is_some()),
            ("--name", shared.name.is_some()),
            ("--cluster-key-file", shared.cluster_key_file.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(ClusterSettingsError::Alone(name)),
            None => Ok(()),
        }
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// Held for as long as the node lives.
pub fn lock(data: &Path) -> Result<File, StartError> {
    let unusable = |cause| StartError::Data { path: data.to_owned(), cause };
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(data.join(LOCK));
    let file = file.map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(part("this node")(format!(
            "{} is in use by another node; give each its own --data",
            data.display()
        ))),
        Err(TryLockError::Error(cause)) => Err(unusable(cause)),
    }
}
