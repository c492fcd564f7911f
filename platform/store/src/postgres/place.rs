//! Where the database is, read from its URL, and how it is talked to.
//!
//! The URL is what libpq takes: `postgresql://user:password@host:port/database?parameter=value`
//! (<https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS>), with what
//! `tokio-postgres` knows of its parameters. `sslmode` is decided here: a password and everybody's
//! documents must not travel in the clear because a parameter was forgotten, so a database on another
//! machine needs one of `verify-full` (with `sslrootcert`), `require` and `disable`; the modes that give
//! way silently are refused. The password appears in no error and no log.

use crate::StoreError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

/// One attempt to connect to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Data that nobody acknowledges for so long ends a connection.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);
const KEEPALIVES_IDLE: Duration = Duration::from_secs(15);

pub(super) struct Place {
    pub config: Config,
    pub tls: MakeRustlsConnect,
    /// For people: without the password.
    pub name: String,
}

/// The parameters that are decided here rather than by the client library.
#[derive(Default)]
struct Ssl {
    mode: Option<String>,
    root_certificates: Option<String>,
}

impl Place {
    pub fn parse(url: &str) -> Result<Place, StoreError> {
        let invalid = |reason: String| StoreError::Location(format!("the database URL {reason}"));
        if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
            return Err(invalid("must begin with postgresql://".into()));
        }
        let (url, ssl) = without_ssl(url).map_err(invalid)?;
        // The library's error names the parameter, never its value.
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            invalid(format!("cannot be read: {error}{}", cause.unwrap_or_default()))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(invalid("names no host".into()));
        }
        let tls = tls(&mut config, ssl).map_err(invalid)?;
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        config.keepalives_idle(KEEPALIVES_IDLE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("towpath");
        }
        let name = name(&config);
        Ok(Place { config, tls: MakeRustlsConnect::new(tls), name })
    }
}

fn without_ssl(url: &str) -> Result<(String, Ssl), String> {
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), Ssl::default())) };
    let mut ssl = Ssl::default();
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", mode)) => ssl.mode = Some(mode.to_owned()),
            Some(("sslrootcert", path)) => ssl.root_certificates = Some(percent_decoded(path)?),
            Some(("target_session_attrs" | "keepalives" | "tcp_user_timeout", _)) => {
                return Err(format!("has a parameter that is decided for it: {}", name_of(pair)));
            }
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, ssl))
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next(), rest.next()].map(|digit| (digit? as char).to_digit(16));
        let [Some(high), Some(low)] = digits else { return Err("has a broken %-sequence".into()) };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| "has a parameter that is not UTF-8".into())
}

/// Decides `sslmode`, and makes what it needs.
fn tls(config: &mut Config, ssl: Ssl) -> Result<ClientConfig, String> {
    let verified = ssl.mode.as_deref() == Some("verify-full");
    if ssl.root_certificates.is_some() && !verified {
        return Err("has sslrootcert, which goes with sslmode=verify-full alone".into());
    }
    match ssl.mode.as_deref() {
        Some("disable") => config.ssl_mode(SslMode::Disable),
        Some("require" | "verify-full") => config.ssl_mode(SslMode::Require),
        Some(mode @ ("prefer" | "allow")) => {
            let reason = "would give TLS up silently; use verify-full, require or disable";
            return Err(format!("has sslmode={mode}, which {reason}"));
        }
        Some(mode) => {
            return Err(format!("has sslmode={mode}; there are verify-full, require and disable"));
        }
        None if is_local(config) => config.ssl_mode(SslMode::Disable),
        None => {
            return Err("names another machine and no sslmode; add sslmode=verify-full&sslrootcert=FILE, \
                        sslmode=require (encrypted, but anyone's certificate) or sslmode=disable"
                .into());
        }
    };
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match ssl.root_certificates {
        Some(path) => {
            let roots = Arc::new(roots(&path)?);
            WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| format!("has an sslrootcert that cannot be used: {error}"))?
        }
        None if verified => {
            return Err("has sslmode=verify-full without sslrootcert=FILE, the authorities in PEM; \
                        the system's are often in /etc/ssl/certs/ca-certificates.crt"
                .into());
        }
        None => Arc::new(AnyCertificate(provider.clone())),
    };
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot have TLS: {error}"))?;
    Ok(versions.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn is_local(config: &Config) -> bool {
    let local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    };
    config.get_hosts().iter().all(local) && config.get_hostaddrs().iter().all(|address| address.is_loopback())
}

