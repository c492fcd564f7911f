//! Objects: put, get, head, copy, tags.

use super::{instant, options};
use crate::access::authorize;
use crate::content::{self, Body, Opened, Wanted, Written};
use crate::engine::{S3, Unless};
use crate::errors;
use crate::store::{Checksums, Content, Headers, Piece, Version};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use s3s::dto::*;
use s3s::{S3Request, TrailingHeaders};
use std::ops::Range as ByteRange;
use towpath_api::{ApiError, Call};

/// What a client said about a body's checksums: in headers, or by name for the trailer.
pub struct Sent {
    pub checksums: Checksums,
    pub md5: Option<String>,
    trailer: Option<TrailingHeaders>,
    /// The checksums that the trailer must bring.
    announced: Vec<String>,
    /// The content's length, where the body travels in chunks and is longer.
    decoded_bytes: Option<u64>,
    wanted: Wanted,
}

impl Sent {
    pub fn new<T>(request: &S3Request<T>, checksums: Checksums, md5: Option<String>) -> Self {
        let header = |header: &str| request.headers.get(header).and_then(|value| value.to_str().ok());
        let trailers = header("x-amz-trailer").unwrap_or_default();
        let announced: Vec<String> = trailers
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| name.starts_with("x-amz-checksum-"))
            .collect();
        let named = |name: &str| {
            announced.contains(&format!("x-amz-checksum-{name}"))
                || header("x-amz-sdk-checksum-algorithm")
                    .is_some_and(|algorithm| algorithm.eq_ignore_ascii_case(name))
        };
        let wanted = Wanted {
            crc32: checksums.crc32.is_some() || named("crc32"),
            crc32c: checksums.crc32c.is_some() || named("crc32c"),
            sha1: checksums.sha1.is_some() || named("sha1"),
            sha256: checksums.sha256.is_some() || named("sha256"),
        };
        let decoded_bytes = header("x-amz-decoded-content-length").and_then(|text| text.parse().ok());
        let trailer = request.trailing_headers.clone();
        Sent { checksums, md5, trailer, announced, decoded_bytes, wanted }
    }

    /// Takes in an object's body and refuses it when a digest does not fit; nothing names it then.
    pub async fn receive(mut self, s3: &S3, body: Option<StreamingBlob>) -> Result<Written<Body>, ApiError> {
        let written = content::receive(&s3.blobs, arriving(body), self.wanted).await?;
        if let Err(error) = self.check(&written) {
            if let Body::Blob(piece) = &written.body {
                s3.blobs.delete(&piece.blob).await.map_err(errors::storage)?;
            }
            return Err(error);
        }
        Ok(written)
    }

    /// Writes a part's body and refuses it when a digest does not fit; nothing names it then.
    pub async fn write(mut self, s3: &S3, body: Option<StreamingBlob>) -> Result<Written<Piece>, ApiError> {
        let written = content::write(&s3.blobs, arriving(body), self.wanted).await?;
        if let Err(error) = self.check(&written) {
            s3.blobs.delete(&written.body.blob).await.map_err(errors::storage)?;
            return Err(error);
        }
        Ok(written)
    }

    /// What was said before the body and behind it, against what came.
    fn check<B>(&mut self, written: &Written<B>) -> Result<(), ApiError> {
        let trailer = self.trailer.take().and_then(|trailer| trailer.take()).unwrap_or_default();
        if self.decoded_bytes.is_some_and(|bytes| bytes != written.size_bytes) {
            return Err(errors::incomplete_body());
        }
        if self.announced.iter().any(|name| !trailer.contains_key(name.as_str())) {
            return Err(errors::malformed_trailer());
        }
        let value = |name: &str| trailer.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let sent = &mut self.checksums;
        sent.crc32 = sent.crc32.take().or(value("x-amz-checksum-crc32"));
        sent.crc32c = sent.crc32c.take().or(value("x-amz-checksum-crc32c"));
        sent.crc64nvme = sent.crc64nvme.take().or(value("x-amz-checksum-crc64nvme"));
        sent.sha1 = sent.sha1.take().or(value("x-amz-checksum-sha1"));
        sent.sha256 = sent.sha256.take().or(value("x-amz-checksum-sha256"));
        options::compare(&self.checksums, &written.checksums)?;
        options::compare_md5(self.md5.as_deref(), &written.md5)
    }
}

/// A body that was not sent is empty.
fn arriving(body: Option<StreamingBlob>) -> impl Stream<Item = Result<Bytes, s3s::StdError>> {
    stream::iter(body).flatten()
}

