//! Buckets: create, list, delete, versioning, tags.

use super::listings::continued;
use super::{instant, options};
use crate::engine::S3;
use crate::errors;
use crate::store::{Bucket, Versioning};
use s3s::S3Request;
use s3s::dto::*;
use towpath_api::{ApiError, Call};
use towpath_store::Order;
use towpath_wire::paging::Seal;

const MAX_BUCKETS: i32 = 10_000;

/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html>
pub async fn list_buckets(
    s3: &S3,
    call: &Call,
    request: S3Request<ListBucketsInput>,
) -> Result<ListBucketsOutput, ApiError> {
    let input = request.input;
    let limit = input.max_buckets.unwrap_or(MAX_BUCKETS);
    if !(1..=MAX_BUCKETS).contains(&limit) {
        let message = format!("max-buckets must be an integer between 1 and {MAX_BUCKETS}");
        return Err(errors::invalid_argument(&message));
    }
    let limit = limit as usize;
    // An endpoint answers for its own region alone.
    if let Some(other) = input.bucket_region.as_deref().filter(|region| *region != s3.config.region) {
        let own = &s3.config.region;
        let message = format!("bucket-region {other} is not the region of this endpoint, {own}");
        return Err(errors::invalid_argument(&message));
    }
    let prefix = input.prefix.clone().unwrap_or_default();
    let region = input.bucket_region.as_deref();
    let seal = Seal::new(call, &["ListBuckets", &prefix, region.unwrap_or_default()]);
    let mut after = continued(&seal, input.continuation_token.as_deref())?;
    let mut buckets = Vec::new();
    let next = loop {
        let wanted = (limit - buckets.len()).min(1000);
        let page = s3.store.list::<Bucket>(&prefix, after.as_deref(), wanted, Order::Ascending).await;
        let page = page.map_err(errors::storage)?;
        // A server that was started with another region has buckets of both.
        let here = |bucket: &Bucket| region.is_none_or(|region| bucket.region == region);
        buckets.extend(page.items.into_iter().map(|bucket| bucket.doc).filter(here));
        match page.next {
            Some(next) if buckets.len() < limit => after = Some(next),
            next => break next,
        }
    };
    let buckets = buckets
        .into_iter()
        .map(|bucket| s3s::dto::Bucket {
            name: Some(bucket.name),
            creation_date: Some(instant(bucket.created_at)),
            bucket_region: Some(bucket.region),
        })
        .collect();
    Ok(ListBucketsOutput {
        buckets: Some(buckets),
        owner: Some(Owner { id: Some(call.account.clone()), display_name: None }),
        continuation_token: next.map(|next| seal.wrap(&next)),
        prefix: input.prefix,
    })
}

pub async fn create_bucket(
    s3: &S3,
    _call: &Call,
    request: S3Request<CreateBucketInput>,
) -> Result<CreateBucketOutput, ApiError> {
    let input = request.input;
    options::check_acl(input.acl.as_ref().map(|acl| acl.as_str()))?;
    options::refuse(&[
        ("ObjectLockEnabledForBucket", input.object_lock_enabled_for_bucket == Some(true)),
        ("GrantFullControl", input.grant_full_control.is_some()),
        ("GrantRead", input.grant_read.is_some()),
        ("GrantReadACP", input.grant_read_acp.is_some()),
        ("GrantWrite", input.grant_write.is_some()),
        ("GrantWriteACP", input.grant_write_acp.is_some()),
    ])?;
    if let Some(wanted) = input.create_bucket_configuration.and_then(|wanted| wanted.location_constraint)
        && wanted.as_str() != s3.config.region
    {
        return Err(ApiError::client(
            "IllegalLocationConstraintException",
            format!(
                "The {} location constraint is incompatible for the region specific endpoint this request was sent to.",
                wanted.as_str()
            ),
        ));
    }
    s3.create_bucket(&input.bucket).await?;
    Ok(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })
}

pub async fn delete_bucket(
    s3: &S3,
    call: &Call,
    request: S3Request<DeleteBucketInput>,
) -> Result<DeleteBucketOutput, ApiError> {
    options::check_owner(request.input.expected_bucket_owner.as_deref(), &call.account)?;
    s3.delete_bucket(&request.input.bucket).await?;
    Ok(DeleteBucketOutput::default())
}

