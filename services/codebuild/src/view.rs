//! A build as the API shows it.

use crate::state::{PhaseRecord, State};
use crate::store::{BuildDoc, StoredArtifact};
use towpath_api::Arn;
use towpath_api_codebuild::{
    Build, BuildArtifacts, BuildPhase, CloudWatchLogsConfig, ExportedEnvironmentVariable, LogsLocation,
    PhaseContext, ProjectArtifacts, S3LogsConfig,
};

pub fn build(doc: &BuildDoc) -> Build {
    let project = doc.project.clone();
    let (status, end_time) = match doc.progress.state {
        State::Finished { status, at } => (status.to_string(), Some(at)),
        _ => ("IN_PROGRESS".to_owned(), None),
    };
    let exported = doc.exported.iter().map(|(name, value)| ExportedEnvironmentVariable {
        name: Some(name.clone()),
        value: Some(value.clone()),
    });
    let exported: Vec<_> = exported.collect();
    let secondary = doc.secondary_artifacts.iter().map(|stored| stored_artifact(stored, None)).collect();
    Build {
        arn: Some(doc.arn()),
        artifacts: Some(primary_artifact(doc)),
        build_complete: Some(end_time.is_some()),
        build_number: Some(doc.number),
        build_status: Some(status),
        cache: project.cache,
        current_phase: doc.progress.current().map(|phase| phase.kind.to_string()),
        encryption_key: project.encryption_key,
        end_time,
        environment: project.environment,
        exported_environment_variables: Some(exported),
        id: Some(doc.id.clone()),
        initiator: Some(doc.initiator.clone()),
        logs: Some(logs(doc)),
        phases: Some(doc.progress.phases.iter().map(phase).collect()),
        project_name: Some(doc.project_name().to_owned()),
        queued_timeout_in_minutes: project.queued_timeout_in_minutes,
        report_arns: Some(doc.report_arns.clone()),
        resolved_source_version: doc.resolved_source_version.clone(),
        secondary_artifacts: Some(secondary),
        secondary_source_versions: Some(project.secondary_source_versions.unwrap_or_default()),
        secondary_sources: Some(project.secondary_sources.unwrap_or_default()),
        service_role: project.service_role,
        source: project.source,
        source_version: project.source_version,
        start_time: Some(doc.started_at),
        timeout_in_minutes: project.timeout_in_minutes,
        ..Build::default()
    }
}

fn phase(record: &PhaseRecord) -> BuildPhase {
    let end = record.end.as_ref();
    let contexts: Option<Vec<_>> = end.filter(|end| !end.contexts.is_empty()).map(|end| {
        let context = |context: &crate::state::Context| PhaseContext {
            status_code: Some(context.code.clone()),
            message: Some(context.message.clone()),
        };
        end.contexts.iter().map(context).collect()
    });
    BuildPhase {
        contexts,
        duration_in_seconds: end.map(|end| end.at.since_millis(record.started_at) / 1000),
        end_time: end.map(|end| end.at),
        phase_status: end.map(|end| end.status.to_string()),
        phase_type: Some(record.kind.to_string()),
        start_time: Some(record.started_at),
    }
}

fn stored_artifact(stored: &StoredArtifact, declared: Option<&ProjectArtifacts>) -> BuildArtifacts {
    BuildArtifacts {
        artifact_identifier: stored.identifier.clone(),
        encryption_disabled: declared.and_then(|declared| declared.encryption_disabled),
        location: Some(stored.location.clone()).filter(|location| !location.is_empty()),
        override_artifact_name: declared.and_then(|declared| declared.override_artifact_name),
        sha256sum: stored.sha256.clone(),
        ..BuildArtifacts::default()
    }
}

fn primary_artifact(doc: &BuildDoc) -> BuildArtifacts {
    let declared = doc.project.artifacts.as_ref();
    match &doc.artifacts {
        Some(stored) => stored_artifact(stored, declared),
        None => stored_artifact(&StoredArtifact::default(), declared),
    }
}

/// Group and stream: where the build's log is in CloudWatch Logs; `None` when that is disabled.
pub fn log_stream(doc: &BuildDoc) -> Option<(String, String)> {
    let config = doc.project.logs_config.as_ref().and_then(|config| config.cloud_watch_logs.as_ref());
    if config.is_some_and(|config| config.status.as_deref() == Some("DISABLED")) {
        return None;
    }
    let group = config.and_then(|config| config.group_name.clone());
    let group = group.unwrap_or_else(|| format!("/aws/codebuild/{}", doc.project_name()));
    let stream = match config.and_then(|config| config.stream_name.as_deref()) {
        Some(prefix) => format!("{prefix}/{}", doc.uuid()),
        None => doc.uuid().to_owned(),
    };
    Some((group, stream))
}

/// Bucket and key of the build's log in S3, where the project asks for one.
pub fn log_object(doc: &BuildDoc) -> Option<(String, String)> {
    let config = doc.project.logs_config.as_ref()?.s3_logs.as_ref()?;
    if config.status.as_deref() != Some("ENABLED") {
        return None;
    }
    let location = config.location.as_deref()?;
    let location = location.strip_prefix("arn:aws:s3:::").unwrap_or(location).trim_end_matches('/');
    let (bucket, prefix) = location.split_once('/').unwrap_or((location, ""));
    let separator = if prefix.is_empty() { "" } else { "/" };
    Some((bucket.to_owned(), format!("{prefix}{separator}{}.gz", doc.uuid())))
}

fn logs(doc: &BuildDoc) -> LogsLocation {
    let config = doc.project.logs_config.clone().unwrap_or_default();
    let mut location = LogsLocation {
        cloud_watch_logs: Some(config.cloud_watch_logs.unwrap_or(CloudWatchLogsConfig {
            status: Some("ENABLED".to_owned()),
            ..CloudWatchLogsConfig::default()
        })),
        s3_logs: Some(config.s3_logs.unwrap_or(S3LogsConfig {
            status: Some("DISABLED".to_owned()),
            encryption_disabled: Some(false),
            ..S3LogsConfig::default()
        })),
        ..LogsLocation::default()
    };
    if let Some((group, stream)) = log_stream(doc) {
        let resource = format!("log-group:{group}:log-stream:{stream}");
        let arn = Arn::new("logs", &doc.region, &doc.account, resource);
        location.cloud_watch_logs_arn = Some(arn.to_string());
        location.deep_link = Some(format!(
            "https://console.aws.amazon.com/cloudwatch/home?region={}#logsV2:log-groups/log-group/{}/log-events/{}",
            doc.region,
            encode(&group),
            encode(&stream)
        ));
        location.group_name = Some(group);
        location.stream_name = Some(stream);
    }
    if let Some((bucket, key)) = log_object(doc) {
        location.s3_logs_arn = Some(format!("arn:aws:s3:::{bucket}/{key}"));
        location.s3_deep_link =
            Some(format!("https://s3.console.aws.amazon.com/s3/object/{bucket}/{key}?region={}", doc.region));
    }
    location
}

/// The console's own encoding in a fragment: percent signs become `$25`.
fn encode(text: &str) -> String {
    text.replace('/', "$252F")
}
