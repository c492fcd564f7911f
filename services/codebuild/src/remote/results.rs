//! What a worker may hand over as a build's results: plain files in one tar, no more than the build was allowed to
//! make on this server, and a manifest that names nothing else.
//!
//! **Hostile input**: a worker holds the bounds by itself where it is honest ([`crate::Bounds`] comes with each build);
//! here they are held whatever it is. Before its artifacts, reports and texts reach a document or the object store,
//! each has the size that a build of this server could have given it.

use super::held::LOG_ROOM_BYTES;
use crate::Bounds;
use crate::buildspec::{MAX_GROUPS, MAX_SECONDARY};
use crate::reports::{Case, MAX_CASES, MAX_DURATION_NS, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, cut};
use crate::store::{BuildDoc, StoredArtifact};
use crate::work::log::ARCHIVE;
use crate::work::publish::{Manifest, Put};
use crate::work::staging::STAGE;
use std::fs::File;
use std::io;
use std::path::Path;
use towpath_api::ApiError;
use towpath_archive::{Found, FoundKind, Kind, Limits, Root};

const MAX_MANIFEST_BYTES: u64 = 256 << 20;
const MAX_EXPORTED_BYTES: usize = 512 << 10;
const MAX_FAILURES: usize = 200;
const MAX_PATH_BYTES: usize = 4096;
const MAX_LOCATION_BYTES: usize = 2048;
const MAX_DEPTH: usize = 8;
/// A tar's own bytes: for each entry a header, and what fills its last block.
const ENTRY_BYTES: u64 = 1024;

/// The most that the results of a build may be.
pub(super) struct Room {
    stage_bytes: u64,
    log_bytes: u64,
}

impl Room {
    pub fn of(bounds: &Bounds) -> Room {
        // Artifacts are counted as the build left them. What does not compress is a little more in a zip.
        let zipped = bounds.disk_bytes / 16 + (1 << 20);
        Room {
            stage_bytes: bounds.disk_bytes.saturating_add(zipped),
            log_bytes: bounds.log_bytes.saturating_add(LOG_ROOM_BYTES),
        }
    }

    fn content_bytes(&self) -> u64 {
        self.stage_bytes.saturating_add(self.log_bytes).saturating_add(MAX_MANIFEST_BYTES)
    }

    /// With the tar around it.
    pub fn total_bytes(&self) -> u64 {
        self.content_bytes().saturating_add(Limits::default().max_entries as u64 * ENTRY_BYTES)
    }

    /// Plain files, each where it belongs, and together not too large.
    fn check(&self, found: &[Found]) -> Result<(), String> {
        let mut staged = 0u64;
        for one in found {
            let shown = one.path.display();
            let size = match one.kind {
                FoundKind::File { size_bytes, .. } => size_bytes,
                FoundKind::Folder { .. } => continue,
                _ => return Err(format!("{shown} is no file")),
            };
            let limit = match &one.path {
                path if path.starts_with(STAGE) => {
                    staged = staged.saturating_add(size);
                    continue;
                }
                path if path == Path::new(Manifest::FILE) => MAX_MANIFEST_BYTES,
                path if path == Path::new(ARCHIVE) => self.log_bytes,
                _ => return Err(format!("{shown} is none of a build's")),
            };
            if size > limit {
                return Err(format!("{shown} is larger than {limit} bytes"));
            }
        }
        if staged > self.stage_bytes {
            return Err(format!("artifacts of {staged} bytes, more than {} bytes", self.stage_bytes));
        }
        Ok(())
    }
}

/// Opens results, checks them, and puts them where the build's staged files belong. Blocking.
pub(super) fn open(
    archive: &Path,
    (files, target): (&Path, &Path),
    doc: &BuildDoc,
    room: &Room,
) -> Result<Manifest, ApiError> {
    let wrong = |error: &dyn std::fmt::Display| ApiError::validation(format!("the results: {error}"));
    std::fs::create_dir_all(files).map_err(ApiError::internal)?;
    let root = Root::open(files).map_err(ApiError::internal)?;
    let packed = File::open(archive).map_err(ApiError::internal)?;
    let limits = Limits { max_bytes: room.content_bytes(), max_depth: MAX_DEPTH, ..Limits::default() };
    towpath_archive::unpack(packed, Some(Kind::Tar), &root, &limits).map_err(|error| wrong(&error))?;
    let found = root.walk(Path::new(""), &limits).map_err(|error| wrong(&error))?;
    room.check(&found).map_err(|reason| wrong(&reason))?;
    let manifest = Manifest::read(files).map_err(|error| wrong(&error))?;
    let manifest = checked(manifest, doc, files).map_err(|reason| wrong(&reason))?;
    manifest.write(files).map_err(ApiError::internal)?;
    for one in &found {
        File::open(files.join(&one.path)).and_then(|file| file.sync_all()).map_err(ApiError::internal)?;
    }
    match std::fs::remove_dir_all(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ApiError::internal(error)),
        _ => {}
    }
    std::fs::rename(files, target).map_err(ApiError::internal)?;
    let above = target.parent().unwrap_or(target);
    File::open(above).and_then(|folder| folder.sync_all()).map_err(ApiError::internal)?;
    Ok(manifest)
}

