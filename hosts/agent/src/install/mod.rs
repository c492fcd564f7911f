//! Install: a revision's files to their places on the host.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-files.html>
//!
//! First everything is planned ([`plan`]) and checked, so that a conflict, a missing source or an unknown
//! owner leaves the host as it was. Then it is applied ([`apply`]): what the last install made and this one
//! does not want is removed, folders are made, files arrive by temporary name and rename, rights last. What
//! is equal already, in content and metadata, is not touched: a second install of a revision changes nothing.
//!
//! State: `GROUP-cleanup` names everything that the group's installs made, in the order in which it was
//! made, as AWS's agent writes it. Before the first change it is replaced by what was made and what will be,
//! so after a death in between nothing of ours is taken for somebody else's. `GROUP-installing` stands while
//! an install is under way.

mod apply;
mod paths;
mod plan;
mod rights;
mod tracked;

use crate::appspec::{AppSpec, FileExists};
use crate::layout::{Layout, remove_durably, write_durably};
use crate::work_error::WorkError;
use plan::Plan;
use std::path::Path;
use tracked::Tracked;

pub fn install(
    layout: &Layout,
    group: &str,
    archive: &Path,
    appspec: &AppSpec,
    behavior: FileExists,
) -> Result<(), WorkError> {
    let tracked = Tracked::load(layout, group)?;
    let mut plan = Plan::make(layout.root(), archive, appspec, behavior, &tracked)?;
    rights::plan(&mut plan, appspec)?;
    let installing = layout.instructions(group, "-installing");
    let interrupted = installing.exists();
    let made = tracked::lines(plan.made());
    let union = tracked::lines(tracked.paths.iter().map(|path| path.as_path()).chain(plan.made()));
    if union != tracked.text {
        write_durably(&layout.instructions(group, "-cleanup"), &union, 0o644)?;
    }
    write_durably(&installing, b"", 0o644)?;
    apply::apply(&plan, &tracked, interrupted)?;
    let instructions = serde_json::to_vec(&plan.instructions()).map_err(std::io::Error::other)?;
    write_durably(&layout.instructions(group, "-install.json"), &instructions, 0o644)?;
    write_durably(&layout.instructions(group, "-cleanup"), &made, 0o644)?;
    remove_durably(&installing)?;
    Ok(())
}

#[cfg(test)]
mod tests;
