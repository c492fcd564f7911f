//! Workers' tokens. A token is a random secret; the store has its hash, when it ends, and nothing by which
//! somebody who reads the store could become a worker.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use towpath_api::{Timestamp, id};
use towpath_store::{Document, Store, StoreError, key};

const PREFIX: &str = "twk";
const SECRET_LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// 62^43 > 2^256.
const SECRET_LENGTH: usize = 43;
const ID_LENGTH: usize = 16;
const ID_LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const MAX_TOKEN_BYTES: usize = 128;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenDoc {
    pub id: String,
    /// What it is for, in a person's words.
    pub note: String,
    /// Of the secret. It is random and long, so a plain hash is enough.
    pub secret_sha256: String,
    pub created_at: Timestamp,
    /// The ARN of whoever made it.
    pub created_by: String,
    pub expires_at: Timestamp,
}

impl Document for TokenDoc {
    const KIND: &'static str = "codebuild/worker-token";

    fn key(&self) -> String {
        self.id.clone()
    }
}

/// A worker as it last showed itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerDoc {
    pub token_id: String,
    pub name: String,
    pub slots: usize,
    pub last_seen: Timestamp,
}

impl WorkerDoc {
    pub fn key_of(token_id: &str, name: &str) -> String {
        key(&[token_id, name])
    }
}

impl Document for WorkerDoc {
    const KIND: &'static str = "codebuild/worker";

    fn key(&self) -> String {
        WorkerDoc::key_of(&self.token_id, &self.name)
    }
}

/// A new token: what is kept, and the text that is shown once.
pub fn mint(note: String, created_by: String, now: Timestamp, life_ms: i64) -> (TokenDoc, String) {
    let token_id = id::random_text(ID_LETTERS, ID_LENGTH);
    let secret = id::random_text(SECRET_LETTERS, SECRET_LENGTH);
    let text = format!("{PREFIX}_{token_id}_{secret}");
    let doc = TokenDoc {
        id: token_id,
        note,
        secret_sha256: hash(&secret),
        created_at: now,
        created_by,
        expires_at: now.plus_millis(life_ms),
    };
    (doc, text)
}

fn hash(secret: &str) -> String {
    id::hex(&Sha256::digest(secret.as_bytes()))
}

/// The token behind a bearer's text, if it is one that counts now.
pub async fn verify(store: &Store, text: &str) -> Result<Option<TokenDoc>, StoreError> {
    let Some((token_id, secret)) = split(text) else { return Ok(None) };
    let Some(doc) = store.get::<TokenDoc>(token_id).await? else { return Ok(None) };
    let doc = doc.into_doc();
    let same = bool::from(hash(secret).as_bytes().ct_eq(doc.secret_sha256.as_bytes()));
    Ok(Some(doc).filter(|doc| same && store.now() < doc.expires_at))
}

fn split(text: &str) -> Option<(&str, &str)> {
    if text.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let (token_id, secret) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (token_id.len() == ID_LENGTH && secret.len() == SECRET_LENGTH && plain(token_id) && plain(secret))
        .then_some((token_id, secret))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_token_splits_into_what_it_was_made_of_and_its_secret_is_not_kept() {
        let (doc, text) = mint("ci".into(), "arn".into(), Timestamp::EPOCH, 1000);
        let (token_id, secret) = split(&text).unwrap();
        assert_eq!((token_id, hash(secret)), (doc.id.as_str(), doc.secret_sha256.clone()));
        assert!(!serde_json::to_string(&doc).unwrap().contains(secret));
        for bad in
            ["", "twk_", "twk_a_b", &text[..text.len() - 1], &format!("{text}x"), &text.replace('_', "-")]
        {
            assert_eq!(split(bad), None, "{bad}");
        }
    }
}
