//! The `hooks` section.
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file-structure-hooks.html>

use super::{inside_bundle, items};
use std::collections::BTreeMap;
use std::fmt;
use towpath_yaml::{Error, Node};

pub(super) type Hooks = BTreeMap<Event, Vec<Script>>;

/// AWS's limit for all scripts of one life-cycle event, and the default for one script.
pub const MAX_EVENT_SECONDS: u64 = 3_600;

/// A life-cycle event that may have scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    BeforeBlockTraffic,
    AfterBlockTraffic,
    ApplicationStop,
    BeforeInstall,
    AfterInstall,
    ApplicationStart,
    ValidateService,
    BeforeAllowTraffic,
    AfterAllowTraffic,
}

impl Event {
    pub const ALL: [Event; 9] = [
        Event::BeforeBlockTraffic,
        Event::AfterBlockTraffic,
        Event::ApplicationStop,
        Event::BeforeInstall,
        Event::AfterInstall,
        Event::ApplicationStart,
        Event::ValidateService,
        Event::BeforeAllowTraffic,
        Event::AfterAllowTraffic,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Event::BeforeBlockTraffic => "BeforeBlockTraffic",
            Event::AfterBlockTraffic => "AfterBlockTraffic",
            Event::ApplicationStop => "ApplicationStop",
            Event::BeforeInstall => "BeforeInstall",
            Event::AfterInstall => "AfterInstall",
            Event::ApplicationStart => "ApplicationStart",
            Event::ValidateService => "ValidateService",
            Event::BeforeAllowTraffic => "BeforeAllowTraffic",
            Event::AfterAllowTraffic => "AfterAllowTraffic",
        }
    }

    pub fn parse(text: &str) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name() == text)
    }

    /// These run before the new revision is on the host, so their scripts are the last revision's.
    pub fn is_of_last_revision(self) -> bool {
        matches!(self, Event::BeforeBlockTraffic | Event::AfterBlockTraffic | Event::ApplicationStop)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// One script of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Relative to the bundle's top.
    pub location: String,
    pub timeout_s: u64,
    pub runas: Option<String>,
}

/// Events that the agent or the service carries out itself.
const RESERVED: [&str; 6] = ["Start", "DownloadBundle", "Install", "BlockTraffic", "AllowTraffic", "End"];

pub(super) fn read(node: Option<&Node>) -> Result<Hooks, Error> {
    let mut hooks = Hooks::new();
    let Some(node) = node.filter(|node| !node.is_null()) else { return Ok(hooks) };
    for (key, scripts) in node.map("hooks")?.entries() {
        if RESERVED.contains(&key.name.as_str()) {
            return Err(Error::invalid(scripts, format!("the event {} cannot run scripts", key.name)));
        }
        let Some(event) = Event::parse(&key.name) else {
            let known: Vec<&str> = Event::ALL.iter().map(|event| event.name()).collect();
            node.map("hooks")?.only(&known)?;
            continue;
        };
        let what = format!("hooks/{event}");
        let scripts: Vec<Script> =
            items(Some(scripts), &what)?.iter().map(|item| script(item, &what)).collect::<Result<_, _>>()?;
        if !scripts.is_empty() {
            hooks.insert(event, scripts);
        }
    }
    Ok(hooks)
}

fn script(node: &Node, what: &str) -> Result<Script, Error> {
    let map = node.map(what)?.only(&["location", "timeout", "runas"])?;
    let location = map.required("location")?;
    let timeout_s = match map.integer("timeout")? {
        None => MAX_EVENT_SECONDS,
        Some(seconds) => u64::try_from(seconds)
            .ok()
            .filter(|seconds| (1..=MAX_EVENT_SECONDS).contains(seconds))
            .ok_or_else(|| {
                Error::invalid(
                    map.get("timeout").unwrap_or(node),
                    format!("{what}/timeout must be 1 to {MAX_EVENT_SECONDS} seconds"),
                )
            })?,
    };
    let location = inside_bundle(location, location.text("location")?.trim())?;
    if location.is_empty() {
        return Err(Error::invalid(node, format!("{what}/location names no script")));
    }
    Ok(Script { location, timeout_s, runas: map.text("runas")?.map(|name| user(node, name)).transpose()? })
}

fn user(node: &Node, name: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.len() > 64 || name.contains([':', '/', '\n', '\0', ' ']) {
        return Err(Error::invalid(node, format!("runas {name:?} is no user name")));
    }
    Ok(name.to_owned())
}
