//! `phases`: the commands.

use super::{OnFailure, read_user};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use towpath_yaml::{Error, Node, Value};

/// A phase that has commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PhaseName {
    Install,
    PreBuild,
    Build,
    PostBuild,
}

impl PhaseName {
    pub const ALL: [PhaseName; 4] =
        [PhaseName::Install, PhaseName::PreBuild, PhaseName::Build, PhaseName::PostBuild];

    fn key(self) -> &'static str {
        match self {
            PhaseName::Install => "install",
            PhaseName::PreBuild => "pre_build",
            PhaseName::Build => "build",
            PhaseName::PostBuild => "post_build",
        }
    }
}

/// As the API and the log have it: `PRE_BUILD`.
impl fmt::Display for PhaseName {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(match self {
            PhaseName::Install => "INSTALL",
            PhaseName::PreBuild => "PRE_BUILD",
            PhaseName::Build => "BUILD",
            PhaseName::PostBuild => "POST_BUILD",
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: PhaseName,
    pub run_as: Option<String>,
    pub on_failure: Option<OnFailure>,
    /// `runtime: version`, only in install.
    pub runtime_versions: BTreeMap<String, String>,
    pub commands: Vec<String>,
    pub finally: Vec<String>,
}

pub fn read(node: &Node) -> Result<Vec<Phase>, Error> {
    let map = node.map("phases")?.only(&PhaseName::ALL.map(PhaseName::key))?;
    let mut phases = Vec::new();
    for name in PhaseName::ALL {
        if let Some(node) = map.get(name.key()).filter(|node| !node.is_null()) {
            phases.push(read_phase(name, node)?);
        }
    }
    let useful = |phase: &Phase| {
        !phase.commands.is_empty() || !phase.finally.is_empty() || !phase.runtime_versions.is_empty()
    };
    if phases.iter().any(useful) {
        Ok(phases)
    } else {
        Err(Error::invalid(node, "No commands found: phases must have at least one phase with commands"))
    }
}

fn read_phase(name: PhaseName, node: &Node) -> Result<Phase, Error> {
    let what = format!("phases/{}", name.key());
    let map = node.map(&what)?;
    let map = match name {
        PhaseName::Install => {
            map.only(&["run-as", "on-failure", "runtime-versions", "commands", "finally"])?
        }
        _ => map.only(&["run-as", "on-failure", "commands", "finally"])?,
    };
    let mut runtime_versions = BTreeMap::new();
    if let Some(node) = map.get("runtime-versions").filter(|node| !node.is_null()) {
        for (key, value) in node.map("runtime-versions")?.entries() {
            let version = value.text(&format!("runtime-versions/{}", key.name))?;
            runtime_versions.insert(key.name.clone(), version.to_owned());
        }
    }
    Ok(Phase {
        name,
        run_as: read_user(&map)?,
        on_failure: map.get("on-failure").map(OnFailure::read).transpose()?,
        runtime_versions,
        commands: map.get("commands").map(|node| commands(node, "Commands")).transpose()?.unwrap_or_default(),
        finally: map.get("finally").map(|node| commands(node, "Finally")).transpose()?.unwrap_or_default(),
    })
}

/// The usual mistake is an unquoted `: ` in a command, which makes it a mapping; AWS says it this way.
fn commands(node: &Node, what: &str) -> Result<Vec<String>, Error> {
    if node.is_null() {
        return Ok(Vec::new());
    }
    let mut commands = Vec::new();
    for (index, item) in node.list(what)?.iter().enumerate() {
        match &item.value {
            Value::Scalar { text, .. } => commands.push(text.clone()),
            Value::Map(_) | Value::List(_) => {
                return Err(Error::invalid(
                    item,
                    format!("Expected {what}[{index}] to be of string type: found subkeys instead"),
                ));
            }
        }
    }
    Ok(commands)
}
