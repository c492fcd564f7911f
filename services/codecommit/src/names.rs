//! What may be called what. Pure.
//! Limits: <https://docs.aws.amazon.com/codecommit/latest/userguide/limits.html>; references:
//! <https://git-scm.com/docs/git-check-ref-format>.

use crate::error::Error;

const MAX_REPOSITORY_NAME: usize = 100;
const MAX_BRANCH_NAME: usize = 256;
const MAX_PATH: usize = 4096;
const MAX_PATH_FOLDERS: usize = 20;
/// A component of a path on any common file system.
const MAX_COMPONENT_BYTES: usize = 255;

pub fn is_repository_name(name: &str) -> bool {
    (1..=MAX_REPOSITORY_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.to_ascii_lowercase().ends_with(".git")
        && !matches!(name, "." | "..")
}

pub fn repository_name(name: Option<&str>) -> Result<&str, Error> {
    match name {
        None | Some("") => Err(Error::RepositoryNameRequired),
        Some(name) if is_repository_name(name) => Ok(name),
        Some(_) => Err(Error::InvalidRepositoryName),
    }
}

/// The rules of git-check-ref-format for a full name, without its `refs/`.
fn is_reference_tail(name: &str) -> bool {
    let bad = |character: char| {
        character.is_control() || matches!(character, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    };
    !name.is_empty()
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@"
        && !name.ends_with('.')
        && !name.chars().any(bad)
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

pub fn is_branch_name(name: &str) -> bool {
    name.chars().count() <= MAX_BRANCH_NAME
        && is_reference_tail(name)
        && !name.starts_with('-')
        && name != "HEAD"
}

/// A branch's short name. `refs/heads/x` is taken for `x`, as AWS takes it.
pub fn branch_name(name: Option<&str>) -> Result<&str, Error> {
    match name {
        None | Some("") => Err(Error::BranchNameRequired),
        Some(name) => {
            let short = name.strip_prefix("refs/heads/").unwrap_or(name);
            if is_branch_name(short) { Ok(short) } else { Err(Error::InvalidBranchName(name.to_owned())) }
        }
    }
}

/// Whether a push may name this reference.
pub fn is_pushable(name: &str) -> bool {
    match name.strip_prefix("refs/heads/") {
        Some(branch) => is_branch_name(branch),
        None => name.strip_prefix("refs/").is_some_and(|tail| {
            tail.contains('/') && tail.chars().count() <= MAX_BRANCH_NAME && is_reference_tail(tail)
        }),
    }
}

/// A file's path without its leading slash. Nothing that a checkout could take for something else.
pub fn file_path(path: Option<&str>) -> Result<&str, Error> {
    let path = path.filter(|path| !path.is_empty()).ok_or(Error::PathRequired)?;
    let plain = path.strip_prefix('/').unwrap_or(path);
    let invalid = || Error::InvalidPath(shown(path));
    if plain.is_empty()
        || plain.chars().count() > MAX_PATH
        || plain.chars().any(char::is_control)
        || plain.split('/').count() > MAX_PATH_FOLDERS + 1
        || !plain.split('/').all(is_component)
    {
        return Err(invalid());
    }
    Ok(plain)
}

/// A folder's path: as a file's, with slashes around it allowed, and `/` or nothing for the root.
pub fn folder_path(path: Option<&str>) -> Result<&str, Error> {
    let path = path.ok_or(Error::PathRequired)?;
    let plain = path.strip_prefix('/').unwrap_or(path);
    let plain = plain.strip_suffix('/').unwrap_or(plain);
    if plain.is_empty() { Ok("") } else { file_path(Some(plain)) }
}

fn is_component(name: &str) -> bool {
    let folded = name.trim_end_matches([' ', '.']).to_ascii_lowercase();
    !name.is_empty()
        && name.len() <= MAX_COMPONENT_BYTES
        && name != "."
        && name != ".."
        && folded != ".git"
        && folded != "git~1"
        && !name.contains('\\')
}

/// A hostile name, short enough and harmless in a message.
pub fn shown(name: &str) -> String {
    let mut text: String =
        name.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if name.chars().nth(200).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn repository_names() {
        for good in ["a", "My.Repo_1-x", &"a".repeat(100)] {
            assert!(is_repository_name(good), "{good}");
        }
        for bad in ["", "..", ".", "a/b", "a.git", "A.GIT", "ä", "a b", "a\0", "a%2f", &"a".repeat(101)] {
            assert!(!is_repository_name(bad), "{bad}");
        }
    }

    #[test]
    fn branch_names() {
        for good in ["main", "feature/x", "é", "a.b", "@x"] {
            assert_eq!(branch_name(Some(good)).unwrap(), good);
        }
        assert_eq!(branch_name(Some("refs/heads/main")).unwrap(), "main");
        for bad in [
            "a..b",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a\n",
            "a\0",
            "@{1}",
            "@",
            "-a",
            "HEAD",
            "a.",
            &"a".repeat(257),
        ] {
            assert!(branch_name(Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn references_that_a_push_may_name() {
        for good in ["refs/heads/main", "refs/tags/v1", "refs/notes/commits", "refs/tags/-x"] {
            assert!(is_pushable(good), "{good}");
        }
        for bad in
            ["HEAD", "refs/x", "refs/heads/../../x", "refs/heads/", "heads/main", "refs/heads/a.lock", "../x"]
        {
            assert!(!is_pushable(bad), "{bad}");
        }
    }

    #[test]
    fn file_paths() {
        assert_eq!(file_path(Some("/a/b.txt")).unwrap(), "a/b.txt");
        assert_eq!(file_path(Some("a b/ü")).unwrap(), "a b/ü");
        for bad in [
            "..",
            "a/../b",
            "./a",
            "a/.",
            "a//b",
            "//a",
            "a/",
            ".git/config",
            "a/.GIT/x",
            ".git ",
            ".git.",
            "git~1/x",
            "a\0b",
            "a\nb",
            "a\\..\\b",
            &"a".repeat(4097),
            &"a".repeat(256),
            &"a/".repeat(22),
        ] {
            assert!(file_path(Some(bad)).is_err(), "{bad:?}");
        }
        assert!(matches!(file_path(None), Err(Error::PathRequired)));
        assert_eq!(folder_path(Some("/")).unwrap(), "");
        assert_eq!(folder_path(Some("/a/b/")).unwrap(), "a/b");
        assert!(folder_path(Some("../a")).is_err());
    }
}
