//! DownloadBundle: a revision from S3 into the folder of its deployment, and old revisions away.
//!
//! The bundle is streamed to disk, must have the ETag that the deployment was planned with, and is unpacked
//! into a fresh folder that takes its place only when it is whole; so a death in between leaves either the
//! old folder or the new one.

use crate::client::{CallError, Client};
use crate::layout::{ARCHIVE, DeploymentDir, Layout, make_folders};
use crate::spec::{S3Revision, Spec};
use crate::stop::Stop;
use crate::{backoff::Backoff, work_error::WorkError};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use towpath_archive::{Limits, Root, unpack};

/// The server refuses larger ones when it plans a deployment.
const LIMITS: Limits =
    Limits { max_entries: 100_000, max_bytes: 2 << 30, max_ratio: 250, max_path_bytes: 4095, max_depth: 128 };
const MAX_BUNDLE_BYTES: u64 = 2 << 30;
/// A server that is away for less does not fail a deployment; one that is away for longer gives a silent host up.
const PATIENCE: Duration = Duration::from_secs(300);

/// Fetches and unpacks the revision; gives its folder.
pub fn fetch(
    client: &Client,
    layout: &Layout,
    spec: &Spec,
    keep: usize,
    stop: &Stop,
) -> Result<(), WorkError> {
    prune(layout, spec, keep)?;
    let dir = layout.deployment(&spec.group_id, &spec.deployment_id);
    make_folders(dir.path())?;
    let bundle = dir.path().join("bundle.tar");
    download(client, &spec.revision, &bundle, stop)?;
    let outcome = extract(&dir, &bundle, spec);
    // The archive is what counts from here on; AWS's agent keeps both.
    fs::remove_file(&bundle).ok();
    outcome?;
    layout.note_most_recent(&spec.group_id, &dir)?;
    Ok(())
}

fn place(revision: &S3Revision) -> String {
    format!("s3://{}/{}", revision.bucket, revision.key)
}

fn download(client: &Client, revision: &S3Revision, bundle: &Path, stop: &Stop) -> Result<(), WorkError> {
    let (mut backoff, begun) = (Backoff::default(), Instant::now());
    loop {
        let error = match attempt(client, revision, bundle) {
            Ok(()) => return Ok(()),
            Err(Attempt::Work(error)) => return Err(error),
            Err(Attempt::Call(error)) => error,
        };
        if !error.is_passing() || begun.elapsed() >= PATIENCE {
            return Err(WorkError::new(format!("{} could not be fetched: {error}", place(revision))));
        }
        let wait = backoff.next(&error);
        tracing::warn!("{} could not be fetched ({error}); trying again", place(revision));
        if stop.wait(wait) && stop.is_abort() {
            return Err(WorkError::aborted());
        }
    }
}

enum Attempt {
    Call(CallError),
    Work(WorkError),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        Attempt::Work(error.into())
    }
}

fn attempt(client: &Client, revision: &S3Revision, bundle: &Path) -> Result<(), Attempt> {
    let work = |message: String| Attempt::Work(WorkError::new(message));
    let response = client
        .get_object(&revision.bucket, &revision.key, revision.version.as_deref())
        .map_err(Attempt::Call)?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(expected) = &revision.etag {
        let found = header("etag").unwrap_or_default();
        if found.trim_matches('"') != expected.trim_matches('"') {
            return Err(work(format!(
                "Expected deployment artifact bundle etag {expected} but was actually {found}"
            )));
        }
    }
    let announced = header("content-length").and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > MAX_BUNDLE_BYTES) {
        return Err(work(format!("{} is larger than {MAX_BUNDLE_BYTES} bytes", place(revision))));
    }
    let mut file = File::create(bundle)?;
    let mut reader = response.into_body().into_reader();
    let mut buffer = vec![0u8; 128 << 10];
    let mut total = 0u64;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Attempt::Call(CallError::Network(format!("the download broke off: {error}"))));
            }
        };
        total += count as u64;
        if total > MAX_BUNDLE_BYTES {
            return Err(work(format!("{} is larger than {MAX_BUNDLE_BYTES} bytes", place(revision))));
        }
        file.write_all(&buffer[..count])?;
    }
    if announced.is_some_and(|bytes| bytes != total) {
        return Err(Attempt::Call(CallError::Network("the download broke off".into())));
    }
    Ok(())
}

fn extract(dir: &DeploymentDir, bundle: &Path, spec: &Spec) -> Result<(), WorkError> {
    let fresh = dir.path().join("deployment-archive-temp");
    remove_tree(&fresh)?;
    make_folders(&fresh)?;
    let root = Root::open(&fresh).map_err(|error| WorkError::new(error.to_string()))?;
    let unpacked = unpack(File::open(bundle)?, Some(spec.revision.kind), &root, &LIMITS);
    if let Err(error) = unpacked {
        // What came before the entry that is refused would lie there until the next deployment.
        remove_tree(&fresh).ok();
        return Err(WorkError::new(format!("The bundle cannot be unpacked: {error}")));
    }
    // A folder that is all there is, and that holds the AppSpec file, is the revision itself.
    let mut top = fs::read_dir(&fresh)?.collect::<io::Result<Vec<_>>>()?;
    let nested = match (top.pop(), top.is_empty()) {
        (Some(only), true) if only.file_type()?.is_dir() => holds_appspec(&only.path())?.then(|| only.path()),
        _ => None,
    };
    let archive = dir.path().join(ARCHIVE);
    remove_tree(&archive)?;
    match nested {
        Some(nested) => {
            fs::rename(nested, &archive)?;
            remove_tree(&fresh)?;
        }
        None => fs::rename(&fresh, &archive)?,
    }
    nix::unistd::syncfs(&File::open(dir.path())?).map_err(io::Error::from)?;
    Ok(())
}

fn holds_appspec(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name().to_string_lossy().to_ascii_lowercase().contains("appspec") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Symlinks are removed, never followed.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

/// Keeps `keep` revisions, with the one that comes; never removes one in use.
fn prune(layout: &Layout, spec: &Spec, keep: usize) -> io::Result<()> {
    let group = layout.group(&spec.group_id);
    let entries = match fs::read_dir(&group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let current = layout.deployment(&spec.group_id, &spec.deployment_id);
    let in_use = [layout.last_successful(&spec.group_id)?, layout.most_recent(&spec.group_id)?];
    let mut others = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path() != current.path() && entry.file_type()?.is_dir() {
            others.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    let surplus = (others.len() + 1).saturating_sub(keep.max(1));
    others.retain(|(_, path)| !in_use.iter().flatten().any(|used| used.path() == path));
    others.sort();
    for (_, path) in others.into_iter().take(surplus) {
        tracing::debug!("removing the old revision {}", path.display());
        remove_tree(&path)?;
    }
    Ok(())
}
