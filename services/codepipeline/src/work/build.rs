//! CodeBuild actions: one build for each action execution, found again by its client token.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeBuild.html>

use super::{Ctx, Ending, Failure, Next};
use crate::state::Products;
use crate::store::{Awaited, External};
use std::collections::BTreeMap;
use towpath_api::pipeline_builds::{EnvironmentVariable, InputArtifact, OutputArtifact, PipelineBuild};
use towpath_api_codebuild::{BatchGetBuildsInput, Build, StopBuildInput};
use towpath_store::{Document, Txn};

/// The environment variables of an action: a JSON array of objects with name, value and type.
pub fn environment(text: &str) -> Result<Vec<EnvironmentVariable>, String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Declared {
        name: String,
        value: String,
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    let declared: Vec<Declared> = serde_json::from_str(text)
        .map_err(|error| format!("is not a JSON array of objects with name, value and type: {error}"))?;
    declared
        .into_iter()
        .map(|variable| match variable.kind.as_deref() {
            None | Some("PLAINTEXT") => Ok(EnvironmentVariable {
                name: variable.name,
                value: variable.value,
                kind: "PLAINTEXT".into(),
            }),
            Some(kind @ ("PARAMETER_STORE" | "SECRETS_MANAGER")) => {
                Err(format!("uses the type {kind}, which Towpath does not implement ({})", variable.name))
            }
            Some(other) => Err(format!(
                "has the invalid type {other}. Valid: PLAINTEXT, PARAMETER_STORE, SECRETS_MANAGER"
            )),
        })
        .collect()
}

pub async fn perform(ctx: &mut Ctx<'_>) -> Result<Next, Failure> {
    let id = match &ctx.doc.external {
        External::Started { id, .. } => id.clone(),
        _ => start(ctx).await?,
    };
    let build = describe(ctx, &id).await?;
    if build.logs.is_some() && ctx.doc.log_stream_arn.is_none() {
        note_logs(ctx, &id, &build).await?;
    }
    match build.build_status.as_deref() {
        None | Some("IN_PROGRESS") => Ok(ctx.net()),
        Some("SUCCEEDED") => succeeded(ctx, build).await,
        Some(status) => {
            let mut ending = Ending::failed("JobFailed", terminated(status, &build));
            ending.summary = Some(format!("Build terminated with state: {status}"));
            Ok(ending.done())
        }
    }
}

async fn start(ctx: &mut Ctx<'_>) -> Result<String, Failure> {
    if ctx.doc.external == External::None {
        ctx.save(Txn::new(), |doc| doc.external = External::Asking).await?;
    }
    let request = request(ctx).await?;
    let id = ctx.service.handles.builds.start_for_pipeline(&ctx.call, request).await?;
    let mut also = Txn::new();
    also.put(&Awaited { kind: "build".into(), external_id: id.clone(), action_key: ctx.doc.key() });
    ctx.save(also, |doc| doc.external = External::Started { id: id.clone(), url: None }).await?;
    Ok(id)
}

async fn request(ctx: &Ctx<'_>) -> Result<PipelineBuild, Failure> {
    let mut inputs = Vec::new();
    for name in &ctx.action.inputs {
        let artifact = ctx.verified(name).await?;
        inputs.push(InputArtifact {
            name: name.clone(),
            bucket: artifact.bucket,
            key: artifact.key,
            version: artifact.version_id,
        });
    }
    let primary = ctx.setting("PrimarySource").map(str::to_owned);
    let main = primary.as_ref().or(ctx.action.inputs.first());
    let outputs = ctx.action.outputs.iter().map(|name| OutputArtifact {
        name: name.clone(),
        bucket: ctx.structure.bucket.clone(),
        key: ctx.output_key(name),
    });
    let environment_variables = match ctx.setting("EnvironmentVariables") {
        Some(text) => environment(text).map_err(|reason| {
            Failure::action("ConfigurationError", format!("EnvironmentVariables {reason}"))
        })?,
        None => Vec::new(),
    };
    Ok(PipelineBuild {
        project: ctx.required("ProjectName")?,
        pipeline: ctx.structure.name.clone(),
        execution_id: ctx.execution.id.clone(),
        stage: ctx.doc.stage.clone(),
        action: ctx.action.name.clone(),
        source_version: main
            .and_then(|name| ctx.doc.inputs.get(name))
            .and_then(|input| input.revision.clone()),
        inputs,
        outputs: outputs.collect(),
        primary_source: primary,
        environment_variables,
        client_token: ctx.doc.id.clone(),
    })
}

