//! Content on its way in and out: digests while it is written, ranges while it is read.
//!
//! Small content is kept in the database, beside the record that names it, and shares the commit's one sync
//! (`docs/decisions/0015-small-objects-in-the-database.md`). Larger content is a blob.

use crate::errors;
use crate::store::{Checksums, Content, Piece, SmallContent};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::future::Either;
use futures_util::{Stream, StreamExt, stream};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::crypto::{Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use std::ops::Range;
use std::path::Path;
use tokio::io::AsyncWriteExt;
use towpath_api::{ApiError, id};
use towpath_store::blobs::Blobs;

/// S3's limit for one PUT or part: 5 GiB.
pub const MAX_PUT_BYTES: u64 = 5 << 30;

/// Content up to this size is small. A blob costs two syncs before its record's; this much more in the
/// database costs less.
pub const SMALL_BYTES: usize = 16 << 10;

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

/// Content that has arrived, and what was computed on its way.
pub struct Written<B> {
    pub body: B,
    pub size_bytes: u64,
    /// Lower-case hex.
    pub md5: String,
    /// Lower-case hex.
    pub sha256: String,
    pub checksums: Checksums,
}

impl<B> Written<B> {
    fn map<T>(self, change: impl FnOnce(B) -> T) -> Written<T> {
        let Written { body, size_bytes, md5, sha256, checksums } = self;
        Written { body: change(body), size_bytes, md5, sha256, checksums }
    }
}

/// Where an object's content is.
pub enum Body {
    /// In memory: safe once it is committed with its record.
    Small(SmallContent),
    /// Safe.
    Blob(Piece),
}

impl Body {
    /// What a record says of it, and what must be committed with the record.
    pub fn named(self) -> (Vec<Piece>, Option<SmallContent>) {
        match self {
            Body::Small(content) => (Vec::new(), Some(content)),
            Body::Blob(piece) => (vec![piece], None),
        }
    }
}

impl SmallContent {
    pub fn new(bytes: &[u8]) -> SmallContent {
        SmallContent { id: id::hex(&id::random_bytes::<16>()), bytes: STANDARD.encode(bytes) }
    }

    /// The bytes, if they are those that `content` was stored with.
    fn open(&self, content: &Content) -> std::io::Result<Bytes> {
        let bytes = STANDARD.decode(&self.bytes).map_err(|_| damaged(&self.id))?;
        let mut sha256 = Sha256::new();
        sha256.update(&bytes);
        if id::hex(sha256.finalize().as_ref()) != content.sha256 {
            return Err(damaged(&self.id));
        }
        Ok(bytes.into())
    }
}

fn damaged(id: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, format!("the small content {id} is damaged"))
}

/// Takes in a body: durable when it returns, but for a small one. A body that breaks off leaves nothing.
pub async fn receive<S, E>(blobs: &Blobs, body: S, wanted: Wanted) -> Result<Written<Body>, ApiError>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut start = BytesMut::new();
    let mut next = body.next().await;
    while let Some(Ok(chunk)) = &next
        && start.len() + chunk.len() <= SMALL_BYTES
    {
        start.extend_from_slice(chunk);
        next = body.next().await;
    }
    if next.is_some() {
        let start = (!start.is_empty()).then(|| Ok(start.freeze()));
        let body = stream::iter(start.into_iter().chain(next)).chain(body);
        return Ok(write(blobs, body, wanted).await?.map(Body::Blob));
    }
    let (mut hasher, mut md5, mut sha256) = (hasher(wanted), Md5::new(), Sha256::new());
    hasher.update(&start);
    md5.update(&start);
    sha256.update(&start);
    Ok(Written {
        body: Body::Small(SmallContent::new(&start)),
        size_bytes: start.len() as u64,
        md5: id::hex(md5.finalize().as_ref()),
        sha256: id::hex(sha256.finalize().as_ref()),
        checksums: checksums(hasher),
    })
}

/// Writes a body to a new blob, however small: durable when it returns. A body that breaks off leaves nothing.
pub async fn write<S, E>(blobs: &Blobs, body: S, wanted: Wanted) -> Result<Written<Piece>, ApiError>
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
        body: Piece { blob: stored.id, size_bytes },
        size_bytes,
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

/// An object's content, ready to be read.
pub enum Opened {
    Small(Bytes),
    Blobs(Vec<Piece>),
}

impl Opened {
    pub fn small(content: &Content, found: &SmallContent) -> std::io::Result<Opened> {
        Ok(Opened::Small(found.open(content)?))
    }

