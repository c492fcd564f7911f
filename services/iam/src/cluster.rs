//! One identity for several nodes over one database.
//!
//! **What it owns.** Two documents: [`ClusterDoc`], made by the first node, and [`GenerationDoc`], which
//! every write of IAM replaces.
//!
//! **Invariants.**
//! - All nodes have the same cluster key, for what one sealed another must open. A node with another key,
//!   account or region is refused at its start: the document holds a text sealed with the right key.
//! - A key is followed by another while nodes have both ([`ClusterKey`]). A node that starts seals everything
//!   with its first key, and starts only when it could open everything: what an earlier key sealed is therefore
//!   gone when all nodes have started with the new one first. Session tokens alone are not in the database; they
//!   end by themselves.
//! - Each node asks for the generation before it trusts what it has in memory. So a change that one node
//!   acknowledged is in force in the next request to any node, also while nodes cannot hear of each other.
//! - Two nodes that change IAM at the same moment replace the same generation: one is told that it lost, and
//!   decides again from what is true then. What a handler read therefore stays true until its commit, as
//!   within one process.

use crate::config::{Config, RootCredentials, new_secret};
use crate::documents::AccessKeyDoc;
use crate::vault::{Vault, VaultError, read_private, unhex};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use towpath_api::{Timestamp, id};
use towpath_store::{Document, Order, Store, StoreError, Txn, Versioned};

const CHECK: &str = "cluster check";
const ROOT: &str = "cluster root credentials";
const PASSWORDS: &str = "cluster password key";
/// Access keys that are sealed again in one transaction.
const BATCH: usize = 200;
/// Keys that a node may have at the same time.
const MAX_KEYS: usize = 8;

/// The secret that all nodes share: 32 bytes. Others may follow it, which were it before: they open what they
/// sealed, and seal nothing.
#[derive(Clone)]
pub struct ClusterKey {
    first: Vec<u8>,
    earlier: Vec<Vec<u8>>,
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("ClusterKey(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error(
        "the cluster key must be 64 hexadecimal digits; `openssl rand -hex 32` makes one. Up to {MAX_KEYS} keys, \
         with commas between them: the first is the one that seals"
    )]
    Malformed,
    #[error("there is no cluster key in {0}")]
    Missing(std::path::PathBuf),
    #[error(
        "this cluster key is not the one that the database was first used with: give every node the same \
         TOWPATH_CLUSTER_KEY"
    )]
    OtherKey,
    #[error(
        "the access key {0} is sealed with a key that this node was not given: start all nodes with the new \
         cluster key and, after a comma, the one before"
    )]
    Unopened(String),
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
        let parts = text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty());
        let keys: Option<Vec<Vec<u8>>> = parts.take(MAX_KEYS + 1).map(unhex).collect();
        let mut keys = keys.filter(|keys| keys.len() <= MAX_KEYS).ok_or(ClusterError::Malformed)?.into_iter();
        let first = keys.next().ok_or(ClusterError::Malformed)?;
        Ok(ClusterKey { first, earlier: keys.collect() })
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
    /// The key of password hashes, sealed, since the cluster key was followed by another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwords: Option<String>,
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

/// What a cluster's document says to a node that belongs to it.
struct Known {
    root: RootCredentials,
    /// The key of password hashes.
    passwords: [u8; 32],
    /// Everything in it is sealed with this node's first key.
    by_first: bool,
}

/// Joins the cluster of this database, or makes it where this node is the first.
pub(crate) async fn join(config: &Config, key: &ClusterKey, store: &Store) -> Result<Joined, ClusterError> {
    let mut vault = Vault::from_masters(&key.first, &key.earlier)?;
    loop {
        let found = store.get::<ClusterDoc>(ClusterDoc::KEY).await?;
        let known = match &found {
            Some(found) => Some(check(config, &vault, found)?),
            None => None,
        };
        let root = match (&config.root, &known) {
            (Some((id, secret)), _) => {
                RootCredentials { access_key_id: id.clone(), secret_access_key: secret.clone() }
            }
            (None, Some(known)) => known.root.clone(),
            (None, None) => {
                RootCredentials { access_key_id: id::iam_id("AKIA", 20), secret_access_key: new_secret() }
            }
        };
        if let Some(known) = &known {
            vault.set_password_key(&known.passwords)?;
        }
        match write(config, &vault, store, (found, known), &root).await {
            Ok(doc) => {
                seal_again(&vault, store).await?;
                return Ok(Joined { vault, root, id: doc.id, created_at: doc.created_at });
            }
            Err(ClusterError::Store(StoreError::Conflict { .. })) => tokio::task::yield_now().await,
            Err(error) => return Err(error),
        }
    }
}

