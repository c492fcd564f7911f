//! Listings of keys and of versions. With `encoding-type=url` names come back percent-encoded, which
//! is what clients decode again.

use super::{instant, options};
use crate::engine::S3;
use crate::errors;
use crate::listing::{Listing, Query};
use crate::store::{Entry, Version};
use s3s::S3Request;
use s3s::dto::*;
use towpath_api::{ApiError, Call};
use towpath_wire::paging::Seal;

const MAX_KEYS: i32 = 1000;

/// How names are written.
#[derive(Clone, Copy)]
struct Names {
    url: bool,
}

impl Names {
    fn new(encoding: Option<&EncodingType>) -> Self {
        Names { url: encoding.is_some_and(|encoding| encoding.as_str() == EncodingType::URL) }
    }

    fn write(self, name: &str) -> String {
        if self.url { percent_encode(name) } else { name.to_owned() }
    }
}

fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                encoded.push(byte as char)
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn limit(max_keys: Option<i32>) -> Result<i32, ApiError> {
    match max_keys {
        Some(negative) if negative < 0 => {
            Err(errors::invalid_argument("Argument maxKeys must be an integer between 0 and 2147483647"))
        }
        wanted => Ok(wanted.unwrap_or(MAX_KEYS).min(MAX_KEYS)),
    }
}

/// Where a continuation token says to go on.
pub(super) fn continued(seal: &Seal, token: Option<&str>) -> Result<Option<String>, ApiError> {
    let incorrect = || errors::invalid_argument("The continuation token provided is incorrect");
    token.map(|token| seal.unwrap(token).ok_or_else(incorrect)).transpose()
}

fn objects(listing: &Listing, names: Names, owner: Option<&str>) -> Vec<Object> {
    let rows = listing.objects.iter().filter_map(|version| Some((version, version.content()?)));
    rows.map(|(version, content)| Object {
        key: Some(names.write(&version.key)),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        last_modified: Some(instant(version.last_modified)),
        size: Some(content.size_bytes as i64),
        owner: owner.map(|id| Owner { id: Some(id.to_owned()), display_name: None }),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    })
    .collect()
}

fn prefixes(listing: &Listing, names: Names) -> Vec<CommonPrefix> {
    listing.prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(names.write(prefix)) }).collect()
}

