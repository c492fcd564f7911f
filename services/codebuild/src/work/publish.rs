//! UPLOAD_ARTIFACTS, second half: storing what is staged. Everything here can be done again: a server that
//! dies in the middle goes on with it after its restart, from the files on the disk.

use super::assignment::Stopped;
use super::log::Log;
use super::report::{StagedReport, status, summary};
use crate::CodeBuildService;
use crate::state::{Context, State, Status};
use crate::store::{BuildDoc, CasesDoc, ReportDoc, ReportGroupDoc, StoredArtifact};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;
use towpath_api::objects::{Objects, PutOptions};
use towpath_api::{ApiError, Arn, Call};
use towpath_api_codebuild::{Report, ReportExportConfig};
use towpath_store::{Document, StoreError, Txn, key};

/// One object to be stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Put {
    pub bucket: String,
    pub key: String,
    /// Relative to the attempt's folder.
    pub file: PathBuf,
    /// An object that is there already must have this content.
    pub once: bool,
    pub sha256: Option<String>,
    pub content_type: Option<String>,
}

/// What the commands left, on the disk before the build is `Publishing`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    pub puts: Vec<Put>,
    pub artifacts: Option<StoredArtifact>,
    pub secondary: Vec<StoredArtifact>,
    pub reports: Vec<StagedReport>,
    pub exported: Vec<(String, String)>,
    /// What could not be chosen or read; the rest is stored all the same.
    pub failures: Vec<String>,
}

const ATTEMPTS: u32 = 5;

impl Manifest {
    pub const FILE: &str = "manifest.json";

    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        super::files::write_durably(&folder.join(Manifest::FILE), &text)
    }

    pub fn read(folder: &Path) -> std::io::Result<Manifest> {
        serde_json::from_slice(&std::fs::read(folder.join(Manifest::FILE))?).map_err(std::io::Error::other)
    }
}

/// The end of UPLOAD_ARTIFACTS.
pub struct Published {
    pub status: Status,
    pub context: Context,
    /// Whether every artifact is where the build says.
    pub uploaded: bool,
}

/// Stores everything, as `objects`.
pub async fn publish(
    (service, objects): (&CodeBuildService, &dyn Objects),
    call: &Call,
    doc: &BuildDoc,
    (manifest, folder): (&Manifest, &Path),
    log: &Log,
) -> Result<Published, Stopped> {
    let mut failures = manifest.failures.clone();
    let mut uploaded = true;
    for put in &manifest.puts {
        let once = put.once && is_first(doc);
        if let Err(error) = store_object(objects, call, (put, once), &folder.join(&put.file)).await {
            if error.status >= 500 {
                return Err(Stopped::Broken(format!("s3://{}/{}: {}", put.bucket, put.key, error.message)));
            }
            failures.push(format!(
                "Error while uploading s3://{}/{}: {}: {}",
                put.bucket, put.key, error.code, error.message
            ));
            uploaded = false;
            break;
        }
    }
    for report in &manifest.reports {
        match store_report(service, call, doc, report).await {
            Ok(()) => {
                let failed = if status(&report.cases) == "FAILED" { ", some failed" } else { "" };
                log.say(format!("Report {}: {} test cases{failed}", report.group, report.cases.len())).await;
            }
            Err(StoreReport::Denied(error)) => {
                failures.push(format!("[{}: [{}: {}]]", report.group, error.code, error.message));
            }
            Err(StoreReport::Store(error)) => return Err(Stopped::Store(error)),
        }
    }
    let (status, context) = match failures.is_empty() {
        true => (Status::Succeeded, Context::default()),
        false => (Status::Failed, Context::new("CLIENT_ERROR", failures.join("; "))),
    };
    Ok(Published { status, context, uploaded })
}

/// A later attempt may find what an earlier one stored that died before it could say so. Nobody was told of
/// that, and its lease is over: it is written over.
fn is_first(doc: &BuildDoc) -> bool {
    matches!(doc.progress.state, State::Publishing { attempt: 1 })
}

