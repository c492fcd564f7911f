//! Deletes of one object and of many.

use super::options;
use crate::access::authorize;
use crate::engine::S3;
use s3s::S3Request;
use s3s::dto::*;
use towpath_api::{ApiError, Call};

const MAX_KEYS: usize = 1000;

pub async fn delete_object(
    s3: &S3,
    call: &Call,
    request: S3Request<DeleteObjectInput>,
) -> Result<DeleteObjectOutput, ApiError> {
    let input = request.input;
    options::check_owner(input.expected_bucket_owner.as_deref(), &call.account)?;
    options::refuse(&[
        ("If-Match on a delete", input.if_match.is_some()),
        ("x-amz-if-match-size", input.if_match_size.is_some()),
        ("x-amz-if-match-last-modified-time", input.if_match_last_modified_time.is_some()),
        ("MFA", input.mfa.is_some()),
    ])?;
    let (marker, version_id) =
        remove(s3, call, &input.bucket, &input.key, input.version_id.as_deref()).await?;
    Ok(DeleteObjectOutput { delete_marker: marker.then_some(true), version_id, ..Default::default() })
}

/// Whether a delete marker was made or removed, and the version that was.
async fn remove(
    s3: &S3,
    call: &Call,
    bucket: &str,
    key: &str,
    version: Option<&str>,
) -> Result<(bool, Option<String>), ApiError> {
    match version {
        Some(version) => {
            let removed = s3.delete_version(call, bucket, key, version).await?;
            let marker = removed.is_some_and(|removed| removed.content().is_none());
            Ok((marker, Some(version.to_owned())))
        }
        None => {
            let marker = s3.delete(call, bucket, key).await?;
            Ok((marker.is_some(), marker.map(|marker| marker.id().to_owned())))
        }
    }
}

/// Each key is authorized by itself and has its own outcome.
pub async fn delete_objects(
    s3: &S3,
    call: &Call,
    request: S3Request<DeleteObjectsInput>,
) -> Result<DeleteObjectsOutput, ApiError> {
    let input = request.input;
    options::check_owner(input.expected_bucket_owner.as_deref(), &call.account)?;
    options::refuse(&[("MFA", input.mfa.is_some())])?;
    if input.delete.objects.len() > MAX_KEYS || input.delete.objects.is_empty() {
        return Err(ApiError::client(
            "MalformedXML",
            "The XML you provided was not well-formed or did not validate against our published schema",
        ));
    }
    let quiet = input.delete.quiet == Some(true);
    let mut deleted = Vec::new();
    let mut errors = Vec::new();
    for object in input.delete.objects {
        let action = if object.version_id.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
        let resource = format!("arn:aws:s3:::{}/{}", input.bucket, object.key);
        let outcome = match authorize(call, action, &resource) {
            Ok(()) => remove(s3, call, &input.bucket, &object.key, object.version_id.as_deref()).await,
            Err(denial) => Err(denial),
        };
        match outcome {
            Ok(_) if quiet => {}
            Ok((marker, version)) => deleted.push(DeletedObject {
                delete_marker: marker.then_some(true),
                delete_marker_version_id: version.filter(|_| marker),
                key: Some(object.key),
                version_id: object.version_id,
            }),
            Err(error) if error.code == "NoSuchBucket" => return Err(error),
            Err(error) => errors.push(s3s::dto::Error {
                code: Some(if error.status == 403 { "AccessDenied".into() } else { error.code.to_string() }),
                key: Some(object.key),
                message: Some(error.message),
                version_id: object.version_id,
            }),
        }
    }
    Ok(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        ..Default::default()
    })
}