pub async fn list_objects_v2(
    s3: &S3,
    call: &Call,
    request: S3Request<ListObjectsV2Input>,
) -> Result<ListObjectsV2Output, ApiError> {
    let input = request.input;
    options::check_owner(input.expected_bucket_owner.as_deref(), &call.account)?;
    s3.bucket(&input.bucket).await?;
    let names = Names::new(input.encoding_type.as_ref());
    let max_keys = limit(input.max_keys)?;
    let (prefix, delimiter) = (input.prefix.as_deref(), input.delimiter.as_deref());
    let question = [&input.bucket, prefix.unwrap_or_default(), delimiter.unwrap_or_default()];
    let seal = Seal::new(call, &[&["ListObjectsV2"], question.as_slice()].concat());
    let token = continued(&seal, input.continuation_token.as_deref())?;
    let listing = s3
        .list_current(&Query {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: token.as_deref().or(input.start_after.as_deref()).unwrap_or_default(),
            limit: max_keys as usize,
        })
        .await?;
    let owner = (input.fetch_owner == Some(true)).then_some(call.account.as_str());
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(names.write(input.prefix.as_deref().unwrap_or_default())),
        delimiter: input.delimiter.map(|delimiter| names.write(&delimiter)),
        start_after: input.start_after.map(|after| names.write(&after)),
        max_keys: Some(max_keys),
        key_count: Some(listing.len() as i32),
        is_truncated: Some(listing.next.is_some()),
        continuation_token: input.continuation_token,
        next_continuation_token: listing.next.as_ref().map(|next| seal.wrap(next)),
        contents: Some(objects(&listing, names, owner)),
        common_prefixes: Some(prefixes(&listing, names)),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

pub async fn list_objects(
    s3: &S3,
    call: &Call,
    request: S3Request<ListObjectsInput>,
) -> Result<ListObjectsOutput, ApiError> {
    let input = request.input;
    options::check_owner(input.expected_bucket_owner.as_deref(), &call.account)?;
    s3.bucket(&input.bucket).await?;
    let names = Names::new(input.encoding_type.as_ref());
    let max_keys = limit(input.max_keys)?;
    let listing = s3
        .list_current(&Query {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.marker.as_deref().unwrap_or_default(),
            limit: max_keys as usize,
        })
        .await?;
    let next_marker =
        listing.next.as_deref().filter(|_| input.delimiter.is_some()).map(|next| names.write(next));
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(names.write(input.prefix.as_deref().unwrap_or_default())),
        marker: Some(names.write(input.marker.as_deref().unwrap_or_default())),
        delimiter: input.delimiter.map(|delimiter| names.write(&delimiter)),
        max_keys: Some(max_keys),
        is_truncated: Some(listing.next.is_some()),
        next_marker,
        contents: Some(objects(&listing, names, Some(&call.account))),
        common_prefixes: Some(prefixes(&listing, names)),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

pub async fn list_object_versions(
    s3: &S3,
    call: &Call,
    request: S3Request<ListObjectVersionsInput>,
) -> Result<ListObjectVersionsOutput, ApiError> {
    let input = request.input;
    options::check_owner(input.expected_bucket_owner.as_deref(), &call.account)?;
    options::refuse(&[(
        "delimiter in ListObjectVersions",
        input.delimiter.as_ref().is_some_and(|text| !text.is_empty()),
    )])?;
    s3.bucket(&input.bucket).await?;
    let names = Names::new(input.encoding_type.as_ref());
    let max_keys = limit(input.max_keys)?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    let marker = input.key_marker.as_deref().filter(|marker| !marker.is_empty());
    let order = match (marker, input.version_id_marker.as_deref()) {
        (Some(key), Some("null")) => s3.version(&input.bucket, key, "null").await?.order.clone(),
        (_, order) => order.unwrap_or_default().to_owned(),
    };
    let after = marker.map(|key| (key, order.as_str()));
    let (rows, more) = s3.list_versions(&input.bucket, prefix, after, max_keys as usize).await?;
    let mut before = after.filter(|(_, order)| !order.is_empty()).map(|(key, _)| key.to_owned());
    let mut versions = Vec::new();
    let mut markers = Vec::new();
    for row in &rows {
        let latest = before.as_deref() != Some(row.key.as_str());
        before = Some(row.key.clone());
        push_row(row, latest, names, &call.account, &mut versions, &mut markers);
    }
    let last = rows.last().filter(|_| more);
    Ok(ListObjectVersionsOutput {
        name: Some(input.bucket),
        prefix: Some(names.write(prefix)),
        key_marker: Some(names.write(input.key_marker.as_deref().unwrap_or_default())),
        version_id_marker: input.version_id_marker,
        max_keys: Some(max_keys),
        is_truncated: Some(more),
        next_key_marker: last.map(|row| names.write(&row.key)),
        next_version_id_marker: last.map(|row| row.id().to_owned()),
        versions: Some(versions),
        delete_markers: Some(markers),
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

fn push_row(
    row: &Version,
    latest: bool,
    names: Names,
    owner: &str,
    versions: &mut Vec<ObjectVersion>,
    markers: &mut Vec<DeleteMarkerEntry>,
) {
    let owner = Some(Owner { id: Some(owner.to_owned()), display_name: None });
    match &row.entry {
        Entry::Object(content) => versions.push(ObjectVersion {
            key: Some(names.write(&row.key)),
            version_id: Some(row.id().to_owned()),
            is_latest: Some(latest),
            e_tag: Some(ETag::Strong(content.etag.clone())),
            size: Some(content.size_bytes as i64),
            last_modified: Some(instant(row.last_modified)),
            owner,
            storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
            ..Default::default()
        }),
        Entry::DeleteMarker => markers.push(DeleteMarkerEntry {
            key: Some(names.write(&row.key)),
            version_id: Some(row.id().to_owned()),
            is_latest: Some(latest),
            last_modified: Some(instant(row.last_modified)),
            owner,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_survive_the_url_encoding() {
        let names = Names { url: true };
        assert_eq!(names.write("a b+c/ä"), "a%20b%2Bc/%C3%A4");
        assert_eq!(crate::http::percent_decode(&names.write("a b+c/ä")), "a b+c/ä");
        assert_eq!(Names { url: false }.write("a b"), "a b");
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(limit(None).unwrap(), 1000);
        assert_eq!(limit(Some(5000)).unwrap(), 1000);
        assert_eq!(limit(Some(0)).unwrap(), 0);
        assert_eq!(limit(Some(-1)).unwrap_err().code, "InvalidArgument");
    }
}