pub fn unless(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> Result<Unless, ApiError> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Unless::Never),
        (None, Some(condition)) if condition.is_any() => Ok(Unless::Exists),
        (Some(ETagCondition::ETag(etag)), None) => Ok(Unless::EtagDiffers(etag.value().to_owned())),
        _ => Err(ApiError::not_implemented("this combination of If-Match and If-None-Match on a write")),
    }
}

fn refuse_put_options(input: &PutObjectInput) -> Result<(), ApiError> {
    options::check_acl(input.acl.as_ref().map(|acl| acl.as_str()))?;
    options::refuse(&[
        ("ServerSideEncryption", input.server_side_encryption.is_some()),
        ("SSECustomerAlgorithm", input.sse_customer_algorithm.is_some()),
        ("SSEKMSKeyId", input.ssekms_key_id.is_some()),
        ("ObjectLockMode", input.object_lock_mode.is_some()),
        ("ObjectLockLegalHoldStatus", input.object_lock_legal_hold_status.is_some()),
        ("ObjectLockRetainUntilDate", input.object_lock_retain_until_date.is_some()),
        (
            "StorageClass",
            input.storage_class.as_ref().is_some_and(|class| class.as_str() != StorageClass::STANDARD),
        ),
        ("WebsiteRedirectLocation", input.website_redirect_location.is_some()),
        ("WriteOffsetBytes", input.write_offset_bytes.is_some()),
        ("Expires", input.expires.is_some()),
        ("GrantFullControl", input.grant_full_control.is_some()),
        ("GrantRead", input.grant_read.is_some()),
        ("GrantReadACP", input.grant_read_acp.is_some()),
        ("GrantWriteACP", input.grant_write_acp.is_some()),
    ])
}

pub async fn put_object(
    s3: &S3,
    call: &Call,
    mut request: S3Request<PutObjectInput>,
) -> Result<PutObjectOutput, ApiError> {
    refuse_put_options(&request.input)?;
    options::check_owner(request.input.expected_bucket_owner.as_deref(), &call.account)?;
    let body = request.input.body.take();
    let input = &request.input;
    s3.bucket(&input.bucket).await?;
    let unless = unless(input.if_match.as_ref(), input.if_none_match.as_ref())?;
    let tags = options::parse_tags(input.tagging.as_deref())?;
    let checksums = Checksums {
        crc32: input.checksum_crc32.clone(),
        crc32c: input.checksum_crc32c.clone(),
        crc64nvme: input.checksum_crc64nvme.clone(),
        sha1: input.checksum_sha1.clone(),
        sha256: input.checksum_sha256.clone(),
    };
    let written = Sent::new(&request, checksums, input.content_md5.clone()).receive(s3, body).await?;
    let (pieces, small) = written.body.named();
    let content = Content {
        size_bytes: written.size_bytes,
        pieces,
        small: small.as_ref().map(|small| small.id.clone()),
        etag: written.md5,
        sha256: written.sha256,
        checksums: written.checksums,
        headers: Headers {
            content_type: input.content_type.clone(),
            cache_control: input.cache_control.clone(),
            content_disposition: input.content_disposition.clone(),
            content_encoding: input
                .content_encoding
                .clone()
                .map(drop_chunked)
                .filter(|encoding| !encoding.is_empty()),
            content_language: input.content_language.clone(),
        },
        metadata: input.metadata.clone().unwrap_or_default().into_iter().collect(),
        tags,
    };
    let stored = s3.put(call, (&input.bucket, &input.key), content, &unless, "PutObject", |txn| {
        small.iter().for_each(|small| _ = txn.create(small));
    });
    let stored = stored.await?;
    let content = stored.content().ok_or_else(|| errors::no_such_key(&input.key))?;
    let checksums = content.checksums.clone();
    Ok(PutObjectOutput {
        e_tag: Some(ETag::Strong(content.etag.clone())),
        version_id: (!stored.null).then(|| stored.order.clone()),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        checksum_type: Some(ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        ..Default::default()
    })
}

/// `aws-chunked` is how the body travelled, not how the object is encoded.
fn drop_chunked(encoding: String) -> String {
    let kept: Vec<&str> = encoding.split(',').map(str::trim).filter(|part| *part != "aws-chunked").collect();
    kept.join(",")
}

/// The conditions of a read, in RFC 9110's order of precedence.
struct Conditions<'a> {
    if_match: Option<&'a ETagCondition>,
    if_none_match: Option<&'a ETagCondition>,
    if_modified_since: Option<&'a Timestamp>,
    if_unmodified_since: Option<&'a Timestamp>,
}

