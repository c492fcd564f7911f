//! Multipart uploads: parts are content of their own, and the finished object is made of them as they
//! lie; nothing is copied.
//! Source: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html>.

use crate::content::{self, Written};
use crate::engine::{S3, Unless, check_key, release, use_blob};
use crate::errors;
use crate::store::{Checksums, Content, Headers, Part, Piece, Upload, Version};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Call, id};
use towpath_store::{Order, StoreError, Txn, Versioned, key};

const MAX_PARTS: u32 = 10_000;
const MIN_PART_BYTES: u64 = 5 << 20;
const MAX_CONFLICTS: usize = 16;

/// One line of a CompleteMultipartUpload.
pub struct Listed {
    pub number: i32,
    /// Without quotes.
    pub etag: String,
}

fn part_owner(upload: &str, number: u32) -> String {
    format!("part/{upload}/{number:05}")
}

impl S3 {
    pub async fn create_upload(
        &self,
        bucket: &str,
        object_key: &str,
        headers: Headers,
        metadata: BTreeMap<String, String>,
        tags: BTreeMap<String, String>,
    ) -> Result<Upload, ApiError> {
        check_key(object_key)?;
        let owner = self.bucket(bucket).await?;
        let upload = Upload {
            bucket: bucket.into(),
            key: object_key.into(),
            id: id::hex(&id::random_bytes::<32>()),
            initiated_at: self.store.now(),
            headers,
            metadata,
            tags,
        };
        let mut txn = Txn::new();
        txn.expect(&owner);
        txn.create(&upload);
        self.store.commit(txn).await.map_err(errors::storage)?;
        Ok(upload)
    }

    pub async fn upload(
        &self,
        bucket: &str,
        object_key: &str,
        upload: &str,
    ) -> Result<Versioned<Upload>, ApiError> {
        let found = self.store.get(&key(&[bucket, object_key, upload])).await.map_err(errors::storage)?;
        found.ok_or_else(errors::no_such_upload)
    }

    pub fn part_number(number: i32) -> Result<u32, ApiError> {
        u32::try_from(number).ok().filter(|number| (1..=MAX_PARTS).contains(number)).ok_or_else(|| {
            errors::invalid_argument("Part number must be an integer between 1 and 10000, inclusive")
        })
    }

    /// Records a part whose content is stored; a part of the same number before it is gone.
    pub async fn put_part(
        &self,
        bucket: &str,
        object_key: &str,
        upload: &str,
        number: u32,
        written: &Written<Piece>,
    ) -> Result<Part, ApiError> {
        let part = Part {
            upload: upload.into(),
            number,
            piece: written.body.clone(),
            md5: written.md5.clone(),
            checksums: written.checksums.clone(),
            last_modified: self.store.now(),
        };
        let owner = part_owner(upload, number);
        for _ in 0..MAX_CONFLICTS {
            let record = self.upload(bucket, object_key, upload).await?;
            let part_key = key(&[upload, &format!("{number:05}")]);
            let old = self.store.get::<Part>(&part_key).await.map_err(errors::storage)?;
            let mut txn = Txn::new();
            txn.expect(&record);
            match &old {
                Some(old) => {
                    txn.replace(old, &part);
                    release(&mut txn, &old.piece.blob, &owner);
                }
                None => {
                    txn.create(&part);
                }
            }
            use_blob(&mut txn, &part.piece.blob, owner.clone());
            match self.store.commit(txn).await {
                Err(StoreError::Conflict { .. }) => continue,
                Ok(()) => return Ok(part),
                Err(error) => return Err(errors::storage(error)),
            }
        }
        Err(errors::contended())
    }

