//! S3 over HTTP: every request gets an `s3s` service with its own [`Requester`], so that a session
//! token is judged together with the access key that it came with.

use crate::access::Requester;
use crate::api::Api;
use crate::engine::S3;
use crate::{errors, signature};
use http::Uri;
use http::request::Parts;
use http_body_util::BodyExt;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::S3ServiceBuilder;
use std::sync::Arc;
use towpath_api::{ApiError, async_trait};
use towpath_wire::server::handler::{self, Handler, Peer, Request, RequestId, Response};
use towpath_wire::sigv4::v2;
use towpath_wire::uri;

/// The handler that the server calls for what is S3's.
pub struct S3Handler(pub Arc<S3>);

impl S3 {
    pub fn handler(self: &Arc<Self>) -> S3Handler {
        S3Handler(self.clone())
    }
}

#[async_trait]
impl Handler for S3Handler {
    async fn handle(&self, request: Request) -> Response {
        let request_id = match request.extensions().get::<RequestId>() {
            Some(RequestId(id)) => id.clone(),
            None => towpath_api::id::uuid(),
        };
        let mut requester = Requester::new(self.0.clone(), request_id.clone(), session_token(&request));
        if let Some(peer) = request.extensions().get::<Peer>() {
            requester.source_ip = Some(peer.address.ip());
            requester.secure = peer.secure;
        }
        let (mut parts, body) = request.into_parts();
        if let Some(unsigned) = self.presigned_with_token(&parts, &mut requester).await {
            parts.uri = unsigned;
        }
        if let Err(error) = signature::check(&parts, self.0.store.wall()) {
            return refusal(error, &request_id);
        }
        let request = Request::from_parts(parts, body);
        let mut builder = S3ServiceBuilder::new(Api(self.0.clone()));
        builder.set_auth(requester.clone());
        builder.set_access(requester);
        builder.set_host(Hosts(self.0.clone()));
        let answer = builder.build().call(request.map(s3s::Body::from)).await;
        let mut response = match answer {
            Ok(response) => response.map(|body| body.map_err(Into::into).boxed()),
            Err(error) => {
                tracing::error!(%request_id, error = %handler::BoxError::from(error), "an S3 request failed");
                handler::answer(http::StatusCode::INTERNAL_SERVER_ERROR, "application/xml", "")
            }
        };
        if let Ok(value) = request_id.parse() {
            response.headers_mut().insert("x-amz-request-id", value);
        }
        response
    }
}

fn refusal(error: ApiError, request_id: &str) -> Response {
    let mut error = errors::to_s3(error);
    error.set_request_id(request_id);
    match error.to_http_response() {
        Ok(response) => response.map(|body| body.map_err(Into::into).boxed()),
        Err(error) => {
            tracing::error!(%error, "a refusal could not be written");
            handler::answer(http::StatusCode::INTERNAL_SERVER_ERROR, "application/xml", "")
        }
    }
}

/// Which bucket a host names. A host that is none of ours names none: whatever a client calls this server, a
/// path-style request is one.
struct Hosts(Arc<S3>);

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> s3s::S3Result<VirtualHost<'a>> {
        let named = VirtualHost::new(host);
        Ok(match bucket_of(&self.0.config.domains, host) {
            Some(bucket) => named.with_bucket(bucket),
            None => named,
        })
    }
}

/// `BUCKET` of `BUCKET.domain` or `BUCKET.domain:PORT`.
fn bucket_of<'a>(domains: &[String], host: &'a str) -> Option<&'a str> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let mut buckets =
        domains.iter().filter_map(|domain| name.strip_suffix(domain.as_str())?.strip_suffix('.'));
    buckets.find(|bucket| !bucket.is_empty())
}

/// What presigning with Signature Version 2 adds to a query.
const SIGNED: &[&str] = &["AWSAccessKeyId", "Signature", "Expires", "x-amz-security-token"];

impl S3Handler {
    /// Verifies a Version 2 presigned URL of temporary keys, whose token is part of what is signed: that is
    /// what boto3 makes by default, and what `s3s` does not know. Answers the URL without its signature;
    /// `None` leaves the request as it is, for `s3s` to judge.
    async fn presigned_with_token(&self, parts: &Parts, requester: &mut Requester) -> Option<Uri> {
        let presented = v2::parse(parts).filter(|presented| presented.session_token.is_some())?;
        let s3 = &self.0;
        let token = presented.session_token.as_deref();
        let found = s3.identity.credential(&presented.access_key_id, token).await;
        let credential = found.ok().flatten()?;
        let host = parts.headers.get(http::header::HOST)?.to_str().ok()?;
        let secret = &credential.secret_access_key;
        v2::verify(parts, &presented, secret, bucket_of(&s3.config.domains, host), s3.store.wall()).ok()?;
        let query: Vec<String> = uri::raw_pairs(parts.uri.query().unwrap_or_default())
            .filter(|(name, _)| !SIGNED.contains(name))
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let target = format!("{}?{}", parts.uri.path(), query.join("&"));
        let unsigned = target.trim_end_matches('?').parse().ok()?;
        requester.is_verified(credential);
        Some(unsigned)
    }
}

/// From the header, or from a presigned URL's query.
fn session_token(request: &Request) -> Option<String> {
    if let Some(header) = request.headers().get("x-amz-security-token") {
        return header.to_str().ok().map(str::to_owned);
    }
    let pairs = request.uri().query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| name.eq_ignore_ascii_case("X-Amz-Security-Token"))
        .map(|(_, value)| percent_decode(value))
        .next()
}

pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let hex = bytes.get(index + 1..index + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[index], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                index += 3;
            }
            (b'+', _) => {
                decoded.push(b' ');
                index += 1;
            }
            (byte, _) => {
                decoded.push(byte);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::bucket_of;

    #[test]
    fn hosts_name_buckets_below_our_domains_only() {
        let domains = ["localhost".to_owned(), "towpath.example.com".to_owned()];
        for (host, bucket) in [
            ("b.localhost", Some("b")),
            ("b.localhost:4566", Some("b")),
            ("a.b.towpath.example.com", Some("a.b")),
            ("localhost:4566", None),
            ("towpath.example.com", None),
            (".localhost", None),
            ("blocalhost", None),
            ("127.0.0.1:4566", None),
            ("[::1]:4566", None),
            ("build-server:4566", None),
        ] {
            assert_eq!(bucket_of(&domains, host), bucket, "{host}");
        }
    }
}
