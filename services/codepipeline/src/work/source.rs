//! Source actions: CodeCommit and S3. The revision is decided once and written down before the artifact
//! is made, so a second try makes the same artifact.
//!
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeCommit.html>,
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-S3.html>

use super::scratch::Scratch;
use super::{Ctx, Ending, Failure, Next};
use crate::state::{Products, SourcePin, SourceRevision};
use crate::store::External;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use towpath_api::sources::{ArchiveFormat, CloneDepth, CommitInfo, Revision};
use towpath_archive::{Content, Entry, FoundKind, Kind, Limits, Root, pack};
use towpath_store::Txn;

/// AWS cuts commit messages there.
const MAX_MESSAGE_BYTES: usize = 100 << 10;

pub async fn codecommit(ctx: &mut Ctx<'_>) -> Result<Next, Failure> {
    let repository = ctx.required("RepositoryName")?;
    let default = ctx.required("BranchName")?;
    let (branch, wanted) = match ctx.execution.pins.get(&ctx.action.name) {
        Some(SourcePin::CommitId(commit)) => (default, Revision::Commit(commit.clone())),
        Some(SourcePin::GitTag(tag)) => (default, Revision::Tag(tag.clone())),
        Some(SourcePin::GitRef { name, commit }) => (name.clone(), Revision::Commit(commit.clone())),
        _ => (default.clone(), Revision::Branch(default)),
    };
    let wanted = match &ctx.doc.external {
        External::Started { id, .. } => Revision::Commit(id.clone()),
        _ => wanted,
    };
    let sources = ctx.service.handles.sources.clone();
    let commit = sources.commit(&ctx.call, &repository, &wanted).await?;
    let id = commit.commit_id.clone();
    if ctx.doc.external == External::None {
        ctx.save(Txn::new(), |doc| doc.external = External::Started { id: id.clone(), url: None }).await?;
    }
    let name = output_name(ctx)?;
    let scratch = Scratch::new(&ctx.service.config.scratch).await?;
    let zip = scratch.path("source.zip");
    let revision = Revision::Commit(id.clone());
    if ctx.setting("OutputArtifactFormat") == Some("CODEBUILD_CLONE_REF") {
        let tree = scratch.path("clone");
        sources.clone_to(&ctx.call, &repository, &revision, CloneDepth::Full, &tree).await?;
        let target = zip.clone();
        tokio::task::spawn_blocking(move || pack_folder(&tree, &target)).await.map_err(Failure::later)??;
    } else {
        sources.archive(&ctx.call, &repository, &revision, ArchiveFormat::Zip, &zip).await?;
    }
    let artifact = ctx.store_output(&name, &zip, &id).await?;
    let summary = first_lines(&commit.message);
    let products = Products {
        artifacts: BTreeMap::from([(name.clone(), artifact)]),
        variables: commit_variables(&repository, &branch, &commit),
        revision: Some(SourceRevision {
            action: ctx.action.name.clone(),
            artifact: name,
            revision_id: id,
            summary: Some(summary.clone()),
            url: None,
            created: Some(commit.committer.at),
        }),
    };
    Ok(Ending::succeeded(products, Some(summary)).done())
}

