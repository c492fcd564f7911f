//! Finds the toolchains that the server's own PATH finds, and names the folders that give them to a sandbox.
//!
//! Folders that show inside anyway (`/usr/bin`) need nothing. For one that is hidden (below a home, `/srv`, …)
//! the smallest folder that makes its tools work is named: the managers that people use are known by their
//! folder's name; for others the entry itself and where its links lead. Nothing else of a home is ever named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders to give, and variables by which the managers find them whatever HOME is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolchains {
    pub folders: Vec<PathBuf>,
    pub env: Vec<(String, String)>,
}

/// A manager's folder that is given whole, and the variable that names it.
const MANAGERS: &[(&str, Option<&str>)] = &[
    (".pyenv", Some("PYENV_ROOT")),
    (".nvm", Some("NVM_DIR")),
    (".rbenv", Some("RBENV_ROOT")),
    (".nodenv", Some("NODENV_ROOT")),
    (".goenv", Some("GOENV_ROOT")),
    (".jenv", Some("JENV_ROOT")),
    (".asdf", Some("ASDF_DATA_DIR")),
    (".volta", Some("VOLTA_HOME")),
    (".sdkman", Some("SDKMAN_DIR")),
    (".fnm", Some("FNM_DIR")),
    (".rvm", None),
    (".ghcup", None),
    (".elan", None),
];

/// Links followed for each PATH entry.
const LINKS: usize = 2_000;

/// `is_shown` tells which host paths a sandbox sees anyway.
pub fn find(
    path: &str,
    environment: impl Fn(&str) -> Option<String>,
    is_shown: impl Fn(&Path) -> bool,
) -> Toolchains {
    let mut search = Search { is_shown: &is_shown, folders: BTreeSet::new(), env: Vec::new() };
    for entry in path.split(':').filter(|e| e.starts_with('/')) {
        let entry = Path::new(entry);
        if entry.is_dir() {
            search.entry(entry, &environment);
        }
        // An entry may itself be a link out of a shown place, or into one.
        if let Ok(real) = entry.canonicalize()
            && real != entry
        {
            search.entry(&real, &environment);
        }
    }
    let all = search.folders.clone();
    let inside_another = |f: &PathBuf| all.iter().any(|other| other != f && f.starts_with(other));
    Toolchains { folders: all.iter().filter(|f| !inside_another(f)).cloned().collect(), env: search.env }
}

struct Search<'a> {
    is_shown: &'a dyn Fn(&Path) -> bool,
    folders: BTreeSet<PathBuf>,
    env: Vec<(String, String)>,
}

impl Search<'_> {
    fn entry(&mut self, entry: &Path, environment: &dyn Fn(&str) -> Option<String>) {
        if entry.ends_with(".cargo/bin")
            || environment("CARGO_HOME").is_some_and(|home| entry == Path::new(&home).join("bin"))
        {
            self.give(entry);
            let home = entry.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
            let rustup = environment("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
            if rustup.is_dir() {
                self.give(&rustup);
                self.name("RUSTUP_HOME", &rustup);
            }
            return;
        }
        if (self.is_shown)(entry) {
            return self.links(entry);
        }
        let whole = self.prefix(entry);
        self.give(&whole);
        self.links(entry);
    }

    /// The folder that makes a hidden `entry` work.
    fn prefix(&mut self, entry: &Path) -> PathBuf {
        for folder in entry.ancestors() {
            let name = folder.file_name().unwrap_or_default();
            if let Some((_, variable)) = MANAGERS.iter().find(|(manager, _)| name == *manager) {
                if let Some(variable) = variable {
                    self.name(variable, folder);
                }
                return folder.to_owned();
            }
            // Conda environments lie below their installation.
            if folder.join("conda-meta").is_dir() && folder.join("condabin").is_dir() {
                return folder.to_owned();
            }
        }
        let parent = entry.parent().unwrap_or(entry);
        let is_prefix =
            ["lib", "lib64", "libexec", "share", "include"].iter().any(|n| parent.join(n).is_dir());
        // `~/.local` and a home itself hold far more than tools.
        let too_wide = parent.ends_with(".local") || is_home(parent);
        let named_bin = entry.ends_with("bin") || entry.ends_with("sbin");
        if named_bin && is_prefix && !too_wide { parent.to_owned() } else { entry.to_owned() }
    }

    /// Tools that are links into a hidden place need that place too (`~/.local/bin/tool` of pipx or uv).
    fn links(&mut self, entry: &Path) {
        let Ok(names) = fs::read_dir(entry) else { return };
        for name in names.flatten().take(LINKS).filter(|n| n.file_type().is_ok_and(|t| t.is_symlink())) {
            let Ok(target) = name.path().canonicalize() else { continue };
            let Some(folder) = target.parent() else { continue };
            let given = self.folders.iter().any(|f| target.starts_with(f));
            if target.is_file() && !given && !(self.is_shown)(&target) && !is_home(folder) {
                let whole = self.prefix(folder);
                self.give(&whole);
            }
        }
    }

    fn give(&mut self, folder: &Path) {
        if !(self.is_shown)(folder) && !is_home(folder) {
            self.folders.insert(folder.to_owned());
        }
    }

    fn name(&mut self, variable: &str, folder: &Path) {
        if !self.env.iter().any(|(known, _)| known == variable) {
            self.env.push((variable.to_owned(), folder.display().to_string()));
        }
    }
}

/// A home or something above one: never given.
pub(crate) fn is_home(path: &Path) -> bool {
    let mut parts = path.components().skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (None, ..) | (Some(_), None, _) => true,
        (Some(first), Some(_), None) => first.as_os_str() == "home",
        _ => [".ssh", ".aws", ".gnupg", ".config", ".docker", ".kube"].iter().any(|n| path.ends_with(n)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn managers_give_their_own_folder_and_nothing_else_of_the_home() {
        let temporary = tempfile::tempdir().unwrap();
        let home = temporary.path().canonicalize().unwrap().join("people/alice");
        for folder in [
            ".cargo/bin",
            ".cargo/registry",
            ".rustup/toolchains",
            ".pyenv/shims",
            ".pyenv/bin",
            ".ssh",
            ".aws",
            ".nvm/versions/node/v1/bin",
            ".local/bin",
            ".local/share/pipx/venvs/tool/bin",
            ".local/share/pipx/venvs/tool/lib",
            ".local/share/private",
            "go/bin",
            "opt/thing/bin",
            "opt/thing/lib",
        ] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        fs::write(home.join(".local/share/pipx/venvs/tool/bin/tool"), "").unwrap();
        symlink(home.join(".local/share/pipx/venvs/tool/bin/tool"), home.join(".local/bin/tool")).unwrap();
        let path = [
            ".cargo/bin",
            ".pyenv/shims",
            ".pyenv/bin",
            ".nvm/versions/node/v1/bin",
            ".local/bin",
            "go/bin",
            "opt/thing/bin",
            "none",
        ]
        .map(|f| home.join(f).display().to_string())
        .join(":");
        let found = find(&format!("{path}:/usr/bin:/bin"), |_| None, |p| p.starts_with("/usr"));
        let relative: Vec<_> =
            found.folders.iter().map(|f| f.strip_prefix(&home).unwrap().display().to_string()).collect();
        assert_eq!(
            relative,
            [
                ".cargo/bin",
                ".local/bin",
                ".local/share/pipx/venvs/tool",
                ".nvm",
                ".pyenv",
                ".rustup",
                "go/bin",
                "opt/thing"
            ]
        );
        let names: Vec<_> = found.env.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["RUSTUP_HOME", "PYENV_ROOT", "NVM_DIR"]);
    }
}
