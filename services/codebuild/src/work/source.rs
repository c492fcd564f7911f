//! DOWNLOAD_SOURCE: from where the project says into the build's folders, as the service role.

use super::assignment::Assignment;
use crate::CodeBuildService;
use crate::buildspec::{BuildspecError, MAX_BUILDSPEC_BYTES};
use crate::store::BuildDoc;
use std::io::Read;
use std::path::{Path, PathBuf};
use towpath_api::sources::{CloneDepth, Revision};
use towpath_api::{ApiError, Call};
use towpath_api_codebuild::ProjectSource;
use towpath_archive::{ArchiveError, Follow, Limits, Root};

const MAX_FOLDER_OBJECTS: usize = 50_000;
const LIST_PAGE: usize = 1000;

/// One source and where it goes.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// `None` for the primary one.
    pub identifier: Option<String>,
    /// The folder on the host, and the same one inside.
    pub host: PathBuf,
    pub inside: PathBuf,
    /// `CODEBUILD_SOURCE_REPO_URL`.
    pub url: String,
    /// `CODEBUILD_SOURCE_VERSION`.
    pub version: Option<String>,
    pub from: From,
}

#[derive(Clone, Debug)]
pub enum From {
    Nothing,
    CodeCommit {
        repository: String,
        /// `None`: the default branch.
        revision: Option<Revision>,
        depth: CloneDepth,
    },
    S3 {
        bucket: String,
        key: String,
        version: Option<String>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{}: {}", .0.code, .0.message)]
    Api(ApiError),
    #[error("the source archive: {0}")]
    Archive(#[from] ArchiveError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the folder in S3 has more than {MAX_FOLDER_OBJECTS} objects")]
    TooMany,
    #[error("NoSuchKey: s3://{0} has no objects")]
    EmptyFolder(String),
    /// The sentence of the server that a worker asked.
    #[error("{0}")]
    Told(String),
}

impl SourceError {
    /// Whether another attempt may get through: it was the server's failure, or the disk's.
    pub fn is_passing(&self) -> bool {
        match self {
            SourceError::Api(error) => error.status >= 500,
            SourceError::Io(_) => true,
            SourceError::Archive(ArchiveError::Io { source, .. }) => {
                source.kind() == std::io::ErrorKind::StorageFull
            }
            SourceError::Archive(_)
            | SourceError::TooMany
            | SourceError::EmptyFolder(_)
            | SourceError::Told(_) => false,
        }
    }
}

impl std::convert::From<ApiError> for SourceError {
    fn from(error: ApiError) -> Self {
        SourceError::Api(error)
    }
}

/// `bucket/key`, also as an ARN or an `s3://` address.
pub fn bucket_and_key(location: &str) -> Option<(String, String)> {
    let location = location.strip_prefix("arn:aws:s3:::").unwrap_or(location);
    let location = location.strip_prefix("s3://").unwrap_or(location);
    let (bucket, key) = location.split_once('/')?;
    (!bucket.is_empty()).then(|| (bucket.to_owned(), key.to_owned()))
}

/// Every source of a build, the primary one first. `host` and `base` are the folders that hold them.
pub fn plan(doc: &BuildDoc, host: &Path, base: &Path) -> Vec<SourcePlan> {
    let primary = doc.project.source.clone().unwrap_or_default();
    let mut wanted = Vec::new();
    if let Some(pipeline) = &doc.pipeline {
        let first = pipeline.primary_source.as_ref();
        let first = pipeline.inputs.iter().position(|input| Some(&input.name) == first).unwrap_or(0);
        for (index, input) in pipeline.inputs.iter().enumerate() {
            let identifier = (index != first).then(|| input.name.clone());
            let from = From::S3 {
                bucket: input.bucket.clone(),
                key: input.key.clone(),
                version: input.version.clone(),
            };
            let url = format!("s3://{}/{}", input.bucket, input.key);
            let version = pipeline.source_version.clone().filter(|_| identifier.is_none());
            wanted.push((identifier, url, version, from));
        }
        wanted.sort_by_key(|(identifier, ..)| identifier.is_some());
    } else {
        wanted.push(declared(&primary, None, doc.project.source_version.as_deref()));
        let versions = doc.project.secondary_source_versions.as_deref().unwrap_or_default();
        for source in doc.project.secondary_sources.as_deref().unwrap_or_default() {
            let version =
                versions.iter().find(|version| version.source_identifier == source.source_identifier);
            let version = version.and_then(|version| version.source_version.as_deref());
            wanted.push(declared(source, source.source_identifier.clone(), version));
        }
    }
    let folder = |index: usize| format!("src{}", folder_number(doc.uuid(), index));
    let plans = wanted.into_iter().enumerate().map(|(index, (identifier, url, version, from))| SourcePlan {
        identifier,
        url,
        version,
        from,
        host: host.join(folder(index)).join("src"),
        inside: base.join("output").join(folder(index)).join("src"),
    });
    plans.collect()
}

/// Nine digits made of the build's id, as AWS's folders have them.
fn folder_number(uuid: &str, index: usize) -> u64 {
    let hash =
        uuid.bytes().fold(index as u64 + 7, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    100_000_000 + hash % 900_000_000
}

type Wanted = (Option<String>, String, Option<String>, From);

fn declared(source: &ProjectSource, identifier: Option<String>, version: Option<&str>) -> Wanted {
    let location = source.location.clone().unwrap_or_default();
    match source.type_.as_deref() {
        Some("CODECOMMIT") => {
            let repository = crate::validate::repository_name(&location).unwrap_or_default().to_owned();
            let revision = version.filter(|version| !version.is_empty()).map(Revision::parse);
            let depth = match source.git_clone_depth {
                Some(depth) if depth > 0 => CloneDepth::Shallow(u32::try_from(depth).unwrap_or(u32::MAX)),
                _ => CloneDepth::Full,
            };
            (
                identifier,
                location,
                version.map(str::to_owned),
                From::CodeCommit { repository, revision, depth },
            )
        }
        Some("S3") => {
            let (bucket, key) = bucket_and_key(&location).unwrap_or_default();
            let url = format!("s3://{bucket}/{key}");
            let from = From::S3 { bucket, key, version: version.map(str::to_owned) };
            (identifier, url, version.map(str::to_owned), from)
        }
        _ => (identifier, String::new(), version.map(str::to_owned), From::Nothing),
    }
}

/// Fills the plan's folder; the commit, where there is one.
pub async fn download(
    service: &CodeBuildService,
    call: &Call,
    plan: &SourcePlan,
    scratch: &Path,
) -> Result<Option<String>, SourceError> {
    match &plan.from {
        From::Nothing => Ok(None),
        From::CodeCommit { repository, revision, depth } => {
            let revision = match revision {
                None => default_branch(service, call, repository).await?,
                Some(revision) => revision.clone(),
            };
            let commit = service.sources.clone_to(call, repository, &revision, *depth, &plan.host).await?;
            Ok(Some(commit.commit_id))
        }
        From::S3 { bucket, key, .. } if key.is_empty() || key.ends_with('/') => {
            download_folder(service, call, (bucket, key), &plan.host).await?;
            Ok(None)
        }
        From::S3 { bucket, key, version } => {
            let file = scratch.join(format!("download-{}", plan.identifier.as_deref().unwrap_or("0")));
            service.objects.get_to_file(call, bucket, key, version.as_deref(), &file).await?;
            let name = key.rsplit('/').next().unwrap_or(key).to_owned();
            let target = plan.host.clone();
            let unpacked = tokio::task::spawn_blocking(move || unpack(&file, &target, &name)).await;
            unpacked.map_err(|_| std::io::Error::other("unpacking was interrupted"))??;
            Ok(None)
        }
    }
}

/// Without a source version AWS builds the head of the default branch. Where nobody says which that is, it is
/// `main`, else `master`.
async fn default_branch(
    service: &CodeBuildService,
    call: &Call,
    repository: &str,
) -> Result<Revision, SourceError> {
    if let Some(name) = service.sources.default_branch(call, repository).await? {
        return Ok(Revision::Branch(name));
    }
    let main = Revision::Branch("main".to_owned());
    let Err(missing) = service.sources.commit(call, repository, &main).await else { return Ok(main) };
    if !missing.code.contains("BranchDoesNotExist") {
        return Err(missing.into());
    }
    let master = Revision::Branch("master".to_owned());
    service.sources.commit(call, repository, &master).await.map(|_| master).map_err(|_| missing.into())
}

/// What calls itself so is no file to build from: it has to open.
const ARCHIVES: [&str; 4] = [".zip", ".tar", ".tgz", ".tar.gz"];

/// An archive is unpacked; any other object is the one file of the source.
fn unpack(file: &Path, target: &Path, name: &str) -> Result<(), SourceError> {
    let root = Root::open(target)?.with_links_anywhere();
    let mut archive = std::fs::File::open(file)?;
    let lower = name.to_ascii_lowercase();
    if towpath_archive::sniff(&mut archive)?.is_some() || ARCHIVES.iter().any(|end| lower.ends_with(end)) {
        towpath_archive::unpack(archive, None, &root, &Limits::default())?;
    } else {
        let mut copy = root.create_file(Path::new(name), 0o644)?;
        std::io::copy(&mut archive, &mut copy)?;
    }
    std::fs::remove_file(file)?;
    Ok(())
}

async fn download_folder(
    service: &CodeBuildService,
    call: &Call,
    (bucket, prefix): (&str, &str),
    target: &Path,
) -> Result<(), SourceError> {
    let root = Root::open(target)?;
    let mut after: Option<String> = None;
    let mut count = 0;
    loop {
        let page = service.objects.list(call, bucket, prefix, after.as_deref(), LIST_PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for object in &page {
            let Some(relative) = object.key.strip_prefix(prefix).filter(|rest| !rest.is_empty()) else {
                continue;
            };
            count += 1;
            if count > MAX_FOLDER_OBJECTS {
                return Err(SourceError::TooMany);
            }
            let relative = towpath_archive::check_relative(Path::new(relative))?;
            if object.key.ends_with('/') {
                root.make_folders(&relative)?;
                continue;
            }
            if let Some(parent) = relative.parent() {
                root.make_folders(parent)?;
            }
            // Nothing in this folder is a symlink: it was made here, of names that were checked.
            let file = target.join(&relative);
            service.objects.get_to_file(call, bucket, &object.key, None, &file).await?;
        }
    }
    if count == 0 { Err(SourceError::EmptyFolder(format!("{bucket}/{prefix}"))) } else { Ok(()) }
}

/// Bucket and key, where the project names an object as its buildspec.
pub fn buildspec_address(doc: &BuildDoc) -> Option<(String, String)> {
    let declared = declared_buildspec(doc);
    declared.strip_prefix("arn:aws:s3:::").filter(|_| !is_inline(declared)).and_then(bucket_and_key)
}

fn declared_buildspec(doc: &BuildDoc) -> &str {
    doc.project.source.as_ref().and_then(|source| source.buildspec.as_deref()).unwrap_or("")
}

/// The buildspec's text: inline, an object in S3, or a file in the primary source.
pub(super) async fn buildspec_text(
    assignment: &dyn Assignment,
    doc: &BuildDoc,
    source: &Path,
) -> Result<(String, String), BuildspecFailure> {
    let declared = declared_buildspec(doc);
    if is_inline(declared) {
        return Ok((declared.to_owned(), "inline".to_owned()));
    }
    if buildspec_address(doc).is_some() {
        return Ok((text_of(assignment.buildspec_object(doc).await?)?, declared.to_owned()));
    }
    let path = if declared.is_empty() { "buildspec.yml" } else { declared };
    let file = Root::open(source).and_then(|root| root.open_file(Path::new(path), Follow::Beneath));
    let file = match file {
        Ok(file) => file,
        Err(error) if error.is_refusal() => return Err(BuildspecFailure::Unreadable(error.to_string())),
        Err(_) => return Err(BuildspecError::Missing.into()),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BUILDSPEC_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| BuildspecFailure::Unreadable(error.to_string()))?;
    Ok((text_of(bytes)?, path.to_owned()))
}

fn is_inline(declared: &str) -> bool {
    let trimmed = declared.trim_start();
    declared.contains('\n') || trimmed.starts_with("version:") || trimmed.starts_with('{')
}

fn text_of(bytes: Vec<u8>) -> Result<String, BuildspecError> {
    String::from_utf8(bytes).map_err(|_| BuildspecError::NotText)
}

#[derive(Debug, thiserror::Error)]
pub enum BuildspecFailure {
    #[error(transparent)]
    Spec(#[from] BuildspecError),
    #[error("stat buildspec: {0}")]
    Unreadable(String),
    #[error("{}: {}", .0.code, .0.message)]
    Api(ApiError),
}

impl std::convert::From<ApiError> for BuildspecFailure {
    fn from(error: ApiError) -> Self {
        BuildspecFailure::Api(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn inline_or_a_path() {
        assert!(
            is_inline("version: 0.2\nphases:\n") && is_inline("{version: 0.2}") && is_inline("version: 0.2")
        );
        assert!(!is_inline("ci/buildspec.yml") && !is_inline(""));
    }
}
