//! What the service is started with, and the root user's credentials.

use crate::vault::{VaultError, read_private, write_private};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use towpath_api::id;

/// The account that this server is, and where its secrets lie.
#[derive(Clone, Debug)]
pub struct Config {
    /// Twelve digits.
    pub account: String,
    pub region: String,
    /// Access key id and secret of the root user; when absent they are made once and kept in `data_dir`.
    pub root: Option<(String, String)>,
    /// Holds `identity.key` and `root-credentials.json`, both 0600.
    pub data_dir: PathBuf,
}

/// The root user's access key.
#[derive(Clone, Serialize, Deserialize)]
pub struct RootCredentials {
    pub access_key_id: String,
    pub secret_access_key: String,
}

const FILE: &str = "root-credentials.json";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Forty characters, as AWS's secrets have.
pub(crate) fn new_secret() -> String {
    id::random_text(BASE64, 40)
}

impl RootCredentials {
    pub(crate) fn is(&self, other: &RootCredentials) -> bool {
        self.access_key_id == other.access_key_id && self.secret_access_key == other.secret_access_key
    }

    /// Keeps a copy for the command line on this machine.
    pub(crate) fn keep(&self, data_dir: &Path) -> Result<(), VaultError> {
        let json = serde_json::to_vec(self).map_err(|_| VaultError::Damaged(data_dir.join(FILE)))?;
        write_private(&data_dir.join(FILE), &json)
    }

    /// What an earlier start left in `data_dir`; `None` before the first.
    pub fn read(data_dir: &Path) -> Result<Option<RootCredentials>, VaultError> {
        let path = data_dir.join(FILE);
        let Some(bytes) = read_private(&path)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|_| VaultError::Damaged(path))
    }

    pub(crate) fn resolve(config: &Config) -> Result<RootCredentials, VaultError> {
        if let Some((access_key_id, secret_access_key)) = config.root.clone() {
            return Ok(RootCredentials { access_key_id, secret_access_key });
        }
        if let Some(kept) = RootCredentials::read(&config.data_dir)? {
            return Ok(kept);
        }
        let made = RootCredentials { access_key_id: id::iam_id("AKIA", 20), secret_access_key: new_secret() };
        made.keep(&config.data_dir)?;
        Ok(made)
    }
}
