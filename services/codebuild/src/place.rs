//! The name of a server's disk: made once, kept beside what is staged there.

use std::path::Path;
use towpath_api::id;

const FILE: &str = "place";
const MAX_BYTES: usize = 64;

/// The name in `data_dir`. Where it cannot be kept it lasts as long as this process: what is staged is then
/// not found again, and its builds end as faults.
pub fn name(data_dir: &Path) -> String {
    let path = data_dir.join(FILE);
    if let Ok(name) = std::fs::read_to_string(&path)
        && !name.is_empty()
        && name.len() <= MAX_BYTES
    {
        return name;
    }
    let name = id::uuid();
    let kept = std::fs::create_dir_all(data_dir).and_then(|()| std::fs::write(&path, &name));
    if let Err(error) = kept {
        tracing::error!(path = %path.display(), %error, "the name of this server's disk cannot be kept");
    }
    name
}
