//! What a Version 4 signature's head shows before any key is looked up: its time, and what it covers. In S3's
//! codes and words; the signature itself is `s3s`'s to check.
//!
//! Sources: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>.

use http::request::Parts;
use towpath_api::{ApiError, Timestamp};
use towpath_wire::sigv4::{self, Placement, SignatureError};
use towpath_wire::uri;

/// Refuses what is too old, too new, or does not cover what it must. A request without such a signature passes.
pub fn check(parts: &Parts, now: Timestamp) -> Result<(), ApiError> {
    let in_query = uri::query_value(parts.uri.query(), "X-Amz-Signature").is_some();
    let in_header = parts
        .headers
        .get(http::header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().starts_with(b"AWS4-HMAC-SHA256"));
    if !in_query && !in_header {
        return Ok(());
    }
    let presented = match sigv4::parse(parts) {
        Ok(presented) => presented,
        Err(SignatureError::Incomplete(text)) if in_query => {
            return Err(refusal("AuthorizationQueryParametersError", 400, text));
        }
        // `s3s` says what is wrong with a header.
        Err(_) => return Ok(()),
    };
    presented.check_time(now).map_err(|error| match (error, presented.placement) {
        (SignatureError::Expired, _) => refusal("AccessDenied", 403, "Request has expired"),
        (SignatureError::Skewed(_), Placement::Query { .. }) => {
            refusal("AccessDenied", 403, "Request is not valid yet")
        }
        (SignatureError::Skewed(_), Placement::Header) => refusal(
            "RequestTimeTooSkewed",
            403,
            "The difference between the request time and the current time is too large.",
        ),
        (other, _) => other.to_api_error(sigv4::Dialect::S3),
    })?;
    presented.check_signed_headers(parts).map_err(|_| {
        refusal("AccessDenied", 403, "There were headers present in the request which were not signed")
    })
}

fn refusal(code: &'static str, status: u16, message: impl Into<String>) -> ApiError {
    ApiError::client(code, message).with_status(status)
}
