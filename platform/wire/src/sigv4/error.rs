//! What can be wrong with a signature, and how each family of protocols says it.

use towpath_api::ApiError;

/// The families differ in codes and statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `UnrecognizedClientException`, `InvalidSignatureException`; 400.
    Json,
    /// `InvalidClientTokenId`, `SignatureDoesNotMatch`; 403.
    Query,
    /// As JSON, with 403.
    Rest,
    /// `InvalidAccessKeyId`, `RequestTimeTooSkewed`, `AccessDenied`; 403.
    S3,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("Missing Authentication Token")]
    Missing,
    /// A part of the signature is absent or unreadable; the text says which.
    #[error("{0}")]
    Incomplete(String),
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The scope, the signed headers or the body's hash are not what they must be.
    #[error("{0}")]
    Invalid(String),
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your AWS \
         Secret Access Key and signing method. Consult the service documentation for details.{detail}"
    )]
    Mismatch {
        /// The canonical request and the string to sign, as AWS shows them; empty where unknown.
        detail: String,
    },
    /// The request's time is too far from the server's.
    #[error("{0}")]
    Skewed(String),
    /// A presigned URL's own expiry has passed.
    #[error("Request has expired.")]
    Expired,
}

impl SignatureError {
    pub(super) fn incomplete(text: impl Into<String>) -> Self {
        SignatureError::Incomplete(text.into())
    }

    pub(super) fn mismatch(canonical_request: &str, string_to_sign: &str) -> Self {
        SignatureError::Mismatch {
            detail: format!(
                "\n\nThe Canonical String for this request should have been\n'{canonical_request}'\n\nThe \
                 String-to-Sign should have been\n'{string_to_sign}'\n"
            ),
        }
    }

    /// The code and status on the wire.
    pub fn code(&self, dialect: Dialect) -> (&'static str, u16) {
        use SignatureError::*;
        let code = match (self, dialect) {
            (Missing, Dialect::Query) => "MissingAuthenticationToken",
            (Missing, Dialect::S3) => "AccessDenied",
            (Missing, _) => "MissingAuthenticationTokenException",
            (Incomplete(_), Dialect::Query) => "IncompleteSignature",
            (Incomplete(_), Dialect::S3) => "AuthorizationHeaderMalformed",
            (Incomplete(_), _) => "IncompleteSignatureException",
            (UnknownKey, Dialect::Query) => "InvalidClientTokenId",
            (UnknownKey, Dialect::S3) => "InvalidAccessKeyId",
            (UnknownKey, _) => "UnrecognizedClientException",
            (Skewed(_), Dialect::S3) => "RequestTimeTooSkewed",
            (Expired, Dialect::S3) => "AccessDenied",
            (Expired, _) => "RequestExpired",
            (Invalid(_) | Mismatch { .. } | Skewed(_), Dialect::Query | Dialect::S3) => {
                "SignatureDoesNotMatch"
            }
            (Invalid(_) | Mismatch { .. } | Skewed(_), _) => "InvalidSignatureException",
        };
        let malformed = matches!(self, Incomplete(_) | Expired) && dialect != Dialect::S3;
        (code, if malformed || dialect == Dialect::Json { 400 } else { 403 })
    }

    pub fn to_api_error(&self, dialect: Dialect) -> ApiError {
        let (code, status) = self.code(dialect);
        let message = match (self, dialect) {
            (SignatureError::Missing, Dialect::Query) => "Request is missing Authentication Token".to_owned(),
            _ => self.to_string(),
        };
        ApiError::client(code, message).with_status(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_per_dialect() {
        let codes = |error: &SignatureError| {
            [Dialect::Json, Dialect::Query, Dialect::Rest, Dialect::S3].map(|dialect| error.code(dialect))
        };
        assert_eq!(
            codes(&SignatureError::UnknownKey),
            [
                ("UnrecognizedClientException", 400),
                ("InvalidClientTokenId", 403),
                ("UnrecognizedClientException", 403),
                ("InvalidAccessKeyId", 403)
            ]
        );
        assert_eq!(
            codes(&SignatureError::Mismatch { detail: String::new() }),
            [
                ("InvalidSignatureException", 400),
                ("SignatureDoesNotMatch", 403),
                ("InvalidSignatureException", 403),
                ("SignatureDoesNotMatch", 403)
            ]
        );
        assert_eq!(SignatureError::incomplete("x").code(Dialect::Query), ("IncompleteSignature", 400));
    }
}