impl Conditions<'_> {
    fn check(&self, version: &Version, content: &Content) -> Result<(), ApiError> {
        let is =
            |condition: &ETagCondition| condition.as_etag().is_none_or(|etag| etag.value() == content.etag);
        let seconds =
            |at: towpath_api::Timestamp| towpath_api::Timestamp::from_millis(at.as_millis() / 1000 * 1000);
        let modified = instant(seconds(version.last_modified));
        match (self.if_match, self.if_unmodified_since) {
            (Some(condition), _) if !is(condition) => return Err(errors::precondition_failed("If-Match")),
            (None, Some(since)) if modified > *since => {
                return Err(errors::precondition_failed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(condition), _) if is(condition) => Err(errors::not_modified()),
            (None, Some(since)) if modified <= *since => Err(errors::not_modified()),
            _ => Ok(()),
        }
    }
}

struct Slice {
    bytes: ByteRange<u64>,
    content_range: Option<String>,
}

fn slice(range: Option<&Range>, content: &Content) -> Result<Slice, ApiError> {
    let Some(range) = range else { return Ok(Slice { bytes: 0..content.size_bytes, content_range: None }) };
    let bytes = range.check(content.size_bytes).map_err(|_| errors::invalid_range())?;
    let header = format!("bytes {}-{}/{}", bytes.start, bytes.end.saturating_sub(1), content.size_bytes);
    Ok(Slice { bytes, content_range: Some(header) })
}

pub async fn get_object(
    s3: &S3,
    _call: &Call,
    request: S3Request<GetObjectInput>,
) -> Result<GetObjectOutput, ApiError> {
    let input = request.input;
    options::refuse(&[
        ("partNumber", input.part_number.is_some()),
        ("SSECustomerAlgorithm", input.sse_customer_algorithm.is_some()),
    ])?;
    let (version, opened) = s3.open(&input.bucket, &input.key, input.version_id.as_deref()).await?;
    let content = version.content().ok_or_else(|| errors::no_such_key(&input.key))?;
    Conditions {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    }
    .check(&version, content)?;
    let slice = slice(input.range.as_ref(), content)?;
    let asked = input.checksum_mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    let checksums =
        if asked && slice.content_range.is_none() { content.checksums.clone() } else { Checksums::default() };
    let body = opened.read(&s3.blobs, slice.bytes.clone());
    Ok(GetObjectOutput {
        body: Some(StreamingBlob::wrap(body)),
        accept_ranges: Some("bytes".into()),
        content_length: Some((slice.bytes.end - slice.bytes.start) as i64),
        content_range: slice.content_range,
        content_type: Some(content.headers.content_type.clone().unwrap_or_else(default_type)),
        cache_control: content.headers.cache_control.clone(),
        content_disposition: content.headers.content_disposition.clone(),
        content_encoding: content.headers.content_encoding.clone(),
        content_language: content.headers.content_language.clone(),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        last_modified: Some(instant(version.last_modified)),
        metadata: Some(content.metadata.clone().into_iter().collect()),
        tag_count: (!content.tags.is_empty()).then_some(content.tags.len() as i32),
        version_id: (!version.null).then(|| version.order.clone()),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        checksum_type: asked.then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        ..Default::default()
    })
}

fn default_type() -> String {
    "binary/octet-stream".into()
}

pub async fn head_object(
    s3: &S3,
    _call: &Call,
    request: S3Request<HeadObjectInput>,
) -> Result<HeadObjectOutput, ApiError> {
    let input = request.input;
    options::refuse(&[
        ("partNumber", input.part_number.is_some()),
        ("SSECustomerAlgorithm", input.sse_customer_algorithm.is_some()),
    ])?;
    let version = s3.find(&input.bucket, &input.key, input.version_id.as_deref()).await?;
    let content = version.content().ok_or_else(|| errors::no_such_key(&input.key))?;
    Conditions {
        if_match: input.if_match.as_ref(),
        if_none_match: input.if_none_match.as_ref(),
        if_modified_since: input.if_modified_since.as_ref(),
        if_unmodified_since: input.if_unmodified_since.as_ref(),
    }
    .check(&version, content)?;
    let slice = slice(input.range.as_ref(), content)?;
    let asked = input.checksum_mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
    let checksums = if asked { content.checksums.clone() } else { Checksums::default() };
    Ok(HeadObjectOutput {
        accept_ranges: Some("bytes".into()),
        content_length: Some((slice.bytes.end - slice.bytes.start) as i64),
        content_range: slice.content_range,
        content_type: Some(content.headers.content_type.clone().unwrap_or_else(default_type)),
        cache_control: content.headers.cache_control.clone(),
        content_disposition: content.headers.content_disposition.clone(),
        content_encoding: content.headers.content_encoding.clone(),
        content_language: content.headers.content_language.clone(),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        last_modified: Some(instant(version.last_modified)),
        metadata: Some(content.metadata.clone().into_iter().collect()),
        version_id: (!version.null).then(|| version.order.clone()),
        checksum_crc32: checksums.crc32,
        checksum_crc32c: checksums.crc32c,
        checksum_crc64nvme: checksums.crc64nvme,
        checksum_sha1: checksums.sha1,
        checksum_sha256: checksums.sha256,
        checksum_type: asked.then(|| ChecksumType::from_static(ChecksumType::FULL_OBJECT)),
        ..Default::default()
    })
}

