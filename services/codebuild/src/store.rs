//! What CodeBuild keeps. Every document is keyed by account and region first.

use crate::reports::Case;
use crate::state::Progress;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use towpath_api::pipeline_builds::PipelineBuild;
use towpath_api::{Arn, Timestamp};
use towpath_api_codebuild::{Project, Report, ReportExportConfig, ReportGroup};
use towpath_store::{Document, key};

/// Jobs whose key is a build's: a worker runs the build.
pub const BUILDS_QUEUE: &str = "codebuild/builds";
/// Jobs whose key is a build's: what is staged on the disk of the server `place` is stored.
pub fn publishing_queue(place: &str) -> String {
    format!("codebuild/publishing/{place}")
}
/// Timers: queued timeouts, and tokens that expire.
pub const TIMERS_QUEUE: &str = "codebuild/timers";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectDoc {
    pub account: String,
    pub region: String,
    pub name: String,
    pub project: Project,
}

impl Document for ProjectDoc {
    const KIND: &'static str = "codebuild/project";

    fn key(&self) -> String {
        key(&[&self.account, &self.region, &self.name])
    }
}

/// Numbers and running builds of a project's name. It outlives the project, so that a new one of the same
/// name does not give out numbers again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CountersDoc {
    pub account: String,
    pub region: String,
    pub name: String,
    pub last_number: i64,
    /// Ids of builds that are not finished.
    pub active: BTreeSet<String>,
}

impl Document for CountersDoc {
    const KIND: &'static str = "codebuild/counters";

    fn key(&self) -> String {
        key(&[&self.account, &self.region, &self.name])
    }
}

/// That a server with a disk of that name is there. Written every few seconds where servers share a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlaceDoc {
    pub place: String,
    pub seen_at: Timestamp,
}

impl Document for PlaceDoc {
    const KIND: &'static str = "codebuild/place";

    fn key(&self) -> String {
        self.place.clone()
    }
}

/// One build. `project` is what it runs with: the project as it was, under the start's overrides.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildDoc {
    pub account: String,
    pub region: String,
    /// `project:uuid`.
    pub id: String,
    pub number: i64,
    pub started_at: Timestamp,
    pub initiator: String,
    pub project: Project,
    /// Set for a build that a pipeline started.
    pub pipeline: Option<PipelineBuild>,
    pub resolved_source_version: Option<String>,
    pub progress: Progress,
    pub exported: Vec<(String, String)>,
    pub artifacts: Option<StoredArtifact>,
    pub secondary_artifacts: Vec<StoredArtifact>,
    pub report_arns: Vec<String>,
    /// The worker that runs it, or ran it last. `None`: a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// The server that has what is staged; see [`publishing_queue`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_at: Option<String>,
}

/// A worker's hold on a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Holder {
    pub worker: String,
    pub token_id: String,
    /// Of the lease that it works under.
    pub fence: u64,
    /// Steps that it took. One that is sent again, because its answer was lost, is not taken twice.
    pub steps: u64,
    pub since: Timestamp,
}

/// Where an artifact is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredArtifact {
    pub identifier: Option<String>,
    /// `arn:aws:s3:::bucket/key`.
    pub location: String,
    pub sha256: Option<String>,
}

impl BuildDoc {
    pub fn key_of(account: &str, region: &str, id: &str) -> String {
        key(&[account, region, id])
    }

    pub fn arn(&self) -> String {
        Arn::new("codebuild", &self.region, &self.account, format!("build/{}", self.id)).to_string()
    }

    pub fn project_name(&self) -> &str {
        self.id.split_once(':').map_or(self.id.as_str(), |(name, _)| name)
    }

    pub fn project_arn(&self) -> String {
        let resource = format!("project/{}", self.project_name());
        Arn::new("codebuild", &self.region, &self.account, resource).to_string()
    }

    pub fn uuid(&self) -> &str {
        self.id.rsplit(':').next().unwrap_or(&self.id)
    }

    pub fn by_time(&self) -> BuildByTime {
        BuildByTime {
            account: self.account.clone(),
            region: self.region.clone(),
            started_at: self.started_at,
            id: self.id.clone(),
        }
    }

    pub fn by_project(&self) -> BuildByProject {
        BuildByProject {
            account: self.account.clone(),
            region: self.region.clone(),
            project: self.project_name().to_owned(),
            number: self.number,
            id: self.id.clone(),
        }
    }
}

