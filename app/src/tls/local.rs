//! An authority of this server's own, for machines and networks that nobody else gives certificates to.
//!
//! Purpose: clients trust one certificate (`towpath ca` prints it), the authority's; what the server shows them is
//! signed by it and renewed without anybody noticing.
//! State: `authority-key.pem` (0600) and `authority.pem` in the data folder. The server's own key and
//! certificate are made at each start and never touch the disk.
//! Invariants: the authority's name is made from its key, so that a key and a certificate from two lives
//! cannot be mixed up. Crash: the key is written whole or not at all; a certificate that is missing is made
//! again from the key.

use super::validity::{self, Validity};
use super::{TlsError, provider, shown};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use towpath_api::{Timestamp, id};

const DAY_MS: i64 = 24 * 3600 * 1000;
/// An authority's life; a server's certificate has a shorter one.
const AUTHORITY_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 90;
const RENEW_DAYS: i64 = 30;
/// Certificates are valid from a day ago: a client's clock may be late.
const BACKDATED_DAYS: i64 = 1;
/// Buckets' names (`NAME.localhost`) whose certificates are kept.
const MAX_BUCKETS: usize = 512;

pub fn certificate_path(folder: &Path) -> PathBuf {
    folder.join("authority.pem")
}

pub struct Local {
    issuer: Issuer<'static, KeyPair>,
    authority: CertificateDer<'static>,
    hosts: Vec<String>,
    /// The server's own key, and the same for `rustls`.
    key: KeyPair,
    signing: Arc<dyn SigningKey>,
    shown: Mutex<Shown>,
}

/// What clients get to see.
struct Shown {
    main: Arc<CertifiedKey>,
    validity: Validity,
    /// `BUCKET.localhost`: OpenSSL takes no `*.localhost`, so each has a certificate of its own.
    buckets: BTreeMap<String, Arc<CertifiedKey>>,
}

impl Local {
    pub fn open(folder: &Path, hosts: &[String], now: Timestamp) -> Result<Local, TlsError> {
        let failed = |cause| TlsError::File { path: folder.into(), cause };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let authority_key = authority_key(&folder.join("authority-key.pem"))?;
        let params = authority_params(&authority_key, now);
        let path = certificate_path(folder);
        let authority = authority(&path, &params, &authority_key, now)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = provider().key_provider.load_private_key(der)?;
        let issuer = Issuer::new(params, authority_key);
        let leaf = leaf(&issuer, &key, hosts, now)?;
        let (main, validity) = certified(leaf, &authority, &signing)?;
        let shown = Mutex::new(Shown { main, validity, buckets: BTreeMap::new() });
        Ok(Local { issuer, authority, hosts: hosts.to_vec(), key, signing, shown })
    }

    pub fn for_name(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(name) = name.filter(|name| is_bucket_host(name)) else { return shown.main.clone() };
        if let Some(known) = shown.buckets.get(name) {
            return known.clone();
        }
        let now = Timestamp::from_millis(shown.validity.until.as_millis() - LEAF_DAYS * DAY_MS);
        let made = leaf(&self.issuer, &self.key, &[name.to_owned()], now)
            .and_then(|leaf| certified(leaf, &self.authority, &self.signing));
        let Ok((made, _)) = made else { return shown.main.clone() };
        if shown.buckets.len() >= MAX_BUCKETS {
            shown.buckets.pop_first();
        }
        shown.buckets.insert(name.to_owned(), made.clone());
        made
    }

    /// A new certificate well before the old one ends; buckets' certificates end with it.
    pub fn renew_if_due(&self, now: Timestamp) -> Result<(), TlsError> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.validity.until.as_millis() - now.as_millis() > RENEW_DAYS * DAY_MS {
            return Ok(());
        }
        let leaf = leaf(&self.issuer, &self.key, &self.hosts, now)?;
        let (main, validity) = certified(leaf, &self.authority, &self.signing)?;
        *shown = Shown { main, validity, buckets: BTreeMap::new() };
        tracing::info!(until = super::shown(validity.until), "the server's certificate was renewed");
        Ok(())
    }
}

/// A bucket's virtual host: a name below `localhost`.
fn is_bucket_host(name: &str) -> bool {
    name.len() <= 100
        && name.strip_suffix(".localhost").is_some_and(|bucket| {
            !bucket.is_empty()
                && bucket.split('.').all(|label| !label.is_empty())
                && bucket.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.".contains(&c))
        })
}

fn make(error: rcgen::Error) -> TlsError {
    TlsError::Make(error.to_string())
}

/// The authority's key: made once, readable by the server's user alone.
fn authority_key(path: &Path) -> Result<KeyPair, TlsError> {
    let failed = |cause| TlsError::File { path: path.into(), cause };
    match std::fs::read_to_string(path) {
        Ok(text) => KeyPair::from_pem(&text)
            .map_err(|error| TlsError::Unreadable { path: path.into(), cause: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(make)?;
            write(path, key.serialize_pem().as_bytes(), 0o600).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// The authority's certificate, as it was made, or made from the key.
fn authority(
    path: &Path,
    params: &CertificateParams,
    key: &KeyPair,
    now: Timestamp,
) -> Result<CertificateDer<'static>, TlsError> {
    let failed = |cause| TlsError::File { path: path.into(), cause };
    match std::fs::read(path) {
        Ok(text) => {
            let found = CertificateDer::from_pem_slice(&text)
                .map_err(|error| TlsError::Unreadable { path: path.into(), cause: error.to_string() })?;
            let validity =
                validity::of(&found).ok_or_else(|| TlsError::NoCertificate { path: path.into() })?;
            if now > validity.until {
                return Err(TlsError::Expired { path: path.into(), until: shown(validity.until) });
            }
            Ok(found)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = params.self_signed(key).map_err(make)?;
            write(path, made.pem().as_bytes(), 0o644).map_err(failed)?;
            Ok(made.der().clone())
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whole or not at all.
fn write(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn authority_params(key: &KeyPair, now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    let identifier = id::hex(&params.key_identifier(&key));
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Towpath");
    name.push(DnType::CommonName, format!("Towpath local authority {}", &identifier[..12]));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, AUTHORITY_DAYS);
    params
}

fn leaf(
    issuer: &Issuer<'static, KeyPair>,
    key: &KeyPair,
    hosts: &[String],
    now: Timestamp,
) -> Result<CertificateDer<'static>, TlsError> {
    let mut params = CertificateParams::new(hosts.to_vec()).map_err(make)?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "Towpath");
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now, LEAF_DAYS);
    Ok(params.signed_by(key, issuer).map_err(make)?.der().clone())
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = |ms: i64| Duration::from_secs(u64::try_from(ms / 1000).unwrap_or_default());
    params.not_before = epoch + since_epoch(now.as_millis() - BACKDATED_DAYS * DAY_MS);
    params.not_after = epoch + since_epoch(now.as_millis() + days * DAY_MS);
}

fn certified(
    leaf: CertificateDer<'static>,
    authority: &CertificateDer<'static>,
    signing: &Arc<dyn SigningKey>,
) -> Result<(Arc<CertifiedKey>, Validity), TlsError> {
    let validity = validity::of(&leaf).ok_or_else(|| TlsError::Make("its dates cannot be read".into()))?;
    Ok((Arc::new(CertifiedKey::new(vec![leaf, authority.clone()], signing.clone())), validity))
}