/// A manifest that stores only what the archive has, only where this build's results go.
fn checked(mut manifest: Manifest, doc: &BuildDoc, files: &Path) -> Result<Manifest, String> {
    for put in &mut manifest.puts {
        let path = towpath_archive::check_relative(&put.file).map_err(|error| error.to_string())?;
        if !std::fs::symlink_metadata(files.join(&path)).is_ok_and(|file| file.is_file()) {
            return Err(format!("{} is not among them", path.display()));
        }
        put.file = path;
        if !belongs(doc, put) {
            return Err(format!("s3://{}/{} is no place of this build's", put.bucket, put.key));
        }
        // A pipeline's artifact is stored once, whatever the worker says.
        put.once |= doc.pipeline.is_some();
    }
    let mut named: Vec<_> = manifest.puts.iter().map(|put| &put.file).collect();
    named.sort_unstable();
    if named.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("one file for two objects".to_owned());
    }
    let exported: usize = manifest.exported.iter().map(|(name, value)| name.len() + value.len()).sum();
    if exported > MAX_EXPORTED_BYTES {
        return Err(format!("more than {MAX_EXPORTED_BYTES} bytes of exported variables"));
    }
    if manifest.secondary.len() > MAX_SECONDARY
        || !manifest.artifacts.iter().chain(&manifest.secondary).all(is_short)
    {
        return Err("too many artifacts, or too long names of them".to_owned());
    }
    if manifest.reports.len() > MAX_GROUPS
        || manifest.reports.iter().any(|report| report.cases.len() > MAX_CASES)
    {
        return Err("too many reports or test cases".to_owned());
    }
    if !manifest.reports.iter().flat_map(|report| &report.cases).all(is_case) {
        return Err("a test case that no report file could have".to_owned());
    }
    let plain = |text: &str| {
        !text.is_empty()
            && text.len() <= 160
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
    };
    if manifest.reports.iter().any(|report| !plain(&report.group) || !plain(&report.uuid)) {
        return Err("a report without a proper name".to_owned());
    }
    manifest.failures.truncate(MAX_FAILURES);
    for failure in &mut manifest.failures {
        *failure = cut(failure, MAX_MESSAGE_BYTES);
    }
    Ok(manifest)
}

fn is_short(artifact: &StoredArtifact) -> bool {
    let texts =
        [artifact.identifier.as_deref(), Some(artifact.location.as_str()), artifact.sha256.as_deref()];
    texts.into_iter().flatten().all(|text| text.len() <= MAX_LOCATION_BYTES)
}

/// What [`crate::reports`] makes of a file is within these.
fn is_case(case: &Case) -> bool {
    let names = [Some(case.name.as_str()), case.prefix.as_deref(), case.suite.as_deref()];
    names.into_iter().flatten().all(|name| name.len() <= MAX_NAME_BYTES)
        && case.message.as_ref().is_none_or(|message| message.len() <= MAX_MESSAGE_BYTES)
        && case.file.len() <= MAX_PATH_BYTES
        && (0..=MAX_DURATION_NS).contains(&case.duration_ns)
}

/// Whether an object is one that this build may leave: exactly a pipeline's outputs, or anything in the
/// buckets of the project's artifacts.
fn belongs(doc: &BuildDoc, put: &Put) -> bool {
    if let Some(pipeline) = &doc.pipeline {
        return pipeline
            .outputs
            .iter()
            .any(|output| (&output.bucket, &output.key) == (&put.bucket, &put.key));
    }
    let declared = doc.project.artifacts.iter().chain(doc.project.secondary_artifacts.iter().flatten());
    let mut buckets = declared.filter_map(|artifacts| artifacts.location.as_deref());
    let same = |location: &str| location.strip_prefix("arn:aws:s3:::").unwrap_or(location) == put.bucket;
    buckets.any(same) && !put.key.split('/').any(|part| part == "..")
}
