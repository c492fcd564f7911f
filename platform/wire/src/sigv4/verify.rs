//! Checks a presented signature: first what the head alone can show to be wrong, then the signature.

use super::{
    ALGORITHM, PathStyle, Placement, Presented, SKEW_MS, SignatureError, SigningKey, amz_date,
    canonical_request, string_to_sign,
};
use http::request::Parts;
use towpath_api::Timestamp;

/// A signature that was found right, with what chunked bodies are signed with.
#[derive(Clone)]
pub struct Verified {
    pub key: SigningKey,
    pub presented: Presented,
}

impl Presented {
    /// The times: before any secret is looked up.
    pub fn check_time(&self, now: Timestamp) -> Result<(), SignatureError> {
        if !self.amz_date.starts_with(&self.scope.date) || self.scope.date.len() != 8 {
            return Err(SignatureError::Invalid(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' \
                 != '{}', from '{}'.",
                self.scope.date,
                self.amz_date.get(..8).unwrap_or_default(),
                self.amz_date
            )));
        }
        let latest = now.plus_millis(SKEW_MS);
        if self.at > latest {
            return Err(SignatureError::Skewed(format!(
                "Signature not yet current: {} is still later than {} ({} + 15 min.)",
                self.amz_date,
                amz_date(latest),
                amz_date(now)
            )));
        }
        if let Placement::Query { expires_s: Some(expires_s) } = self.placement {
            let end = self.at.plus_millis(i64::from(expires_s) * 1000);
            return if now > end { Err(SignatureError::Expired) } else { Ok(()) };
        }
        let earliest = now.plus_millis(-SKEW_MS);
        if self.at < earliest {
            return Err(SignatureError::Skewed(format!(
                "Signature expired: {} is now earlier than {} ({} - 15 min.)",
                self.amz_date,
                amz_date(earliest),
                amz_date(now)
            )));
        }
        Ok(())
    }

    /// `service` and `region`: what the scope must name; `region` is `None` for global services.
    pub fn check_scope(&self, service: &str, region: Option<&str>) -> Result<(), SignatureError> {
        if let Some(region) = region
            && self.scope.region != region
        {
            return Err(SignatureError::Invalid(format!(
                "Credential should be scoped to a valid region, not '{}'. This endpoint serves '{region}'.",
                self.scope.region
            )));
        }
        if self.scope.service != service {
            return Err(SignatureError::Invalid(format!(
                "Credential should be scoped to correct service: '{service}'."
            )));
        }
        Ok(())
    }

    /// `host` and every `x-amz-*` header that was sent must be signed.
    pub fn check_signed_headers(&self, parts: &Parts) -> Result<(), SignatureError> {
        let signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        let complain = |name: &str| {
            Err(SignatureError::Invalid(format!(
                "'{name}' must be a 'SignedHeader' in the AWS Authorization."
            )))
        };
        if !signed("host") {
            return complain("Host");
        }
        for name in parts.headers.keys().map(|name| name.as_str()) {
            if name.starts_with("x-amz-") && !signed(name) {
                return complain(name);
            }
        }
        Ok(())
    }
}

/// Compares the signature with the one that the secret gives. `payload_hash` is what stands in the last
/// line of the canonical request: the body's SHA-256, or a marker such as `UNSIGNED-PAYLOAD`; that it is
/// true of the body is the caller's to check.
pub fn verify(
    parts: &Parts,
    presented: Presented,
    secret_access_key: &str,
    style: PathStyle,
    payload_hash: &str,
) -> Result<Verified, SignatureError> {
    presented.check_signed_headers(parts)?;
    let except = matches!(presented.placement, Placement::Query { .. }).then_some("X-Amz-Signature");
    let canonical = canonical_request(parts, style, &presented.signed_headers, except, payload_hash);
    let text = string_to_sign(ALGORITHM, &presented.amz_date, &presented.scope, &canonical);
    let key = SigningKey::new(secret_access_key, &presented.scope);
    if !key.matches(&text, &presented.signature) {
        return Err(SignatureError::mismatch(&canonical, &text));
    }
    Ok(Verified { key, presented })
}
