//! Making the recorded references equal to those on the disk, with one event for each move.
//!
//! Git moves references in a transaction of its own, so the disk can be ahead of the documents: for a
//! moment in every push, and for longer when the server dies in between. This step reads both, and
//! commits the new record and the events in one transaction. It takes no input but which repository to
//! look at, runs after every push and write, at start and now and then, and may run any number of
//! times: what is recorded already tells no event again. A push is acknowledged only after it.

use crate::error::Error;
use crate::git::objects::{Objects, parse_id};
use crate::git::receive::ZERO_ID;
use crate::git::{GitError, reflog, repository};
use crate::service::CodeCommitService;
use crate::state::{self, Moved, Told};
use crate::store::{self, Reference, Repository};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use towpath_api::Event;
use towpath_store::{StoreError, Txn, Versioned};

/// Rounds against others who record at the same time.
const MAX_ROUNDS: usize = 50;
/// Moves in one transaction: more than one push can make.
const MAX_MOVES: usize = 4000;

/// Which references to look at.
pub enum Scope<'a> {
    All,
    Only(&'a BTreeSet<String>),
}

/// One step of one reference, with who made it where that is known.
#[derive(Clone)]
pub(crate) struct Step {
    name: String,
    old_commit: Option<String>,
    new_commit: Option<String>,
    who: Option<String>,
}

impl CodeCommitService {
    /// Records what is on the disk; says what had moved. Nothing when the repository is gone. `caller_arn`
    /// is named where git's own log does not say who moved a reference.
    pub async fn reconcile(
        &self,
        repository_id: &str,
        scope: Scope<'_>,
        caller_arn: Option<&str>,
    ) -> Result<Vec<Moved>, Error> {
        let mut told = Vec::new();
        if self.shared.is_some() {
            // The disk is a cache then: what it has or lacks is no reason to record anything.
            return Ok(told);
        }
        for _ in 0..MAX_ROUNDS {
            // The document first, then the disk: a change in between makes the commit fail, not lie.
            let Some(repository) = store::by_id(&self.store, repository_id).await? else {
                return Ok(told);
            };
            let recorded = self.recorded(repository_id, &scope).await?;
            let before: BTreeMap<String, String> =
                recorded.iter().map(|(name, reference)| (name.clone(), reference.target.clone())).collect();
            let path = self.disk.path(repository_id);
            let only = match scope {
                Scope::All => None,
                Scope::Only(names) => Some(names.clone()),
            };
            let caller = caller_arn.map(str::to_owned);
            let work = move || compare(&path, &before, only.as_ref(), caller.as_deref());
            let Seen { moves, steps, more } = blocking(work).await?;
            let default_branch = repository.default_branch.clone();
            if moves.is_empty() {
                self.point_head(repository_id, default_branch).await?;
                return Ok(told);
            }
            let default_branch = default_branch.or_else(|| state::first_default_branch(&moves));
            let txn = self.record(&repository, &recorded, &moves, steps, default_branch.clone());
            match self.store.commit(txn).await {
                Ok(()) => {
                    told.extend(moves);
                    self.point_head(repository_id, default_branch).await?;
                    if !more {
                        return Ok(told);
                    }
                }
                Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(GitError::Unreadable("the references keep moving".into()).into())
    }

    async fn recorded(
        &self,
        repository_id: &str,
        scope: &Scope<'_>,
    ) -> Result<BTreeMap<String, Versioned<Reference>>, StoreError> {
        let Scope::Only(names) = scope else {
            return store::references(&self.store, repository_id).await;
        };
        let mut found = BTreeMap::new();
        for name in names.iter() {
            if let Some(reference) = store::reference(&self.store, repository_id, name).await? {
                found.insert(name.clone(), reference);
            }
        }
        Ok(found)
    }

    pub(crate) fn record(
        &self,
        repository: &Versioned<Repository>,
        recorded: &BTreeMap<String, Versioned<Reference>>,
        moves: &[Moved],
        steps: Vec<Step>,
        default_branch: Option<String>,
    ) -> Txn {
        let now = self.store.now();
        let mut txn = Txn::new();
        txn.replace(repository, &Repository { default_branch, modified_at: now, ..repository.doc.clone() });
        for moved in moves {
            let target = moved.new.as_ref().map(|target| Reference {
                repository_id: repository.id.clone(),
                name: moved.name.clone(),
                target: target.clone(),
            });
            match (recorded.get(&moved.name), target) {
                (Some(old), Some(new)) => drop(txn.replace(old, &new)),
                (Some(old), None) => drop(txn.delete(old)),
                (None, Some(new)) => drop(txn.create(&new)),
                (None, None) => {}
            }
        }
        for step in steps {
            let told = Told {
                name: &step.name,
                old_commit: step.old_commit.as_deref(),
                new_commit: step.new_commit.as_deref(),
                caller_arn: step.who.as_deref(),
            };
            if let Some(detail) = state::detail(repository, &told) {
                let place = (repository.account.as_str(), repository.region.as_str());
                txn.emit(Event::new(
                    state::EVENT_SOURCE,
                    state::EVENT_TYPE,
                    place,
                    now,
                    vec![repository.arn()],
                    detail,
                ));
            }
        }
        txn
    }

    async fn point_head(&self, repository_id: &str, default_branch: Option<String>) -> Result<(), Error> {
        let Some(branch) = default_branch else { return Ok(()) };
        let path = self.disk.path(repository_id);
        blocking(move || repository::set_head(&path, &branch)).await
    }
}

/// Runs blocking work of git's off the async threads.
pub async fn blocking<T: Send + 'static, E: Into<Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(GitError::unreadable(error).into()),
    }
}

