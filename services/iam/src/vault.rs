//! Secrets: the key that protects them at rest, sealed secrets, session tokens, and password hashes.
//!
//! Owns `identity.key` (32 random bytes in hex, 0600), made at the first start; nodes that share a database
//! are given one key instead ([`crate::ClusterKey`]). Whoever has the database
//! alone has no secret; losing the key makes stored access keys useless, and they have to be made anew.
//!
//! - Secret access keys must be known again to verify a signature, so they are sealed (XChaCha20-Poly1305),
//!   bound to their access key id: a secret cannot be moved to another key in the database.
//! - There may be several keys while one follows another: the first seals, each of them opens.
//! - Session tokens are sealed whole. They carry everything that a request needs, so an AssumeRole writes
//!   nothing and a running session survives a restart; nobody can read or change one.
//! - A session's secret is derived from its access key id, so the token need not carry it.
//! - Passwords of service-specific credentials are made here, with 256 bits of randomness, so a salted
//!   HMAC-SHA256 is as strong as any slow hash, and cheap enough for every request of a git client.
//!
//! Crash: files are written to a temporary name, synced and renamed; there is never half a key.

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;
use towpath_api::id;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{0} is readable by others; run chmod 600 on it, and make new credentials if others use this machine"
    )]
    Exposed(PathBuf),
    #[error("{0} is damaged; restore it from a backup")]
    Damaged(PathBuf),
    #[error("a stored secret does not open with this server's key")]
    Sealed,
}

const NONCE_BYTES: usize = 24;

pub struct Vault {
    first: Keys,
    /// Those before it, for what they sealed.
    earlier: Vec<Keys>,
    /// Of password hashes. A hash cannot be made anew without its password, so this key stays when the
    /// others change.
    password_key: [u8; 32],
}

/// What is made of one master key.
struct Keys {
    cipher: XChaCha20Poly1305,
    derivation_key: [u8; 32],
}

impl Keys {
    fn of(master: &[u8]) -> Result<Keys, VaultError> {
        let cipher_key = mac(master, &[b"towpath seal 1"]);
        let cipher = XChaCha20Poly1305::new_from_slice(&cipher_key).map_err(|_| VaultError::Sealed)?;
        Ok(Keys { cipher, derivation_key: mac(master, &[b"towpath derive 1"]) })
    }

    fn open(&self, bound_to: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: sealed, aad: bound_to.as_bytes() };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()
    }
}

/// What was sealed, and with which key.
pub struct Opened {
    pub plain: Vec<u8>,
    /// 0: the first.
    pub key: usize,
}

/// A password's hash and its salt, in hex.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PasswordHash {
    pub salt: String,
    pub hash: String,
}

impl Vault {
    pub fn open(data_dir: &Path) -> Result<Vault, VaultError> {
        let path = data_dir.join("identity.key");
        let text = match read_private(&path)? {
            Some(bytes) => String::from_utf8(bytes).map_err(|_| VaultError::Damaged(path.clone()))?,
            None => {
                let text = id::hex(&id::random_bytes::<32>());
                write_private(&path, text.as_bytes())?;
                text
            }
        };
        Vault::from_master(&unhex(text.trim()).ok_or(VaultError::Damaged(path))?)
    }

    /// Over a key that somebody else keeps.
    pub fn from_master(master: &[u8]) -> Result<Vault, VaultError> {
        Vault::from_masters(master, &[])
    }

    /// Over keys that somebody else keeps: one, and those before it.
    pub fn from_masters(first: &[u8], earlier: &[Vec<u8>]) -> Result<Vault, VaultError> {
        let first = Keys::of(first)?;
        let earlier = earlier.iter().map(|master| Keys::of(master)).collect::<Result<_, _>>()?;
        let password_key = first.derivation_key;
        Ok(Vault { first, earlier, password_key })
    }

    fn keys(&self) -> impl Iterator<Item = &Keys> {
        std::iter::once(&self.first).chain(&self.earlier)
    }

    /// The key of password hashes, where it is another than the one that the first key makes.
    pub fn set_password_key(&mut self, key: &[u8]) -> Result<(), VaultError> {
        self.password_key = key.try_into().map_err(|_| VaultError::Sealed)?;
        Ok(())
    }

    /// The key of password hashes that key number `key` makes.
    pub fn password_key_of(&self, key: usize) -> Option<[u8; 32]> {
        self.keys().nth(key).map(|keys| keys.derivation_key)
    }

