//! Pipelines and their versions.

use super::{page_size, pipeline_id};
use crate::Pipelines;
use crate::error::Fault;
use crate::flow::Step;
use crate::retrying;
use crate::state::{Board, Event};
use crate::store::*;
use crate::structure::{self, Context, CustomType, Kind, Structure};
use crate::triggers;
use crate::work::PRINCIPAL;
use std::collections::BTreeSet;
use std::sync::Arc;
use towpath_api::{Call, id};
use towpath_api_codepipeline::*;
use towpath_store::{Order, Txn};

pub async fn create_pipeline(
    service: &Pipelines,
    call: &Call,
    input: CreatePipelineInput,
) -> Result<CreatePipelineOutput, Fault> {
    let mut declaration = input.pipeline.unwrap_or_default();
    let id = pipeline_id(call, declaration.name.clone());
    call.authorize("codepipeline:CreatePipeline", &id.arn(), &[])?;
    let tags = super::tags::read(&input.tags.unwrap_or_default(), &Default::default())?;
    if service.flow.store.get::<PipelineDoc>(&id.key()).await?.is_some() {
        return Err(in_use(&id));
    }
    let (structure, custom) = judge(service, call, &declaration).await?;
    complete(&mut declaration, &structure, 1);
    let now = service.flow.store.now();
    let generation = id::uuid();
    let doc = PipelineDoc {
        id: id.clone(),
        generation: generation.clone(),
        version: 1,
        created: now,
        updated: now,
        declaration: declaration.clone(),
        tags,
    };
    let version = VersionDoc {
        generation: generation.clone(),
        version: 1,
        updated: now,
        region: id.region.clone(),
        declaration: declaration.clone(),
        custom,
    };
    let board = BoardDoc { id: id.clone(), generation, board: Board { version: 1, ..Board::default() } };
    let mut txn = Txn::new();
    txn.create(&doc).create(&version).create(&board);
    for watch in triggers::watches(&id, &structure) {
        txn.put(&watch);
    }
    txn.enqueue(triggers::first_start(&doc, call.caller.arn()));
    match service.flow.store.commit(txn).await {
        Ok(()) => {}
        Err(error) if error.is_conflict() => return Err(in_use(&id)),
        Err(error) => return Err(error.into()),
    }
    let tags = super::tags::render(&doc.tags);
    Ok(CreatePipelineOutput { pipeline: Some(declaration), tags: (!tags.is_empty()).then_some(tags) })
}

fn in_use(id: &PipelineId) -> Fault {
    let message =
        format!("A pipeline with the name '{}' already exists in account '{}'", id.name, id.account);
    errors::pipeline_name_in_use_exception(message).into()
}

/// Reads the declaration, and makes sure that the caller may hand over its roles and that they can be
/// taken.
async fn judge(
    service: &Pipelines,
    call: &Call,
    declaration: &PipelineDeclaration,
) -> Result<(Structure, Vec<CustomType>), Fault> {
    let custom = custom_types(service, call, declaration).await?;
    let structure = structure::parse(declaration, &Context { region: &call.region, custom: &custom })?;
    let mut roles = BTreeSet::from([structure.role_arn.as_str()]);
    let actions = structure.stages.iter().flat_map(|stage| &stage.actions);
    roles.extend(actions.filter_map(|action| action.role_arn.as_deref()));
    for role in &roles {
        call.authorize_pass_role(role, PRINCIPAL)?;
    }
    let role = &structure.role_arn;
    if let Err(error) = service.handles.identity.service_call(PRINCIPAL, role, "create").await {
        if error.fault == towpath_api::Fault::Server && error.status != 501 {
            return Err(error.into());
        }
        let message = format!("CodePipeline is not authorized to perform AssumeRole on role {role}");
        return Err(errors::invalid_structure_exception(message).into());
    }
    Ok((structure, custom))
}

async fn custom_types(
    service: &Pipelines,
    call: &Call,
    declaration: &PipelineDeclaration,
) -> Result<Vec<CustomType>, Fault> {
    let actions = declaration.stages.iter().flatten().flat_map(|stage| stage.actions.iter().flatten());
    let named = actions.filter_map(|action| action.action_type_id.as_ref());
    let keys: BTreeSet<String> = named
        .filter(|id| id.owner.as_deref() == Some("Custom"))
        .map(|id| CustomTypeDoc::key_of(&call.account, &call.region, id))
        .collect();
    let mut found = Vec::new();
    for key in keys {
        found.extend(service.flow.store.get::<CustomTypeDoc>(&key).await?.map(|doc| doc.doc.custom));
    }
    Ok(found)
}

/// What AWS fills in: the version, the type, the mode, and every action's run order.
fn complete(declaration: &mut PipelineDeclaration, structure: &Structure, version: i64) {
    declaration.version = Some(version);
    declaration.pipeline_type = Some(structure.kind.as_str().to_owned());
    declaration.execution_mode = Some(structure.mode.as_str().to_owned());
    for stage in declaration.stages.iter_mut().flatten() {
        for action in stage.actions.iter_mut().flatten() {
            action.run_order.get_or_insert(1);
            action.input_artifacts.get_or_insert_default();
            action.output_artifacts.get_or_insert_default();
            action.configuration.get_or_insert_default();
        }
    }
}

pub async fn update_pipeline(
    service: &Pipelines,
    call: &Call,
    input: UpdatePipelineInput,
) -> Result<UpdatePipelineOutput, Fault> {
    let declaration = input.pipeline.unwrap_or_default();
    let id = pipeline_id(call, declaration.name.clone());
    call.authorize("codepipeline:UpdatePipeline", &id.arn(), &[])?;
    service.flow.pipeline(&id).await?;
    let judged = judge(service, call, &declaration).await?;
    let declaration = retrying!(try_update(service, &id, declaration.clone(), &judged).await)?;
    Ok(UpdatePipelineOutput { pipeline: Some(declaration) })
}

