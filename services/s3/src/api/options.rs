//! Options that S3 knows and Towpath does not honour are refused by name, never ignored.

use crate::store::Checksums;
use std::collections::BTreeMap;
use towpath_api::ApiError;

use crate::errors;
use crate::http::percent_decode;

/// Fails when any of the named options is present.
pub fn refuse(options: &[(&str, bool)]) -> Result<(), ApiError> {
    match options.iter().find(|(_, present)| *present) {
        Some((name, _)) => Err(ApiError::not_implemented(format_args!("the S3 option {name}"))),
        None => Ok(()),
    }
}

/// A canned ACL that says what is true anyway: the account owns its objects and nobody else has access.
pub fn check_acl(acl: Option<&str>) -> Result<(), ApiError> {
    match acl {
        None | Some("private" | "bucket-owner-full-control" | "bucket-owner-read") => Ok(()),
        Some(other) => Err(ApiError::not_implemented(format_args!(
            "the S3 ACL {other}; access is given by IAM policies"
        ))),
    }
}

pub fn check_owner(expected: Option<&str>, account: &str) -> Result<(), ApiError> {
    if expected.is_some_and(|expected| expected != account) {
        return Err(ApiError::client("AccessDenied", "Access Denied").with_status(403));
    }
    Ok(())
}

/// `k=v&k2=v2`, as the tagging header has it: at most ten.
pub fn parse_tags(header: Option<&str>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for pair in header.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        tags.insert(percent_decode(name), percent_decode(value));
    }
    if tags.len() > 10 {
        return Err(ApiError::client("BadRequest", "Object tags cannot be greater than 10"));
    }
    Ok(tags)
}

/// Every checksum that the client sent must be the one that was computed.
pub fn compare(sent: &Checksums, computed: &Checksums) -> Result<(), ApiError> {
    for (name, sent, computed) in [
        ("CRC32", &sent.crc32, &computed.crc32),
        ("CRC32C", &sent.crc32c, &computed.crc32c),
        ("CRC64NVME", &sent.crc64nvme, &computed.crc64nvme),
        ("SHA1", &sent.sha1, &computed.sha1),
        ("SHA256", &sent.sha256, &computed.sha256),
    ] {
        if sent.is_some() && sent != computed {
            return Err(errors::bad_digest(name));
        }
    }
    Ok(())
}

/// `Content-MD5` must be the base64 of the content's MD5.
pub fn compare_md5(sent: Option<&str>, computed_hex: &str) -> Result<(), ApiError> {
    let Some(sent) = sent else { return Ok(()) };
    match towpath_api::id::base64_decode(sent).filter(|bytes| bytes.len() == 16) {
        None => Err(errors::invalid_digest()),
        Some(bytes) if towpath_api::id::hex(&bytes) != computed_hex => Err(errors::bad_digest("Content-MD5")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_not_honoured_is_named() {
        let error = refuse(&[("StorageClass", false), ("ObjectLockMode", true)]).unwrap_err();
        assert!(error.message.contains("ObjectLockMode"), "{}", error.message);
        assert_eq!(error.status, 501);
        assert!(check_acl(Some("public-read")).unwrap_err().message.contains("public-read"));
        check_acl(Some("private")).unwrap();
    }

    #[test]
    fn digests_must_fit() {
        let computed = "5d41402abc4b2a76b9719d911017c592";
        compare_md5(Some("XUFAKrxLKna5cZ2REBfFkg=="), computed).unwrap();
        assert_eq!(compare_md5(Some("AAAAKrxLKna5cZ2REBfFkg=="), computed).unwrap_err().code, "BadDigest");
        assert_eq!(compare_md5(Some("short"), computed).unwrap_err().code, "InvalidDigest");
    }
}