/// What the cluster has, to a node that belongs to it.
fn check(config: &Config, vault: &Vault, doc: &ClusterDoc) -> Result<Known, ClusterError> {
    let opened = vault.open_with(CHECK, &doc.check).map_err(|_| ClusterError::OtherKey)?;
    if opened.plain != doc.id.as_bytes() {
        return Err(ClusterError::OtherKey);
    }
    for (what, ours, theirs) in
        [("account", &config.account, &doc.account), ("region", &config.region, &doc.region)]
    {
        if ours != theirs {
            return Err(ClusterError::Elsewhere { what, ours: ours.clone(), theirs: theirs.clone() });
        }
    }
    let root = vault.open_with(ROOT, &doc.root)?;
    let mut by_first = opened.key == 0 && root.key == 0;
    let passwords = match &doc.passwords {
        Some(sealed) => {
            let passwords = vault.open_with(PASSWORDS, sealed)?;
            by_first &= passwords.key == 0;
            passwords.plain.try_into().map_err(|_| VaultError::Sealed)?
        }
        None => vault.password_key_of(opened.key).ok_or(VaultError::Sealed)?,
    };
    let root = serde_json::from_slice(&root.plain).map_err(|_| VaultError::Sealed)?;
    Ok(Known { root, passwords, by_first })
}

/// Records the cluster, sealed with this node's first key, and root credentials that were given to this node:
/// nodes that start later have them too.
async fn write(
    config: &Config,
    vault: &Vault,
    store: &Store,
    (found, known): (Option<Versioned<ClusterDoc>>, Option<Known>),
    root: &RootCredentials,
) -> Result<ClusterDoc, ClusterError> {
    let json = serde_json::to_vec(root).map_err(|_| VaultError::Sealed)?;
    let mut txn = Txn::new();
    let doc = match found.zip(known) {
        Some((found, known)) => {
            let same_root = known.root.is(root);
            if known.by_first && same_root {
                return Ok(found.into_doc());
            }
            if !same_root {
                tracing::warn!("the cluster's root credentials change to those that this node was given");
            }
            let mut doc = ClusterDoc { root: vault.seal(ROOT, &json)?, ..found.doc.clone() };
            if !known.by_first {
                tracing::warn!("secrets are sealed with another cluster key from now on");
                doc.check = vault.seal(CHECK, doc.id.as_bytes())?;
                doc.passwords = Some(vault.seal(PASSWORDS, &known.passwords)?);
            }
            txn.replace(&found, &doc);
            doc
        }
        None => {
            let id = id::uuid();
            let (check, root) = (vault.seal(CHECK, id.as_bytes())?, vault.seal(ROOT, &json)?);
            let (account, region) = (config.account.clone(), config.region.clone());
            let created_at = store.now();
            let doc = ClusterDoc { id, account, region, created_at, check, root, passwords: None };
            txn.create(&doc);
            doc
        }
    };
    store.commit(txn).await?;
    Ok(doc)
}

/// Seals every access key with the first key that is sealed with one before it. An error where one is that no
/// key opens: it would not be one tomorrow either.
async fn seal_again(vault: &Vault, store: &Store) -> Result<(), ClusterError> {
    let mut after: Option<String> = None;
    loop {
        let generation = store.get::<GenerationDoc>(GenerationDoc::KEY).await?;
        let page = store.list::<AccessKeyDoc>("", after.as_deref(), BATCH, Order::Ascending).await?;
        let (mut txn, mut count) = (Txn::new(), 0);
        for found in &page.items {
            let opened = vault.open_with(&found.id, &found.sealed_secret);
            let opened = opened.map_err(|_| ClusterError::Unopened(found.id.clone()))?;
            if opened.key > 0 {
                let sealed_secret = vault.seal(&found.id, &opened.plain)?;
                txn.replace(found, &AccessKeyDoc { sealed_secret, ..found.doc.clone() });
                count += 1;
            }
        }
        if count > 0 {
            match &generation {
                Some(seen) => txn.replace(seen, &GenerationDoc { number: seen.number + 1 }),
                None => txn.create(&GenerationDoc { number: 1 }),
            };
            match store.commit(txn).await {
                Err(StoreError::Conflict { .. }) => continue,
                outcome => outcome?,
            }
            tracing::info!(count, "access keys are sealed with the new cluster key");
        }
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}