async fn describe(ctx: &Ctx<'_>, id: &str) -> Result<Build, Failure> {
    let input = BatchGetBuildsInput { ids: Some(vec![id.to_owned()]) };
    let answer = ctx.service.handles.codebuild.batch_get_builds(&ctx.call, input).await?;
    answer
        .builds
        .into_iter()
        .flatten()
        .next()
        .ok_or_else(|| Failure::action("JobFailed", format!("The build {id} no longer exists.")))
}

async fn note_logs(ctx: &mut Ctx<'_>, id: &str, build: &Build) -> Result<(), Failure> {
    let logs = build.logs.clone().unwrap_or_default();
    let (Some(arn), url) = (logs.cloud_watch_logs_arn, logs.deep_link) else { return Ok(()) };
    ctx.save(Txn::new(), |doc| {
        doc.log_stream_arn = Some(arn.clone());
        doc.external = External::Started { id: id.to_owned(), url: url.clone() };
    })
    .await
}

async fn succeeded(ctx: &Ctx<'_>, build: Build) -> Result<Next, Failure> {
    let main = ctx.setting("PrimarySource").map(str::to_owned).or(ctx.action.inputs.first().cloned());
    let revision = main.and_then(|name| ctx.doc.inputs.get(&name)).and_then(|input| input.revision.clone());
    let mut artifacts = BTreeMap::new();
    for name in &ctx.action.outputs {
        match ctx.stored(&ctx.output_key(name), revision.clone()).await {
            Ok(artifact) => drop(artifacts.insert(name.clone(), artifact)),
            Err(Failure::Action(error)) => {
                let message = format!(
                    "The build succeeded but its output artifact {name} is not stored: {}",
                    error.message
                );
                return Err(Failure::action(&error.code, message));
            }
            Err(later) => return Err(later),
        }
    }
    let exported = build.exported_environment_variables.into_iter().flatten();
    let variables: BTreeMap<String, String> =
        exported.filter_map(|variable| Some((variable.name?, variable.value.unwrap_or_default()))).collect();
    let size = crate::variables::size(&variables);
    if size > crate::variables::MAX_OUTPUT_BYTES {
        let limit = crate::variables::MAX_OUTPUT_BYTES;
        return Err(Failure::action(
            "OutputVariablesSizeExceeded",
            format!("The exported variables take {size} bytes; at most {limit} are allowed."),
        ));
    }
    Ok(Ending::succeeded(Products { artifacts, variables, revision: None }, None).done())
}

/// AWS's sentence: the state, and the first phase that did not succeed.
fn terminated(status: &str, build: &Build) -> String {
    let failed = build.phases.iter().flatten().find(|phase| {
        phase.phase_status.as_deref().is_some_and(|status| status != "SUCCEEDED" && status != "IN_PROGRESS")
    });
    let mut text = format!("Build terminated with state: {status}");
    if let Some(phase) = failed {
        let context = phase.contexts.iter().flatten().next().cloned().unwrap_or_default();
        text.push_str(&format!(
            ". Phase: {}, Code: {}, Message: {}",
            phase.phase_type.as_deref().unwrap_or("UNKNOWN"),
            context.status_code.as_deref().unwrap_or_default(),
            context.message.as_deref().unwrap_or_default()
        ));
    }
    text
}

pub async fn stop(ctx: &mut Ctx<'_>) -> Result<(), Failure> {
    let id = match &ctx.doc.external {
        External::Started { id, .. } => id.clone(),
        // It was about to be asked for: the same token tells which build that is.
        External::Asking => start(ctx).await?,
        _ => return Ok(()),
    };
    let input = StopBuildInput { id: Some(id) };
    ctx.service.handles.codebuild.stop_build(&ctx.call, input).await?;
    Ok(())
}
