//! Buildspecs, versions 0.1 and 0.2, read strictly. Pure: text in, [`Buildspec`] or [`BuildspecError`] out.
//!
//! An unknown key, a wrong type, a value out of range is an error that names the key and the line. What
//! AWS has and Towpath has not (`cache`, `batch`, `proxy`, Parameter Store, Secrets Manager) is refused
//! by name, never ignored. Reference:
//! <https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html>.

mod apart;
mod artifacts;
mod failure;
mod phases;
mod reports;

pub use artifacts::{Artifacts, MAX_SECONDARY, glob};
pub use failure::OnFailure;
pub use phases::{Phase, PhaseName};
pub use reports::{MAX_GROUPS, Report, ReportFormat};

use std::collections::BTreeMap;
use towpath_yaml::{Error, Limits, MapView, Node};

/// Larger files are no buildspecs.
pub const MAX_BUILDSPEC_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Each command in a shell of its own.
    V01,
    /// All commands share one shell's environment and folder.
    V02,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shell {
    #[default]
    Sh,
    Bash,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Buildspec {
    pub version: Version,
    pub run_as: Option<String>,
    pub shell: Shell,
    pub variables: BTreeMap<String, String>,
    pub exported_variables: Vec<String>,
    pub git_credential_helper: bool,
    /// In the order in which they run; those that the file names.
    pub phases: Vec<Phase>,
    pub reports: Vec<Report>,
    pub artifacts: Option<Artifacts>,
    pub secondary_artifacts: BTreeMap<String, Artifacts>,
}

impl Buildspec {
    pub fn phase(&self, name: PhaseName) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

/// Shown as the message of a phase context with the status code `YAML_FILE_ERROR`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildspecError {
    #[error("YAML file does not exist")]
    Missing,
    #[error("{0}")]
    Yaml(#[from] Error),
    #[error("the buildspec is not UTF-8 text")]
    NotText,
}

type Result<T> = std::result::Result<T, Error>;

pub fn parse(text: &str) -> std::result::Result<Buildspec, BuildspecError> {
    let limits = Limits { max_bytes: MAX_BUILDSPEC_BYTES, ..Limits::default() };
    Ok(document(&towpath_yaml::parse(text, limits)?)?)
}

const TOP_KEYS: &[&str] =
    &["version", "run-as", "env", "phases", "reports", "artifacts", "batch", "cache", "proxy"];

fn document(root: &Node) -> Result<Buildspec> {
    let top = root.map("the buildspec")?;
    let version = read_version(&top)?;
    apart::check(&top)?;
    let environment_key = "environment_variables";
    match version {
        Version::V01 => top.only(&[TOP_KEYS, &[environment_key]].concat())?,
        Version::V02 => top.only(TOP_KEYS)?,
    };
    let mut spec = Buildspec {
        version,
        run_as: read_user(&top)?,
        shell: Shell::default(),
        variables: BTreeMap::new(),
        exported_variables: Vec::new(),
        git_credential_helper: false,
        phases: phases::read(top.required("phases")?)?,
        reports: Vec::new(),
        artifacts: None,
        secondary_artifacts: BTreeMap::new(),
    };
    if let Some(node) = top.get("env").filter(|node| !node.is_null()) {
        read_env(node, &mut spec)?;
    }
    if let Some(node) = top.get(environment_key) {
        let old = node.map(environment_key)?;
        refuse(&old, &["parameter-store"])?;
        let old = old.only(&["plaintext"])?;
        if let Some(node) = old.get("plaintext") {
            spec.variables.extend(read_variables(node, "environment_variables/plaintext")?);
        }
    }
    if let Some(node) = top.get("reports").filter(|node| !node.is_null()) {
        spec.reports = reports::read(node)?;
    }
    if let Some(node) = top.get("artifacts").filter(|node| !node.is_null()) {
        (spec.artifacts, spec.secondary_artifacts) = artifacts::read(node, version)?;
    }
    Ok(spec)
}

fn read_version(top: &MapView) -> Result<Version> {
    let node = top.required("version")?;
    match node.text("version")? {
        "0.1" => Ok(Version::V01),
        "0.2" => Ok(Version::V02),
        other => {
            let other: String = other.chars().take(40).collect();
            Err(Error::invalid(node, format!("Invalid buildspec version '{other}'; allowed: 0.1, 0.2")))
        }
    }
}

/// Known to AWS, not done here.
fn refuse(map: &MapView, names: &[&str]) -> Result<()> {
    for name in names {
        if let Some(node) = map.get(name).filter(|node| !node.is_null()) {
            let path = if map.node.column == 1 { (*name).to_owned() } else { map.path(name) };
            return Err(Error::invalid(node, format!("Towpath does not support '{path}' in a buildspec")));
        }
    }
    Ok(())
}

pub(crate) fn read_user(map: &MapView) -> Result<Option<String>> {
    let Some(node) = map.get("run-as") else { return Ok(None) };
    let user = node.text("run-as")?;
    let good = !user.is_empty()
        && user.len() <= 32
        && !user.starts_with('-')
        && user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if good {
        Ok(Some(user.to_owned()))
    } else {
        Err(Error::invalid(node, "run-as must be a Linux user's name"))
    }
}

fn read_env(node: &Node, spec: &mut Buildspec) -> Result<()> {
    let env = node.map("env")?;
    for name in ["parameter-store", "secrets-manager"] {
        // Empty mappings ask for nothing.
        let empty = env.get(name).is_some_and(|node| node.map(name).is_ok_and(|map| map.is_empty()));
        if !empty {
            refuse(&env, &[name])?;
        }
    }
    let allowed = &[
        "shell",
        "variables",
        "exported-variables",
        "git-credential-helper",
        "parameter-store",
        "secrets-manager",
    ];
    let env = env.only(allowed)?;
    if let Some(node) = env.get("shell") {
        spec.shell = match node.text("env/shell")? {
            "bash" | "/bin/bash" => Shell::Bash,
            "sh" | "/bin/sh" => Shell::Sh,
            other => {
                let other: String = other.chars().take(40).collect();
                let message = format!("env/shell '{other}' is not supported; allowed: bash, /bin/sh");
                return Err(Error::invalid(node, message));
            }
        };
    }
    if let Some(node) = env.get("variables").filter(|node| !node.is_null()) {
        spec.variables = read_variables(node, "env/variables")?;
    }
    if let Some(node) = env.get("exported-variables").filter(|node| !node.is_null()) {
        spec.exported_variables = read_exported(node)?;
    }
    spec.git_credential_helper = env.boolean("git-credential-helper")?.unwrap_or(false);
    Ok(())
}

/// Whether a POSIX shell can hold a variable of this name.
pub fn is_shell_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn read_variables(node: &Node, what: &str) -> Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (key, value) in node.map(what)?.entries() {
        let text = if value.is_null() { "" } else { value.text(&format!("{what}/{}", key.name))? };
        if !is_shell_name(&key.name) {
            let name: String = key.name.chars().take(60).collect();
            return Err(Error::invalid(value, format!("'{name}' is not a variable's name")));
        }
        if key.name.starts_with("CODEBUILD_") {
            let message = format!("'{}': names that start with CODEBUILD_ are reserved", key.name);
            return Err(Error::invalid(value, message));
        }
        variables.insert(key.name.clone(), text.to_owned());
    }
    Ok(variables)
}

fn read_exported(node: &Node) -> Result<Vec<String>> {
    let names = node.texts("env/exported-variables")?;
    match names.iter().find(|name| !is_shell_name(name) || name.starts_with("AWS_")) {
        None => Ok(names),
        Some(name) => {
            let name: String = name.chars().take(60).collect();
            Err(Error::invalid(
                node,
                format!("'{name}' cannot be exported: no variable's name, or one of AWS_*"),
            ))
        }
    }
}

#[cfg(test)]
mod tests;
