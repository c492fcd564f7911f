//! UPLOAD_ARTIFACTS, first half: choosing what a build leaves behind and staging it. The sandbox is gone by
//! now, so nothing changes while this reads. Symlinks are never followed out of the source's folder.

use super::publish::Put;
use crate::buildspec::Artifacts;
use crate::store::{BuildDoc, StoredArtifact};
use globset::GlobMatcher;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use towpath_api_codebuild::ProjectArtifacts;
use towpath_archive::{ArchiveError, Content, Entry, Follow, FoundKind, Kind, Limits, Root};

/// Where one set of artifacts goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The buildspec's identifier of a secondary artifact.
    pub identifier: Option<String>,
    pub bucket: String,
    pub key: String,
    /// One zip at `key`, or files beneath it.
    pub zip: bool,
    /// Never write over an object that is there.
    pub once: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("no matching artifact paths found")]
    NothingFound,
    #[error("no matching base directory path found for {0}")]
    NoBase(String),
    #[error("'{0}' is no file pattern: {1}")]
    Pattern(String, String),
    #[error("{0} must be beneath CODEBUILD_SRC_DIR")]
    Outside(String),
    #[error("'{0}' is a symbolic link that leads out of the source's folder")]
    LeadsOut(String),
    #[error("the buildspec has no artifacts for the output '{0}'")]
    NoneFor(String),
    #[error("discard-paths makes two files named '{0}'")]
    SameName(String),
    #[error("the artifacts are larger than build-disk-bytes allows")]
    TooLarge,
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// A chosen file.
#[derive(Debug)]
pub struct Chosen {
    /// Its name in the artifact.
    pub name: String,
    /// Relative to the source's folder.
    pub path: PathBuf,
    pub kind: ChosenKind,
}

#[derive(Debug, PartialEq)]
pub enum ChosenKind {
    File { executable: bool },
    Symlink { target: String },
}

/// What to choose; variables are filled in already.
pub struct Choice<'a> {
    pub base: &'a str,
    pub files: &'a [String],
    pub exclude: &'a [String],
    pub discard_paths: bool,
    pub symlinks: bool,
}

/// The files of `choice` in the folder `source`, and lines for the log.
pub fn choose(
    source: &Path,
    inside: &Path,
    choice: &Choice,
) -> Result<(Vec<Chosen>, Vec<String>), CollectError> {
    let root = Root::open(source)?;
    let base = relative_to(choice.base, inside)?;
    let mut lines = vec![
        format!("Expanding base directory path: {base}"),
        "Assembling file list".to_owned(),
        format!("Expanding {base}"),
    ];
    let bases = expand_base(&root, &base)?;
    let patterns = choice.files.iter().map(|pattern| relative_to(pattern, inside));
    let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
    let includes = compile(&patterns)?;
    let excludes = compile(choice.exclude)?;
    let mut chosen = Vec::new();
    let mut names = BTreeSet::new();
    for base in bases {
        lines.push(format!(
            "Expanding file paths for base directory {}",
            if base.as_os_str().is_empty() { ".".into() } else { base.to_string_lossy() }
        ));
        lines.push("Assembling file list".to_owned());
        lines.extend(patterns.iter().map(|pattern| format!("Expanding {pattern}")));
        let within = root.open_root(&base, Follow::Beneath)?;
        for found in within.walk(Path::new(""), &Limits::default())? {
            let hit = includes.iter().position(|pattern| pattern.is_match(&found.path));
            let Some(hit) = hit.filter(|_| !excludes.iter().any(|pattern| pattern.is_match(&found.path)))
            else {
                continue;
            };
            let shown = found.path.to_string_lossy().into_owned();
            let exact = Path::new(&patterns[hit]) == found.path;
            let path = base.join(&found.path);
            let kind = match found.kind {
                FoundKind::File { mode, .. } => ChosenKind::File { executable: mode & 0o111 != 0 },
                FoundKind::Folder { .. } | FoundKind::Other => continue,
                FoundKind::Symlink { target } => {
                    match link(&root, &path, &found.path, &target, choice.symlinks) {
                        Some(kind) => kind,
                        None if exact => return Err(CollectError::LeadsOut(shown)),
                        None => {
                            lines.push(format!(
                                "Skipping {shown}: a symbolic link that cannot be followed here"
                            ));
                            continue;
                        }
                    }
                }
            };
            let name = match choice.discard_paths {
                true => found.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                false => shown,
            };
            if names.insert(name.clone()) {
                chosen.push(Chosen { name, path, kind });
            } else if choice.discard_paths {
                return Err(CollectError::SameName(name));
            }
        }
    }
    lines.push(format!("Found {} file(s)", chosen.len()));
    Ok((chosen, lines))
}

