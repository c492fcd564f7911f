//! Content on its way in and out: digests while it is written, ranges while it is read.

use crate::errors;
use crate::store::{Checksums, Piece};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::crypto::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
use std::ops::Range;
use std::path::Path;
use tokio::io::AsyncWriteExt;
use towpath_api::ApiError;
use towpath_store::blobs::Blobs;

/// S3's limit for one PUT or part: 5 GiB.
pub const MAX_PUT_BYTES: u64 = 5 << 30;

/// Which checksums to compute; CRC-64/NVME is always among them, as in S3.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub crc32: bool,
    pub crc32c: bool,
    pub sha1: bool,
    pub sha256: bool,
}

fn hasher(wanted: Wanted) -> ChecksumHasher {
    ChecksumHasher {
        crc32: wanted.crc32.then(Crc32::new),
        crc32c: wanted.crc32c.then(Crc32c::new),
        crc64nvme: Some(Crc64Nvme::new()),
        sha1: wanted.sha1.then(Sha1::new),
        sha256: wanted.sha256.then(Sha256::new),
    }
}

fn checksums(hasher: ChecksumHasher) -> Checksums {
    let sums = hasher.finalize();
    Checksums {
        crc32: sums.checksum_crc32,
        crc32c: sums.checksum_crc32c,
        crc64nvme: sums.checksum_crc64nvme,
        sha1: sums.checksum_sha1,
        sha256: sums.checksum_sha256,
    }
}

/// Content that is safe, and what was computed on its way there.
pub struct Written {
    pub piece: Piece,
    /// Lower-case hex.
    pub md5: String,
    /// Lower-case hex.
    pub sha256: String,
    pub checksums: Checksums,
}

/// Writes a body to a new blob: durable when it returns. A body that breaks off leaves nothing.
pub async fn write<S, E>(blobs: &Blobs, body: S, wanted: Wanted) -> Result<Written, ApiError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    let mut writer = blobs.writer().await.map_err(errors::storage)?;
    let mut hasher = hasher(wanted);
    let mut size_bytes = 0u64;
    let mut body = std::pin::pin!(body);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|cause| broken_body(&cause.to_string()))?;
        size_bytes += chunk.len() as u64;
        if size_bytes > MAX_PUT_BYTES {
            return Err(errors::entity_too_large());
        }
        hasher.update(&chunk);
        writer.write(&chunk).await.map_err(errors::storage)?;
    }
    let stored = writer.finish().await.map_err(errors::storage)?;
    Ok(Written {
        piece: Piece { blob: stored.id, size_bytes },
        md5: stored.md5,
        sha256: stored.sha256,
        checksums: checksums(hasher),
    })
}

/// What a failing body stream means: a hash or a chunk's signature that does not fit, or a client that hung up.
/// `s3s` tells only by text.
fn broken_body(cause: &str) -> ApiError {
    if cause.contains("Sha256Mismatch") {
        return errors::content_hash_mismatch();
    }
    if cause.to_ascii_lowercase().contains("signature") {
        return ApiError::client(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
        )
        .with_status(403);
    }
    errors::incomplete_body()
}

/// The bytes `range` of the content that `pieces` make up, as a stream that reads as it is polled.
pub fn read(
    blobs: &Blobs,
    pieces: &[Piece],
    range: Range<u64>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
    let mut cuts = Vec::new();
    let mut start = 0u64;
    for piece in pieces {
        let end = start + piece.size_bytes;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            cuts.push(blobs.read(&piece.blob, from - start..to - start));
        }
        start = end;
    }
    stream::iter(cuts).flatten()
}

/// Copies the whole content to a new file.
pub async fn copy_to(blobs: &Blobs, pieces: &[Piece], destination: &Path) -> std::io::Result<()> {
    let mut file =
        tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(destination).await?;
    let size_bytes = pieces.iter().map(|piece| piece.size_bytes).sum();
    let mut content = std::pin::pin!(read(blobs, pieces, 0..size_bytes));
    while let Some(bytes) = content.next().await {
        file.write_all(&bytes?).await?;
    }
    file.flush().await
}

/// Digests over all pieces together, for content that came in parts.
pub async fn digest(blobs: &Blobs, pieces: &[Piece]) -> std::io::Result<(String, Checksums)> {
    let size_bytes = pieces.iter().map(|piece| piece.size_bytes).sum();
    let mut stream = std::pin::pin!(read(blobs, pieces, 0..size_bytes));
    let mut sums = hasher(Wanted::default());
    let mut sha256 = Sha256::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        sums.update(&chunk);
        sha256.update(&chunk);
    }
    Ok((towpath_api::id::hex(sha256.finalize().as_ref()), checksums(sums)))
}
