//! Resolved credentials in memory. An entry holds while IAM's generation is the one it was made at; the
//! generation moves with every write, so a change is in force on the very next request.
//!
//! A server alone counts the generation in memory. Nodes that share a database read it from there before
//! they trust an entry ([`crate::cluster`]).

use crate::limits::CACHED_CREDENTIALS;
use crate::vault::PasswordHash;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use towpath_api::{Credential, Timestamp};

pub(crate) struct Entry {
    /// What [`crate::IdentityService::generation`] said before the first document was read.
    pub generation: u64,
    pub credential: Credential,
    pub proof: Proof,
}

/// What a request must show besides the name.
pub(crate) enum Proof {
    /// Its signature, which the caller of the port checks.
    Signature,
    /// The signature and this very session token, before it expires.
    Token { token: String, expires_at: Timestamp },
    /// A password.
    Password(PasswordHash),
}

#[derive(Default)]
pub(crate) struct Cache {
    entries: RwLock<HashMap<String, Arc<Entry>>>,
}

impl Cache {
    pub fn get(&self, name: &str, generation: u64) -> Option<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).filter(|entry| entry.generation == generation).cloned()
    }

    pub fn put(&self, name: String, entry: Arc<Entry>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= CACHED_CREDENTIALS && !entries.contains_key(&name) {
            let generation = entry.generation;
            entries.retain(|_, kept| kept.generation == generation);
            if entries.len() >= CACHED_CREDENTIALS {
                entries.clear();
            }
        }
        entries.insert(name, entry);
    }
}
