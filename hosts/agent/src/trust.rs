//! Whom a client of the server trusts over TLS.
//!
//! In this order: the file that `AWS_CA_BUNDLE` names, as for every AWS tool; else the one that `SSL_CERT_FILE`
//! names; else the machine's own bundle; else the authorities that browsers trust. Authorities that are named
//! besides, the server's own for instance, come on top.

use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// A machine's bundle is a few hundred kilobytes.
const MAX_BUNDLE_BYTES: u64 = 8 << 20;
/// Debian and its kin; Fedora and its kin; Alpine; SUSE.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("the certificates in {path} cannot be read: {cause}")]
    Unreadable { path: PathBuf, cause: String },
    #[error("{0} has no certificate in PEM form")]
    Empty(String),
}

/// An authority that is trusted besides the machine's.
#[derive(Clone, Copy, Debug)]
pub enum Authority<'a> {
    File(&'a Path),
    /// PEM.
    Text(&'a str),
}

impl<'a> Authority<'a> {
    /// A file's name, or the PEM itself.
    pub fn parse(text: &'a str) -> Authority<'a> {
        match text.contains("-----BEGIN") {
            true => Authority::Text(text),
            false => Authority::File(Path::new(text)),
        }
    }
}

pub fn tls_config(besides: &[Authority]) -> Result<TlsConfig, TrustError> {
    let mut roots = Vec::new();
    for authority in besides {
        match authority {
            Authority::File(path) => roots.extend(file(path)?),
            Authority::Text(text) => {
                roots.extend(certificates(text.as_bytes(), "the authority that was given")?)
            }
        }
    }
    let named = ["AWS_CA_BUNDLE", "SSL_CERT_FILE"].into_iter().find_map(set);
    let usual = || BUNDLES.iter().map(Path::new).find(|path| path.is_file()).map(Path::to_path_buf);
    match named.or_else(usual) {
        Some(bundle) => roots.extend(file(&bundle)?),
        None if roots.is_empty() => return Ok(TlsConfig::builder().root_certs(RootCerts::WebPki).build()),
        None => {}
    }
    Ok(TlsConfig::builder().root_certs(RootCerts::new_with_certs(&roots)).build())
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn file(path: &Path) -> Result<Vec<Certificate<'static>>, TrustError> {
    use std::io::Read;
    let unreadable = |cause: &dyn std::fmt::Display| TrustError::Unreadable {
        path: path.into(),
        cause: cause.to_string(),
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(&error))?;
    let mut content = Vec::new();
    file.take(MAX_BUNDLE_BYTES).read_to_end(&mut content).map_err(|error| unreadable(&error))?;
    certificates(&content, &path.display().to_string())
}

fn certificates(pem: &[u8], name: &str) -> Result<Vec<Certificate<'static>>, TrustError> {
    let found: Vec<Certificate<'static>> = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match found.is_empty() {
        true => Err(TrustError::Empty(name.to_owned())),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_certificate_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(matches!(file(&path), Err(TrustError::Unreadable { .. })));
        std::fs::write(&path, "nothing").unwrap();
        assert!(matches!(file(&path), Err(TrustError::Empty(_))));
        assert!(matches!(Authority::parse("/a/b.pem"), Authority::File(_)));
        assert!(matches!(Authority::parse("-----BEGIN CERTIFICATE-----"), Authority::Text(_)));
    }
}
