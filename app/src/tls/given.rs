//! Certificates from files: what `--tls-cert` and `--tls-key` name.
//!
//! Purpose: read them, and refuse what no client would accept before a client sees it.
//! State: the pair in use. It is replaced on SIGHUP, by a good pair or not at all.

use super::validity::{self, Validity};
use super::{TlsError, provider, shown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, InconsistentKeys};
use towpath_api::Timestamp;

/// A chain of certificates, or a key, is a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// From here on the log says that a certificate ends.
const WARN_MS: i64 = 14 * 24 * 3600 * 1000;

pub struct Given {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<(Arc<CertifiedKey>, Validity)>,
}

impl Given {
    pub fn open(certificate: &Path, key: &Path, now: Timestamp) -> Result<Given, TlsError> {
        let current = RwLock::new(read(certificate, key, now)?);
        Ok(Given { certificate: certificate.into(), key: key.into(), current })
    }

    pub fn current(&self) -> Arc<CertifiedKey> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub fn reload(&self, now: Timestamp) -> Result<(), TlsError> {
        let fresh = read(&self.certificate, &self.key, now)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub fn warn(&self, now: Timestamp) {
        let until = self.current.read().unwrap_or_else(PoisonError::into_inner).1.until;
        if until.as_millis() - now.as_millis() < WARN_MS {
            let path = self.certificate.display();
            tracing::warn!(%path, until = shown(until), "the certificate ends soon; replace the file and send SIGHUP");
        }
    }
}

fn read(certificate: &Path, key: &Path, now: Timestamp) -> Result<(Arc<CertifiedKey>, Validity), TlsError> {
    let path = || certificate.to_path_buf();
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&content(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Unreadable { path: path(), cause: error.to_string() })?;
    let first = chain.first().ok_or_else(|| TlsError::NoCertificate { path: path() })?;
    let validity = validity::of(first).ok_or_else(|| TlsError::Certificate {
        path: path(),
        cause: "its dates cannot be read".to_owned(),
    })?;
    let private = PrivateKeyDer::from_pem_slice(&content(key)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: key.into() },
        error => TlsError::Unreadable { path: key.into(), cause: error.to_string() },
    })?;
    let certified = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { certificate: path(), key: key.into() }
        }
        rustls::Error::InvalidCertificate(cause) => {
            TlsError::Certificate { path: path(), cause: format!("{cause:?}") }
        }
        other => TlsError::Unreadable { path: key.into(), cause: other.to_string() },
    })?;
    if now > validity.until {
        return Err(TlsError::Expired { path: path(), until: shown(validity.until) });
    }
    if now < validity.from {
        return Err(TlsError::NotYet { path: path(), from: shown(validity.from) });
    }
    Ok((Arc::new(certified), validity))
}

fn content(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read;
    let failed = |cause| TlsError::File { path: path.into(), cause };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(failed(std::io::Error::other("larger than any certificate (1 MiB)")));
    }
    Ok(content)
}
