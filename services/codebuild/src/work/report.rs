//! Reports of a build: finding the files, reading the cases, staging them.

use super::artifacts::{Choice, CollectError, choose};
use crate::buildspec::{Report, ReportFormat};
use crate::reports::{Case, CaseStatus, MAX_CASES, MAX_FILE_BYTES, ReportError, parse_junit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use towpath_api_codebuild::TestReportSummary;
use towpath_archive::{Follow, Root};

/// A report on its way into the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StagedReport {
    /// The group's name.
    pub group: String,
    /// Whether the group is made where it does not exist.
    pub create_group: bool,
    pub uuid: String,
    pub truncated: bool,
    pub cases: Vec<Case>,
}

#[derive(Debug, thiserror::Error)]
pub enum CollectReportError {
    #[error("[{group}: [report files not found in build]]")]
    NotFound { group: String },
    #[error("[{group}: [{source}]]")]
    Collect { group: String, source: CollectError },
    #[error("[{group}: [{source}]]")]
    Parse { group: String, source: ReportError },
    #[error("[{group}: [{file} is larger than {MAX_FILE_BYTES} bytes]]")]
    TooLarge { group: String, file: String },
    #[error("[{group}: [{file} cannot be read: {reason}]]")]
    Unreadable { group: String, file: String, reason: String },
}

/// The cases of all files of one report.
pub fn collect(
    source: &Path,
    inside: &Path,
    report: &Report,
    (base, files): (&str, &[String]),
) -> Result<(Vec<Case>, bool), CollectReportError> {
    let group = report.group.clone();
    let choice = Choice { base, files, exclude: &[], discard_paths: false, symlinks: false };
    let (chosen, _) = choose(source, inside, &choice)
        .map_err(|source| CollectReportError::Collect { group: group.clone(), source })?;
    if chosen.is_empty() {
        return Err(CollectReportError::NotFound { group });
    }
    let unreadable = |file: &str, reason: String| CollectReportError::Unreadable {
        group: group.clone(),
        file: file.to_owned(),
        reason,
    };
    let root = Root::open(source).map_err(|error| unreadable(".", error.to_string()))?;
    let mut cases = Vec::new();
    let mut truncated = false;
    for file in chosen {
        let opened = root.open_file(&file.path, Follow::Beneath);
        let mut opened =
            opened.map_err(|error| unreadable(&file.name, error.to_string()))?.take(MAX_FILE_BYTES + 1);
        let mut bytes = Vec::new();
        opened.read_to_end(&mut bytes).map_err(|error| unreadable(&file.name, error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(CollectReportError::TooLarge { group, file: file.name });
        }
        let text = String::from_utf8_lossy(&bytes);
        let name = if report.discard_paths {
            file.name.rsplit('/').next().unwrap_or(&file.name)
        } else {
            &file.name
        };
        let (more, cut) = match report.format {
            ReportFormat::JunitXml => parse_junit(name, &text),
        }
        .map_err(|source| CollectReportError::Parse { group: group.clone(), source })?;
        truncated |= cut;
        cases.extend(more);
    }
    truncated |= cases.len() > MAX_CASES;
    cases.truncate(MAX_CASES);
    Ok((cases, truncated))
}

pub fn summary(cases: &[Case]) -> TestReportSummary {
    // Each is bounded, but not their sum.
    let duration_ns = cases.iter().fold(0i64, |sum, case| sum.saturating_add(case.duration_ns));
    let mut counts: BTreeMap<String, i64> =
        ["SUCCEEDED", "FAILED", "ERROR", "SKIPPED", "UNKNOWN"].map(|status| (status.to_owned(), 0)).into();
    for case in cases {
        *counts.entry(case.status.to_string()).or_default() += 1;
    }
    TestReportSummary {
        total: Some(cases.len() as i64),
        status_counts: Some(counts),
        duration_in_nano_seconds: Some(duration_ns),
    }
}

/// `FAILED` when any case failed.
pub fn status(cases: &[Case]) -> &'static str {
    let bad = cases.iter().any(|case| matches!(case.status, CaseStatus::Failed | CaseStatus::Error));
    if bad { "FAILED" } else { "SUCCEEDED" }
}
