//! Signature Version 2 in a query, as boto3 still presigns S3 by default:
//! `?AWSAccessKeyId=…&Signature=…&Expires=…`.
//!
//! Rules: <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html>.

use super::SignatureError;
use crate::uri;
use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha1::Sha1;
use std::fmt::Write;
use towpath_api::{Timestamp, id};

/// Query parameters that are part of the resource.
const SUBRESOURCES: &[&str] = &[
    "acl",
    "cors",
    "delete",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "tagging",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

/// A Version 2 signature as it was presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedV2 {
    pub access_key_id: String,
    pub signature: String,
    pub expires: String,
    pub session_token: Option<String>,
}

/// `None` when the query holds no Version 2 signature.
pub fn parse(parts: &Parts) -> Option<PresentedV2> {
    let value = |name: &str| uri::query_value(parts.uri.query(), name).map(|value| value.into_owned());
    Some(PresentedV2 {
        access_key_id: value("AWSAccessKeyId")?,
        signature: value("Signature")?.replace(' ', "+"),
        expires: value("Expires")?,
        session_token: value("x-amz-security-token"),
    })
}

/// What is signed. `bucket` is the bucket of a virtual-host request, which stands in no path.
pub fn string_to_sign(parts: &Parts, expires: &str, bucket: Option<&str>) -> String {
    let query = parts.uri.query();
    // A presigner moves the headers that it signs into the query.
    let header = |name: &str| match parts.headers.get(name) {
        Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        None => uri::query_value(query, name).unwrap_or_default().into_owned(),
    };
    let (md5, content_type) = (header("content-md5"), header("content-type"));
    let mut out = format!("{}\n{md5}\n{content_type}\n{expires}\n", parts.method);
    let mut amz: Vec<(String, String)> = Vec::new();
    for name in parts.headers.keys().filter(|name| name.as_str().starts_with("x-amz-")) {
        let values: Vec<_> = parts
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        amz.push((name.as_str().to_owned(), values.join(",").trim().to_owned()));
    }
    let query = query.unwrap_or_default();
    for (name, value) in uri::raw_pairs(query).filter(|(name, _)| name.starts_with("x-amz-")) {
        amz.push((name.to_owned(), uri::decode(value, true).unwrap_or_default().into_owned()));
    }
    amz.sort();
    for (name, value) in &amz {
        let _ = writeln!(out, "{name}:{value}");
    }
    if let Some(bucket) = bucket {
        let _ = write!(out, "/{bucket}");
    }
    let path = parts.uri.path();
    out.push_str(path);
    // A bucket alone is signed with a slash behind it.
    if bucket.is_none() && path.len() > 1 && !path[1..].contains('/') {
        out.push('/');
    }
    let mut resource: Vec<(&str, &str)> =
        uri::raw_pairs(query).filter(|(name, _)| SUBRESOURCES.contains(name)).collect();
    resource.sort_unstable();
    for (index, (name, value)) in resource.iter().enumerate() {
        let _ = write!(out, "{}{name}", if index == 0 { '?' } else { '&' });
        if !value.is_empty() {
            let _ = write!(out, "={}", uri::decode(value, true).unwrap_or_default());
        }
    }
    out
}

/// Checks expiry and signature.
pub fn verify(
    parts: &Parts,
    presented: &PresentedV2,
    secret_access_key: &str,
    bucket: Option<&str>,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let expires: i64 = presented.expires.parse().map_err(|_| {
        SignatureError::incomplete(format!(
            "Invalid date (should be seconds since epoch): {}",
            presented.expires
        ))
    })?;
    if now.as_millis() > expires.saturating_mul(1000) {
        return Err(SignatureError::Expired);
    }
    let text = string_to_sign(parts, &presented.expires, bucket);
    let mut mac: Hmac<Sha1> = match Hmac::new_from_slice(secret_access_key.as_bytes()) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(text.as_bytes());
    let signature = id::base64_decode(&presented.signature).unwrap_or_default();
    mac.verify_slice(&signature).map_err(|_| SignatureError::Mismatch {
        detail: format!("\n\nThe String-to-Sign should have been\n'{text}'\n"),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Presigned by boto3 with the secret `secret`, to expire at 1700000600.
    const URLS: &[(&str, &str)] = &[
        (
            "GET",
            "http://127.0.0.1:4566/bucket/a%20b/%C3%BC.txt?response-content-type=text%2Fplain&AWSAccessKeyId=\
             AKIDEXAMPLE&Signature=dg%2FWP1AYLEPkK1l9DkM76oapB%2Bs%3D&Expires=1700000600",
        ),
        (
            "PUT",
            "http://127.0.0.1:4566/bucket/k?AWSAccessKeyId=AKIDEXAMPLE&Signature=VgeYixpjAvaBoFtXbf1RvO%2BOaZU%3D\
             &x-amz-meta-x=y&Expires=1700000600",
        ),
        (
            "GET",
            "http://127.0.0.1:4566/bucket?versions&encoding-type=url&AWSAccessKeyId=AKIDEXAMPLE&Signature=\
             n0AQOHVH0FoaxysXBmJgUtAiXsw%3D&x-amz-security-token=tok%2Fen%3D%3D&Expires=1700000600",
        ),
    ];

    fn parts(method: &str, url: &str) -> Parts {
        http::Request::builder().method(method).uri(url).body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_boto3_presigns() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        for (method, url) in URLS {
            let parts = parts(method, url);
            let presented = parse(&parts).unwrap();
            assert_eq!(presented.access_key_id, "AKIDEXAMPLE");
            assert_eq!(verify(&parts, &presented, "secret", None, now), Ok(()), "{url}");
            let wrong = verify(&parts, &presented, "other", None, now);
            assert!(matches!(wrong, Err(SignatureError::Mismatch { .. })));
            let late = verify(&parts, &presented, "secret", None, now.plus_millis(601_000));
            assert_eq!(late, Err(SignatureError::Expired));
        }
    }

    #[test]
    fn what_was_signed_cannot_be_changed() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let changes = [("/a%20b/", "/a%20c/"), ("plain", "html"), ("=1700000600", "=1700009600")];
        for (from, to) in changes {
            let parts = parts("GET", &URLS[0].1.replace(from, to));
            let presented = parse(&parts).unwrap();
            let wrong = verify(&parts, &presented, "secret", None, now);
            assert!(matches!(wrong, Err(SignatureError::Mismatch { .. })), "{to}");
        }
        let parts = parts("PUT", URLS[0].1);
        assert!(verify(&parts, &parse(&parts).unwrap(), "secret", None, now).is_err());
    }
}
