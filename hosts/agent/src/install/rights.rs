//! Which rights the AppSpec gives to which of the install's files and folders.

use super::plan::{Plan, Rights, Source};
use crate::appspec::{AppSpec, ObjectType, Permission};
use crate::work_error::WorkError;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgroups};
use std::path::{Path, PathBuf};

pub fn plan(plan: &mut Plan, appspec: &AppSpec) -> Result<(), WorkError> {
    for permission in &appspec.permissions {
        let rights = resolve(permission)?;
        let objects = objects(plan, permission)?;
        if objects.is_empty() {
            tracing::warn!(
                "permissions at line {}: {} matches nothing that was installed",
                permission.line,
                permission.object
            );
        }
        for object in objects {
            if plan.rights.contains_key(&object) {
                return Err(WorkError::new(format!(
                    "The deployment failed because the permissions setting for ({}) is specified more than once in the application specification file. Update the files section of the AppSpec file, and then try again.",
                    object.display()
                )));
            }
            plan.rights.insert(object, rights.clone());
        }
    }
    Ok(())
}

/// As AWS's agent chooses: a file that is copied; else what is copied or made beneath a folder.
fn objects(plan: &Plan, permission: &Permission) -> Result<Vec<PathBuf>, WorkError> {
    let object = Path::new(&permission.object);
    let no_default = |path: &Path| match permission.acls.iter().any(|ace| ace.default) {
        true => Err(WorkError::new(format!(
            "The deployment failed because a default acl, which is for directories only, is set on the file {}",
            path.display()
        ))),
        false => Ok(()),
    };
    if let Some(source) = plan.files.get(object) {
        if !permission.covers(ObjectType::File) || is_link(source) {
            return Ok(Vec::new());
        }
        if permission.pattern != "**" || !permission.except.is_empty() {
            return Err(WorkError::new(format!(
                "The deployment failed because the application specification file includes an object ({}) with an invalid pattern ({}), such as a pattern for a file applied to a directory. Correct the permissions section of the AppSpec file, and then try again.",
                permission.object, permission.pattern
            )));
        }
        no_default(object)?;
        return Ok(vec![object.to_owned()]);
    }
    let mut found = Vec::new();
    if permission.covers(ObjectType::File) {
        for (path, source) in &plan.files {
            if !is_link(source) && permission.matches(&path.to_string_lossy()) {
                no_default(path)?;
                found.push(path.clone());
            }
        }
    }
    if permission.covers(ObjectType::Directory) {
        found.extend(plan.folders.iter().filter(|path| permission.matches(&path.to_string_lossy())).cloned());
    }
    Ok(found)
}

/// Links have no rights of their own; to follow one could reach a file that is not the revision's.
fn is_link(source: &Source) -> bool {
    matches!(source, Source::Symlink { .. })
}

fn resolve(permission: &Permission) -> Result<Rights, WorkError> {
    let problem = |reason: String| {
        WorkError::new(format!(
            "The deployment failed because the permissions for {} (line {} of the AppSpec file) cannot be set: {reason}",
            permission.object, permission.line
        ))
    };
    if permission.context.is_some() {
        return Err(problem("SELinux contexts are not supported by this agent".into()));
    }
    if !permission.acls.is_empty() && find_program("setfacl").is_none() {
        return Err(problem(
            "acls need the program setfacl, which this host does not have (package acl)".into(),
        ));
    }
    let root = geteuid().is_root();
    let owner = match &permission.owner {
        None => None,
        Some(name) => {
            let user = User::from_name(name).ok().flatten();
            let user = user.ok_or_else(|| problem(format!("the user {name} does not exist on this host")))?;
            if !root && user.uid != geteuid() {
                return Err(problem(format!(
                    "the agent does not run as root, so it cannot make {name} an owner"
                )));
            }
            Some((name.clone(), user.uid.as_raw()))
        }
    };
    let group = match &permission.group {
        None => None,
        Some(name) => {
            let group = Group::from_name(name).ok().flatten();
            let group =
                group.ok_or_else(|| problem(format!("the group {name} does not exist on this host")))?;
            let member = group.gid == getegid() || getgroups().unwrap_or_default().contains(&group.gid);
            if !root && !member {
                return Err(problem(format!("the agent's user is not in the group {name}")));
            }
            Some((name.clone(), group.gid.as_raw()))
        }
    };
    Ok(Rights { mode: permission.mode, owner, group, acls: permission.acls.clone() })
}

/// A program of the host's.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(standard).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Owner and group that a file or folder is to have.
pub fn ownership(rights: Option<&Rights>) -> (Uid, Gid) {
    let owner = rights.and_then(|rights| rights.owner.as_ref()).map(|(_, uid)| Uid::from_raw(*uid));
    let group = rights.and_then(|rights| rights.group.as_ref()).map(|(_, gid)| Gid::from_raw(*gid));
    (owner.unwrap_or_else(geteuid), group.unwrap_or_else(getegid))
}
