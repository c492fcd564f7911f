//! Build events in AWS's shape.
//! <https://docs.aws.amazon.com/codebuild/latest/userguide/sample-build-notifications-ref.html>.

use crate::state::{Context, PhaseRecord};
use crate::store::BuildDoc;
use crate::view;
use serde_json::{Value, json};
use towpath_api::{Event, Timestamp};

pub const SOURCE: &str = "aws.codebuild";
pub const STATE_CHANGE: &str = "CodeBuild Build State Change";
pub const PHASE_CHANGE: &str = "CodeBuild Build Phase Change";

pub fn state_change(doc: &BuildDoc, now: Timestamp) -> Event {
    let current = doc.progress.current();
    let mut detail = common(doc);
    let status = doc.progress.status().map_or("IN_PROGRESS".to_owned(), |status| status.to_string());
    detail["build-status"] = json!(status);
    detail["current-phase"] = json!(current.map(|phase| phase.kind.to_string()));
    detail["current-phase-context"] = json!(current.map_or("[]".to_owned(), contexts_text));
    event(doc, STATE_CHANGE, detail, now)
}

pub fn phase_change(doc: &BuildDoc, phase: &PhaseRecord, now: Timestamp) -> Event {
    let mut detail = common(doc);
    detail["completed-phase"] = json!(phase.kind.to_string());
    detail["completed-phase-context"] = json!(contexts_text(phase));
    detail["completed-phase-start"] = json!(date(phase.started_at));
    if let Some(end) = &phase.end {
        detail["completed-phase-status"] = json!(end.status.to_string());
        detail["completed-phase-end"] = json!(date(end.at));
        detail["completed-phase-duration-seconds"] = json!(end.at.since_millis(phase.started_at) / 1000);
    }
    event(doc, PHASE_CHANGE, detail, now)
}

fn event(doc: &BuildDoc, detail_type: &str, detail: Value, now: Timestamp) -> Event {
    Event::new(SOURCE, detail_type, (&doc.account, &doc.region), now, vec![doc.arn()], detail)
}

fn common(doc: &BuildDoc) -> Value {
    let build = view::build(doc);
    let environment = build.environment.unwrap_or_default();
    let source = build.source.unwrap_or_default();
    let logs = build.logs.unwrap_or_default();
    let variables = environment.environment_variables.unwrap_or_default();
    let variables: Vec<Value> = variables
        .iter()
        .map(|variable| json!({"name": variable.name, "type": variable.type_, "value": variable.value}))
        .collect();
    let mut information = json!({
        "environment": {
            "image": environment.image,
            "privileged-mode": environment.privileged_mode.unwrap_or(false),
            "compute-type": environment.compute_type,
            "type": environment.type_,
            "environment-variables": variables,
        },
        "timeout-in-minutes": build.timeout_in_minutes,
        "queued-timeout-in-minutes": build.queued_timeout_in_minutes,
        "build-complete": build.build_complete,
        "build-number": doc.number,
        "initiator": doc.initiator,
        "build-start-time": date(doc.started_at),
        "source": {"location": source.location, "type": source.type_},
        "phases": doc.progress.phases.iter().map(phase_json).collect::<Vec<_>>(),
    });
    if let Some(version) = &doc.project.source_version {
        information["source-version"] = json!(version);
    }
    if logs.group_name.is_some() {
        information["logs"] = json!({
            "group-name": logs.group_name,
            "stream-name": logs.stream_name,
            "deep-link": logs.deep_link,
        });
    }
    if let Some(artifact) = &doc.artifacts {
        information["artifact"] = json!({"location": artifact.location, "sha256sum": artifact.sha256});
    }
    json!({
        "project-name": doc.project_name(),
        "build-id": doc.arn(),
        "additional-information": information,
        "version": "1",
    })
}

fn phase_json(phase: &PhaseRecord) -> Value {
    let mut shown = json!({
        "phase-type": phase.kind.to_string(),
        "start-time": date(phase.started_at),
    });
    if let Some(end) = &phase.end {
        shown["phase-context"] = json!(end.contexts.iter().map(context_text).collect::<Vec<_>>());
        shown["end-time"] = json!(date(end.at));
        shown["duration-in-seconds"] = json!(end.at.since_millis(phase.started_at) / 1000);
        shown["phase-status"] = json!(end.status.to_string());
    }
    shown
}

fn context_text(context: &Context) -> String {
    format!("{}: {}", context.code, context.message)
}

/// The service writes the list of contexts into one string: `[: ]`, or `[]` where there are none.
fn contexts_text(phase: &PhaseRecord) -> String {
    let contexts = phase.end.as_ref().map_or(&[][..], |end| &end.contexts);
    format!("[{}]", contexts.iter().map(context_text).collect::<Vec<_>>().join(", "))
}

/// `Sep 1, 2017 4:12:29 PM`.
fn date(time: Timestamp) -> String {
    time.format("%b %-d, %Y %-I:%M:%S %p")
}
