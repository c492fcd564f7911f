//! Small helpers on the host's side of a build's folder.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes every folder beneath `path` accessible to its owner, following no symlinks.
pub fn open_up(path: &Path) {
    let mut pending = vec![path.to_owned()];
    while let Some(folder) = pending.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&folder) else { continue };
        if !metadata.is_dir() {
            continue;
        }
        // Best effort: what stays closed is reported by the removal that follows.
        let _ = std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700));
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        pending.extend(
            entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()),
        );
    }
}

/// Writes a file that is on the disk when this returns.
pub fn write_durably(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    if let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// `text` as one word of a POSIX shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