async fn store_object(
    objects: &dyn Objects,
    call: &Call,
    (put, once): (&Put, bool),
    file: &Path,
) -> Result<(), ApiError> {
    let options =
        PutOptions { content_type: put.content_type.clone(), only_if_absent: once, ..PutOptions::default() };
    let mut attempt = 0;
    loop {
        attempt += 1;
        match objects.put_file(call, &put.bucket, &put.key, file, options.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if once && error.code == "PreconditionFailed" => {
                // An earlier attempt of this very build may have stored it.
                let there = objects.head(call, &put.bucket, &put.key, None).await?;
                let same = match &put.sha256 {
                    Some(sha256) => there.sha256 == *sha256,
                    None => std::fs::metadata(file).is_ok_and(|file| file.len() == there.size_bytes),
                };
                return if same { Ok(()) } else { Err(error) };
            }
            Err(error) if error.status < 500 || attempt >= ATTEMPTS => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(200 << attempt)).await,
        }
    }
}

enum StoreReport {
    Denied(ApiError),
    Store(StoreError),
}

impl From<StoreError> for StoreReport {
    fn from(error: StoreError) -> Self {
        StoreReport::Store(error)
    }
}

pub fn report_arn(doc: &BuildDoc, report: &StagedReport) -> String {
    let resource = format!("report/{}:{}", report.group, report.uuid);
    Arn::new("codebuild", &doc.region, &doc.account, resource).to_string()
}

/// As the service role: AWS's roles for CodeBuild have these permissions on their project's groups.
async fn store_report(
    service: &CodeBuildService,
    call: &Call,
    doc: &BuildDoc,
    report: &StagedReport,
) -> Result<(), StoreReport> {
    let group_arn =
        Arn::new("codebuild", &doc.region, &doc.account, format!("report-group/{}", report.group));
    let group_arn = group_arn.to_string();
    let authorize = |action: &str| call.authorize(action, &group_arn, &[]).map_err(StoreReport::Denied);
    let group_key = key(&[&doc.account, &doc.region, &report.group]);
    if service.store.get::<ReportGroupDoc>(&group_key).await?.is_none() {
        if !report.create_group {
            let message = format!("Report group cannot be found: {group_arn}");
            return Err(StoreReport::Denied(ApiError::client("ResourceNotFoundException", message)));
        }
        authorize("codebuild:CreateReportGroup")?;
        let group = ReportGroupDoc::new(&doc.account, &doc.region, &report.group, service.store.now());
        let mut txn = Txn::new();
        txn.create(&group);
        match service.store.commit(txn).await {
            // Another build made it meanwhile.
            Ok(()) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for action in ["codebuild:CreateReport", "codebuild:BatchPutTestCases", "codebuild:UpdateReport"] {
        authorize(action)?;
    }
    let created = doc.progress.current().map_or(doc.started_at, |phase| phase.started_at);
    let pages: Vec<_> = report.cases.chunks(CasesDoc::PER_PAGE).collect();
    let report_doc = ReportDoc {
        account: doc.account.clone(),
        region: doc.region.clone(),
        group: report.group.clone(),
        uuid: report.uuid.clone(),
        created_at: created,
        case_pages: pages.len(),
        report: Report {
            arn: Some(report_arn(doc, report)),
            type_: Some("TEST".to_owned()),
            name: Some(format!("{}:{}", report.group, report.uuid)),
            report_group_arn: Some(group_arn),
            execution_id: Some(doc.arn()),
            status: Some(status(&report.cases).to_owned()),
            created: Some(created),
            export_config: Some(ReportExportConfig {
                export_config_type: Some("NO_EXPORT".to_owned()),
                ..ReportExportConfig::default()
            }),
            truncated: Some(report.truncated),
            test_summary: Some(summary(&report.cases)),
            ..Report::default()
        },
    };
    for (page, cases) in pages.into_iter().enumerate() {
        let mut txn = Txn::new();
        txn.put(&CasesDoc { report: report_doc.key(), page, cases: cases.to_vec() });
        service.store.commit(txn).await?;
    }
    let mut txn = Txn::new();
    txn.put(&report_doc);
    Ok(service.store.commit(txn).await?)
}