async fn try_update(
    service: &Pipelines,
    id: &PipelineId,
    mut declaration: PipelineDeclaration,
    (structure, custom): &(Structure, Vec<CustomType>),
) -> Result<PipelineDeclaration, Fault> {
    let old = service.flow.pipeline(id).await?;
    let before = service.flow.structure(&old.generation, old.version).await?;
    let version = old.version + 1;
    complete(&mut declaration, structure, version);
    let now = service.flow.store.now();
    let new = PipelineDoc { version, updated: now, declaration: declaration.clone(), ..old.doc.clone() };
    let version_doc = VersionDoc {
        generation: old.generation.clone(),
        version,
        updated: now,
        region: id.region.clone(),
        declaration: declaration.clone(),
        custom: custom.clone(),
    };
    let mut step = Step::new(Event::Updated { version });
    step.updated = Some(Arc::new(structure.clone()));
    step.also.replace(&old, &new).create(&version_doc);
    let watches = triggers::watches(id, structure);
    for gone in triggers::watches(id, &before) {
        let key = towpath_store::Document::key(&gone);
        if !watches.iter().any(|watch| towpath_store::Document::key(watch) == key)
            && let Some(known) = service.flow.store.get::<Watch>(&key).await?
        {
            step.also.delete(&known);
        }
    }
    for watch in &watches {
        step.also.put(watch);
    }
    service.flow.attempt(&old, step).await?;
    Ok(declaration)
}

pub async fn get_pipeline(
    service: &Pipelines,
    call: &Call,
    input: GetPipelineInput,
) -> Result<GetPipelineOutput, Fault> {
    let id = pipeline_id(call, input.name);
    call.authorize("codepipeline:GetPipeline", &id.arn(), &[])?;
    let doc = service.flow.pipeline(&id).await?;
    let declaration = match input.version.filter(|version| *version != doc.version) {
        None => doc.declaration.clone(),
        Some(version) => {
            let key = VersionDoc::key_of(&doc.generation, version);
            let found = service.flow.store.get::<VersionDoc>(&key).await?.filter(|_| version < doc.version);
            let found = found.ok_or_else(|| {
                errors::pipeline_version_not_found_exception(format!(
                    "Pipeline '{}' does not have a version {version}",
                    id.name
                ))
            })?;
            found.doc.declaration
        }
    };
    let metadata = PipelineMetadata {
        created: Some(doc.created),
        updated: Some(doc.updated),
        pipeline_arn: Some(id.arn()),
        polling_disabled_at: None,
    };
    Ok(GetPipelineOutput { pipeline: Some(declaration), metadata: Some(metadata) })
}

/// Deletes the pipeline and what names it. Its history can no longer be reached; actions in progress
/// are told to stop. A pipeline that does not exist is no error.
pub async fn delete_pipeline(
    service: &Pipelines,
    call: &Call,
    input: DeletePipelineInput,
) -> Result<DeletePipelineOutput, Fault> {
    let id = pipeline_id(call, input.name);
    call.authorize("codepipeline:DeletePipeline", &id.arn(), &[])?;
    retrying!(try_delete(service, &id).await)?;
    Ok(DeletePipelineOutput::default())
}

async fn try_delete(service: &Pipelines, id: &PipelineId) -> Result<(), Fault> {
    let Some(doc) = service.flow.store.get::<PipelineDoc>(&id.key()).await? else { return Ok(()) };
    let loaded = service.flow.load(&doc, None).await?;
    let structure = service.flow.structure(&doc.generation, doc.version).await?;
    let mut txn = Txn::new();
    txn.delete(&doc).delete(&loaded.board);
    for watch in triggers::watches(id, &structure) {
        let known = service.flow.store.get::<Watch>(&towpath_store::Document::key(&watch)).await?;
        if let Some(known) = known {
            txn.delete(&known);
        }
    }
    let now = service.flow.store.now();
    let runs = loaded.world.executions.values().flat_map(|execution| execution.stages.values());
    for run in runs.flat_map(|run| run.actions.values()) {
        if run.status == crate::state::ActionStatus::InProgress {
            let key = ActionDoc::key_of(&doc.generation, &run.id);
            txn.enqueue(towpath_store::Job::new(ACTIONS, key, now));
        }
    }
    txn.enqueue(crate::purge::job(&doc.generation, now));
    service.flow.store.commit(txn).await?;
    Ok(())
}

pub async fn list_pipelines(
    service: &Pipelines,
    call: &Call,
    input: ListPipelinesInput,
) -> Result<ListPipelinesOutput, Fault> {
    call.authorize("codepipeline:ListPipelines", &call.arn("codepipeline", "*"), &[])?;
    let prefix = towpath_store::key(&[&call.account, &call.region, ""]);
    let after = super::lists::read_token(input.next_token.as_deref(), &prefix)?;
    let limit = page_size(input.max_results, 1000);
    let page =
        service.flow.store.list::<PipelineHead>(&prefix, after.as_deref(), limit, Order::Ascending).await?;
    let summary = |doc: &PipelineHead| PipelineSummary {
        name: Some(doc.id.name.clone()),
        version: Some(doc.version),
        pipeline_type: Some(
            doc.declaration.pipeline_type.clone().unwrap_or_else(|| Kind::V1.as_str().into()),
        ),
        execution_mode: doc.declaration.execution_mode.clone(),
        created: Some(doc.created),
        updated: Some(doc.updated),
    };
    Ok(ListPipelinesOutput {
        pipelines: Some(page.items.iter().map(|doc| summary(doc)).collect()),
        next_token: super::lists::write_token(page.next, &prefix),
    })
}
