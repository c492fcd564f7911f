//! Who a git client is: Basic authentication with a service-specific credential, or with a signature in
//! place of the password, as git-remote-codecommit and the aws CLI's credential helper send it.
//!
//! The signature is Signature Version 4 with the method `GIT`, the repository's path, the host as only
//! header and no payload; its timestamp has no `Z`. The user name is the access key id, with `%` and the
//! session token where there is one. The CLI's helper signs the host without its port.
//! Sources: <https://docs.aws.amazon.com/codecommit/latest/userguide/setting-up-git-remote-codecommit.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>.

use super::{PREFIX, Refusal};
use crate::service::CodeCommitService;
use ::http::request::Parts;
use ::http::{StatusCode, header};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use towpath_api::{Arn, Call, Credential, Timestamp, id};

/// What service-specific credentials are made for.
const SERVICE: &str = "codecommit.amazonaws.com";
/// How far a signature's time may be from now. Git sends the same one with every request of a command.
const MAX_SKEW_MS: i64 = 15 * 60 * 1000;
/// A session token and a signature fit many times.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// A password of the signed form: `20261120T101112Z` and 64 hexadecimal digits.
struct Signed<'a> {
    timestamp: &'a str,
    signature: [u8; 32],
}

impl CodeCommitService {
    pub(super) async fn authenticate(
        &self,
        head: &Parts,
        source_ip: Option<IpAddr>,
        secure: bool,
    ) -> Result<Call, Refusal> {
        let needed = || {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "Git credentials are needed: a service-specific credential of an IAM user for \
                 codecommit.amazonaws.com, or git-remote-codecommit with an access key.",
            )
        };
        let (user, password) = basic(head).ok_or_else(needed)?;
        let credential = match signed(&password) {
            Some(signed) => self.signed_credential(head, &user, &signed).await?,
            None => self.identity.service_specific(SERVICE, &user, &password).await?,
        };
        let wrong = || Refusal::new(StatusCode::UNAUTHORIZED, "The git credentials are not valid.");
        let Credential { caller, gate, .. } = credential.ok_or_else(wrong)?;
        let account = Arn::parse(&caller.arn()).map(|arn| arn.account).ok_or_else(wrong)?;
        Ok(Call {
            request_id: id::uuid(),
            account,
            region: self.config.region.clone(),
            at: self.store.now(),
            caller,
            source_ip,
            secure,
            gate,
        })
    }

    async fn signed_credential(
        &self,
        head: &Parts,
        user: &str,
        signed: &Signed<'_>,
    ) -> Result<Option<Credential>, Refusal> {
        let expired = || {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "The signature in the git credentials is too old, or this computer's clock is wrong.",
            )
        };
        let at = signed_at(signed.timestamp).ok_or_else(expired)?;
        if at.since_millis(self.store.now()).max(self.store.now().since_millis(at)) > MAX_SKEW_MS {
            return Err(expired());
        }
        let (key_id, token) = match user.split_once('%') {
            Some((key_id, token)) => (key_id, Some(token)),
            None => (user, None),
        };
        let found = match self.identity.credential(key_id, token).await {
            Ok(found) => found,
            Err(error) if error.cause.is_none() => {
                return Err(Refusal::new(StatusCode::UNAUTHORIZED, error.message));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(found.filter(|credential| {
            hosts(head).iter().any(|host| {
                signature(
                    &credential.secret_access_key,
                    &self.config.region,
                    signed.timestamp,
                    host,
                    &signed_path(head),
                )
                .is_some_and(|mac| mac.verify_slice(&signed.signature).is_ok())
            })
        }))
    }
}

fn basic(head: &Parts) -> Option<(String, String)> {
    let value = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MAX_HEADER_BYTES {
        return None;
    }
    let decoded = String::from_utf8(id::base64_decode(encoded.trim())?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn signed(password: &str) -> Option<Signed<'_>> {
    let (timestamp, hex) = password.split_at_checked(15)?;
    let hex = hex.strip_prefix('Z')?;
    let digits = timestamp
        .bytes()
        .enumerate()
        .all(|(at, byte)| if at == 8 { byte == b'T' } else { byte.is_ascii_digit() });
    if !digits || hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut signature = [0u8; 32];
    for (byte, pair) in signature.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Signed { timestamp, signature })
}

/// `20261120T101112` in UTC.
fn signed_at(timestamp: &str) -> Option<Timestamp> {
    let part = |from: usize, to: usize| timestamp.get(from..to);
    let (date, time) =
        ((part(0, 4)?, part(4, 6)?, part(6, 8)?), (part(9, 11)?, part(11, 13)?, part(13, 15)?));
    Timestamp::parse_iso8601(&format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, time.0, time.1, time.2))
}

/// The host as the client addressed it, with and without its port.
fn hosts(head: &Parts) -> Vec<String> {
    let header = head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = header.or_else(|| head.uri.authority().map(|authority| authority.as_str())) else {
        return Vec::new();
    };
    let mut hosts = vec![host.to_owned()];
    if let Some((name, port)) = host.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        hosts.push(name.to_owned());
    }
    hosts
}

/// `/v1/repos/NAME`: the client signs once for all requests of a command.
fn signed_path(head: &Parts) -> String {
    let path = head.uri.path();
    let name = path.strip_prefix(PREFIX).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    format!("{PREFIX}{name}")
}

fn keyed(key: &[u8], data: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac)
}

/// The signature, not finished yet, so that it is compared in constant time.
fn signature(secret: &str, region: &str, timestamp: &str, host: &str, path: &str) -> Option<Hmac<Sha256>> {
    let date = timestamp.get(..8)?;
    let canonical = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
    let scope = format!("{date}/{region}/codecommit/aws4_request");
    let hash = id::hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{hash}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in [date, region, "codecommit", "aws4_request"] {
        key = keyed(&key, part.as_bytes())?.finalize().into_bytes().to_vec();
    }
    keyed(&key, to_sign.as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Made with botocore's SigV4Auth, the way the aws CLI's credential helper does it.
    #[test]
    fn the_signature_is_the_one_that_botocore_makes() {
        let mac = signature(
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "us-east-1",
            "20261120T101112",
            "127.0.0.1",
            "/v1/repos/demo",
        );
        let found = id::hex(&mac.unwrap().finalize().into_bytes());
        assert_eq!(found, "097c3de563f2ecd93dc006c3671bea7082ffc98eab33d58413e162364b402ec5");
    }

    #[test]
    fn passwords_that_are_signatures() {
        let good = format!("20261120T101112Z{}", "ab".repeat(32));
        let parsed = signed(&good).unwrap();
        assert_eq!(signed_at(parsed.timestamp).unwrap().to_iso8601(), "2026-11-20T10:11:12Z");
        for bad in ["", "secret", &good[..79], &good.replace('T', "U"), &good.replace("ab", "xy")] {
            assert!(signed(bad).is_none(), "{bad}");
        }
        assert!(signed_at("20261399T101112").is_none());
    }
}
