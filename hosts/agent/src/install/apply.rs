//! Carries a plan out. Every step is idempotent, so an install that was interrupted is simply done again.

use super::paths::{Pinned, Ways, look};
use super::plan::{Plan, Rights, Source};
use super::rights::{find_program, ownership};
use super::tracked::Tracked;
use crate::appspec::{Ace, AceKind};
use crate::work_error::WorkError;
use nix::unistd::{Gid, Uid, fchown};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use towpath_archive::Follow;

const FOLDER_MODE: u32 = 0o755;

pub fn apply(plan: &Plan, tracked: &Tracked, interrupted: bool) -> Result<(), WorkError> {
    remove(plan, tracked, interrupted)?;
    let fresh = make_folders(plan)?;
    for (destination, source) in &plan.files {
        place(plan, tracked, destination, source).map_err(|error| {
            WorkError::new(format!("{} cannot be installed: {error}", destination.display()))
        })?;
    }
    for (destination, rights) in &plan.rights {
        if !rights.acls.is_empty() && plan.files.contains_key(destination) {
            set_acl(destination, rights)?;
        }
    }
    // Children first: a parent's new mode may lock the agent out.
    for folder in plan.folders.iter().rev() {
        finish_folder(plan, tracked, folder, fresh.contains(folder.as_path()))?;
    }
    sync(plan)
}

/// Where the next content of a file stands until it takes its place.
fn temporary(pinned: &Pinned, destination: &Path) -> PathBuf {
    let digest = Sha256::digest(crate::layout::path_bytes(destination));
    pinned.sibling(format!(".towpath-{}", hex::encode(&digest[..8])).as_ref())
}

/// What earlier installs made and this one does not: newest first, so that folders are empty in their turn.
fn remove(plan: &Plan, tracked: &Tracked, interrupted: bool) -> Result<(), WorkError> {
    let mut ways = Ways::default();
    for path in tracked.paths.iter().rev() {
        if !ways.is_trusted(path.parent().unwrap_or(Path::new("/")))? {
            tracing::warn!("{} is left alone: somebody else's symlink is on its way", path.display());
            continue;
        }
        // Where its folder is gone, so is it.
        let Ok(pinned) = Pinned::at(path) else { continue };
        if interrupted {
            fs::remove_file(temporary(&pinned, path)).ok();
        }
        let place = pinned.path();
        let Some(found) = look(&place)? else { continue };
        let stays = if found.is_dir() { plan.makes_folder(path) } else { plan.files.contains_key(path) };
        if stays {
            continue;
        }
        let outcome = if found.is_dir() { fs::remove_dir(&place) } else { fs::remove_file(&place) };
        match outcome {
            Ok(()) => {}
            // Not empty: somebody keeps other things there.
            Err(error) if found.is_dir() && error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(WorkError::new(format!("{} cannot be removed: {error}", path.display())));
            }
        }
    }
    Ok(())
}

