//! Blobs as objects of S3, or of a store that speaks it, below one prefix: `blobs/ab/<id>`, `files/…`, and
//! `owner`, which names the database that the prefix belongs to.
//!
//! A small blob is one PUT. A larger one passes through a file of the spool folder and goes out in parts
//! while it comes in; all uploads of the process share a few part buffers, so memory does not grow with
//! their number, and a slow client holds none. A blob is finished when the store has acknowledged it whole.
//!
//! **Crash.** A spooled file is removed at the next start. A multipart upload that was neither completed
//! nor aborted is no object; the bucket's life-cycle rule for incomplete uploads is what removes its parts.

use super::files::temporary_name;
use super::location::Location;
use super::spool::{self, Digests, Spool};
use super::transport::Transport;
use super::{Blob, BlobId, BlobStream, FileEntry, blocking, stream};
use crate::StoreError;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{
    Error, GetOptions, GetRange, MultipartId, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use towpath_api::id;

/// S3 wants at least 5 MiB and takes 10,000 parts: enough for everything that fits into one PUT.
const PART_BYTES: u64 = 8 << 20;
/// Parts on their way at the same time, of the whole process.
const PARTS_IN_FLIGHT: usize = 8;
/// How long the first word with the store may take.
const FIRST_WORD: Duration = Duration::from_secs(20);
const RETRY_FOR: Duration = Duration::from_secs(60);
const OWNER: &str = "owner";

/// What a store must be able to do.
pub(super) trait Service: ObjectStore + MultipartStore {}
impl<T: ObjectStore + MultipartStore> Service for T {}

#[derive(Clone, Debug)]
pub struct Remote {
    service: Arc<dyn Service>,
    prefix: String,
    spool: PathBuf,
    turns: Arc<Semaphore>,
}

impl Remote {
    pub async fn connect(location: &Location, spool: PathBuf, owner: &str) -> Result<Remote, StoreError> {
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&location.bucket)
            .with_virtual_hosted_style_request(location.virtual_host)
            .with_disable_bulk_delete(true)
            .with_allow_http(true)
            .with_retry(RetryConfig { max_retries: 8, retry_timeout: RETRY_FOR, ..RetryConfig::default() })
            .with_http_connector(Transport::new()?);
        if let Some(endpoint) = &location.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &location.region {
            builder = builder.with_region(region);
        }
        if let Some((id, secret)) = &location.credentials {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        let service = builder.build().map_err(StoreError::storage)?;
        let remote = Remote::over(Arc::new(service), &location.prefix, spool).await?;
        let unreachable = |cause: &str| {
            StoreError::storage(format!(
                "the object store {location} cannot be used: {cause}. Look at the bucket's name, the endpoint, \
                 and the credentials in the URL or in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ))
        };
        match tokio::time::timeout(FIRST_WORD, remote.claim(owner)).await {
            Ok(Ok(())) => Ok(remote),
            Ok(Err(Claim::Other(found))) => Err(StoreError::Invalid(format!(
                "the object store {location} belongs to another database (its {OWNER} is {found:?}, ours is {owner:?}); use another prefix"
            ))),
            Ok(Err(Claim::Failed(error))) => Err(unreachable(&error.to_string())),
            Err(_) => Err(unreachable("no answer")),
        }
    }

    pub(super) async fn over(
        service: Arc<dyn Service>,
        prefix: &str,
        spool: PathBuf,
    ) -> Result<Remote, StoreError> {
        let folder = spool.clone();
        blocking(move || spool::empty(&folder)).await?;
        let turns = Arc::new(Semaphore::new(PARTS_IN_FLIGHT));
        Ok(Remote { service, prefix: prefix.to_owned(), spool, turns })
    }

    fn path(&self, rest: &str) -> ObjectPath {
        ObjectPath::from(format!("{}/{rest}", self.prefix))
    }

    fn blob(&self, id: &BlobId) -> ObjectPath {
        self.path(&format!("blobs/{}/{id}", id.shard()))
    }

    fn file(&self, name: &str) -> ObjectPath {
        self.path(&format!("files/{name}"))
    }

    /// Makes the prefix this database's, or sees that it is.
    async fn claim(&self, owner: &str) -> Result<(), Claim> {
        let path = self.path(OWNER);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.service.get(&path).await {
            Err(Error::NotFound { .. }) => {
                match self.service.put_opts(&path, owner.to_owned().into(), options).await {
                    Ok(_) | Err(Error::AlreadyExists { .. }) => {}
                    Err(error) => return Err(Claim::Failed(error)),
                }
            }
            Err(error) => return Err(Claim::Failed(error)),
            Ok(_) => {}
        }
        let found = self.service.get(&path).await.map_err(Claim::Failed)?;
        let found = found.bytes().await.map_err(Claim::Failed)?;
        match found == owner.as_bytes() {
            true => Ok(()),
            false => Err(Claim::Other(String::from_utf8_lossy(&found).chars().take(80).collect())),
        }
    }

    pub fn sink(&self, id: &BlobId) -> Sink {
        Sink::new(self.clone(), self.blob(id))
    }

    pub fn read(&self, id: &BlobId, range: Range<u64>) -> BlobStream {
        self.read_object(self.blob(id), Some(range))
    }

    fn read_object(&self, path: ObjectPath, range: Option<Range<u64>>) -> BlobStream {
        if range.as_ref().is_some_and(Range::is_empty) {
            return BlobStream::new(futures_util::stream::empty());
        }
        let service = self.service.clone();
        let expected = range.clone();
        let opened = async move {
            let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
            let found = service.get_opts(&path, options).await.map_err(as_io)?;
            if expected.as_ref().is_some_and(|expected| found.range != *expected) {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            Ok(found.into_stream().map_err(as_io))
        };
        BlobStream::new(futures_util::stream::once(opened).try_flatten())
    }

    pub async fn delete(&self, id: &BlobId) -> Result<(), StoreError> {
        self.delete_object(&self.blob(id)).await
    }

    async fn delete_object(&self, path: &ObjectPath) -> Result<(), StoreError> {
        match self.service.delete(path).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::storage(error)),
        }
    }

    pub async fn ids(&self, shard: u8) -> Result<Vec<(BlobId, SystemTime)>, StoreError> {
        let prefix = self.path(&format!("blobs/{}", id::hex(&[shard])));
        let mut listing = self.service.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(object) = listing.next().await {
            let object = object.map_err(StoreError::storage)?;
            let name = object.location.filename().map(str::to_owned);
            let Some(id) = name.and_then(|name| BlobId::try_from(name).ok()) else { continue };
            found.push((id, object.last_modified.into()));
        }
        Ok(found)
    }

    pub async fn put_file(&self, name: &str, source: &Path) -> Result<bool, StoreError> {
        let path = self.file(name);
        match self.service.head(&path).await {
            Ok(_) => return Ok(false),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(StoreError::storage(error)),
        }
        let source = source.to_owned();
        let (file, size_bytes) = blocking(move || {
            let file = File::open(source)?;
            let size_bytes = file.metadata()?.len();
            Ok((Arc::new(file), size_bytes))
        })
        .await?;
        if size_bytes <= PART_BYTES {
            let content = read_part(file, 0..size_bytes).await?;
            self.service.put(&path, content.into()).await.map_err(StoreError::storage)?;
            return Ok(true);
        }
        let mut upload = Upload::begin(self.clone(), path, file).await?;
        upload.advance(size_bytes);
        upload.complete(size_bytes).await?;
        Ok(true)
    }

    pub async fn get_file(&self, name: &str, destination: &Path) -> Result<bool, StoreError> {
        match stream::to_new_file(self.read_object(self.file(name), None), destination).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn delete_file(&self, name: &str) -> Result<(), StoreError> {
        self.delete_object(&self.file(name)).await
    }

    pub async fn list_files(&self, folder: &str) -> Result<Vec<FileEntry>, StoreError> {
        let top = format!("{}/", self.path("files"));
        let mut listing = self.service.list(Some(&self.file(folder)));
        let mut found = Vec::new();
        while let Some(object) = listing.next().await {
            let object = object.map_err(StoreError::storage)?;
            let Some(name) = object.location.as_ref().strip_prefix(&top) else { continue };
            let (size_bytes, modified_at) = (object.size, object.last_modified.into());
            found.push(FileEntry { name: name.to_owned(), size_bytes, modified_at });
        }
        Ok(found)
    }
}

enum Claim {
    Other(String),
    Failed(Error),
}

fn as_io(error: Error) -> io::Error {
    match &error {
        Error::NotFound { .. } => io::Error::new(io::ErrorKind::NotFound, error),
        _ => io::Error::other(error),
    }
}

async fn read_part(file: Arc<File>, range: Range<u64>) -> Result<Bytes, StoreError> {
    blocking(move || {
        let mut content = vec![0; (range.end - range.start) as usize];
        file.read_exact_at(&mut content, range.start)?;
        Ok(Bytes::from(content))
    })
    .await
}

/// A blob on its way into the store.
pub struct Sink {
    remote: Remote,
    path: ObjectPath,
    state: State,
}

enum State {
    /// Nothing was written yet: it may still be a blob that one PUT stores.
    Empty,
    Spooled(Box<Spooled>),
    /// A write failed: the blob is lost.
    Lost,
}

struct Spooled {
    upload: Upload,
    spool: Spool,
    digests: Digests,
    size_bytes: u64,
}

impl Sink {
    fn new(remote: Remote, path: ObjectPath) -> Sink {
        Sink { remote, path, state: State::Empty }
    }

    /// Gives the buffer back, empty.
    pub async fn write(&mut self, mut buffer: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let mut spooled = match std::mem::replace(&mut self.state, State::Lost) {
            State::Spooled(spooled) => spooled,
            State::Empty => Box::new(self.begin().await?),
            State::Lost => return Err(super::lost()),
        };
        let (mut spool, mut digests) = (spooled.spool, spooled.digests);
        let length = buffer.len() as u64;
        let (spool, digests, buffer) = blocking(move || {
            spool.write(&buffer)?;
            digests.update(&buffer);
            buffer.clear();
            Ok((spool, digests, buffer))
        })
        .await?;
        (spooled.spool, spooled.digests) = (spool, digests);
        spooled.size_bytes += length;
        spooled.upload.advance(spooled.size_bytes);
        self.state = State::Spooled(spooled);
        Ok(buffer)
    }

    async fn begin(&self) -> Result<Spooled, StoreError> {
        let temporary = self.remote.spool.join(temporary_name());
        let (spool, file) = blocking(move || {
            let spool = Spool::create(temporary)?;
            let file = spool.file.try_clone()?;
            Ok((spool, file))
        })
        .await?;
        let upload = Upload::begin(self.remote.clone(), self.path.clone(), Arc::new(file)).await?;
        Ok(Spooled { upload, spool, digests: Digests::default(), size_bytes: 0 })
    }

    pub async fn finish(mut self, id: BlobId, rest: Vec<u8>) -> Result<Blob, StoreError> {
        if matches!(self.state, State::Empty) {
            let mut digests = Digests::default();
            digests.update(&rest);
            let payload = PutPayload::from(rest);
            self.remote.service.put(&self.path, payload).await.map_err(StoreError::storage)?;
            return Ok(digests.blob(id));
        }
        self.write(rest).await?;
        let State::Spooled(spooled) = self.state else { return Err(super::lost()) };
        spooled.upload.complete(spooled.size_bytes).await?;
        Ok(spooled.digests.blob(id))
    }
}

/// A multipart upload of a file that may still grow. Dropped before it is complete, it is aborted.
struct Upload {
    remote: Remote,
    path: ObjectPath,
    file: Arc<File>,
    upload: Option<MultipartId>,
    /// Bytes that parts were begun for.
    begun_bytes: u64,
    begun_parts: usize,
    parts: JoinSet<Result<(usize, PartId), StoreError>>,
}

impl Upload {
    async fn begin(remote: Remote, path: ObjectPath, file: Arc<File>) -> Result<Upload, StoreError> {
        let upload = remote.service.create_multipart(&path).await.map_err(StoreError::storage)?;
        let parts = JoinSet::new();
        Ok(Upload { remote, path, file, upload: Some(upload), begun_bytes: 0, begun_parts: 0, parts })
    }

    /// Begins every whole part of the file's first `size_bytes`.
    fn advance(&mut self, size_bytes: u64) {
        while size_bytes - self.begun_bytes >= PART_BYTES {
            self.send(PART_BYTES);
        }
    }

    fn send(&mut self, length: u64) {
        let Some(upload) = self.upload.clone() else { return };
        let range = self.begun_bytes..self.begun_bytes + length;
        let number = self.begun_parts;
        self.begun_bytes = range.end;
        self.begun_parts += 1;
        let (remote, path, file) = (self.remote.clone(), self.path.clone(), self.file.clone());
        self.parts.spawn(async move {
            let _turn = remote.turns.acquire().await.map_err(StoreError::storage)?;
            let content = read_part(file, range).await?;
            let sent = remote.service.put_part(&path, &upload, number, content.into()).await;
            Ok((number, sent.map_err(StoreError::storage)?))
        });
    }

    async fn complete(mut self, size_bytes: u64) -> Result<(), StoreError> {
        self.advance(size_bytes);
        let left = size_bytes - self.begun_bytes;
        if left > 0 {
            self.send(left);
        }
        let mut sent = Vec::with_capacity(self.begun_parts);
        while let Some(part) = self.parts.join_next().await {
            sent.push(part.map_err(StoreError::storage)??);
        }
        sent.sort_by_key(|(number, _)| *number);
        let parts = sent.into_iter().map(|(_, part)| part).collect();
        let Some(upload) = &self.upload else { return Err(super::lost()) };
        self.remote
            .service
            .complete_multipart(&self.path, upload, parts)
            .await
            .map_err(StoreError::storage)?;
        self.upload = None;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        self.parts.abort_all();
        let (remote, path) = (self.remote.clone(), self.path.clone());
        runtime.spawn(async move {
            if let Err(error) = remote.service.abort_multipart(&path, &upload).await {
                tracing::warn!(%error, %path, "an abandoned upload stays until the bucket's rule removes it");
            }
        });
    }
}
