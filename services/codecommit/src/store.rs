//! The documents of this service, and how they are found.
//!
//! A repository's files lie under its id, so a rename touches documents only. Every recorded reference
//! is a document of its own: a push writes what it moved, whatever the repository's size. The
//! repository's document is replaced by each transaction that moves references, so its version guards
//! the set of them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use towpath_api::{Arn, Timestamp};
use towpath_store::{Document, MAX_LIST, Order, Store, StoreError, Versioned, key};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repository {
    pub id: String,
    pub account: String,
    pub region: String,
    pub name: String,
    pub description: Option<String>,
    /// A branch's short name; none before the first push.
    pub default_branch: Option<String>,
    pub created_at: Timestamp,
    pub modified_at: Timestamp,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

impl Repository {
    pub fn arn(&self) -> String {
        Arn::new("codecommit", &self.region, &self.account, self.name.as_str()).to_string()
    }
}

impl Document for Repository {
    const KIND: &'static str = "codecommit/repository";

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// Which repository has a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Name {
    pub account: String,
    pub region: String,
    pub name: String,
    pub repository_id: String,
}

impl Document for Name {
    const KIND: &'static str = "codecommit/name";

    fn key(&self) -> String {
        key(&[&self.account, &self.region, &self.name])
    }
}

/// A reference as the events have told it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub repository_id: String,
    /// `refs/heads/main`.
    pub name: String,
    /// What it points to: a commit, or an annotated tag's object.
    pub target: String,
}

impl Document for Reference {
    const KIND: &'static str = "codecommit/reference";

    fn key(&self) -> String {
        key(&[&self.repository_id, &self.name])
    }
}

pub fn branch_ref(branch: &str) -> String {
    format!("refs/heads/{branch}")
}

pub async fn by_id(store: &Store, id: &str) -> Result<Option<Versioned<Repository>>, StoreError> {
    store.get::<Repository>(id).await
}

pub async fn by_name(
    store: &Store,
    account: &str,
    region: &str,
    name: &str,
) -> Result<Option<Versioned<Repository>>, StoreError> {
    match store.get::<Name>(&key(&[account, region, name])).await? {
        Some(found) => by_id(store, &found.repository_id).await,
        None => Ok(None),
    }
}

pub async fn reference(
    store: &Store,
    repository_id: &str,
    name: &str,
) -> Result<Option<Versioned<Reference>>, StoreError> {
    store.get::<Reference>(&key(&[repository_id, name])).await
}

/// Every recorded reference, by name.
pub async fn references(
    store: &Store,
    repository_id: &str,
) -> Result<BTreeMap<String, Versioned<Reference>>, StoreError> {
    let prefix = key(&[repository_id, ""]);
    let mut found = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list::<Reference>(&prefix, after.as_deref(), MAX_LIST, Order::Ascending).await?;
        found.extend(page.items.into_iter().map(|item| (item.name.clone(), item)));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}

/// Every name of an account in a region, in their order.
pub async fn names(store: &Store, account: &str, region: &str) -> Result<Vec<Name>, StoreError> {
    let prefix = key(&[account, region, ""]);
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list::<Name>(&prefix, after.as_deref(), MAX_LIST, Order::Ascending).await?;
        found.extend(page.items.into_iter().map(Versioned::into_doc));
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(found),
        }
    }
}