fn roots(path: &str) -> Result<RootCertStore, String> {
    let broken =
        |error: &dyn std::fmt::Display| format!("has sslrootcert={path}, which cannot be read: {error}");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| broken(&error))? {
        let certificate = certificate.map_err(|error| broken(&error))?;
        // A bundle may hold certificates that cannot be authorities; the others still count.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() { Err(broken(&"it has no certificate of an authority")) } else { Ok(roots) }
}

fn name(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        })
        .collect();
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("postgresql://{}/{database}", hosts.join(","))
}

/// What libpq's `require` asks for: encryption with whoever answers. The handshake's signatures are
/// checked, the name and the authority are not; `channel_binding=require` in the URL makes up for it where
/// the password is kept as SCRAM.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn refused(url: &str) -> String {
        match Place::parse(url) {
            Ok(_) => panic!("{url} was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_name_of_a_place_has_no_password() {
        let place = Place::parse("postgresql://tow:secret@127.0.0.1:6000/path").unwrap();
        assert_eq!(place.name, "postgresql://127.0.0.1:6000/path");
        let place = Place::parse("postgres:///path?host=/run/postgresql&user=tow").unwrap();
        assert_eq!(place.name, "postgresql:///run/postgresql:5432/path");
    }

    #[test]
    fn tls_is_never_given_up_silently() {
        let mode = |url| Place::parse(url).unwrap().config.get_ssl_mode();
        assert_eq!(mode("postgresql://localhost/x"), SslMode::Disable);
        assert_eq!(mode("postgresql:///x?host=%2Frun"), SslMode::Disable);
        assert_eq!(mode("postgresql://db.example/x?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgresql://db.example/x?sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgresql://localhost/x?sslmode=require"), SslMode::Require);
        assert!(refused("postgresql://db.example/x").contains("add sslmode=verify-full"));
        assert!(refused("postgresql://localhost,db.example/x").contains("add sslmode=verify-full"));
        for mode in ["prefer", "allow", "verify-ca", "Require", ""] {
            let told = refused(&format!("postgresql://tow:secret@db.example/x?sslmode={mode}"));
            assert!(told.contains(&format!("sslmode={mode}")) && !told.contains("secret"), "{told}");
        }
    }

    #[test]
    fn authorities_are_read_from_their_file_and_for_verify_full_alone() {
        assert!(refused("postgresql://db.example/x?sslmode=verify-full").contains("without sslrootcert"));
        let url = "postgresql://db.example/x?sslmode=require&sslrootcert=/nowhere";
        assert!(refused(url).contains("goes with sslmode=verify-full"));
        let url = "postgresql://db.example/x?sslmode=verify-full&sslrootcert=%2Fno%20where";
        assert!(refused(url).contains("/no where"));
        let empty = tempfile::NamedTempFile::new().unwrap();
        let url =
            format!("postgresql://db.example/x?sslmode=verify-full&sslrootcert={}", empty.path().display());
        assert!(refused(&url).contains("no certificate"));
    }

    #[test]
    fn what_is_no_url_of_a_database_is_refused() {
        for url in ["", "mysql://x/y", "postgresql://", "postgresql://h/x?sslmode=disable&colour=red"] {
            refused(url);
        }
        assert!(refused("postgresql://h/x?sslmode=disable&colour=red").contains("colour"));
        assert!(refused("postgresql://h/x?target_session_attrs=any").contains("target_session_attrs"));
        assert!(refused("postgresql://h/x?sslmode=verify-full&sslrootcert=%zz").contains("%-sequence"));
    }
}
