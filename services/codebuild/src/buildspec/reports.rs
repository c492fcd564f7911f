//! `reports`: which files hold test results.

use super::artifacts::read_globs;
use towpath_yaml::{Error, Node};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    JunitXml,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// A name (the group is then `PROJECT-NAME`) or a report group's ARN.
    pub group: String,
    pub format: ReportFormat,
    pub files: Vec<String>,
    pub base_directory: Option<String>,
    pub discard_paths: bool,
}

/// A project's builds may send reports to this many groups.
pub const MAX_GROUPS: usize = 5;
const KNOWN_TO_AWS: &[&str] = &[
    "CUCUMBERJSON",
    "NUNITXML",
    "NUNIT3XML",
    "TESTNGXML",
    "VISUALSTUDIOTRX",
    "CLOVERXML",
    "COBERTURAXML",
    "JACOCOXML",
    "SIMPLECOV",
    "LCOV",
];

pub fn read(node: &Node) -> Result<Vec<Report>, Error> {
    let mut reports = Vec::new();
    for (key, value) in node.map("reports")?.entries() {
        let what = format!("reports/{}", key.name);
        let map = value.map(&what)?.only(&["files", "file-format", "base-directory", "discard-paths"])?;
        if !is_group(&key.name) {
            return Err(Error::invalid(
                value,
                "a report group's name has 2 to 128 letters, digits, '-' and '_', or is an ARN",
            ));
        }
        reports.push(Report {
            group: key.name.clone(),
            format: map.get("file-format").map(read_format).transpose()?.unwrap_or(ReportFormat::JunitXml),
            files: read_globs(map.required("files")?, &map.path("files"))?,
            base_directory: map.text("base-directory")?.map(str::to_owned),
            discard_paths: map.boolean("discard-paths")?.unwrap_or(false),
        });
    }
    if reports.len() > MAX_GROUPS {
        return Err(Error::invalid(node, format!("reports can name at most {MAX_GROUPS} report groups")));
    }
    Ok(reports)
}

fn is_group(name: &str) -> bool {
    if name.starts_with("arn:") {
        return towpath_api::Arn::parse(name).is_some_and(|arn| arn.resource_of("report-group").is_some());
    }
    (2..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn read_format(node: &Node) -> Result<ReportFormat, Error> {
    let text = node.text("file-format")?;
    let upper = text.to_ascii_uppercase();
    if upper == "JUNITXML" {
        Ok(ReportFormat::JunitXml)
    } else if KNOWN_TO_AWS.contains(&upper.as_str()) {
        Err(Error::invalid(node, format!("Towpath does not support the report format {upper}; use JUNITXML")))
    } else {
        let text: String = text.chars().take(40).collect();
        Err(Error::invalid(node, format!("unknown report format '{text}'; allowed: JUNITXML")))
    }
}