/// The moves, the steps that led to them, and whether there are more than one transaction takes.
pub(crate) struct Seen {
    pub moves: Vec<Moved>,
    pub steps: Vec<Step>,
    pub more: bool,
}

pub(crate) fn compare(
    path: &Path,
    recorded: &BTreeMap<String, String>,
    only: Option<&BTreeSet<String>>,
    caller_arn: Option<&str>,
) -> Result<Seen, GitError> {
    let actual = repository::references(path, only)?;
    let mut moves = state::moved(recorded, &actual);
    let more = moves.len() > MAX_MOVES;
    moves.truncate(MAX_MOVES);
    let mut steps = Vec::new();
    if !moves.is_empty() {
        let objects = Objects::open(path)?;
        for moved in &moves {
            steps.extend(steps_of(path, &objects, moved, caller_arn)?);
        }
    }
    Ok(Seen { moves, steps, more })
}

fn steps_of(
    path: &Path,
    objects: &Objects,
    moved: &Moved,
    caller_arn: Option<&str>,
) -> Result<Vec<Step>, GitError> {
    let from = moved.old.as_deref().unwrap_or(ZERO_ID);
    let chain = moved.new.as_deref().and_then(|to| reflog::chain(path, &moved.name, from, to));
    let chain = chain.unwrap_or_else(|| {
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| ZERO_ID.into());
        vec![reflog::Move { old: id(&moved.old), new: id(&moved.new), who: String::new() }]
    });
    let commit = |id: &str| -> Result<Option<String>, GitError> {
        if id == ZERO_ID {
            return Ok(None);
        }
        // What is gone, or no commit at all, is told by the id that the reference had.
        let peeled = match parse_id(id) {
            Some(id) => objects.peel(id)?,
            None => None,
        };
        Ok(Some(peeled.map_or_else(|| id.to_owned(), |commit| commit.id.to_string())))
    };
    chain
        .into_iter()
        .map(|step| {
            // Git drops punctuation from the end of a name, and the whole name from a deletion's log.
            let who = match caller_arn {
                Some(caller) if caller.starts_with(&step.who) => Some(caller.to_owned()),
                _ => Some(step.who).filter(|who| !who.is_empty()),
            };
            Ok(Step {
                name: moved.name.clone(),
                old_commit: commit(&step.old)?,
                new_commit: commit(&step.new)?,
                who,
            })
        })
        .collect()
}