pub async fn head_bucket(
    s3: &S3,
    call: &Call,
    request: S3Request<HeadBucketInput>,
) -> Result<HeadBucketOutput, ApiError> {
    options::check_owner(request.input.expected_bucket_owner.as_deref(), &call.account)?;
    let bucket = s3.bucket(&request.input.bucket).await?;
    Ok(HeadBucketOutput { bucket_region: Some(bucket.region.clone()), ..Default::default() })
}

pub async fn get_bucket_location(
    s3: &S3,
    _call: &Call,
    request: S3Request<GetBucketLocationInput>,
) -> Result<GetBucketLocationOutput, ApiError> {
    let bucket = s3.bucket(&request.input.bucket).await?;
    let elsewhere = (bucket.region != "us-east-1").then(|| bucket.region.clone());
    Ok(GetBucketLocationOutput { location_constraint: elsewhere.map(BucketLocationConstraint::from) })
}

pub async fn get_bucket_versioning(
    s3: &S3,
    _call: &Call,
    request: S3Request<GetBucketVersioningInput>,
) -> Result<GetBucketVersioningOutput, ApiError> {
    let status = match s3.bucket(&request.input.bucket).await?.versioning {
        Versioning::Never => None,
        Versioning::Enabled => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED)),
        Versioning::Suspended => Some(BucketVersioningStatus::from_static(BucketVersioningStatus::SUSPENDED)),
    };
    Ok(GetBucketVersioningOutput { status, ..Default::default() })
}

pub async fn put_bucket_versioning(
    s3: &S3,
    _call: &Call,
    request: S3Request<PutBucketVersioningInput>,
) -> Result<PutBucketVersioningOutput, ApiError> {
    let wanted = request.input.versioning_configuration;
    options::refuse(&[("MfaDelete", wanted.mfa_delete.is_some_and(|mfa| mfa.as_str() == "Enabled"))])?;
    let versioning = match wanted.status.as_ref().map(|status| status.as_str()) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        _ => {
            return Err(ApiError::client(
                "IllegalVersioningConfigurationException",
                "The Versioning element must be specified",
            ));
        }
    };
    s3.change_bucket(&request.input.bucket, |bucket| bucket.versioning = versioning).await?;
    Ok(PutBucketVersioningOutput::default())
}

pub async fn get_bucket_tagging(
    s3: &S3,
    _call: &Call,
    request: S3Request<GetBucketTaggingInput>,
) -> Result<GetBucketTaggingOutput, ApiError> {
    let bucket = s3.bucket(&request.input.bucket).await?;
    if bucket.tags.is_empty() {
        return Err(ApiError::client("NoSuchTagSet", "The TagSet does not exist").with_status(404));
    }
    let tags =
        bucket.tags.iter().map(|(name, value)| Tag { key: Some(name.clone()), value: Some(value.clone()) });
    Ok(GetBucketTaggingOutput { tag_set: tags.collect() })
}

pub async fn put_bucket_tagging(
    s3: &S3,
    _call: &Call,
    request: S3Request<PutBucketTaggingInput>,
) -> Result<PutBucketTaggingOutput, ApiError> {
    let pairs = request.input.tagging.tag_set.into_iter();
    let tags: std::collections::BTreeMap<String, String> =
        pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())).collect();
    if tags.len() > 50 {
        return Err(ApiError::client("BadRequest", "Bucket tag count cannot be greater than 50"));
    }
    s3.change_bucket(&request.input.bucket, |bucket| bucket.tags.clone_from(&tags)).await?;
    Ok(PutBucketTaggingOutput::default())
}

pub async fn delete_bucket_tagging(
    s3: &S3,
    _call: &Call,
    request: S3Request<DeleteBucketTaggingInput>,
) -> Result<DeleteBucketTaggingOutput, ApiError> {
    s3.change_bucket(&request.input.bucket, |bucket| bucket.tags.clear()).await?;
    Ok(DeleteBucketTaggingOutput::default())
}