/// A symlink kept as one, or the file that it leads to; `None` when it leads out or to no file.
fn link(root: &Root, path: &Path, name: &Path, target: &Path, keep: bool) -> Option<ChosenKind> {
    if keep {
        let depth = name.components().count() - 1;
        let climbs = target.components().filter(|part| *part == std::path::Component::ParentDir).count();
        let stays = target.is_relative() && climbs <= depth;
        return stays.then(|| ChosenKind::Symlink { target: target.to_string_lossy().into_owned() });
    }
    let file = root.open_file(path, Follow::Beneath).ok()?;
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().ok()?);
    Some(ChosenKind::File { executable: mode & 0o111 != 0 })
}

/// A path or pattern as it stands in the buildspec, relative to the source's folder.
fn relative_to(text: &str, inside: &Path) -> Result<String, CollectError> {
    let inside = inside.to_string_lossy();
    let text = match text.strip_prefix(inside.as_ref()) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
        _ => text,
    };
    let text = text.trim_start_matches("./").trim_end_matches('/');
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(CollectError::Outside(text.to_owned()));
    }
    Ok(if text.is_empty() { ".".to_owned() } else { text.to_owned() })
}

fn expand_base(root: &Root, base: &str) -> Result<Vec<PathBuf>, CollectError> {
    let missing = || CollectError::NoBase(base.to_owned());
    if !base.contains(['*', '?', '[']) {
        root.open_root(Path::new(base), Follow::Beneath).map_err(|_| missing())?;
        return Ok(vec![if base == "." { PathBuf::new() } else { PathBuf::from(base) }]);
    }
    let pattern = compile(&[base.to_owned()])?;
    let found = root.walk(Path::new(""), &Limits::default())?;
    let folders = found.into_iter().filter(|found| matches!(found.kind, FoundKind::Folder { .. }));
    let folders: Vec<_> = folders
        .map(|found| found.path)
        .filter(|path| pattern.iter().any(|glob| glob.is_match(path)))
        .collect();
    if folders.is_empty() { Err(missing()) } else { Ok(folders) }
}

fn compile(patterns: &[String]) -> Result<Vec<GlobMatcher>, CollectError> {
    let compile = |pattern: &String| {
        crate::buildspec::glob(pattern).map_err(|reason| CollectError::Pattern(pattern.clone(), reason))
    };
    patterns.iter().map(compile).collect()
}

/// Copies or packs the chosen files into `stage`, and says what is to be stored. What they hold is taken off
/// `left_bytes`: a sparse file, or a thousand links to one, is larger here than where the build left it.
pub fn stage(
    source: &Path,
    chosen: &[Chosen],
    destination: &Destination,
    (stage, left_bytes): (&Path, &mut u64),
) -> Result<(Vec<Put>, StoredArtifact), CollectError> {
    let root = Arc::new(Root::open(source)?);
    std::fs::create_dir_all(stage)?;
    let location = format!("arn:aws:s3:::{}/{}", destination.bucket, destination.key);
    let mut stored = StoredArtifact { identifier: destination.identifier.clone(), location, sha256: None };
    let mut puts = Vec::new();
    let put = |key: String, file: PathBuf, sha256: Option<String>, content_type: Option<&str>| Put {
        bucket: destination.bucket.clone(),
        key,
        file,
        once: destination.once,
        sha256,
        content_type: content_type.map(str::to_owned),
    };
    if destination.zip {
        let entries = chosen.iter().map(|chosen| entry(&root, chosen, left_bytes));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let path = stage.join("artifact.zip");
        let mut file = std::fs::File::options().read(true).write(true).create_new(true).open(&path)?;
        let packed = towpath_archive::pack(Kind::Zip, entries, &mut file)?;
        stored.sha256 = Some(packed.sha256.clone());
        puts.push(put(destination.key.clone(), path, Some(packed.sha256), Some("application/zip")));
        return Ok((puts, stored));
    }
    for (index, chosen) in chosen.iter().enumerate() {
        let path = stage.join(format!("file-{index}"));
        // S3 has no symlinks: what a link leads to is stored.
        let mut from = open(&root, &chosen.path, left_bytes)?;
        let mut copy = std::fs::File::create_new(&path)?;
        std::io::copy(&mut from, &mut copy)?;
        copy.sync_all()?;
        let key = format!("{}/{}", destination.key.trim_end_matches('/'), chosen.name);
        puts.push(put(key.trim_start_matches('/').to_owned(), path, None, None));
    }
    Ok((puts, stored))
}

fn open(root: &Root, path: &Path, left_bytes: &mut u64) -> Result<std::fs::File, CollectError> {
    let file = root.open_file(path, Follow::Beneath)?;
    *left_bytes = left_bytes.checked_sub(file.metadata()?.len()).ok_or(CollectError::TooLarge)?;
    Ok(file)
}