impl Document for BuildDoc {
    const KIND: &'static str = "codebuild/build";

    fn key(&self) -> String {
        BuildDoc::key_of(&self.account, &self.region, &self.id)
    }
}

/// ListBuilds' order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildByTime {
    pub account: String,
    pub region: String,
    pub started_at: Timestamp,
    pub id: String,
}

impl Document for BuildByTime {
    const KIND: &'static str = "codebuild/build-by-time";

    fn key(&self) -> String {
        key(&[&self.account, &self.region, &format!("{:015}", self.started_at.as_millis()), &self.id])
    }
}

/// ListBuildsForProject's order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BuildByProject {
    pub account: String,
    pub region: String,
    pub project: String,
    pub number: i64,
    pub id: String,
}

impl Document for BuildByProject {
    const KIND: &'static str = "codebuild/build-by-project";

    fn key(&self) -> String {
        key(&[&self.account, &self.region, &self.project, &format!("{:012}", self.number)])
    }
}

/// An idempotency token, with the request that it came with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenDoc {
    pub account: String,
    pub region: String,
    /// `StartBuild`, `RetryBuild`, `pipeline`: each has tokens of its own.
    pub operation: String,
    pub token: String,
    pub request: serde_json::Value,
    pub build_id: String,
    /// From then on the token is free. `None`: it stands as long as its build is kept, or until a timer removes it
    /// (those of 0.1.0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl TokenDoc {
    pub fn key_of(account: &str, region: &str, operation: &str, token: &str) -> String {
        key(&[account, region, operation, token])
    }

    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}

impl Document for TokenDoc {
    const KIND: &'static str = "codebuild/token";

    fn key(&self) -> String {
        TokenDoc::key_of(&self.account, &self.region, &self.operation, &self.token)
    }
}

/// A timer's payload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Timer {
    /// The build must have left the queue by now.
    QueuedTimeout { build_key: String },
    /// What is staged must be stored by now.
    PublishingTimeout { build_key: String, due: Timestamp },
    /// The token may be used again for something else.
    TokenExpires { token_key: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportGroupDoc {
    pub account: String,
    pub region: String,
    pub name: String,
    pub group: ReportGroup,
}

impl ReportGroupDoc {
    /// A new group as both the API and a build's first report make it.
    pub fn new(account: &str, region: &str, name: &str, now: Timestamp) -> ReportGroupDoc {
        let arn = Arn::new("codebuild", region, account, format!("report-group/{name}")).to_string();
        ReportGroupDoc {
            account: account.to_owned(),
            region: region.to_owned(),
            name: name.to_owned(),
            group: ReportGroup {
                arn: Some(arn),
                name: Some(name.to_owned()),
                type_: Some("TEST".to_owned()),
                export_config: Some(ReportExportConfig {
                    export_config_type: Some("NO_EXPORT".to_owned()),
                    ..ReportExportConfig::default()
                }),
                created: Some(now),
                last_modified: Some(now),
                status: Some("ACTIVE".to_owned()),
                tags: None,
            },
        }
    }
}

impl Document for ReportGroupDoc {
    const KIND: &'static str = "codebuild/report-group";

    fn key(&self) -> String {
        key(&[&self.account, &self.region, &self.name])
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReportDoc {
    pub account: String,
    pub region: String,
    pub group: String,
    pub uuid: String,
    pub created_at: Timestamp,
    pub case_pages: usize,
    pub report: Report,
}

impl Document for ReportDoc {
    const KIND: &'static str = "codebuild/report";

    fn key(&self) -> String {
        key(&[&self.account, &self.region, &self.group, &self.uuid])
    }
}

/// Some of a report's cases. Written before their report, so a report never lacks any.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CasesDoc {
    /// The report's key.
    pub report: String,
    pub page: usize,
    pub cases: Vec<Case>,
}

impl CasesDoc {
    /// Cases in one document: their texts are bounded, so it stays far below the store's limit.
    pub const PER_PAGE: usize = 200;

    pub fn key_of(report: &str, page: usize) -> String {
        key(&[report, &format!("{page:06}")])
    }
}

impl Document for CasesDoc {
    const KIND: &'static str = "codebuild/report-cases";

    fn key(&self) -> String {
        CasesDoc::key_of(&self.report, self.page)
    }
}
