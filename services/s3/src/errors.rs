//! S3's error codes with S3's texts and statuses.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>.

use s3s::{S3Error, S3ErrorCode};
use towpath_api::{ApiError, Node};
use towpath_store::StoreError;

fn error(code: &'static str, status: u16, message: impl Into<String>) -> ApiError {
    ApiError::client(code, message).with_status(status)
}

pub fn no_such_bucket(bucket: &str) -> ApiError {
    error("NoSuchBucket", 404, "The specified bucket does not exist")
        .with_member("BucketName", Node::Str(bucket.into()))
}

pub fn no_such_key(key: &str) -> ApiError {
    error("NoSuchKey", 404, "The specified key does not exist.").with_member("Key", Node::Str(key.into()))
}

pub fn no_such_version() -> ApiError {
    error("NoSuchVersion", 404, "The specified version does not exist.")
}

pub fn no_such_upload() -> ApiError {
    error(
        "NoSuchUpload",
        404,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
}

pub fn method_not_allowed() -> ApiError {
    error("MethodNotAllowed", 405, "The specified method is not allowed against this resource.")
}

pub fn bucket_already_owned() -> ApiError {
    error(
        "BucketAlreadyOwnedByYou",
        409,
        "Your previous request to create the named bucket succeeded and you already own it.",
    )
}

pub fn bucket_not_empty() -> ApiError {
    error("BucketNotEmpty", 409, "The bucket you tried to delete is not empty")
}

pub fn precondition_failed(condition: &str) -> ApiError {
    error("PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold")
        .with_member("Condition", Node::Str(condition.into()))
}

pub fn not_modified() -> ApiError {
    error("NotModified", 304, "Not Modified")
}

pub fn bad_digest(what: &str) -> ApiError {
    error("BadDigest", 400, format!("The {what} you specified did not match the calculated checksum."))
}

pub fn invalid_digest() -> ApiError {
    error("InvalidDigest", 400, "The Content-MD5 you specified is not valid.")
}

pub fn incomplete_body() -> ApiError {
    error(
        "IncompleteBody",
        400,
        "You did not provide the number of bytes specified by the Content-Length HTTP header",
    )
}

/// A checksum that was announced for the trailer did not come.
pub fn malformed_trailer() -> ApiError {
    error(
        "MalformedTrailerError",
        400,
        "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    )
}

/// The body is not the one whose hash was signed.
pub fn content_hash_mismatch() -> ApiError {
    error(
        "XAmzContentSHA256Mismatch",
        400,
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )
}

pub fn entity_too_large() -> ApiError {
    error("EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size")
}

pub fn entity_too_small() -> ApiError {
    error("EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size")
}

pub fn invalid_part() -> ApiError {
    error(
        "InvalidPart",
        400,
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
    )
}

pub fn invalid_part_order() -> ApiError {
    error(
        "InvalidPartOrder",
        400,
        "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
    )
}

pub fn invalid_argument(message: impl Into<String>) -> ApiError {
    error("InvalidArgument", 400, message)
}

pub fn invalid_range() -> ApiError {
    error("InvalidRange", 416, "The requested range is not satisfiable")
}

pub fn key_too_long() -> ApiError {
    error("KeyTooLongError", 400, "Your key is too long")
}

pub fn malformed(message: impl Into<String>) -> ApiError {
    error("InvalidRequest", 400, message)
}

/// Others wrote the same key at the same moment, again and again.
/// The writer's job is someone else's by now.
pub fn lost() -> ApiError {
    error("OperationAborted", 409, "The work that this object belongs to was taken over by another node.")
}

pub fn contended() -> ApiError {
    error(
        "OperationAborted",
        409,
        "A conflicting conditional operation is currently in progress against this resource. Try again.",
    )
}

pub fn storage(cause: StoreError) -> ApiError {
    ApiError::internal(cause)
}

pub fn io(cause: std::io::Error) -> ApiError {
    ApiError::internal(cause)
}

/// The same error as `s3s` sends it.
pub fn to_s3(error: ApiError) -> S3Error {
    let code = match error.code.as_ref() {
        "AccessDeniedException" => S3ErrorCode::AccessDenied,
        "InternalFailure" => S3ErrorCode::InternalError,
        other => S3ErrorCode::from_bytes(other.as_bytes()).unwrap_or(S3ErrorCode::InternalError),
    };
    let mut sent = S3Error::with_message(code, error.message.clone());
    if let Ok(status) = ::http::StatusCode::from_u16(error.status) {
        sent.set_status_code(status);
    }
    if let Some(cause) = &error.cause {
        tracing::error!(%cause, code = %error.code, "an S3 operation failed");
        sent.set_source(Box::new(error));
    }
    sent
}