fn entry(root: &Arc<Root>, chosen: &Chosen, left_bytes: &mut u64) -> Result<Entry, CollectError> {
    let content = match &chosen.kind {
        ChosenKind::File { executable } => {
            open(root, &chosen.path, left_bytes)?;
            Content::Beneath {
                root: root.clone(),
                path: chosen.path.clone(),
                follow: Follow::Beneath,
                executable: *executable,
            }
        }
        ChosenKind::Symlink { target } => Content::Symlink { target: target.clone() },
    };
    Ok(Entry { name: chosen.name.clone(), content })
}

/// Where a project's S3 artifacts go. `name` is the buildspec's, evaluated.
/// <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_ProjectArtifacts.html>.
pub fn destination(
    doc: &BuildDoc,
    declared: &ProjectArtifacts,
    spec: &Artifacts,
    name: Option<&str>,
) -> Option<Destination> {
    if declared.type_.as_deref() != Some("S3") {
        return None;
    }
    let by_build = declared.namespace_type.as_deref() == Some("BUILD_ID");
    let prefix = match &spec.s3_prefix {
        Some(prefix) if by_build => prefix.as_str(),
        _ => declared.path.as_deref().unwrap_or(""),
    };
    let named = declared.override_artifact_name.unwrap_or(false);
    let name = name.filter(|_| named).or(declared.name.as_deref()).unwrap_or_else(|| doc.project_name());
    let build_id = if by_build { doc.uuid() } else { "" };
    let parts = [prefix, build_id, name].map(|part| part.trim_matches('/'));
    let key = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let bucket = declared.location.clone().unwrap_or_default();
    let zip = declared.packaging.as_deref() == Some("ZIP");
    Some(Destination {
        identifier: declared.artifact_identifier.clone(),
        bucket: bucket.strip_prefix("arn:aws:s3:::").unwrap_or(&bucket).to_owned(),
        key: if zip && key.is_empty() { doc.project_name().to_owned() } else { key },
        zip,
        once: by_build,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use std::os::unix::fs::symlink;

    fn workspace() -> tempfile::TempDir {
        let outer = tempfile::tempdir().unwrap();
        let source = outer.path().join("src");
        std::fs::create_dir_all(source.join("dist-a/sub")).unwrap();
        std::fs::create_dir_all(source.join("dist-b")).unwrap();
        std::fs::write(outer.path().join("secret"), "secret").unwrap();
        std::fs::write(source.join("dist-a/one.txt"), "1").unwrap();
        std::fs::write(source.join("dist-a/sub/two.txt"), "2").unwrap();
        std::fs::write(source.join("dist-b/three.log"), "3").unwrap();
        symlink("../secret", source.join("out")).unwrap();
        symlink("/etc", source.join("etc")).unwrap();
        symlink("dist-a/one.txt", source.join("good")).unwrap();
        outer
    }

    fn names(
        outer: &tempfile::TempDir,
        base: &str,
        files: &[&str],
        symlinks: bool,
    ) -> Result<Vec<String>, CollectError> {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        let choice =
            Choice { base, files: &files, exclude: &["**/*.log".to_owned()], discard_paths: false, symlinks };
        let (chosen, _) = choose(&outer.path().join("src"), Path::new("/codebuild/src"), &choice)?;
        Ok(chosen.into_iter().map(|chosen| chosen.name).collect())
    }

    #[test]
    fn chooses_as_documented() {
        let outer = workspace();
        assert_eq!(
            names(&outer, "", &["**/*"], false).unwrap(),
            ["dist-a/one.txt", "dist-a/sub/two.txt", "good"]
        );
        assert_eq!(names(&outer, "dist*", &["**/*"], false).unwrap(), ["one.txt", "sub/two.txt"]);
        assert_eq!(names(&outer, "dist-a", &["*"], false).unwrap(), ["one.txt"]);
        assert_eq!(names(&outer, "/codebuild/src/dist-a", &["./one.txt"], false).unwrap(), ["one.txt"]);
        assert!(matches!(names(&outer, "nowhere", &["*"], false), Err(CollectError::NoBase(_))));
        assert!(matches!(names(&outer, "", &["/etc/passwd"], false), Err(CollectError::Outside(_))));
        assert!(matches!(names(&outer, "../..", &["*"], false), Err(CollectError::Outside(_))));
    }

    #[test]
    fn links_that_lead_out_give_nothing_away() {
        let outer = workspace();
        let wild = names(&outer, "", &["**/*"], false).unwrap();
        assert!(!wild.iter().any(|name| name == "out" || name.starts_with("etc")));
        assert!(matches!(names(&outer, "", &["out"], false), Err(CollectError::LeadsOut(_))));
        assert!(matches!(names(&outer, "", &["out"], true), Err(CollectError::LeadsOut(_))));
        assert!(names(&outer, "etc", &["passwd"], false).is_err());
        assert!(names(&outer, "", &["**/*"], true).unwrap().contains(&"good".to_owned()));
    }

    #[test]
    fn stages_a_zip_with_modes_and_the_same_hash_for_the_same_content() {
        let outer = workspace();
        let source = outer.path().join("src");
        let files = ["dist-a/**/*".to_owned()];
        let choice = Choice { base: "", files: &files, exclude: &[], discard_paths: true, symlinks: false };
        let (chosen, lines) = choose(&source, Path::new("/x"), &choice).unwrap();
        assert!(lines.contains(&"Found 2 file(s)".to_owned()));
        let destination =
            Destination { identifier: None, bucket: "b".into(), key: "k".into(), zip: true, once: true };
        let (first, stored) =
            stage(&source, &chosen, &destination, (&outer.path().join("1"), &mut 100)).unwrap();
        let (_, again) = stage(&source, &chosen, &destination, (&outer.path().join("2"), &mut 100)).unwrap();
        assert_eq!(stored, again);
        assert_eq!(stored.location, "arn:aws:s3:::b/k");
        assert_eq!(first[0].sha256, stored.sha256);
    }

    #[test]
    fn what_is_larger_than_the_build_left_it_is_refused() {
        let outer = workspace();
        let source = outer.path().join("src");
        std::fs::File::create(source.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        for index in 0..100 {
            symlink("dist-a/one.txt", source.join(format!("link-{index}"))).unwrap();
        }
        let staged = |pattern: &str, zip: bool, limit: u64| {
            let files = [pattern.to_owned()];
            let choice =
                Choice { base: "", files: &files, exclude: &[], discard_paths: false, symlinks: false };
            let (chosen, _) = choose(&source, Path::new("/x"), &choice).unwrap();
            let destination =
                Destination { identifier: None, bucket: "b".into(), key: "k".into(), zip, once: true };
            let folder = tempfile::tempdir_in(outer.path()).unwrap();
            stage(&source, &chosen, &destination, (folder.path(), &mut { limit }))
        };
        for zip in [true, false] {
            assert!(matches!(staged("sparse", zip, 1 << 30), Err(CollectError::TooLarge)));
            assert!(matches!(staged("link-*", zip, 99), Err(CollectError::TooLarge)));
            assert!(staged("link-*", zip, 100).is_ok());
        }
    }

    /// Something that goes on running swaps a folder of the source for a link to a secret, again and again.
    #[test]
    fn a_folder_that_becomes_a_link_gives_nothing_away() {
        use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        let outer = workspace();
        let (source, private) = (outer.path().join("src"), outer.path().join("private"));
        for (folder, text) in [(source.join("swap"), "mine"), (private.clone(), "secret")] {
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("file"), text).unwrap();
        }
        symlink(&private, outer.path().join("link")).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let (one, other) = (source.join("swap"), outer.path().join("link"));
                    renameat2(AT_FDCWD, &one, AT_FDCWD, &other, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
            });
            let (mut rounds, mut collected, mut control) = (0, 0, false);
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            while (rounds < 200 || collected == 0 || !control) && std::time::Instant::now() < deadline {
                rounds += 1;
                // The control: whoever follows links reads the secret sooner or later.
                control |=
                    std::fs::read_to_string(source.join("swap/file")).is_ok_and(|text| text == "secret");
                collected += usize::from(collects_only_its_own(&source, outer.path()));
            }
            stop.store(true, Relaxed);
            assert!(control && collected > 0 && rounds >= 200, "{rounds} {collected} {control}");
        });
    }

    /// Whether anything was collected; it is never the secret.
    fn collects_only_its_own(source: &Path, outer: &Path) -> bool {
        let files = ["swap/**/*".to_owned()];
        let choice = Choice { base: "", files: &files, exclude: &[], discard_paths: false, symlinks: false };
        let Ok((chosen, _)) = choose(source, Path::new("/x"), &choice) else { return false };
        let destination =
            Destination { identifier: None, bucket: "b".into(), key: "k".into(), zip: false, once: true };
        let folder = tempfile::tempdir_in(outer).unwrap();
        let Ok((puts, _)) = stage(source, &chosen, &destination, (folder.path(), &mut 1000)) else {
            return false;
        };
        for put in &puts {
            assert_eq!(std::fs::read_to_string(&put.file).unwrap(), "mine");
        }
        !puts.is_empty()
    }
}
