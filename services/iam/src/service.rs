//! The service itself: its handles, the one way to write, and look-ups by name, id and ARN.

use crate::aws_managed::{self, AwsManaged};
use crate::cache::Cache;
use crate::cluster::{self, ClusterError, ClusterKey, GenerationDoc};
use crate::config::{Config, RootCredentials};
use crate::documents::{Entity, IdDoc, ManagedDoc};
use crate::problem::Problem;
use crate::usage::Uses;
use crate::vault::{Vault, VaultError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use towpath_api::{Arn, Timestamp};
use towpath_store::{Store, StoreError, Txn, Versioned};

/// IAM, STS and the identity port over one set of documents.
pub struct IdentityService {
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) root: RootCredentials,
    pub(crate) started_at: Timestamp,
    pub(crate) cache: Cache,
    pub(crate) uses: Uses,
    writers: Writers,
    generation: Generation,
}

/// Who may change documents at one time: one for all of them, or one for each of several entities.
#[derive(Default)]
struct Writers {
    all: Arc<RwLock<()>>,
    /// Entities share them by their names' hashes.
    each: [Arc<Mutex<()>>; 32],
}

impl Writers {
    async fn all(&self) -> Turn {
        Turn::All { _guard: self.all.clone().write_owned().await }
    }

    async fn one(&self, name: &str) -> Turn {
        let shared = self.all.clone().read_owned().await;
        let mut hasher = DefaultHasher::new();
        name.to_lowercase().hash(&mut hasher);
        let own = self.each[hasher.finish() as usize % self.each.len()].clone();
        Turn::One { _shared: shared, _own: own.lock_owned().await }
    }
}

/// Held until the commit.
enum Turn {
    All { _guard: OwnedRwLockWriteGuard<()> },
    One { _shared: OwnedRwLockReadGuard<()>, _own: OwnedMutexGuard<()> },
}

/// What every write of IAM moves.
#[derive(Clone)]
enum Generation {
    /// Nobody else writes to the database.
    Alone(Arc<AtomicU64>),
    /// The [`GenerationDoc`] of the cluster with this id.
    Shared { cluster: String },
}

/// The right to change documents. There is one at a time in a process, so that what was read stays true
/// until the commit; or several, each to change one entity and nothing else. Against other nodes the
/// generation guards: it is replaced by each commit, so the slower of two meets a conflict and nothing of it
/// is written.
pub(crate) struct Writer {
    turn: Turn,
    store: Store,
    moves: Moves,
}

enum Moves {
    Alone(Arc<AtomicU64>),
    /// As it was before anything else was read.
    Shared(Result<Option<Versioned<GenerationDoc>>, StoreError>),
}

impl Writer {
    /// Commits, and makes every cached principal stale before anybody learns of it. It runs as a task of
    /// its own: a client that hangs up must not leave a change committed and the cache in the dark.
    pub async fn commit(self, mut txn: Txn) -> Result<(), Problem> {
        let Writer { turn, store, moves } = self;
        let alone = match moves {
            Moves::Alone(generation) => Some(generation),
            Moves::Shared(seen) => {
                match seen? {
                    Some(seen) => txn.replace(&seen, &GenerationDoc { number: seen.number + 1 }),
                    None => txn.create(&GenerationDoc { number: 1 }),
                };
                None
            }
        };
        let committed = tokio::spawn(async move {
            let outcome = store.commit(txn).await;
            if let Some(generation) = alone {
                generation.fetch_add(1, Ordering::SeqCst);
            }
            drop(turn);
            outcome
        });
        committed.await.unwrap_or(Err(StoreError::Closed)).map_err(Problem::Store)
    }
}

/// A managed policy of either owner.
pub(crate) enum ManagedPolicy {
    Aws(&'static AwsManaged),
    Local(Versioned<ManagedDoc>),
}

impl ManagedPolicy {
    pub fn arn(&self) -> String {
        match self {
            ManagedPolicy::Aws(policy) => policy.arn(),
            ManagedPolicy::Local(policy) => policy.arn.clone(),
        }
    }

    pub fn name(&self) -> &str {
        match self {
            ManagedPolicy::Aws(policy) => policy.name,
            ManagedPolicy::Local(policy) => &policy.name,
        }
    }

    pub fn path(&self) -> &str {
        match self {
            ManagedPolicy::Aws(policy) => policy.path,
            ManagedPolicy::Local(policy) => &policy.path,
        }
    }

    /// The default version.
    pub fn document(&self) -> &str {
        match self {
            ManagedPolicy::Aws(policy) => policy.document,
            ManagedPolicy::Local(policy) => {
                policy.versions.get(&policy.default_version).map_or("", |version| &version.document)
            }
        }
    }
}

impl IdentityService {
    /// Reads or makes the secrets in `config.data_dir`.
    pub fn open(config: Config, store: Store) -> Result<Arc<IdentityService>, VaultError> {
        let vault = Vault::open(&config.data_dir)?;
        let root = RootCredentials::resolve(&config)?;
        let started_at = store.now();
        let generation = Generation::Alone(Arc::default());
        Ok(Self::new(config, store, (vault, root), started_at, generation))
    }