/// The object that a copy reads, for a caller who may read it.
pub async fn copy_source(s3: &S3, call: &Call, source: &CopySource) -> Result<(Version, Opened), ApiError> {
    let CopySource::Bucket { bucket, key, version_id } = source else {
        return Err(ApiError::not_implemented("copying from access points"));
    };
    let action = if version_id.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" };
    authorize(call, action, &format!("arn:aws:s3:::{bucket}/{key}"))?;
    s3.open(bucket, key, version_id.as_deref()).await
}

pub async fn copy_object(
    s3: &S3,
    call: &Call,
    request: S3Request<CopyObjectInput>,
) -> Result<CopyObjectOutput, ApiError> {
    let input = request.input;
    options::check_acl(input.acl.as_ref().map(|acl| acl.as_str()))?;
    options::refuse(&[
        ("ServerSideEncryption", input.server_side_encryption.is_some()),
        ("SSECustomerAlgorithm", input.sse_customer_algorithm.is_some()),
        ("CopySourceIfMatch", input.copy_source_if_match.is_some()),
        ("CopySourceIfNoneMatch", input.copy_source_if_none_match.is_some()),
        ("CopySourceIfModifiedSince", input.copy_source_if_modified_since.is_some()),
        ("CopySourceIfUnmodifiedSince", input.copy_source_if_unmodified_since.is_some()),
        ("ObjectLockMode", input.object_lock_mode.is_some()),
        (
            "StorageClass",
            input.storage_class.as_ref().is_some_and(|class| class.as_str() != StorageClass::STANDARD),
        ),
        ("WebsiteRedirectLocation", input.website_redirect_location.is_some()),
        ("Expires", input.expires.is_some()),
    ])?;
    let (source, opened) = copy_source(s3, call, &input.copy_source).await?;
    let mut content = source.content().cloned().ok_or_else(|| errors::no_such_key(&source.key))?;
    let replace =
        input.metadata_directive.as_ref().is_some_and(|how| how.as_str() == MetadataDirective::REPLACE);
    if replace {
        content.headers = Headers {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
        };
        content.metadata = input.metadata.unwrap_or_default().into_iter().collect();
    } else if source.bucket == input.bucket && source.key == input.key && source.null {
        return Err(errors::malformed(
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }
    if input.tagging_directive.as_ref().is_some_and(|how| how.as_str() == TaggingDirective::REPLACE) {
        content.tags = options::parse_tags(input.tagging.as_deref())?;
    }
    // Small content has one owner: a copy has its own.
    let small = opened.copied();
    content.small = small.as_ref().map(|small| small.id.clone());
    // The source's record guards its content: it cannot be released between reading and naming it again.
    let guard = s3.version(&source.bucket, &source.key, source.id()).await?;
    let stored = s3
        .put(call, (&input.bucket, &input.key), content, &Unless::Never, "CopyObject", |txn| {
            small.iter().for_each(|small| _ = txn.create(small));
            if !(guard.null && guard.bucket == input.bucket && guard.key == input.key) {
                txn.expect(&guard);
            }
        })
        .await?;
    let etag = stored.content().map(|content| ETag::Strong(content.etag.clone()));
    Ok(CopyObjectOutput {
        copy_object_result: Some(CopyObjectResult {
            e_tag: etag,
            last_modified: Some(instant(stored.last_modified)),
            ..Default::default()
        }),
        copy_source_version_id: (!source.null).then(|| source.order.clone()),
        version_id: (!stored.null).then(|| stored.order.clone()),
        ..Default::default()
    })
}

pub async fn get_object_tagging(
    s3: &S3,
    _call: &Call,
    request: S3Request<GetObjectTaggingInput>,
) -> Result<GetObjectTaggingOutput, ApiError> {
    let input = request.input;
    let version = s3.find(&input.bucket, &input.key, input.version_id.as_deref()).await?;
    let content = version.content().ok_or_else(|| errors::no_such_key(&input.key))?;
    let tags =
        content.tags.iter().map(|(name, value)| Tag { key: Some(name.clone()), value: Some(value.clone()) });
    Ok(GetObjectTaggingOutput {
        tag_set: tags.collect(),
        version_id: (!version.null).then(|| version.order.clone()),
    })
}