fn make_folders(plan: &Plan) -> Result<HashSet<&Path>, WorkError> {
    let mut fresh = HashSet::new();
    for folder in &plan.folders {
        match Pinned::at(folder).and_then(|pinned| fs::create_dir(pinned.path())) {
            Ok(()) => {
                fresh.insert(folder.as_path());
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => {
                return Err(WorkError::new(format!(
                    "the folder {} cannot be made: {error}",
                    folder.display()
                )));
            }
        }
    }
    Ok(fresh)
}

fn place(plan: &Plan, tracked: &Tracked, destination: &Path, source: &Source) -> io::Result<()> {
    let pinned = Pinned::at(destination)?;
    let (place, fresh) = (pinned.path(), temporary(&pinned, destination));
    let found = look(&place).map_err(io::Error::other)?;
    let (path, mode) = match source {
        Source::Symlink { target } => {
            if found.is_some_and(|found| found.is_symlink()) && fs::read_link(&place)? == *target {
                return Ok(());
            }
            fs::remove_file(&fresh).ok();
            symlink(target, &fresh)?;
            return fs::rename(&fresh, &place);
        }
        Source::File { path, mode } => (path, *mode),
    };
    let rights = plan.rights.get(destination);
    let (uid, gid) = ownership(rights);
    let mode = rights.and_then(|rights| rights.mode).unwrap_or(mode);
    let open = || plan.archive.open_file(path, Follow::Beneath).map_err(io::Error::other);
    // A list that nobody asks for any more goes with the file that has it.
    let keeps_acl = !tracked.had_acl(destination) || rights.is_some_and(|rights| !rights.acls.is_empty());
    if let Some(found) = found
        && found.is_file()
        && keeps_acl
        && same_content(&mut open()?, &place, &found)?
        && set_metadata(&pinned, uid, gid, mode).is_ok()
    {
        return Ok(());
    }
    fs::remove_file(&fresh).ok();
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&fresh)?;
    io::copy(&mut open()?, &mut file)?;
    fchown(&file, Some(uid), Some(gid)).map_err(|errno| not_owned(errno.into(), uid, gid))?;
    file.set_permissions(Permissions::from_mode(mode))?;
    fs::rename(&fresh, &place)
}