    /// As a node of the cluster that `store` belongs to: secrets open with the cluster's key, and other
    /// nodes may change every document at any time. The root credentials are kept in `config.data_dir` for
    /// the command line.
    pub async fn join(
        config: Config,
        key: &ClusterKey,
        store: Store,
    ) -> Result<Arc<IdentityService>, ClusterError> {
        let joined = cluster::join(&config, key, &store).await?;
        if config.root.is_none() {
            joined.root.keep(&config.data_dir)?;
        }
        let generation = Generation::Shared { cluster: joined.id };
        Ok(Self::new(config, store, (joined.vault, joined.root), joined.created_at, generation))
    }

    fn new(
        config: Config,
        store: Store,
        (vault, root): (Vault, RootCredentials),
        started_at: Timestamp,
        generation: Generation,
    ) -> Arc<IdentityService> {
        Arc::new(IdentityService {
            config,
            store,
            vault,
            root,
            started_at,
            cache: Cache::default(),
            uses: Uses::default(),
            writers: Writers::default(),
            generation,
        })
    }

    /// The id of the cluster that this node belongs to; `None` for a server alone.
    pub fn cluster_id(&self) -> Option<&str> {
        match &self.generation {
            Generation::Alone(_) => None,
            Generation::Shared { cluster } => Some(cluster),
        }
    }

    /// The root user's access key, for whoever starts the server.
    pub fn root_credentials(&self) -> &RootCredentials {
        &self.root
    }

    pub(crate) fn account(&self) -> &str {
        &self.config.account
    }

    /// Moves with every write of IAM, on every node.
    pub(crate) async fn generation(&self) -> Result<u64, StoreError> {
        match &self.generation {
            Generation::Alone(generation) => Ok(generation.load(Ordering::SeqCst)),
            Generation::Shared { .. } => {
                let found = self.store.get::<GenerationDoc>(GenerationDoc::KEY).await?;
                Ok(found.map_or(0, |found| found.number))
            }
        }
    }

    pub(crate) async fn writer(&self) -> Writer {
        let turn = self.writers.all().await;
        let moves = match &self.generation {
            Generation::Alone(generation) => Moves::Alone(generation.clone()),
            Generation::Shared { .. } => Moves::Shared(self.store.get(GenerationDoc::KEY).await),
        };
        Writer { turn, store: self.store.clone(), moves }
    }

    /// For a change that reads and replaces the entity `name` and nothing else: such changes of different
    /// entities share a sync. Nodes that share a database take turns all the same, by the generation.
    pub(crate) async fn writer_of(&self, name: &str) -> Writer {
        match &self.generation {
            Generation::Alone(generation) => {
                let turn = self.writers.one(name).await;
                Writer { turn, store: self.store.clone(), moves: Moves::Alone(generation.clone()) }
            }
            Generation::Shared { .. } => self.writer().await,
        }
    }

    /// Names are unique without case, but a look-up takes the name as it is.
    pub(crate) async fn find<E: Entity>(&self, name: &str) -> Result<Option<Versioned<E>>, Problem> {
        let found = self.store.get::<E>(&name.to_lowercase()).await?;
        Ok(found.filter(|entity| entity.name() == name))
    }

    pub(crate) async fn require<E: Entity>(&self, name: &str) -> Result<Versioned<E>, Problem> {
        let found = self.find::<E>(name).await?;
        found.ok_or_else(|| Problem::NoEntity { kind: E::ENTITY, name: name.to_owned() })
    }

    /// `None` when it was deleted, also when its name was given again.
    pub(crate) async fn by_id<E: Entity>(&self, id: &str) -> Result<Option<Versioned<E>>, Problem> {
        let Some(index) = self.store.get::<IdDoc>(id).await? else { return Ok(None) };
        let found = self.store.get::<E>(&index.name.to_lowercase()).await?;
        Ok(found.filter(|entity| index.kind == E::ENTITY && entity.id() == id))
    }

    /// The entity that an ARN of this account names.
    pub(crate) async fn by_arn<E: Entity>(&self, arn: &str) -> Result<Option<Versioned<E>>, Problem> {
        let Some(name) = arn.rsplit('/').next() else { return Ok(None) };
        let found = self.find::<E>(name).await?;
        Ok(found.filter(|entity| entity.arn(self.account()) == arn))
    }

    pub(crate) async fn find_policy(&self, arn: &str) -> Result<Option<ManagedPolicy>, Problem> {
        if aws_managed::is_aws_arn(arn) {
            return Ok(aws_managed::find(arn).map(ManagedPolicy::Aws));
        }
        let parsed = Arn::parse(arn).filter(|parsed| parsed.service == "iam" && parsed.region.is_empty());
        let name = parsed.as_ref().and_then(|parsed| parsed.resource_of("policy")?.rsplit('/').next());
        let Some(name) = name else {
            return Err(Problem::InvalidInput(format!("ARN {arn} is not valid.")));
        };
        let found = self.store.get::<ManagedDoc>(&name.to_lowercase()).await?;
        Ok(found.filter(|policy| policy.arn == arn).map(ManagedPolicy::Local))
    }
}
