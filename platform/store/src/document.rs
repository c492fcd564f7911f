//! Documents: typed JSON under (kind, key), with a version for optimistic concurrency.

use serde::{Serialize, de::DeserializeOwned};
use std::ops::Deref;

/// A type that is stored. `KIND` names it for ever (`codecommit/repository`); a field that is added
/// later needs a serde default, because documents of older versions stay as they are.
pub trait Document: Serialize + DeserializeOwned + Send + Sync + 'static {
    const KIND: &'static str;

    /// Unique within the kind. Build it with [`key`]: listings go by prefix and in byte order.
    fn key(&self) -> String;
}

/// Joins the parts of a key with U+001F, which no name contains. `key(&[account, region, ""])` is the
/// prefix of everything below.
pub fn key(parts: &[&str]) -> String {
    parts.join("\u{1f}")
}

/// A document as it was read, with the version that a later change must still find.
#[derive(Clone, Debug)]
pub struct Versioned<D> {
    pub doc: D,
    pub(crate) version: i64,
}

impl<D> Versioned<D> {
    pub fn into_doc(self) -> D {
        self.doc
    }
}

impl<D> Deref for Versioned<D> {
    type Target = D;

    fn deref(&self) -> &D {
        &self.doc
    }
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct Page<D> {
    pub items: Vec<Versioned<D>>,
    /// The key to pass as `after` for the next page; `None` at the end.
    pub next: Option<String>,
}

/// The order of keys in a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Ascending,
    Descending,
}

/// What [`crate::Store::update`] does with the document that it showed.
#[derive(Clone, Debug)]
pub enum Change<D> {
    /// Leaves it, as it was seen: what else the transaction holds is committed only then.
    Keep,
    /// Creates or replaces it.
    Put(D),
    Delete,
}
