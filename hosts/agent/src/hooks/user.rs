//! Whom a script runs as.

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist};
use std::ffi::CString;
use std::path::PathBuf;

/// A user that exists on this host, with all groups.
pub struct Account {
    pub name: String,
    pub home: PathBuf,
    pub shell: PathBuf,
    /// `None` for the agent's own user: nothing is to change.
    pub switch: Option<Switch>,
}

pub struct Switch {
    pub uid: Uid,
    pub gid: Gid,
    pub groups: Vec<Gid>,
}

/// Without a name: the agent's own user. Another user takes an agent that runs as root.
pub fn resolve(runas: Option<&str>) -> Result<Account, String> {
    let own = geteuid();
    let Some(name) = runas else {
        let user = User::from_uid(own).ok().flatten();
        return Ok(match user {
            Some(user) => account(user, None),
            None => Account {
                name: own.to_string(),
                home: PathBuf::from("/"),
                shell: PathBuf::from("/bin/sh"),
                switch: None,
            },
        });
    };
    let user = User::from_name(name)
        .map_err(|error| format!("the user {name} could not be looked up: {error}"))?
        .ok_or_else(|| format!("the user {name} does not exist on this host"))?;
    if user.uid == own {
        return Ok(account(user, None));
    }
    if !own.is_root() {
        return Err(format!(
            "the agent runs as user {own}; only an agent that runs as root can run scripts as {name}"
        ));
    }
    let c_name = CString::new(name).map_err(|_| format!("{name:?} is no user name"))?;
    let groups = getgrouplist(&c_name, user.gid)
        .map_err(|error| format!("the groups of {name} could not be looked up: {error}"))?;
    let switch = Switch { uid: user.uid, gid: user.gid, groups };
    Ok(account(user, Some(switch)))
}

fn account(user: User, switch: Option<Switch>) -> Account {
    Account { name: user.name, home: user.dir, shell: user.shell, switch }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn unknown_users_are_named() {
        assert!(resolve(Some("no-such-user-here")).err().unwrap().contains("does not exist"));
        assert!(resolve(None).unwrap().switch.is_none());
    }
}
