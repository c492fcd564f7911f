//! Multipart uploads.

use super::objects::{Sent, copy_source, unless};
use super::{instant, options};
use crate::content;
use crate::engine::S3;
use crate::errors;
use crate::multipart::Listed;
use crate::store::{Checksums, Headers};
use s3s::S3Request;
use s3s::dto::*;
use std::ops::Range as ByteRange;
use towpath_api::{ApiError, Call};

const PAGE: i32 = 1000;

pub async fn create_multipart_upload(
    s3: &S3,
    call: &Call,
    request: S3Request<CreateMultipartUploadInput>,
) -> Result<CreateMultipartUploadOutput, ApiError> {
    let input = request.input;
    options::check_acl(input.acl.as_ref().map(|acl| acl.as_str()))?;
    options::check_owner(input.expected_bucket_owner.as_deref(), &call.account)?;
    options::refuse(&[
        ("ServerSideEncryption", input.server_side_encryption.is_some()),
        ("SSECustomerAlgorithm", input.sse_customer_algorithm.is_some()),
        ("ObjectLockMode", input.object_lock_mode.is_some()),
        (
            "StorageClass",
            input.storage_class.as_ref().is_some_and(|class| class.as_str() != StorageClass::STANDARD),
        ),
        ("WebsiteRedirectLocation", input.website_redirect_location.is_some()),
        ("Expires", input.expires.is_some()),
    ])?;
    let headers = Headers {
        content_type: input.content_type,
        cache_control: input.cache_control,
        content_disposition: input.content_disposition,
        content_encoding: input.content_encoding,
        content_language: input.content_language,
    };
    let metadata = input.metadata.unwrap_or_default().into_iter().collect();
    let tags = options::parse_tags(input.tagging.as_deref())?;
    let upload = s3.create_upload(&input.bucket, &input.key, headers, metadata, tags).await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(upload.bucket),
        key: Some(upload.key),
        upload_id: Some(upload.id),
        checksum_algorithm: input.checksum_algorithm,
        ..Default::default()
    })
}

pub async fn upload_part(
    s3: &S3,
    _call: &Call,
    mut request: S3Request<UploadPartInput>,
) -> Result<UploadPartOutput, ApiError> {
    let body = request.input.body.take();
    let input = &request.input;
    options::refuse(&[("SSECustomerAlgorithm", input.sse_customer_algorithm.is_some())])?;
    let number = S3::part_number(input.part_number)?;
    s3.upload(&input.bucket, &input.key, &input.upload_id).await?;
    let checksums = Checksums {
        crc32: input.checksum_crc32.clone(),
        crc32c: input.checksum_crc32c.clone(),
        crc64nvme: input.checksum_crc64nvme.clone(),
        sha1: input.checksum_sha1.clone(),
        sha256: input.checksum_sha256.clone(),
    };
    let written = Sent::new(&request, checksums, input.content_md5.clone()).write(s3, body).await?;
    let part = s3.put_part(&input.bucket, &input.key, &input.upload_id, number, &written).await?;
    Ok(UploadPartOutput {
        e_tag: Some(ETag::Strong(part.md5)),
        checksum_crc32: part.checksums.crc32,
        checksum_crc32c: part.checksums.crc32c,
        checksum_crc64nvme: part.checksums.crc64nvme,
        checksum_sha1: part.checksums.sha1,
        checksum_sha256: part.checksums.sha256,
        ..Default::default()
    })
}

/// `bytes=first-last`, within the source.
fn copy_range(text: Option<&str>, size_bytes: u64) -> Result<ByteRange<u64>, ApiError> {
    let Some(text) = text else { return Ok(0..size_bytes) };
    let wrong = || {
        errors::invalid_argument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy",
        )
    };
    let (first, last) =
        text.strip_prefix("bytes=").and_then(|text| text.split_once('-')).ok_or_else(wrong)?;
    let (first, last): (u64, u64) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if first > last || last >= size_bytes {
        return Err(errors::invalid_range());
    }
    Ok(first..last + 1)
}

pub async fn upload_part_copy(
    s3: &S3,
    call: &Call,
    request: S3Request<UploadPartCopyInput>,
) -> Result<UploadPartCopyOutput, ApiError> {
    let input = request.input;
    options::refuse(&[
        ("CopySourceIfMatch", input.copy_source_if_match.is_some()),
        ("CopySourceIfNoneMatch", input.copy_source_if_none_match.is_some()),
        ("CopySourceIfModifiedSince", input.copy_source_if_modified_since.is_some()),
        ("CopySourceIfUnmodifiedSince", input.copy_source_if_unmodified_since.is_some()),
        ("SSECustomerAlgorithm", input.sse_customer_algorithm.is_some()),
    ])?;
    let number = S3::part_number(input.part_number)?;
    s3.upload(&input.bucket, &input.key, &input.upload_id).await?;
    let (source, opened) = copy_source(s3, call, &input.copy_source).await?;
    let content = source.content().ok_or_else(|| errors::no_such_key(&source.key))?;
    let range = copy_range(input.copy_source_range.as_deref(), content.size_bytes)?;
    let body = opened.read(&s3.blobs, range);
    let written = content::write(&s3.blobs, body, Default::default()).await?;
    let part = s3.put_part(&input.bucket, &input.key, &input.upload_id, number, &written).await?;
    Ok(UploadPartCopyOutput {
        copy_part_result: Some(CopyPartResult {
            e_tag: Some(ETag::Strong(part.md5)),
            last_modified: Some(instant(part.last_modified)),
            ..Default::default()
        }),
        copy_source_version_id: (!source.null).then(|| source.order.clone()),
        ..Default::default()
    })
}

