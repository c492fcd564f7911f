//! AWS Signature Version 4: verifying and signing share one canonicalization; and the older Version 2
//! that S3's presigned URLs still come with.
//!
//! Everything here is pure: the caller gives the request's head, the secret, the time and the body's
//! hash. A signature is checked over the bytes as they came, before any decoding.
//!
//! Rules: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//! Errors: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>.

mod canonical;
pub mod chunked;
mod error;
pub mod git;
mod parse;
mod sign;
pub mod v2;
mod verify;

pub use canonical::{PathStyle, canonical_request};
pub use error::{Dialect, SignatureError};
pub use parse::{Placement, Presented, parse, parse_credential_scope};
pub use sign::{SigningKeys, presign_url, sign_request};
pub use verify::{Verified, verify};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use towpath_api::{Timestamp, id};

pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// How far a request's time may be from the server's.
pub const SKEW_MS: i64 = 15 * 60 * 1000;
/// The longest life of a presigned URL: a week.
pub const MAX_EXPIRES_S: u32 = 7 * 24 * 3600;

/// Where a signature counts: `20130524/us-east-1/s3/aws4_request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `YYYYMMDD`.
    pub date: String,
    pub region: String,
    pub service: String,
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(formatter, "{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    id::hex(&Sha256::digest(bytes))
}

/// HMAC takes keys of any length, so this cannot fail.
fn hmac_sha256(key: &[u8]) -> Hmac<Sha256> {
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

fn hmac_bytes(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = hmac_sha256(key);
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

/// The key that a secret gives within a scope.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    pub fn new(secret_access_key: &str, scope: &Scope) -> Self {
        let date = hmac_bytes(format!("AWS4{secret_access_key}").as_bytes(), &scope.date);
        let region = hmac_bytes(&date, &scope.region);
        let service = hmac_bytes(&region, &scope.service);
        SigningKey(hmac_bytes(&service, "aws4_request"))
    }

    /// The signature in lower-case hex.
    pub fn sign(&self, string_to_sign: &str) -> String {
        id::hex(&hmac_bytes(&self.0, string_to_sign))
    }

    /// Compares in constant time.
    pub fn matches(&self, string_to_sign: &str, signature: &str) -> bool {
        let Some(signature) = unhex(signature) else { return false };
        let mut mac = hmac_sha256(&self.0);
        mac.update(string_to_sign.as_bytes());
        mac.verify_slice(&signature).is_ok()
    }
}

/// Exactly 32 bytes in lower-case hex: what every signer sends.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut out = [0; 32];
    for (index, pair) in bytes.chunks_exact(2).enumerate() {
        out[index] = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// `20130524T000000Z`.
pub fn amz_date(at: Timestamp) -> String {
    at.format("%Y%m%dT%H%M%SZ")
}

/// Reads `20130524T000000Z`.
pub fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' || !text.is_ascii() {
        return None;
    }
    let iso = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &text[0..4],
        &text[4..6],
        &text[6..8],
        &text[9..11],
        &text[11..13],
        &text[13..15]
    );
    Timestamp::parse_iso8601(&iso)
}

/// What a signature is made over.
fn string_to_sign(algorithm: &str, amz_date: &str, scope: &Scope, canonical_request: &str) -> String {
    format!("{algorithm}\n{amz_date}\n{scope}\n{}", sha256_hex(canonical_request.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_documented_key_derivation() {
        let scope = Scope { date: "20150830".into(), region: "us-east-1".into(), service: "iam".into() };
        let key = SigningKey::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &scope);
        assert_eq!(id::hex(&key.0), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
    }

    #[test]
    fn dates_travel_both_ways() {
        let at = parse_amz_date("20130524T010203Z").unwrap();
        assert_eq!(amz_date(at), "20130524T010203Z");
        assert_eq!(parse_amz_date("20130524T010203"), None);
        assert_eq!(parse_amz_date("20131324T010203Z"), None);
    }

    #[test]
    fn only_lower_case_hex_of_the_right_length_can_match() {
        let scope = Scope { date: "20150830".into(), region: "r".into(), service: "s".into() };
        let key = SigningKey::new("secret", &scope);
        let signature = key.sign("text");
        assert!(key.matches("text", &signature));
        assert!(!key.matches("text", &signature.to_uppercase()) || signature == signature.to_uppercase());
        assert!(!key.matches("text", &signature[..63]));
        assert!(!key.matches("other", &signature));
    }
}

#[cfg(test)]
mod suite_tests;
#[cfg(test)]
mod vectors_tests;
