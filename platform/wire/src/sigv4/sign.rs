//! The client's side: signs requests that the agent and the command line send.

use super::{
    ALGORITHM, EMPTY_SHA256, PathStyle, Scope, SigningKey, UNSIGNED_PAYLOAD, amz_date, canonical_request,
    sha256_hex, string_to_sign,
};
use crate::uri;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use towpath_api::Timestamp;

/// Whose signature it is.
#[derive(Clone)]
pub struct SigningKeys<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
    pub region: &'a str,
    /// The scope's service (`codepipeline`); `s3` has its own path rule.
    pub service: &'a str,
}

impl SigningKeys<'_> {
    fn scope(&self, at: Timestamp) -> Scope {
        Scope { date: at.format("%Y%m%d"), region: self.region.to_owned(), service: self.service.to_owned() }
    }

    fn style(&self) -> PathStyle {
        if self.service == "s3" { PathStyle::S3 } else { PathStyle::Normalized }
    }
}

fn head(method: &Method, uri: &Uri, headers: HeaderMap) -> Result<Parts, http::Error> {
    let mut parts = http::Request::builder().method(method).uri(uri).body(())?.into_parts().0;
    parts.headers = headers;
    Ok(parts)
}

fn header(text: &str) -> Result<HeaderValue, http::Error> {
    HeaderValue::from_str(text).map_err(http::Error::from)
}

/// Adds what signs the request to `headers`: `host` (where absent), `x-amz-date`,
/// `x-amz-content-sha256`, the session token and `authorization`. Every header given is signed, so give
/// only those that reach the server as they are. `body: None` leaves the body unsigned, for a large
/// upload to S3.
pub fn sign_request(
    keys: &SigningKeys,
    method: &Method,
    uri: &Uri,
    headers: &mut HeaderMap,
    body: Option<&[u8]>,
    at: Timestamp,
) -> Result<(), http::Error> {
    let host = HeaderName::from_static("host");
    if !headers.contains_key(&host) {
        headers
            .insert(host, header(uri.authority().map(|authority| authority.as_str()).unwrap_or_default())?);
    }
    let payload_hash = match body {
        None => UNSIGNED_PAYLOAD.to_owned(),
        Some([]) => EMPTY_SHA256.to_owned(),
        Some(bytes) => sha256_hex(bytes),
    };
    let date = amz_date(at);
    headers.remove("authorization");
    headers.insert("x-amz-date", header(&date)?);
    headers.insert("x-amz-content-sha256", header(&payload_hash)?);
    if let Some(token) = keys.session_token {
        headers.insert("x-amz-security-token", header(token)?);
    }
    let mut signed: Vec<String> = headers.keys().map(|name| name.as_str().to_owned()).collect();
    signed.sort_unstable();
    let parts = head(method, uri, headers.clone())?;
    let scope = keys.scope(at);
    let canonical = canonical_request(&parts, keys.style(), &signed, None, &payload_hash);
    let signature = SigningKey::new(keys.secret_access_key, &scope)
        .sign(&string_to_sign(ALGORITHM, &date, &scope, &canonical));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
        keys.access_key_id,
        signed.join(";")
    );
    headers.insert("authorization", header(&authorization)?);
    Ok(())
}

/// A URL that carries its signature and counts for `expires_s` seconds.
pub fn presign_url(
    keys: &SigningKeys,
    method: &Method,
    uri: &Uri,
    expires_s: u32,
    at: Timestamp,
) -> Result<Uri, http::Error> {
    let scope = keys.scope(at);
    let date = amz_date(at);
    let mut query = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
    let credential = uri::encode(&format!("{}/{scope}", keys.access_key_id));
    query.push_str(&format!("X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={date}"));
    query.push_str(&format!("&X-Amz-Expires={expires_s}&X-Amz-SignedHeaders=host"));
    if let Some(token) = keys.session_token {
        query.push_str(&format!("&X-Amz-Security-Token={}", uri::encode(token)));
    }
    let with_query = |query: &str| -> Result<Uri, http::Error> {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(format!("{}?{query}", uri.path()).try_into()?);
        Ok(Uri::from_parts(parts)?)
    };
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert("host", header(authority)?);
    let parts = head(method, &with_query(&query)?, headers)?;
    let payload = if keys.style() == PathStyle::S3 { UNSIGNED_PAYLOAD } else { EMPTY_SHA256 };
    let canonical = canonical_request(&parts, keys.style(), &["host".to_owned()], None, payload);
    let signature = SigningKey::new(keys.secret_access_key, &scope)
        .sign(&string_to_sign(ALGORITHM, &date, &scope, &canonical));
    with_query(&format!("{query}&X-Amz-Signature={signature}"))
}