    /// Encrypts and authenticates; `bound_to` must be given again to open it. Base64.
    pub fn seal(&self, bound_to: &str, plain: &[u8]) -> Result<String, VaultError> {
        let nonce = id::random_bytes::<NONCE_BYTES>();
        let payload = Payload { msg: plain, aad: bound_to.as_bytes() };
        let sealed =
            self.first.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| VaultError::Sealed)?;
        Ok(id::base64_encode(&[nonce.as_slice(), &sealed].concat()))
    }

    pub fn open_sealed(&self, bound_to: &str, sealed: &str) -> Result<Vec<u8>, VaultError> {
        self.open_with(bound_to, sealed).map(|opened| opened.plain)
    }

    /// The same, with the number of the key that opened it.
    pub fn open_with(&self, bound_to: &str, sealed: &str) -> Result<Opened, VaultError> {
        let bytes = id::base64_decode(sealed).ok_or(VaultError::Sealed)?;
        let mut tried = self.keys().map(|keys| keys.open(bound_to, &bytes)).enumerate();
        let opened = tried.find_map(|(key, plain)| plain.map(|plain| Opened { plain, key }));
        opened.ok_or(VaultError::Sealed)
    }

    /// The secret that belongs to a session's access key id; `key` is the number of the key that the session's
    /// token is sealed with.
    pub fn session_secret(&self, key: usize, access_key_id: &str) -> String {
        let keys = self.keys().nth(key).unwrap_or(&self.first);
        let bytes = mac(&keys.derivation_key, &[b"session secret", access_key_id.as_bytes()]);
        id::base64_encode(&bytes)[..40].to_owned()
    }

    pub fn hash_password(&self, password: &str) -> PasswordHash {
        let salt = id::hex(&id::random_bytes::<16>());
        let hash = self.password_mac(&salt, password);
        PasswordHash { salt, hash }
    }

    /// In constant time.
    pub fn verify_password(&self, expected: &PasswordHash, password: &str) -> bool {
        let found = self.password_mac(&expected.salt, password);
        found.as_bytes().ct_eq(expected.hash.as_bytes()).into()
    }

    fn password_mac(&self, salt: &str, password: &str) -> String {
        id::hex(&mac(&self.password_key, &[b"password", salt.as_bytes(), password.as_bytes()]))
    }
}

/// HMAC-SHA256 over the parts, each with its length before it.
fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of every length, so there is no error to handle.
    let mut mac = match <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => return [0; 32],
    };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// 32 bytes.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn at(path: &Path) -> impl Fn(io::Error) -> VaultError {
    move |source| VaultError::Io { path: path.to_owned(), source }
}

/// `None` when there is no such file. One that others can read is refused.
pub(crate) fn read_private(path: &Path) -> Result<Option<Vec<u8>>, VaultError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path)(error)),
        Ok(metadata) if metadata.mode() & 0o077 != 0 => return Err(VaultError::Exposed(path.to_owned())),
        Ok(_) => {}
    }
    fs::read(path).map(Some).map_err(at(path))
}

pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), VaultError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(at(&temporary))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(at(&temporary))?;
    fs::rename(&temporary, path).map_err(at(path))?;
    match path.parent().map(fs::File::open) {
        Some(Ok(folder)) => folder.sync_all().map_err(at(path)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sealed_secrets_open_only_with_their_key_and_binding() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let sealed = vault.seal("AKIA1", b"secret").unwrap();
        assert_eq!(Vault::open(folder.path()).unwrap().open_sealed("AKIA1", &sealed).unwrap(), b"secret");
        assert!(vault.open_sealed("AKIA2", &sealed).is_err());
        for tampered in ["", "AAAA", &format!("A{}", &sealed[1..]), &sealed[..sealed.len() - 4]] {
            if tampered != sealed {
                assert!(vault.open_sealed("AKIA1", tampered).is_err());
            }
        }
        let other = tempfile::tempdir().unwrap();
        assert!(Vault::open(other.path()).unwrap().open_sealed("AKIA1", &sealed).is_err());
        assert_eq!(vault.session_secret(0, "ASIA1").len(), 40);
        assert_ne!(vault.session_secret(0, "ASIA1"), vault.session_secret(0, "ASIA2"));
    }

    #[test]
    fn what_an_earlier_key_sealed_opens_and_the_first_seals() {
        let (old, new) = (vec![1; 32], vec![2; 32]);
        let before = Vault::from_master(&old).unwrap();
        let both = Vault::from_masters(&new, std::slice::from_ref(&old)).unwrap();
        let after = Vault::from_master(&new).unwrap();
        let opened = both.open_with("b", &before.seal("b", b"x").unwrap()).unwrap();
        assert_eq!((opened.plain.as_slice(), opened.key), (b"x".as_slice(), 1));
        assert_eq!(both.session_secret(1, "ASIA1"), before.session_secret(0, "ASIA1"));
        assert_eq!(both.session_secret(0, "ASIA1"), after.session_secret(0, "ASIA1"));
        let sealed = both.seal("b", b"y").unwrap();
        assert_eq!(after.open_with("b", &sealed).unwrap().key, 0);
        assert!(before.open_sealed("b", &sealed).is_err());
    }

    #[test]
    fn passwords_are_kept_as_salted_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::open(folder.path()).unwrap();
        let (one, two) = (vault.hash_password("pw"), vault.hash_password("pw"));
        assert_ne!(one, two);
        assert!(vault.verify_password(&one, "pw") && vault.verify_password(&two, "pw"));
        assert!(!vault.verify_password(&one, "pW") && !vault.verify_password(&one, ""));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Vault::open(folder.path()).unwrap();
        let path = folder.path().join("identity.key");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Vault::open(folder.path()), Err(VaultError::Exposed(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "short").unwrap();
        assert!(matches!(Vault::open(folder.path()), Err(VaultError::Damaged(_))));
    }
}
