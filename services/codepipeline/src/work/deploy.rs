//! CodeDeploy actions: one deployment for each action execution. `CreateDeployment` has no client token,
//! so the deployment's description names the action execution: after a crash in between it is looked
//! for before another one is made.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeDeploy.html>

use super::{Ctx, Ending, Failure, Next};
use crate::state::Products;
use crate::store::{Awaited, External};
use towpath_api_codedeploy::{
    CreateDeploymentInput, DeploymentInfo, GetDeploymentInput, ListDeploymentsInput, RevisionLocation,
    S3Location, StopDeploymentInput, TimeRange,
};
use towpath_store::{Document, Txn};

/// Deployments of one group that are looked through after a crash.
const SEARCH_PAGES: usize = 10;

pub async fn perform(ctx: &mut Ctx<'_>) -> Result<Next, Failure> {
    let id = match ctx.doc.external.clone() {
        External::Started { id, .. } => id,
        External::Asking => match find(ctx).await? {
            Some(id) => remember(ctx, id).await?,
            None => create(ctx).await?,
        },
        _ => {
            ctx.save(Txn::new(), |doc| doc.external = External::Asking).await?;
            create(ctx).await?
        }
    };
    let info = describe(ctx, &id).await?;
    match info.status.as_deref() {
        Some("Succeeded") => {
            let variables = [("DeploymentId".to_owned(), id)].into();
            let products = Products { variables, ..Products::default() };
            Ok(Ending::succeeded(products, Some("Deployment Succeeded".into())).done())
        }
        Some(status @ ("Failed" | "Stopped")) => {
            let error = info.error_information.unwrap_or_default();
            let why = error.message.map(|message| format!(": {message}")).unwrap_or_default();
            let what = if status == "Failed" { "failed" } else { "was stopped" };
            let mut ending = Ending::failed("JobFailed", format!("Deployment {id} {what}{why}"));
            ending.summary = Some(format!("Deployment {id} {what}"));
            Ok(ending.done())
        }
        _ => Ok(ctx.net()),
    }
}

fn description(ctx: &Ctx<'_>) -> String {
    format!("Pipeline {} execution {} action {}", ctx.structure.name, ctx.execution.id, ctx.doc.id)
        .chars()
        .rev()
        .take(256)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}

async fn create(ctx: &mut Ctx<'_>) -> Result<String, Failure> {
    let Some(name) = ctx.action.inputs.first() else {
        return Err(Failure::action("ConfigurationError", "The action has no input artifact."));
    };
    let artifact = ctx.verified(name).await?;
    let input = CreateDeploymentInput {
        application_name: Some(ctx.required("ApplicationName")?),
        deployment_group_name: Some(ctx.required("DeploymentGroupName")?),
        description: Some(description(ctx)),
        revision: Some(RevisionLocation {
            revision_type: Some("S3".into()),
            s3_location: Some(S3Location {
                bucket: Some(artifact.bucket),
                key: Some(artifact.key),
                bundle_type: Some("zip".into()),
                version: artifact.version_id,
                e_tag: Some(artifact.etag),
            }),
            ..RevisionLocation::default()
        }),
        ..CreateDeploymentInput::default()
    };
    let answer = ctx.service.handles.codedeploy.create_deployment(&ctx.call, input).await?;
    let Some(id) = answer.deployment_id else {
        return Err(Failure::later("CreateDeployment answered without a deployment id"));
    };
    remember(ctx, id).await
}

async fn remember(ctx: &mut Ctx<'_>, id: String) -> Result<String, Failure> {
    let mut also = Txn::new();
    also.put(&Awaited { kind: "deployment".into(), external_id: id.clone(), action_key: ctx.doc.key() });
    ctx.save(also, |doc| doc.external = External::Started { id: id.clone(), url: None }).await?;
    Ok(id)
}

/// The deployment that an interrupted try made.
async fn find(ctx: &Ctx<'_>) -> Result<Option<String>, Failure> {
    let wanted = description(ctx);
    let mut input = ListDeploymentsInput {
        application_name: Some(ctx.required("ApplicationName")?),
        deployment_group_name: Some(ctx.required("DeploymentGroupName")?),
        create_time_range: Some(TimeRange { start: Some(ctx.doc.started.plus_millis(-60_000)), end: None }),
        ..ListDeploymentsInput::default()
    };
    let codedeploy = &ctx.service.handles.codedeploy;
    for _ in 0..SEARCH_PAGES {
        let page = codedeploy.list_deployments(&ctx.call, input.clone()).await.map_err(|error| {
            match Failure::from(error) {
                Failure::Action(error) => Failure::action(
                    &error.code,
                    format!(
                        "The server stopped while it was starting the deployment, and whether it was started cannot \
                         be looked up: {}",
                        error.message
                    ),
                ),
                later => later,
            }
        })?;
        for id in page.deployments.into_iter().flatten() {
            if describe(ctx, &id).await?.description.as_deref() == Some(wanted.as_str()) {
                return Ok(Some(id));
            }
        }
        match page.next_token {
            Some(token) => input.next_token = Some(token),
            None => break,
        }
    }
    Ok(None)
}

async fn describe(ctx: &Ctx<'_>, id: &str) -> Result<DeploymentInfo, Failure> {
    let input = GetDeploymentInput { deployment_id: Some(id.to_owned()) };
    let answer = ctx.service.handles.codedeploy.get_deployment(&ctx.call, input).await?;
    Ok(answer.deployment_info.unwrap_or_default())
}

pub async fn stop(ctx: &mut Ctx<'_>) -> Result<(), Failure> {
    let id = match &ctx.doc.external {
        External::Started { id, .. } => Some(id.clone()),
        External::Asking => find(ctx).await?,
        _ => None,
    };
    let Some(id) = id else { return Ok(()) };
    let input = StopDeploymentInput { deployment_id: Some(id), auto_rollback_enabled: None };
    ctx.service.handles.codedeploy.stop_deployment(&ctx.call, input).await?;
    Ok(())
}