    pub async fn parts(
        &self,
        upload: &str,
        after: u32,
        limit: usize,
    ) -> Result<Vec<Versioned<Part>>, ApiError> {
        let from = (after > 0).then(|| key(&[upload, &format!("{after:05}")]));
        let mut parts = Vec::new();
        let mut from = from;
        while parts.len() < limit {
            let wanted = (limit - parts.len()).min(1000);
            let page = self
                .store
                .list(&key(&[upload, ""]), from.as_deref(), wanted, Order::Ascending)
                .await
                .map_err(errors::storage)?;
            parts.extend(page.items);
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        Ok(parts)
    }

    /// Makes the object of the listed parts; parts that are not listed are dropped.
    pub async fn complete_upload(
        &self,
        call: &Call,
        (bucket, object_key): (&str, &str),
        upload: &str,
        listed: &[Listed],
        unless: &Unless,
    ) -> Result<Version, ApiError> {
        let record = self.upload(bucket, object_key, upload).await?;
        let parts = self.parts(upload, 0, MAX_PARTS as usize).await?;
        let chosen = choose(&parts, listed)?;
        let pieces: Vec<Piece> = chosen.iter().map(|part| part.piece.clone()).collect();
        let (sha256, mut checksums) = content::digest(&self.blobs, &pieces).await.map_err(errors::io)?;
        checksums = Checksums { crc64nvme: checksums.crc64nvme, ..Checksums::default() };
        let content = Content {
            size_bytes: pieces.iter().map(|piece| piece.size_bytes).sum(),
            pieces,
            small: None,
            etag: composite_etag(&chosen),
            sha256,
            checksums,
            headers: record.headers.clone(),
            metadata: record.metadata.clone(),
            tags: record.tags.clone(),
        };
        self.put(call, (bucket, object_key), content, unless, "CompleteMultipartUpload", |txn| {
            txn.delete(&record);
            drop_parts(txn, upload, &parts);
        })
        .await
    }

    pub async fn abort_upload(&self, bucket: &str, object_key: &str, upload: &str) -> Result<(), ApiError> {
        for _ in 0..MAX_CONFLICTS {
            let record = self.upload(bucket, object_key, upload).await?;
            let parts = self.parts(upload, 0, MAX_PARTS as usize).await?;
            let mut txn = Txn::new();
            txn.delete(&record);
            drop_parts(&mut txn, upload, &parts);
            match self.store.commit(txn).await {
                Err(StoreError::Conflict { .. }) => continue,
                other => return other.map_err(errors::storage),
            }
        }
        Err(errors::contended())
    }

    pub async fn uploads(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<(Vec<Upload>, bool), ApiError> {
        let from = after.map(|(object_key, upload)| key(&[bucket, object_key, upload]));
        let page = self
            .store
            .list::<Upload>(&key(&[bucket, prefix]), from.as_deref(), limit.max(1), Order::Ascending)
            .await
            .map_err(errors::storage)?;
        Ok((page.items.into_iter().map(|upload| upload.doc).collect(), page.next.is_some()))
    }
}

fn drop_parts(txn: &mut Txn, upload: &str, parts: &[Versioned<Part>]) {
    for part in parts {
        txn.delete(part);
        release(txn, &part.piece.blob, &part_owner(upload, part.number));
    }
}

/// The listed parts, which must ascend, exist with the given ETag, and be large enough but for the last.
fn choose<'a>(parts: &'a [Versioned<Part>], listed: &[Listed]) -> Result<Vec<&'a Part>, ApiError> {
    if listed.is_empty() {
        return Err(errors::malformed("You must specify at least one part"));
    }
    if !listed.windows(2).all(|pair| pair[0].number < pair[1].number) {
        return Err(errors::invalid_part_order());
    }
    let mut chosen: Vec<&Part> = Vec::with_capacity(listed.len());
    for line in listed {
        let part = parts.iter().find(|part| i64::from(part.number) == i64::from(line.number));
        let part = part.filter(|part| part.md5 == line.etag).ok_or_else(errors::invalid_part)?;
        if chosen.last().is_some_and(|before| before.piece.size_bytes < MIN_PART_BYTES) {
            return Err(errors::entity_too_small());
        }
        chosen.push(part);
    }
    Ok(chosen)
}

/// The MD5 of the parts' MD5s, and their number.
fn composite_etag(parts: &[&Part]) -> String {
    use s3s::crypto::{Checksum, Md5};
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(&unhex(&part.md5));
    }
    format!("{}-{}", id::hex(md5.finalize().as_ref()), parts.len())
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn part_numbers_are_bounded() {
        assert_eq!(S3::part_number(1).unwrap(), 1);
        assert_eq!(S3::part_number(10_000).unwrap(), 10_000);
        for number in [0, -1, 10_001] {
            assert_eq!(S3::part_number(number).unwrap_err().code, "InvalidArgument");
        }
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        assert_eq!(id::hex(&unhex("00ff10ab")), "00ff10ab");
    }
}
