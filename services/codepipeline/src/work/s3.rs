//! S3 deploy actions: the artifact's zip as one object, or its files as objects below a prefix. An object
//! that already has the content stays as it is: deploying the same twice changes nothing.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-S3Deploy.html>

use super::scratch::Scratch;
use super::{Ctx, Ending, Failure, Next};
use crate::state::Products;
use crate::structure::providers::parse_bool;
use std::path::{Path, PathBuf};
use towpath_api::ApiError;
use towpath_api::objects::PutOptions;
use towpath_archive::{ArchiveError, Follow, FoundKind, Limits, Root, unpack};

/// AWS's own bound for extracted files.
const MAX_FILES: usize = 100_000;
/// Where the cache control that an object was deployed with is kept, to see whether it changed.
const CACHE_CONTROL_KEY: &str = "towpath-cache-control";

pub async fn deploy(ctx: &mut Ctx<'_>) -> Result<Next, Failure> {
    let bucket = ctx.required("BucketName")?;
    let extract = ctx.required("Extract")?;
    let extract = parse_bool(&extract).ok_or_else(|| {
        Failure::action("ConfigurationError", format!("Extract is '{extract}', not true or false."))
    })?;
    let prefix = ctx.setting("ObjectKey").unwrap_or_default().trim_start_matches('/').to_owned();
    let Some(name) = ctx.action.inputs.first().cloned() else {
        return Err(Failure::action("ConfigurationError", "The action has no input artifact."));
    };
    let artifact = ctx.verified(&name).await?;
    let scratch = Scratch::new(&ctx.service.config.scratch).await?;
    let zip = scratch.path("artifact.zip");
    let version = artifact.version_id.as_deref();
    let objects = ctx.service.handles.objects.clone();
    objects.get_to_file(&ctx.call, &artifact.bucket, &artifact.key, version, &zip).await?;
    let (changed, total) = if extract {
        let folder = scratch.path("files");
        let files = unpacked(zip, folder).await?;
        let mut changed = 0;
        for (relative, file) in &files {
            let key = join(&prefix, relative);
            changed += usize::from(put(ctx, &bucket, &key, file, None).await?);
        }
        (changed, files.len())
    } else {
        if prefix.is_empty() {
            return Err(Failure::action(
                "ConfigurationError",
                "ObjectKey is required where Extract is false.",
            ));
        }
        let changed = put(ctx, &bucket, &prefix, &zip, Some("application/zip")).await?;
        (usize::from(changed), 1)
    };
    let summary = format!("{changed} of {total} objects written to s3://{bucket}/{prefix}");
    Ok(Ending::succeeded(Products::default(), Some(summary)).done())
}

fn join(prefix: &str, relative: &str) -> String {
    match prefix.trim_end_matches('/') {
        "" => relative.to_owned(),
        prefix => format!("{prefix}/{relative}"),
    }
}

/// Every file of the archive, with its path in it.
async fn unpacked(zip: PathBuf, folder: PathBuf) -> Result<Vec<(String, PathBuf)>, Failure> {
    let work = move || -> Result<Vec<(String, PathBuf)>, ArchiveError> {
        let io = |source| ArchiveError::Io { what: "artifact".into(), source };
        std::fs::create_dir_all(&folder).map_err(io)?;
        let root = Root::open(&folder)?;
        let limits = Limits { max_entries: MAX_FILES, ..Limits::default() };
        let file = std::fs::File::open(&zip).map_err(io)?;
        unpack(file, None, &root, &limits)?;
        let mut files = Vec::new();
        let mut bytes = 0u64;
        for found in root.walk(Path::new(""), &limits)? {
            bytes += match found.kind {
                FoundKind::Folder { .. } | FoundKind::Other => continue,
                FoundKind::File { size_bytes, .. } => size_bytes,
                // Only one that stays inside and leads to a file is deployed as that file.
                FoundKind::Symlink { .. } => {
                    let file = root.open_file(&found.path, Follow::Beneath)?;
                    file.metadata().map_err(io)?.len()
                }
            };
            // A thousand links to one file become a thousand objects.
            if bytes > limits.max_bytes {
                let most = limits.max_bytes;
                return Err(ArchiveError::TooLarge(format!(
                    "its files and links are more than {most} bytes"
                )));
            }
            let Some(name) = found.path.to_str() else {
                let path = found.path.to_string_lossy().escape_debug().to_string();
                return Err(ArchiveError::Refused {
                    path,
                    reason: "its name is not UTF-8, as keys must be".into(),
                });
            };
            files.push((name.to_owned(), folder.join(&found.path)));
        }
        Ok(files)
    };
    let files = tokio::task::spawn_blocking(work).await.map_err(Failure::later)?;
    files.map_err(|error| Failure::action("JobFailed", format!("The artifact cannot be extracted: {error}")))
}

/// Whether the object had to be written.
async fn put(
    ctx: &Ctx<'_>,
    bucket: &str,
    key: &str,
    file: &Path,
    kind: Option<&str>,
) -> Result<bool, Failure> {
    let objects = &ctx.service.handles.objects;
    let cache_control = ctx.setting("CacheControl").map(str::to_owned);
    let sha256 = hash(file.to_owned()).await?;
    match objects.head(&ctx.call, bucket, key, None).await {
        Ok(known)
            if known.sha256 == sha256 && known.metadata.get(CACHE_CONTROL_KEY) == cache_control.as_ref() =>
        {
            return Ok(false);
        }
        Ok(_) => {}
        Err(error) if error.code == "NoSuchKey" || error.code == "NotFound" => {}
        // Reading the target is not needed to write it: without the right to read, everything is written.
        Err(error) if error.status == 403 => {}
        Err(error) => return Err(named(error, bucket, key)),
    }
    let mut metadata = std::collections::BTreeMap::new();
    if let Some(value) = &cache_control {
        metadata.insert(CACHE_CONTROL_KEY.to_owned(), value.clone());
    }
    let content_type = kind.unwrap_or_else(|| content_type(key)).to_owned();
    let options =
        PutOptions { content_type: Some(content_type), cache_control, metadata, only_if_absent: false };
    objects
        .put_file(&ctx.call, bucket, key, file, options)
        .await
        .map_err(|error| named(error, bucket, key))?;
    Ok(true)
}

/// S3's own texts name neither bucket nor key; who reads the failed action needs both.
pub(super) fn named(mut error: ApiError, bucket: &str, key: &str) -> Failure {
    error.message = format!("{} (s3://{bucket}/{key})", error.message);
    error.into()
}

async fn hash(file: PathBuf) -> Result<String, Failure> {
    let hashed = tokio::task::spawn_blocking(move || -> std::io::Result<String> {
        use sha2::Digest;
        let mut source = std::fs::File::open(file)?;
        let mut digest = sha2::Sha256::new();
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let count = std::io::Read::read(&mut source, &mut buffer)?;
            if count == 0 {
                return Ok(towpath_api::id::hex(&digest.finalize()));
            }
            digest.update(&buffer[..count]);
        }
    });
    Ok(hashed.await.map_err(Failure::later)??)
}

fn content_type(key: &str) -> &'static str {
    match key.rsplit('.').next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "txt" => "text/plain",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}