fn same_content(source: &mut File, destination: &Path, found: &Metadata) -> io::Result<bool> {
    if source.metadata()?.len() != found.len() {
        return Ok(false);
    }
    let Ok(mut there) =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(destination)
    else {
        return Ok(false);
    };
    let (mut wanted, mut has) = (vec![0u8; 64 << 10], vec![0u8; 64 << 10]);
    loop {
        let count = read_full(source, &mut wanted)?;
        if read_full(&mut there, &mut has)? != count || wanted[..count] != has[..count] {
            return Ok(false);
        }
        if count < wanted.len() {
            return Ok(true);
        }
    }
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The kernel only says "invalid argument" of an owner that a host without root cannot have.
fn not_owned(error: io::Error, uid: Uid, gid: Gid) -> io::Error {
    if error.kind() != io::ErrorKind::InvalidInput {
        return error;
    }
    io::Error::other(format!(
        "its owner cannot be {uid}:{gid} here, for this host has no other user than root (it was started without \
         root); leave the owner out of the AppSpec's permissions"
    ))
}

/// Changes what differs; the owner first, for that takes setuid bits away.
fn set_metadata(pinned: &Pinned, uid: Uid, gid: Gid, mode: u32) -> io::Result<()> {
    let (file, path) = pinned.open()?;
    let found = file.metadata()?;
    let owned = found.uid() == uid.as_raw() && found.gid() == gid.as_raw();
    if !owned {
        chown(&path, Some(uid.as_raw()), Some(gid.as_raw())).map_err(|error| not_owned(error, uid, gid))?;
    }
    if !owned || found.mode() & 0o7777 != mode {
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A folder that is the installs' own. One that stays as it was is not touched, whatever scripts did to it.
fn finish_folder(plan: &Plan, tracked: &Tracked, folder: &Path, fresh: bool) -> Result<(), WorkError> {
    let failed = |error: io::Error| {
        WorkError::new(format!("the rights of {} cannot be set: {error}", folder.display()))
    };
    let rights = plan.rights.get(folder);
    if rights.is_none() && !fresh && !tracked.had_rights(folder) {
        return Ok(());
    }
    let has_acls = rights.is_some_and(|rights| !rights.acls.is_empty());
    if tracked.had_acl(folder) && !has_acls && !fresh {
        setfacl(&["--remove-all"], folder)?;
    }
    let pinned = Pinned::at(folder).map_err(failed)?;
    let (uid, gid) = ownership(rights);
    let mode = rights.and_then(|rights| rights.mode).unwrap_or(FOLDER_MODE);
    set_metadata(&pinned, uid, gid, mode).map_err(failed)?;
    match rights {
        Some(rights) if has_acls => set_acl(folder, rights),
        _ => Ok(()),
    }
}

/// The whole list: what the AppSpec names, and what the mode says for owner, group and others.
fn full_acl(acls: &[Ace], mode: u32) -> Vec<Ace> {
    let (user, group, other) = (mode >> 6 & 7, mode >> 3 & 7, mode & 7);
    let mut all = acls.to_vec();
    all.push(Ace::new(false, AceKind::User, user));
    all.push(Ace::new(false, AceKind::Group, group));
    all.push(Ace::new(false, AceKind::Other, other));
    let named = |default: bool| acls.iter().any(|ace| ace.default == default && !ace.name.is_empty());
    let has = |default: bool, kind: AceKind| {
        acls.iter().any(|ace| ace.default == default && ace.kind == kind && ace.name.is_empty())
    };
    if named(false) && !has(false, AceKind::Mask) {
        all.push(Ace::new(false, AceKind::Mask, group));
    }
    if acls.iter().any(|ace| ace.default) {
        for (kind, rights) in [(AceKind::User, user), (AceKind::Group, group), (AceKind::Other, other)] {
            if !has(true, kind) {
                all.push(Ace::new(true, kind, rights));
            }
        }
        if named(true) && !has(true, AceKind::Mask) {
            let of_group =
                acls.iter().find(|ace| ace.default && ace.kind == AceKind::Group && ace.name.is_empty());
            all.push(Ace::new(true, AceKind::Mask, of_group.map_or(group, |ace| ace.rights)));
        }
    }
    all
}

fn set_acl(path: &Path, rights: &Rights) -> Result<(), WorkError> {
    let mode = match rights.mode {
        Some(mode) => mode,
        None => Pinned::at(path)?.open()?.0.metadata()?.mode(),
    };
    let list: Vec<String> = full_acl(&rights.acls, mode).iter().map(Ace::to_string).collect();
    setfacl(&["--set", &list.join(",")], path)
}

fn setfacl(arguments: &[&str], path: &Path) -> Result<(), WorkError> {
    let problem = |reason: String| {
        WorkError::new(format!(
            "The deployment failed because of a problem with the acls permission settings in the application specification file for this object: {}. {reason}",
            path.display()
        ))
    };
    let program = find_program("setfacl").ok_or_else(|| problem("setfacl is not on this host".into()))?;
    let (_held, place) =
        Pinned::at(path).and_then(|pinned| pinned.open()).map_err(|e| problem(e.to_string()))?;
    let output = std::process::Command::new(program)
        .args(arguments)
        .arg("--")
        .arg(place)
        .env_clear()
        .output()
        .map_err(|error| problem(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(problem(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Everything on the disk before the install counts as done; once for each file system.
fn sync(plan: &Plan) -> Result<(), WorkError> {
    let mut systems: HashMap<u64, PathBuf> = HashMap::new();
    for path in plan.made() {
        let folder = path.parent().unwrap_or(path);
        if let Ok(found) = fs::metadata(folder) {
            systems.entry(found.dev()).or_insert_with(|| folder.to_owned());
        }
    }
    for folder in systems.values() {
        nix::unistd::syncfs(File::open(folder)?).map_err(io::Error::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_has_what_setfacl_needs() {
        let bob = Ace { default: false, kind: AceKind::User, name: "bob".into(), rights: 6 };
        let shown = |acls: &[Ace]| full_acl(acls, 0o750).iter().map(Ace::to_string).collect::<Vec<_>>();
        assert_eq!(
            shown(std::slice::from_ref(&bob)),
            ["user:bob:rw-", "user::rwx", "group::r-x", "other::---", "mask::r-x"]
        );
        let default = Ace { default: true, ..bob };
        assert_eq!(
            shown(&[default]),
            [
                "default:user:bob:rw-",
                "user::rwx",
                "group::r-x",
                "other::---",
                "default:user::rwx",
                "default:group::r-x",
                "default:other::---",
                "default:mask::r-x"
            ]
        );
    }
}
