//! `artifacts`: what a build leaves behind.

use super::Version;
use globset::{GlobBuilder, GlobMatcher};
use std::collections::BTreeMap;
use towpath_yaml::{Error, MapView, Node};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Artifacts {
    pub files: Vec<String>,
    /// With `$VARIABLES` and `$(commands)`: evaluated by the build's shell.
    pub name: Option<String>,
    pub discard_paths: bool,
    /// A folder, or a pattern of top-level folders, relative to the source's folder.
    pub base_directory: Option<String>,
    pub exclude_paths: Vec<String>,
    pub enable_symlinks: bool,
    pub s3_prefix: Option<String>,
}

/// AWS's limit on secondary artifacts.
pub const MAX_SECONDARY: usize = 12;
const KEYS: &[&str] =
    &["files", "name", "discard-paths", "base-directory", "exclude-paths", "enable-symlinks", "s3-prefix"];

type Read = (Option<Artifacts>, BTreeMap<String, Artifacts>);

pub fn read(node: &Node, version: Version) -> Result<Read, Error> {
    let map = node.map("artifacts")?;
    let mut allowed = [KEYS, &["secondary-artifacts"]].concat();
    if version == Version::V01 {
        allowed.push("type");
        if let Some(kind) = map.get("type")
            && !kind.text("artifacts/type")?.eq_ignore_ascii_case("zip")
        {
            return Err(Error::invalid(kind, "artifacts/type must be zip"));
        }
    }
    let map = map.only(&allowed)?;
    let mut secondary = BTreeMap::new();
    if let Some(node) = map.get("secondary-artifacts").filter(|node| !node.is_null()) {
        for (key, value) in node.map("artifacts/secondary-artifacts")?.entries() {
            let what = format!("artifacts/secondary-artifacts/{}", key.name);
            secondary.insert(key.name.clone(), read_one(&value.map(&what)?.only(KEYS)?)?);
        }
        if secondary.len() > MAX_SECONDARY {
            return Err(Error::invalid(
                node,
                format!("at most {MAX_SECONDARY} secondary artifacts are allowed"),
            ));
        }
    }
    // A file with secondary artifacts alone has no primary one.
    let primary =
        if map.get("files").is_none() && !secondary.is_empty() { None } else { Some(read_one(&map)?) };
    Ok((primary, secondary))
}

fn read_one(map: &MapView) -> Result<Artifacts, Error> {
    let globs = |name: &str| map.get(name).map(|node| read_globs(node, &map.path(name))).transpose();
    Ok(Artifacts {
        files: read_globs(map.required("files")?, &map.path("files"))?,
        name: map.text("name")?.map(str::to_owned),
        discard_paths: map.boolean("discard-paths")?.unwrap_or(false),
        base_directory: map.text("base-directory")?.map(str::to_owned),
        exclude_paths: globs("exclude-paths")?.unwrap_or_default(),
        enable_symlinks: map.boolean("enable-symlinks")?.unwrap_or(false),
        s3_prefix: map.text("s3-prefix")?.map(str::to_owned),
    })
}

/// A list of patterns (one alone may stand without the list), each checked. Variables in them are filled
/// in later, so a pattern with a `$` is checked then.
pub(crate) fn read_globs(node: &Node, what: &str) -> Result<Vec<String>, Error> {
    let patterns = match node.list(what) {
        Ok(_) => node.texts(what)?,
        Err(_) => vec![node.text(what)?.to_owned()],
    };
    if patterns.is_empty() {
        return Err(Error::invalid(node, format!("{what} must name at least one file")));
    }
    for pattern in patterns.iter().filter(|pattern| !pattern.contains('$')) {
        glob(pattern).map_err(|reason| {
            let pattern: String = pattern.chars().take(80).collect();
            Error::invalid(node, format!("'{pattern}' is no file pattern: {reason}"))
        })?;
    }
    Ok(patterns)
}

/// `*` stays within one folder, `**` crosses folders.
pub fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    // `**` at the end means the same as `**/*`.
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| error.kind().to_string())
}