fn commit_variables(repository: &str, branch: &str, commit: &CommitInfo) -> BTreeMap<String, String> {
    let seconds = |at: towpath_api::Timestamp| at.format("%Y-%m-%dT%H:%M:%SZ");
    let mut message = commit.message.clone();
    if message.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
    }
    [
        ("AuthorDate", seconds(commit.author.at)),
        ("BranchName", branch.to_owned()),
        ("CommitId", commit.commit_id.clone()),
        ("CommitMessage", message),
        ("CommitterDate", seconds(commit.committer.at)),
        ("FullRepositoryName", repository.to_owned()),
        ("RepositoryName", repository.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

fn first_lines(message: &str) -> String {
    super::clip(message.trim_end().to_owned())
}

fn output_name(ctx: &Ctx<'_>) -> Result<String, Failure> {
    ctx.action.outputs.first().cloned().ok_or_else(|| {
        Failure::action("ConfigurationError", "The source action declares no output artifact.")
    })
}

/// A whole clone as a zip, `.git` included, symlinks as symlinks.
fn pack_folder(folder: &Path, target: &Path) -> Result<(), Failure> {
    let failed = |error: towpath_archive::ArchiveError| Failure::action("SourceError", error.to_string());
    let root = std::sync::Arc::new(Root::open(folder).map_err(failed)?);
    let mut entries = Vec::new();
    for found in root.walk(Path::new(""), &Limits::default()).map_err(failed)? {
        let Some(name) = found.path.to_str().map(str::to_owned) else {
            let path = found.path.display();
            return Err(Failure::action("SourceError", format!("The path {path} is not UTF-8.")));
        };
        let content = match found.kind {
            FoundKind::File { mode, .. } => Content::Beneath {
                root: root.clone(),
                path: found.path,
                follow: towpath_archive::Follow::No,
                executable: mode & 0o111 != 0,
            },
            FoundKind::Folder { .. } => Content::Folder,
            FoundKind::Symlink { target } => {
                Content::Symlink { target: target.to_string_lossy().into_owned() }
            }
            FoundKind::Other => continue,
        };
        entries.push(Entry { name, content });
    }
    let mut output = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(target)?;
    pack(Kind::Zip, entries, &mut output).map(drop).map_err(failed)
}

pub async fn s3(ctx: &mut Ctx<'_>) -> Result<Next, Failure> {
    let bucket = ctx.required("S3Bucket")?;
    let mut key = ctx.required("S3ObjectKey")?;
    let mut version = None;
    match ctx.execution.pins.get(&ctx.action.name) {
        Some(SourcePin::S3ObjectKey(other)) => key = other.clone(),
        Some(SourcePin::S3VersionId(pinned)) => version = Some(pinned.clone()),
        _ => {}
    }
    if let External::Started { id, .. } = &ctx.doc.external {
        version = Some(id.clone());
    }
    let objects = ctx.service.handles.objects.clone();
    let info = objects
        .head(&ctx.call, &bucket, &key, version.as_deref())
        .await
        .map_err(|error| super::s3::named(error, &bucket, &key))?;
    let Some(version) = info.version_id.clone() else {
        return Err(Failure::action(
            "ConfigurationError",
            format!(
                "The bucket {bucket} is not versioned. A source action needs a bucket with versioning enabled."
            ),
        ));
    };
    if ctx.doc.external == External::None {
        ctx.save(Txn::new(), |doc| doc.external = External::Started { id: version.clone(), url: None })
            .await?;
    }
    let name = output_name(ctx)?;
    let scratch = Scratch::new(&ctx.service.config.scratch).await?;
    let file: PathBuf = scratch.path("object");
    let info = objects.get_to_file(&ctx.call, &bucket, &key, Some(&version), &file).await?;
    let artifact = ctx.store_output(&name, &file, &version).await?;
    let summary = info
        .metadata
        .get("codepipeline-artifact-revision-summary")
        .map(|text| super::clip(text.clone()))
        .unwrap_or_else(|| format!("Amazon S3 version id: {version}"));
    let variables = [
        ("BucketName", bucket),
        ("ETag", info.etag.clone()),
        ("ObjectKey", key),
        ("VersionId", version.clone()),
    ];
    let products = Products {
        artifacts: BTreeMap::from([(name.clone(), artifact)]),
        variables: variables.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        revision: Some(SourceRevision {
            action: ctx.action.name.clone(),
            artifact: name,
            revision_id: version,
            summary: Some(summary.clone()),
            url: None,
            created: Some(info.last_modified),
        }),
    };
    Ok(Ending::succeeded(products, Some(summary)).done())
}
