//! The AppSpec file of a revision: which files go where, with which rights, and which scripts run when.
//!
//! Pure: text in, [`AppSpec`] out. The reading is strict: a key that is not in AWS's reference, a wrong type
//! or a value that could not be honoured is an error that names its line, so that it is found before a
//! host is touched. Sources:
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure.html> and the
//! pages on `files`, `permissions` and `hooks` beneath it.

mod acl;
mod hooks;
mod permissions;

pub use acl::{Ace, AceKind};
pub use hooks::{Event, MAX_EVENT_SECONDS, Script};
pub use permissions::{Context, ObjectType, Permission, glob_matches};

use hooks::Hooks;
use std::path::{Component, Path};
use towpath_yaml::{Error, Limits, Node};

/// Files of more entries than this are no AppSpec that a person wrote.
const MAX_ITEMS: usize = 10_000;
const MAX_PATH_BYTES: usize = 4_095;

/// What is to happen to a file that no deployment made, at a place where one wants to be.
/// <https://docs.aws.amazon.com/codedeploy/latest/userguide/deployments-rollback-and-redeploy.html#deployments-rollback-and-redeploy-content-options>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileExists {
    Disallow,
    Overwrite,
    Retain,
}

impl FileExists {
    pub fn parse(text: &str) -> Option<FileExists> {
        match text {
            "DISALLOW" => Some(FileExists::Disallow),
            "OVERWRITE" => Some(FileExists::Overwrite),
            "RETAIN" => Some(FileExists::Retain),
            _ => None,
        }
    }
}

/// One entry of `files`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMapping {
    /// Relative to the bundle's top; empty for the whole bundle.
    pub source: String,
    /// An absolute folder.
    pub destination: String,
    pub line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AppSpec {
    pub files: Vec<FileMapping>,
    pub file_exists_behavior: Option<FileExists>,
    pub permissions: Vec<Permission>,
    hooks: Hooks,
}

impl AppSpec {
    /// The scripts of an event, in their order.
    pub fn scripts(&self, event: Event) -> &[Script] {
        self.hooks.get(&event).map(Vec::as_slice).unwrap_or_default()
    }

    /// The events that have scripts.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        self.hooks.keys().copied()
    }
}

/// Reads an AppSpec file for hosts.
pub fn parse(text: &str) -> Result<AppSpec, Error> {
    let document = towpath_yaml::parse(text, Limits::default())?;
    let root = document.map("")?.only(&[
        "version",
        "os",
        "files",
        "file_exists_behavior",
        "permissions",
        "hooks",
    ])?;
    let version = root.required("version")?;
    if version.text("version")? != "0.0" {
        return Err(Error::invalid(version, "version must be 0.0"));
    }
    let os = root.required("os")?;
    match os.text("os")? {
        "linux" => {}
        "windows" => {
            return Err(Error::invalid(os, "os is windows, but this agent deploys to linux hosts only"));
        }
        _ => return Err(Error::invalid(os, "os must be linux")),
    }
    Ok(AppSpec {
        files: files(root.get("files"))?,
        file_exists_behavior: root.get("file_exists_behavior").map(file_exists).transpose()?,
        permissions: permissions::read(root.get("permissions"))?,
        hooks: hooks::read(root.get("hooks"))?,
    })
}

fn file_exists(node: &Node) -> Result<FileExists, Error> {
    let text = node.text("file_exists_behavior")?;
    FileExists::parse(text)
        .ok_or_else(|| Error::invalid(node, "file_exists_behavior must be DISALLOW, OVERWRITE or RETAIN"))
}

fn files(node: Option<&Node>) -> Result<Vec<FileMapping>, Error> {
    items(node, "files")?
        .iter()
        .map(|item| {
            let map = item.map("files")?.only(&["source", "destination"])?;
            let source = map.required("source")?;
            let destination = map.required("destination")?;
            Ok(FileMapping {
                source: inside_bundle(source, source.text("files/source")?)?,
                destination: absolute(destination, "files/destination")?,
                line: item.line,
            })
        })
        .collect()
}

/// A list, where nothing at all counts as an empty one.
fn items<'a>(node: Option<&'a Node>, what: &str) -> Result<&'a [Node], Error> {
    match node {
        None => Ok(&[]),
        Some(node) if node.is_null() => Ok(&[]),
        Some(node) => {
            let list = node.list(what)?;
            if list.len() > MAX_ITEMS {
                return Err(Error::invalid(node, format!("{what} has more than {MAX_ITEMS} entries")));
            }
            Ok(list)
        }
    }
}

/// A path from the bundle's top. A leading slash means that top, too.
fn inside_bundle(node: &Node, text: &str) -> Result<String, Error> {
    check_text(node, text)?;
    if text.contains('\\') {
        return Err(Error::invalid(node, format!("{text:?} is a Windows path; write it with '/'")));
    }
    let mut clean: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                return Err(Error::invalid(node, format!("{text:?} climbs out of the revision with '..'")));
            }
            part => clean.push(part),
        }
    }
    Ok(clean.join("/"))
}

/// An absolute path without `..`, and without a slash at its end.
fn absolute(node: &Node, what: &str) -> Result<String, Error> {
    let text = node.text(what)?.trim();
    check_text(node, text)?;
    if !text.starts_with('/') {
        return Err(Error::invalid(
            node,
            format!("{what} {text:?} must be an absolute path such as /srv/app"),
        ));
    }
    if Path::new(text).components().any(|part| part == Component::ParentDir) {
        return Err(Error::invalid(node, format!("{what} {text:?} must not contain '..'")));
    }
    let clean: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    Ok(format!("/{}", clean.join("/")))
}

fn check_text(node: &Node, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::invalid(node, "a path must not be empty"));
    }
    if text.len() > MAX_PATH_BYTES {
        return Err(Error::invalid(node, format!("a path is longer than {MAX_PATH_BYTES} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(node, "a path must not contain line breaks or control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
