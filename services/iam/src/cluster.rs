//! One identity for several nodes over one database.
//!
//! **What it owns.** Two documents: [`ClusterDoc`], made by the first node, and [`GenerationDoc`], which
//! every write of IAM replaces.
//!
//! **Invariants.**
//! - All nodes have the same cluster key, for what one sealed another must open. A node with another key,
//!   account or region is refused at its start: the document holds a text sealed with the right key.
//! - Each node asks for the generation before it trusts what it has in memory. So a change that one node
//!   acknowledged is in force in the next request to any node, also while nodes cannot hear of each other.
//! - Two nodes that change IAM at the same moment replace the same generation: one is told that it lost, and
//!   decides again from what is true then. What a handler read therefore stays true until its commit, as
//!   within one process.

use crate::config::{Config, RootCredentials, new_secret};
use crate::vault::{Vault, VaultError, read_private, unhex};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use towpath_api::{Timestamp, id};
use towpath_store::{Document, Store, StoreError, Txn, Versioned};

const CHECK: &str = "cluster check";
const ROOT: &str = "cluster root credentials";

/// The secret that all nodes share: 32 bytes.
#[derive(Clone)]
pub struct ClusterKey(Vec<u8>);

impl fmt::Debug for ClusterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("ClusterKey(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("the cluster key must be 64 hexadecimal digits; `openssl rand -hex 32` makes one")]
    Malformed,
    #[error("there is no cluster key in {0}")]
    Missing(std::path::PathBuf),
    #[error(
        "this cluster key is not the one that the database was first used with: give every node the same \
         TOWPATH_CLUSTER_KEY"
    )]
    OtherKey,
    #[error("this node has the {what} {ours}, but the database belongs to the {what} {theirs}")]
    Elsewhere { what: &'static str, ours: String, theirs: String },
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FromStr for ClusterKey {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<ClusterKey, ClusterError> {
        unhex(text.trim()).map(ClusterKey).ok_or(ClusterError::Malformed)
    }
}

impl ClusterKey {
    /// From a file that nobody else may read.
    pub fn read(path: &Path) -> Result<ClusterKey, ClusterError> {
        let bytes = read_private(path)?.ok_or_else(|| ClusterError::Missing(path.to_owned()))?;
        String::from_utf8(bytes).map_err(|_| ClusterError::Malformed)?.parse()
    }
}

/// What the nodes of one database have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClusterDoc {
    pub id: String,
    pub account: String,
    pub region: String,
    pub created_at: Timestamp,
    /// The id, sealed: whoever opens it has the right key.
    pub check: String,
    /// The root user's access key as JSON, sealed.
    pub root: String,
}

impl ClusterDoc {
    pub const KEY: &str = "cluster";
}

impl Document for ClusterDoc {
    const KIND: &'static str = "iam/cluster";

    fn key(&self) -> String {
        Self::KEY.to_owned()
    }
}

/// Moves with every write of IAM.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GenerationDoc {
    pub number: u64,
}

impl GenerationDoc {
    pub const KEY: &str = "generation";
}

impl Document for GenerationDoc {
    const KIND: &'static str = "iam/generation";

    fn key(&self) -> String {
        Self::KEY.to_owned()
    }
}

/// A node's membership: what it learned when it joined.
pub(crate) struct Joined {
    pub vault: Vault,
    pub root: RootCredentials,
    pub id: String,
    pub created_at: Timestamp,
}

/// Joins the cluster of this database, or makes it where this node is the first.
pub(crate) async fn join(config: &Config, key: &ClusterKey, store: &Store) -> Result<Joined, ClusterError> {
    let vault = Vault::from_master(&key.0)?;
    loop {
        let found = store.get::<ClusterDoc>(ClusterDoc::KEY).await?;
        let known = match &found {
            Some(known) => Some(check(config, &vault, known)?),
            None => None,
        };
        let root = match (&config.root, known) {
            (Some((id, secret)), _) => {
                RootCredentials { access_key_id: id.clone(), secret_access_key: secret.clone() }
            }
            (None, Some(known)) => known,
            (None, None) => {
                RootCredentials { access_key_id: id::iam_id("AKIA", 20), secret_access_key: new_secret() }
            }
        };
        match write(config, &vault, store, found, &root).await {
            Ok(doc) => {
                return Ok(Joined { vault, root, id: doc.id, created_at: doc.created_at });
            }
            Err(ClusterError::Store(StoreError::Conflict { .. })) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
        }
    }
}

/// The root credentials that the cluster has, to a node that belongs to it.
fn check(config: &Config, vault: &Vault, known: &ClusterDoc) -> Result<RootCredentials, ClusterError> {
    let opened = vault.open_sealed(CHECK, &known.check).map_err(|_| ClusterError::OtherKey)?;
    if opened != known.id.as_bytes() {
        return Err(ClusterError::OtherKey);
    }
    for (what, ours, theirs) in
        [("account", &config.account, &known.account), ("region", &config.region, &known.region)]
    {
        if ours != theirs {
            return Err(ClusterError::Elsewhere { what, ours: ours.clone(), theirs: theirs.clone() });
        }
    }
    let root = vault.open_sealed(ROOT, &known.root)?;
    Ok(serde_json::from_slice(&root).map_err(|_| VaultError::Sealed)?)
}

/// Records the cluster, and root credentials that were given to this node: nodes that start later have
/// them too.
async fn write(
    config: &Config,
    vault: &Vault,
    store: &Store,
    found: Option<Versioned<ClusterDoc>>,
    root: &RootCredentials,
) -> Result<ClusterDoc, ClusterError> {
    if let Some(found) = &found
        && check(config, vault, found)?.is(root)
    {
        return Ok(found.doc.clone());
    }
    let json = serde_json::to_vec(root).map_err(|_| VaultError::Sealed)?;
    let root = vault.seal(ROOT, &json)?;
    let mut txn = Txn::new();
    let doc = match &found {
        Some(old) => {
            let doc = ClusterDoc { root, ..old.doc.clone() };
            tracing::warn!("the cluster's root credentials change to those that this node was given");
            txn.replace(old, &doc);
            doc
        }
        None => {
            let id = id::uuid();
            let check = vault.seal(CHECK, id.as_bytes())?;
            let (account, region) = (config.account.clone(), config.region.clone());
            let doc = ClusterDoc { id, account, region, created_at: store.now(), check, root };
            txn.create(&doc);
            doc
        }
    };
    store.commit(txn).await?;
    Ok(doc)
}