pub async fn complete_multipart_upload(
    s3: &S3,
    call: &Call,
    request: S3Request<CompleteMultipartUploadInput>,
) -> Result<CompleteMultipartUploadOutput, ApiError> {
    let input = request.input;
    let unless = unless(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
    let listed: Vec<Listed> = parts
        .into_iter()
        .map(|part| Listed {
            number: part.part_number.unwrap_or_default(),
            etag: part.e_tag.map(ETag::into_value).unwrap_or_default(),
        })
        .collect();
    let target = (input.bucket.as_str(), input.key.as_str());
    let stored = s3.complete_upload(call, target, &input.upload_id, &listed, &unless).await?;
    let content = stored.content().ok_or_else(|| errors::no_such_key(&input.key))?;
    Ok(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        version_id: (!stored.null).then(|| stored.order.clone()),
        checksum_crc64nvme: content.checksums.crc64nvme.clone(),
        checksum_type: Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        ..Default::default()
    })
}

pub async fn abort_multipart_upload(
    s3: &S3,
    _call: &Call,
    request: S3Request<AbortMultipartUploadInput>,
) -> Result<AbortMultipartUploadOutput, ApiError> {
    let input = request.input;
    s3.abort_upload(&input.bucket, &input.key, &input.upload_id).await?;
    Ok(AbortMultipartUploadOutput::default())
}

pub async fn list_parts(
    s3: &S3,
    call: &Call,
    request: S3Request<ListPartsInput>,
) -> Result<ListPartsOutput, ApiError> {
    let input = request.input;
    s3.upload(&input.bucket, &input.key, &input.upload_id).await?;
    let limit = input.max_parts.unwrap_or(PAGE).clamp(1, PAGE) as usize;
    let after =
        input.part_number_marker.as_ref().and_then(|marker| marker.to_string().parse().ok()).unwrap_or(0u32);
    let mut rows = s3.parts(&input.upload_id, after, limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.number);
    let parts = rows
        .into_iter()
        .map(|row| Part {
            part_number: Some(row.number as i32),
            e_tag: Some(ETag::Strong(row.md5.clone())),
            size: Some(row.piece.size_bytes as i64),
            last_modified: Some(instant(row.last_modified)),
            ..Default::default()
        })
        .collect();
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(input.key),
        upload_id: Some(input.upload_id),
        max_parts: Some(limit as i32),
        is_truncated: Some(more),
        part_number_marker: input.part_number_marker,
        next_part_number_marker: next.and_then(|next| next.to_string().parse().ok()),
        parts: Some(parts),
        owner: Some(Owner { id: Some(call.account.clone()), display_name: None }),
        ..Default::default()
    })
}

pub async fn list_multipart_uploads(
    s3: &S3,
    _call: &Call,
    request: S3Request<ListMultipartUploadsInput>,
) -> Result<ListMultipartUploadsOutput, ApiError> {
    let input = request.input;
    options::refuse(&[(
        "delimiter in ListMultipartUploads",
        input.delimiter.as_ref().is_some_and(|text| !text.is_empty()),
    )])?;
    s3.bucket(&input.bucket).await?;
    let limit = input.max_uploads.unwrap_or(PAGE).clamp(1, PAGE);
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let after = input
        .key_marker
        .as_deref()
        .filter(|marker| !marker.is_empty())
        .map(|key| (key, input.upload_id_marker.as_deref().unwrap_or("\u{10FFFE}")));
    let (rows, more) = s3.uploads(&input.bucket, prefix, after, limit as usize).await?;
    let last = rows.last().filter(|_| more);
    let (next_key_marker, next_upload_id_marker) =
        (last.map(|row| row.key.clone()), last.map(|row| row.id.clone()));
    let uploads = rows
        .iter()
        .map(|row| MultipartUpload {
            key: Some(row.key.clone()),
            upload_id: Some(row.id.clone()),
            initiated: Some(instant(row.initiated_at)),
            ..Default::default()
        })
        .collect();
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix,
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(limit),
        is_truncated: Some(more),
        next_key_marker,
        next_upload_id_marker,
        uploads: Some(uploads),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_copy_range_lies_within_the_source() {
        assert_eq!(copy_range(None, 10).unwrap(), 0..10);
        assert_eq!(copy_range(Some("bytes=2-5"), 10).unwrap(), 2..6);
        assert_eq!(copy_range(Some("bytes=2-10"), 10).unwrap_err().code, "InvalidRange");
        assert_eq!(copy_range(Some("bytes=5-2"), 10).unwrap_err().code, "InvalidRange");
        assert_eq!(copy_range(Some("2-5"), 10).unwrap_err().code, "InvalidArgument");
    }
}
