//! State changes as EventBridge events.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html>

use crate::state::{ActionStatus, Artifact, End, Execution, PipelineState, Progress, StageState};
use crate::store::{ActionDoc, External, PipelineId};
use crate::structure::Action;
use serde_json::{Map, Value, json};
use towpath_api::{Event, Timestamp};

pub const SOURCE: &str = "aws.codepipeline";
pub const PIPELINE: &str = "CodePipeline Pipeline Execution State Change";
pub const STAGE: &str = "CodePipeline Stage Execution State Change";
pub const ACTION: &str = "CodePipeline Action Execution State Change";

fn event(id: &PipelineId, detail_type: &str, now: Timestamp, detail: Value) -> Event {
    Event::new(SOURCE, detail_type, (&id.account, &id.region), now, vec![id.arn()], detail)
}

/// How often the execution was resumed, counted from 1.
fn attempt(execution: &Execution) -> u32 {
    1 + execution.stages.values().map(|run| run.retries.automatic + run.retries.manual).sum::<u32>()
}

pub fn pipeline(id: &PipelineId, execution: &Execution, state: PipelineState, now: Timestamp) -> Event {
    let name = match state {
        PipelineState::Started => "STARTED",
        PipelineState::Resumed => "RESUMED",
        PipelineState::Stopping => "STOPPING",
        PipelineState::Stopped => "STOPPED",
        PipelineState::Succeeded => "SUCCEEDED",
        PipelineState::Failed => "FAILED",
        PipelineState::Superseded => "SUPERSEDED",
        PipelineState::Canceled => "CANCELED",
    };
    let mut detail = json!({
        "pipeline": id.name,
        "execution-id": execution.id,
        "start-time": execution.started.to_iso8601(),
        "state": name,
        "version": execution.version,
        "pipeline-execution-attempt": attempt(execution),
    });
    if state == PipelineState::Started {
        detail["execution-trigger"] = json!({
            "trigger-type": execution.trigger.kind,
            "trigger-detail": execution.trigger.detail,
        });
    }
    let stop = match &execution.progress {
        Progress::Ended { end: End::Stopped { request, .. }, .. }
        | Progress::Running { halt: Some(crate::state::Halt::Stop(request)), .. } => request.reason.as_ref(),
        _ => None,
    };
    if let Some(reason) = stop {
        detail["stop-execution-comments"] = json!(reason);
    }
    event(id, PIPELINE, now, detail)
}

pub fn stage(
    id: &PipelineId,
    execution: &Execution,
    stage: &str,
    state: StageState,
    now: Timestamp,
) -> Event {
    let name = match state {
        StageState::Started => "STARTED",
        StageState::Resumed => "RESUMED",
        StageState::Stopping => "STOPPING",
        StageState::Stopped => "STOPPED",
        StageState::Succeeded => "SUCCEEDED",
        StageState::Failed => "FAILED",
        StageState::Canceled => "CANCELED",
    };
    let detail = json!({
        "pipeline": id.name,
        "execution-id": execution.id,
        "start-time": execution.started.to_iso8601(),
        "stage": stage,
        "state": name,
        "version": execution.version,
        "pipeline-execution-attempt": attempt(execution),
    });
    event(id, STAGE, now, detail)
}

/// `declared` is absent only where the structure can no longer be read.
pub fn action(doc: &ActionDoc, declared: Option<&Action>, execution: &Execution, now: Timestamp) -> Event {
    let state = match doc.status {
        ActionStatus::InProgress => "STARTED",
        ActionStatus::Succeeded => "SUCCEEDED",
        ActionStatus::Failed => "FAILED",
        ActionStatus::Abandoned => "ABANDONED",
    };
    let mut detail = Map::new();
    let mut set = |key: &str, value: Value| drop(detail.insert(key.to_owned(), value));
    set("pipeline", json!(doc.pipeline.name));
    set("execution-id", json!(doc.execution));
    set("start-time", json!(doc.started.to_iso8601()));
    set("stage", json!(doc.stage));
    set("action-execution-id", json!(doc.id));
    set("action", json!(doc.action));
    set("state", json!(state));
    set("region", json!(doc.pipeline.region));
    set("version", json!(doc.version));
    set("pipeline-execution-attempt", json!(attempt(execution)));
    if let Some(declared) = declared {
        let id = &declared.type_id;
        set(
            "type",
            json!({"owner": id.owner, "provider": id.provider, "category": id.category, "version": id.version}),
        );
        let inputs: Vec<Value> = declared
            .inputs
            .iter()
            .filter_map(|name| execution.artifacts.get(name).map(|artifact| location(name, artifact)))
            .collect();
        if !inputs.is_empty() {
            set("input-artifacts", json!(inputs));
        }
    }
    if !doc.products.artifacts.is_empty() {
        let outputs: Vec<Value> =
            doc.products.artifacts.iter().map(|(name, artifact)| location(name, artifact)).collect();
        set("output-artifacts", json!(outputs));
    }
    if matches!(doc.status, ActionStatus::Succeeded | ActionStatus::Failed) {
        set("execution-result", result(doc));
    }
    event(&doc.pipeline, ACTION, now, Value::Object(detail))
}

fn location(name: &str, artifact: &Artifact) -> Value {
    json!({"name": name, "s3location": {"bucket": artifact.bucket, "key": artifact.key}})
}

fn result(doc: &ActionDoc) -> Value {
    let mut result = Map::new();
    if let Some(url) = url(doc) {
        result.insert("external-execution-url".into(), json!(url));
    }
    let summary = doc.summary.clone().or_else(|| doc.error.as_ref().map(|error| error.message.clone()));
    if let Some(summary) = summary {
        result.insert("external-execution-summary".into(), json!(summary));
    }
    if let Some(id) = external_id(doc) {
        result.insert("external-execution-id".into(), json!(id));
    }
    if let Some(error) = &doc.error {
        result.insert("error-code".into(), json!(error.code));
    }
    Value::Object(result)
}

/// The work's id outside. For an approval that is its token: what a PARALLEL pipeline's approver uses.
pub fn external_id(doc: &ActionDoc) -> Option<String> {
    match &doc.external {
        External::None | External::Asking => None,
        External::Started { id, .. } => Some(id.clone()),
        External::Approval { token } => Some(token.clone()),
        External::Job { external_id, .. } => external_id.clone(),
    }
}

pub fn url(doc: &ActionDoc) -> Option<String> {
    match &doc.external {
        External::Started { url, .. } => url.clone(),
        External::None | External::Asking | External::Approval { .. } | External::Job { .. } => None,
    }
}
