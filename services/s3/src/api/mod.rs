//! S3's operations as `s3s` calls them: each is one line here and a small function in the module of its
//! resource. What is not listed is refused by name in [`crate::access`], before anything is read.

mod buckets;
mod delete;
mod listings;
mod objects;
mod options;
mod parts;

use crate::engine::S3;
use crate::errors::to_s3;
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};
use std::sync::Arc;
use towpath_api::{ApiError, Call, Timestamp};

/// The service as `s3s` sees it.
pub struct Api(pub Arc<S3>);

/// The caller, put into the request by the access check.
fn call<T>(request: &S3Request<T>) -> Result<Call, ApiError> {
    request
        .extensions
        .get::<Call>()
        .cloned()
        .ok_or_else(|| ApiError::client("AccessDenied", "Access Denied").with_status(403))
}

fn instant(at: Timestamp) -> s3s::dto::Timestamp {
    let millis = std::time::Duration::from_millis(at.as_millis().max(0) as u64);
    (std::time::UNIX_EPOCH + millis).into()
}

macro_rules! operations {
    ($($name:ident: $input:ident => $output:ident = $module:ident;)*) => {
        #[async_trait::async_trait]
        impl s3s::S3 for Api {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                let call = call(&request).map_err(to_s3)?;
                $module::$name(&self.0, &call, request).await.map(S3Response::new).map_err(to_s3)
            })*
        }
    };
}

operations! {
    list_buckets: ListBucketsInput => ListBucketsOutput = buckets;
    create_bucket: CreateBucketInput => CreateBucketOutput = buckets;
    delete_bucket: DeleteBucketInput => DeleteBucketOutput = buckets;
    head_bucket: HeadBucketInput => HeadBucketOutput = buckets;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput = buckets;
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput = buckets;
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput = buckets;
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput = buckets;
    put_bucket_tagging: PutBucketTaggingInput => PutBucketTaggingOutput = buckets;
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput = buckets;
    put_object: PutObjectInput => PutObjectOutput = objects;
    get_object: GetObjectInput => GetObjectOutput = objects;
    head_object: HeadObjectInput => HeadObjectOutput = objects;
    copy_object: CopyObjectInput => CopyObjectOutput = objects;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput = objects;
    delete_object: DeleteObjectInput => DeleteObjectOutput = delete;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput = delete;
    list_objects: ListObjectsInput => ListObjectsOutput = listings;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output = listings;
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput = listings;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput = parts;
    upload_part: UploadPartInput => UploadPartOutput = parts;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput = parts;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput = parts;
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput = parts;
    list_parts: ListPartsInput => ListPartsOutput = parts;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput = parts;
}
