#![allow(clippy::unwrap_used)]
use super::*;
use std::os::unix::fs::PermissionsExt;

const DAY_MS: i64 = 24 * 3600 * 1000;

fn at(days: i64) -> Timestamp {
    Timestamp::from_millis(SystemClock.now().as_millis() + days * DAY_MS)
}

fn names() -> Vec<String> {
    hosts(SocketAddr::from(([192, 0, 2, 7], 4566)), Some("https://Towpath.example.com:8443/"))
}

fn validity_of(local: &local::Local, name: Option<&str>) -> validity::Validity {
    validity::of(&local.for_name(name).cert[0]).unwrap()
}

#[test]
fn an_authority_is_made_once_and_its_key_is_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let first = local::Local::open(folder.path(), &names(), at(0)).unwrap();
    let key = folder.path().join("authority-key.pem");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let certificate = std::fs::read(local::certificate_path(folder.path())).unwrap();
    let again = local::Local::open(folder.path(), &names(), at(1)).unwrap();
    assert_eq!(std::fs::read(local::certificate_path(folder.path())).unwrap(), certificate);
    assert_eq!(first.for_name(None).cert[1], again.for_name(None).cert[1]);
    assert_ne!(first.for_name(None).cert[0], again.for_name(None).cert[0]);
    // A certificate that a crash left out comes from the key; so the name stays.
    std::fs::remove_file(local::certificate_path(folder.path())).unwrap();
    local::Local::open(folder.path(), &names(), at(0)).unwrap();
}

#[test]
fn a_leaf_covers_what_clients_call_the_server() {
    let data = tempfile::tempdir().unwrap();
    let certificates = Certificates::open(&Transport::Local, data.path(), &names()).unwrap().unwrap();
    for host in
        ["localhost", "127.0.0.1", "::1", "192.0.2.7", "towpath.example.com", "b.localhost", "a.b.localhost"]
    {
        assert!(certificates.covers(host), "{host}");
    }
    for host in ["example.com", "192.0.2.8", "localhost.example.com", "B_.localhost", "..localhost"] {
        assert!(!certificates.covers(host), "{host}");
    }
    assert_eq!(certificates.authority(data.path()), Some(data.path().join("tls/authority.pem")));
}

#[test]
fn a_leaf_is_renewed_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let local = local::Local::open(folder.path(), &names(), at(0)).unwrap();
    let first = validity_of(&local, None);
    assert_eq!(validity_of(&local, Some("b.localhost")), first);
    local.renew_if_due(at(59)).unwrap();
    assert_eq!(validity_of(&local, None), first);
    local.renew_if_due(at(61)).unwrap();
    let second = validity_of(&local, None);
    assert!(second.until > first.until && second.from < at(61));
    assert_eq!(validity_of(&local, Some("b.localhost")), second);
}

#[test]
fn an_authority_that_has_ended_is_told() {
    let folder = tempfile::tempdir().unwrap();
    local::Local::open(folder.path(), &names(), at(0)).unwrap();
    let error = local::Local::open(folder.path(), &names(), at(3651)).err().unwrap();
    assert!(matches!(error, TlsError::Expired { .. }), "{error}");
}

/// A certificate and its key as files.
fn pair(folder: &Path, name: &str, from_days: i64, until_days: i64) -> (PathBuf, PathBuf) {
    let mut params = rcgen::CertificateParams::new(vec!["towpath.example.com".to_owned()]).unwrap();
    let day = |days: i64| {
        let seconds = u64::try_from(at(days).as_millis() / 1000).unwrap();
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (day(from_days), day(until_days));
    let key = rcgen::KeyPair::generate().unwrap();
    let paths = (folder.join(format!("{name}.pem")), folder.join(format!("{name}-key.pem")));
    std::fs::write(&paths.0, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (good, good_key) = pair(folder, "good", -1, 30);
    let (other, other_key) = pair(folder, "other", -1, 30);
    let (old, old_key) = pair(folder, "old", -30, -1);
    let (early, early_key) = pair(folder, "early", 1, 30);
    let empty = folder.join("empty");
    std::fs::write(&empty, "").unwrap();
    let missing = folder.join("missing");
    let why = |certificate: &Path, key: &Path| given::Given::open(certificate, key, at(0)).err();
    assert!(why(&good, &good_key).is_none());
    assert!(matches!(why(&good, &other_key), Some(TlsError::Mismatch { .. })));
    assert!(matches!(why(&other, &good_key), Some(TlsError::Mismatch { .. })));
    assert!(matches!(why(&old, &old_key), Some(TlsError::Expired { .. })));
    assert!(matches!(why(&early, &early_key), Some(TlsError::NotYet { .. })));
    assert!(matches!(why(&empty, &good_key), Some(TlsError::NoCertificate { .. })));
    assert!(matches!(why(&good_key, &good_key), Some(TlsError::NoCertificate { .. })));
    assert!(matches!(why(&good, &empty), Some(TlsError::NoKey { .. })));
    assert!(matches!(why(&good, &good), Some(TlsError::NoKey { .. })));
    assert!(matches!(why(&missing, &good_key), Some(TlsError::File { .. })));
    assert!(matches!(why(&good, &missing), Some(TlsError::File { .. })));
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&empty, garbage).unwrap();
    assert!(matches!(why(&empty, &good_key), Some(TlsError::Certificate { .. })));
}

#[test]
fn a_bad_file_does_not_replace_a_good_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = pair(folder.path(), "good", -1, 30);
    let given = given::Given::open(&certificate, &key, at(0)).unwrap();
    let first = given.current().cert[0].clone();
    let (next, next_key) = pair(folder.path(), "next", -1, 60);
    std::fs::copy(&next, &certificate).unwrap();
    assert!(matches!(given.reload(at(0)), Err(TlsError::Mismatch { .. })));
    assert_eq!(given.current().cert[0], first);
    std::fs::copy(&next_key, &key).unwrap();
    given.reload(at(0)).unwrap();
    assert_ne!(given.current().cert[0], first);
}

#[test]
fn what_is_no_certificate_has_no_dates() {
    let folder = tempfile::tempdir().unwrap();
    let local = local::Local::open(folder.path(), &names(), at(0)).unwrap();
    let der = local.for_name(None).cert[0].to_vec();
    assert!(validity::of(&der).is_some());
    for cut in 0..der.len().min(400) {
        let _ = validity::of(&der[..cut]);
    }
    assert_eq!(validity::of(b""), None);
    assert_eq!(validity::of(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), None);
}