    /// What a copy of it has for itself, where it is small.
    pub fn copied(&self) -> Option<SmallContent> {
        match self {
            Opened::Small(bytes) => Some(SmallContent::new(bytes)),
            Opened::Blobs(_) => None,
        }
    }

    /// The bytes `range`, as a stream that reads as it is polled.
    pub fn read(
        &self,
        blobs: &Blobs,
        range: Range<u64>,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + use<> {
        match self {
            Opened::Small(bytes) => {
                let end = range.end.min(bytes.len() as u64) as usize;
                let slice = bytes.slice((range.start as usize).min(end)..end);
                Either::Left(stream::iter((!slice.is_empty()).then_some(Ok(slice))))
            }
            Opened::Blobs(pieces) => Either::Right(read(blobs, pieces, range)),
        }
    }

    /// Copies the whole content to a new file.
    pub async fn copy_to(&self, blobs: &Blobs, destination: &Path) -> std::io::Result<()> {
        let mut file =
            tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(destination).await?;
        let mut content = std::pin::pin!(self.read(blobs, 0..u64::MAX));
        while let Some(bytes) = content.next().await {
            file.write_all(&bytes?).await?;
        }
        file.flush().await
    }
}

/// The bytes `range` of the content that `pieces` make up, as a stream that reads as it is polled.
fn read(
    blobs: &Blobs,
    pieces: &[Piece],
    range: Range<u64>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + use<> {
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
    Ok((id::hex(sha256.finalize().as_ref()), checksums(sums)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn received(blobs: &Blobs, chunks: &[usize]) -> Written<Body> {
        let chunks = chunks.iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size])));
        receive(blobs, stream::iter(chunks.collect::<Vec<_>>()), Wanted::default()).await.unwrap()
    }

    #[tokio::test]
    async fn content_is_small_up_to_the_limit_however_it_arrives() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().join("blobs")).await.unwrap();
        for chunks in [&[][..], &[5], &[0, 5, 0], &[SMALL_BYTES], &[1, SMALL_BYTES - 1], &[SMALL_BYTES, 0]] {
            let written = received(&blobs, chunks).await;
            assert_eq!(written.size_bytes, chunks.iter().sum::<usize>() as u64);
            assert!(matches!(written.body, Body::Small(_)), "{chunks:?}");
        }
        for chunks in [&[SMALL_BYTES + 1][..], &[SMALL_BYTES, 1], &[1, SMALL_BYTES], &[5, 1 << 20, 7]] {
            let written = received(&blobs, chunks).await;
            let whole = vec![b'x'; chunks.iter().sum()];
            let Body::Blob(piece) = &written.body else { panic!("{chunks:?} is small") };
            assert_eq!((written.size_bytes, piece.size_bytes), (whole.len() as u64, whole.len() as u64));
            let stored = blobs.put(&whole).await.unwrap();
            assert_eq!((written.md5, written.sha256), (stored.md5, stored.sha256));
        }
        let small = received(&blobs, &[500, 12]).await;
        let stored = blobs.put(&[b'x'; 512]).await.unwrap();
        assert_eq!((small.md5, small.sha256), (stored.md5, stored.sha256));
    }

    #[tokio::test]
    async fn small_content_is_read_by_ranges_and_only_if_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().join("blobs")).await.unwrap();
        let written =
            receive(&blobs, stream::iter([Ok::<_, std::io::Error>(Bytes::from("hello"))]), Wanted::default());
        let written = written.await.unwrap();
        let (pieces, small) = written.body.named();
        let (size_bytes, mut small) = (written.size_bytes, small.unwrap());
        let content = Content {
            pieces,
            small: Some(small.id.clone()),
            size_bytes,
            etag: written.md5,
            sha256: written.sha256,
            checksums: written.checksums,
            headers: Default::default(),
            metadata: Default::default(),
            tags: Default::default(),
        };
        let opened = Opened::small(&content, &small).unwrap();
        for (range, text) in [(0..5, "hello"), (1..3, "el"), (4..9, "o"), (5..9, ""), (0..0, "")] {
            let found: Vec<_> = opened.read(&blobs, range).collect().await;
            assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat(), text.as_bytes());
        }
        for damaged in [STANDARD.encode("hellO"), STANDARD.encode("hell"), "?".into()] {
            small.bytes = damaged;
            assert!(Opened::small(&content, &small).is_err());
        }
    }
}
