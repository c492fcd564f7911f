//! Where things are below the root folder, as AWS's agent lays them out, and how they get there durably.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/deployment-steps-server.html>
//!
//! ```text
//! ROOT/GROUP/DEPLOYMENT/deployment-archive/      the unpacked revision
//! ROOT/GROUP/DEPLOYMENT/logs/scripts.log         what its scripts wrote
//! ROOT/deployment-instructions/GROUP-cleanup     what the last install made, a path per line
//! ROOT/deployment-instructions/GROUP-install.json
//! ROOT/deployment-instructions/GROUP_last_successful_install, GROUP_most_recent_install
//! ROOT/ongoing-deployment/                       the command at hand
//! ```

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

pub const ARCHIVE: &str = "deployment-archive";
const INSTRUCTIONS: &str = "deployment-instructions";
const ONGOING: &str = "ongoing-deployment";

#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// The folder of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentDir(PathBuf);

impl DeploymentDir {
    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn archive(&self) -> PathBuf {
        self.0.join(ARCHIVE)
    }

    pub fn log(&self) -> PathBuf {
        self.0.join("logs").join("scripts.log")
    }
}

impl Layout {
    /// Makes the folders. Scripts that run as other users must get through the public ones.
    pub fn new(root: &Path) -> io::Result<Layout> {
        let root = std::path::absolute(root)?;
        make_folders(&root)?;
        make_folders(&root.join(INSTRUCTIONS))?;
        let ongoing = root.join(ONGOING);
        match DirBuilder::new().mode(0o700).create(&ongoing) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Ok(Layout { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where scripts start: the folder that AWS's agent lives in.
    pub fn working_folder(&self) -> &Path {
        self.root.parent().unwrap_or(&self.root)
    }

    pub fn ongoing(&self) -> PathBuf {
        self.root.join(ONGOING)
    }

    pub fn group(&self, group: &str) -> PathBuf {
        self.root.join(group)
    }

    pub fn deployment(&self, group: &str, deployment: &str) -> DeploymentDir {
        DeploymentDir(self.group(group).join(deployment))
    }

    pub fn instructions(&self, group: &str, suffix: &str) -> PathBuf {
        self.root.join(INSTRUCTIONS).join(format!("{group}{suffix}"))
    }

    fn noted(&self, group: &str, suffix: &str) -> io::Result<Option<DeploymentDir>> {
        match fs::read_to_string(self.instructions(group, suffix)) {
            Ok(text) => {
                // Only a folder of this group is believed: the text may be another agent's.
                let name = Path::new(text.trim()).file_name().map(|name| self.group(group).join(name));
                Ok(name.map(DeploymentDir))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The deployment whose files are on this host.
    pub fn last_successful(&self, group: &str) -> io::Result<Option<DeploymentDir>> {
        self.noted(group, "_last_successful_install")
    }

    pub fn most_recent(&self, group: &str) -> io::Result<Option<DeploymentDir>> {
        self.noted(group, "_most_recent_install")
    }

    pub fn note_last_successful(&self, group: &str, dir: &DeploymentDir) -> io::Result<()> {
        write_durably(&self.instructions(group, "_last_successful_install"), path_bytes(&dir.0), 0o644)
    }

    pub fn note_most_recent(&self, group: &str, dir: &DeploymentDir) -> io::Result<()> {
        write_durably(&self.instructions(group, "_most_recent_install"), path_bytes(&dir.0), 0o644)
    }
}

pub fn path_bytes(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes()
}

pub fn make_folders(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// All or nothing, and on the disk when it returns.
pub fn write_durably(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_parent(path)
}

/// Removes a file durably; one that is gone already is no error.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}
