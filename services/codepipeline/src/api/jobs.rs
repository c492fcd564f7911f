//! Jobs of custom actions: what a worker polls, acknowledges and answers.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/actions-create-custom-action.html#actions-create-custom-action-job-worker>
//!
//! A job that was handed out and not acknowledged is offered again with a new nonce, so that a worker
//! that died in between loses nothing, and one that was slow cannot take the job from the other.

use super::custom_types::arn;
use crate::Pipelines;
use crate::error::Fault;
use crate::retrying;
use crate::state::{ActionStatus, Products, SourceRevision};
use crate::store::*;
use crate::work::{self, Ending, Failure, PRINCIPAL};
use std::collections::BTreeMap;
use towpath_api::{ApiError, Call, id};
use towpath_api_codepipeline::*;
use towpath_store::{Order, Txn, Versioned};

/// How long a job that was handed out stays hidden from other polls.
const HIDDEN_MS: i64 = 60_000;
/// Open jobs that one poll looks through.
const LOOKED_AT: usize = 1000;
const CREDENTIAL_SECONDS: u32 = 3600;

pub async fn poll_for_jobs(
    service: &Pipelines,
    call: &Call,
    input: PollForJobsInput,
) -> Result<PollForJobsOutput, Fault> {
    let type_id = input.action_type_id.unwrap_or_default();
    call.authorize("codepipeline:PollForJobs", &arn(call, &type_id), &[])?;
    let store = &service.flow.store;
    let custom = match type_id.owner.as_deref() {
        Some(action_owner::CUSTOM) => {
            store.get::<CustomTypeDoc>(&CustomTypeDoc::key_of(&call.account, &call.region, &type_id)).await?
        }
        _ => None,
    };
    let Some(custom) = custom else {
        let message = "There is no custom action type with this category, provider and version.";
        return Err(errors::action_type_not_found_exception(message).into());
    };
    let wanted = query(custom.custom.queryable(), input.query_param.unwrap_or_default())?;
    let most = super::page_size(input.max_batch_size, 100);
    let prefix = OpenJob::prefix(&call.account, &call.region, &type_id);
    let page = store.list::<OpenJob>(&prefix, None, LOOKED_AT, Order::Ascending).await?;
    let now = store.now();
    let mut jobs = Vec::new();
    for open in page.items {
        if jobs.len() >= most {
            break;
        }
        if open.hidden_until > now || wanted.is_some() && open.query != wanted {
            continue;
        }
        jobs.extend(hand_out(service, open).await?);
    }
    Ok(PollForJobsOutput { jobs: Some(jobs) })
}

fn query(queryable: Option<&str>, given: BTreeMap<String, String>) -> Result<Option<String>, ApiError> {
    match (queryable, given.into_iter().next()) {
        (None, None) => Ok(None),
        (Some(name), Some((key, value))) if name == key => Ok(Some(value)),
        (Some(name), None) => Err(ApiError::validation(format!(
            "The action type has the queryable property '{name}': give its value."
        ))),
        (_, Some((key, _))) => {
            Err(ApiError::validation(format!("'{key}' is not a queryable property of the action type.")))
        }
    }
}

/// Gives a job to one poll; `None` where another was faster, or nobody needs it any more.
async fn hand_out(service: &Pipelines, open: Versioned<OpenJob>) -> Result<Option<Job>, Fault> {
    let store = &service.flow.store;
    let job = store.get::<JobDoc>(&open.job).await?;
    let mut txn = Txn::new();
    let Some(job) = job.filter(|job| matches!(job.state, JobState::Offered { .. })) else {
        txn.delete(&open);
        store.commit(txn).await.or_else(unless_conflict)?;
        return Ok(None);
    };
    let Some(data) = data(service, &job).await? else { return Ok(None) };
    let nonce = id::uuid();
    txn.replace(&job, &JobDoc { state: JobState::Offered { nonce: nonce.clone() }, ..job.doc.clone() });
    txn.replace(&open, &OpenJob { hidden_until: store.now().plus_millis(HIDDEN_MS), ..open.doc.clone() });
    match store.commit(txn).await {
        Ok(()) => Ok(Some(Job {
            id: Some(job.id.clone()),
            account_id: Some(job.account.clone()),
            nonce: Some(nonce),
            data: Some(data),
        })),
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn unless_conflict(error: towpath_store::StoreError) -> Result<(), Fault> {
    if error.is_conflict() { Ok(()) } else { Err(error.into()) }
}

/// Everything that a worker needs to do the job; `None` where the pipeline is gone.
async fn data(service: &Pipelines, job: &JobDoc) -> Result<Option<JobData>, Fault> {
    let Some((pipeline, doc)) = action_of(service, job).await? else { return Ok(None) };
    let structure = service.flow.structure(&doc.generation, doc.version).await?;
    let Some(action) = structure.stage(&doc.stage).and_then(|stage| stage.action(&doc.action)) else {
        return Ok(None);
    };
    let role = action.role_arn.as_ref().unwrap_or(&structure.role_arn);
    let session = doc.id.clone();
    let credentials =
        service.handles.identity.service_credentials(PRINCIPAL, role, &session, CREDENTIAL_SECONDS).await?;
    let location = |name: &str, bucket: &str, key: &str, revision: Option<String>| Artifact {
        name: Some(name.to_owned()),
        revision,
        location: Some(ArtifactLocation {
            type_: Some(artifact_location_type::S3.into()),
            s3_location: Some(S3ArtifactLocation {
                bucket_name: Some(bucket.to_owned()),
                object_key: Some(key.to_owned()),
            }),
        }),
    };
    let inputs = action.inputs.iter().filter_map(|name| {
        doc.inputs.get(name).map(|input| location(name, &input.bucket, &input.key, input.revision.clone()))
    });
    let outputs = action.outputs.iter().map(|name| {
        location(name, &structure.bucket, &work::output_key(&structure.name, name, &doc.id), None)
    });
    Ok(Some(JobData {
        action_type_id: Some(action.type_id.clone()),
        action_configuration: Some(ActionConfiguration { configuration: doc.resolved.clone() }),
        artifact_credentials: Some(AWSSessionCredentials {
            access_key_id: Some(credentials.access_key_id),
            secret_access_key: Some(credentials.secret_access_key),
            session_token: Some(credentials.session_token),
        }),
        continuation_token: job.continuation.clone(),
        encryption_key: None,
        input_artifacts: Some(inputs.collect()),
        output_artifacts: Some(outputs.collect()),
        pipeline_context: Some(PipelineContext {
            pipeline_name: Some(pipeline.id.name.clone()),
            pipeline_arn: Some(pipeline.id.arn()),
            pipeline_execution_id: Some(doc.execution.clone()),
            stage: Some(StageContext { name: Some(doc.stage.clone()) }),
            action: Some(ActionContext {
                name: Some(doc.action.clone()),
                action_execution_id: Some(doc.id.clone()),
            }),
        }),
    }))
}

async fn action_of(
    service: &Pipelines,
    job: &JobDoc,
) -> Result<Option<(PipelineDoc, Versioned<ActionDoc>)>, Fault> {
    let Some(doc) = service.flow.store.get::<ActionDoc>(&job.action_key).await? else { return Ok(None) };
    match service.flow.pipeline(&doc.pipeline).await {
        Ok(pipeline) if pipeline.generation == doc.generation => Ok(Some((pipeline.into_doc(), doc))),
        Ok(_) | Err(Fault::NoPipeline { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn find(service: &Pipelines, call: &Call, id: &str) -> Result<Versioned<JobDoc>, Fault> {
    let job = service.flow.store.get::<JobDoc>(id).await?.filter(|job| job.account == call.account);
    job.ok_or_else(|| errors::job_not_found_exception(format!("The job {id} does not exist.")).into())
}

pub async fn acknowledge_job(
    service: &Pipelines,
    call: &Call,
    input: AcknowledgeJobInput,
) -> Result<AcknowledgeJobOutput, Fault> {
    call.authorize("codepipeline:AcknowledgeJob", "*", &[])?;
    let id = input.job_id.unwrap_or_default();
    let given = input.nonce.unwrap_or_default();
    let job = find(service, call, &id).await?;
    let JobState::Offered { nonce } = &job.state else {
        return Ok(AcknowledgeJobOutput { status: Some(status(&job.state)) });
    };
    let wrong =
        || Fault::Api(errors::invalid_nonce_exception("The nonce is not the one that was handed out last."));
    if *nonce != given {
        return Err(wrong());
    }
    let mut txn = Txn::new();
    txn.replace(&job, &JobDoc { state: JobState::InProgress, ..job.doc.clone() });
    match service.flow.store.commit(txn).await {
        Ok(()) => Ok(AcknowledgeJobOutput { status: Some(job_status::IN_PROGRESS.into()) }),
        Err(error) if error.is_conflict() => Err(wrong()),
        Err(error) => Err(error.into()),
    }
}

fn status(state: &JobState) -> String {
    match state {
        JobState::Offered { .. } => job_status::DISPATCHED,
        JobState::InProgress => job_status::IN_PROGRESS,
        JobState::Succeeded => job_status::SUCCEEDED,
        JobState::Failed => job_status::FAILED,
        JobState::TimedOut => job_status::TIMED_OUT,
    }
    .to_owned()
}

pub async fn get_job_details(
    service: &Pipelines,
    call: &Call,
    input: GetJobDetailsInput,
) -> Result<GetJobDetailsOutput, Fault> {
    call.authorize("codepipeline:GetJobDetails", "*", &[])?;
    let job = find(service, call, &input.job_id.unwrap_or_default()).await?;
    let data = data(service, &job).await?;
    let details = JobDetails { id: Some(job.id.clone()), account_id: Some(job.account.clone()), data };
    Ok(GetJobDetailsOutput { job_details: Some(details) })
}

/// The job in a state in which it may be answered, with its action.
async fn answerable(
    service: &Pipelines,
    call: &Call,
    id: &str,
) -> Result<(Versioned<JobDoc>, PipelineDoc, Versioned<ActionDoc>), Fault> {
    let job = find(service, call, id).await?;
    let state = |why: &str| Fault::Api(errors::invalid_job_state_exception(format!("The job {id} {why}.")));
    if job.state != JobState::InProgress {
        return Err(state(match job.state {
            JobState::Offered { .. } => "has not been acknowledged",
            _ => "has ended",
        }));
    }
    match action_of(service, &job).await? {
        Some((pipeline, doc)) if doc.status == ActionStatus::InProgress => Ok((job, pipeline, doc)),
        _ => Err(state("belongs to an action that has ended")),
    }
}

pub async fn put_job_success_result(
    service: &Pipelines,
    call: &Call,
    input: PutJobSuccessResultInput,
) -> Result<PutJobSuccessResultOutput, Fault> {
    call.authorize("codepipeline:PutJobSuccessResult", "*", &[])?;
    let variables = input.output_variables.clone().unwrap_or_default();
    if input.continuation_token.is_some() && !variables.is_empty() {
        return Err(ApiError::validation(
            "outputVariables cannot be given together with a continuationToken.",
        )
        .into());
    }
    let size = crate::variables::size(&variables);
    if size > crate::variables::MAX_OUTPUT_BYTES {
        let limit = crate::variables::MAX_OUTPUT_BYTES;
        let message = format!("The output variables take {size} bytes; at most {limit} are allowed.");
        return Err(errors::output_variables_size_exceeded_exception(message).into());
    }
    retrying!(try_succeed(service, call, &input).await)?;
    Ok(PutJobSuccessResultOutput::default())
}

async fn try_succeed(
    service: &Pipelines,
    call: &Call,
    input: &PutJobSuccessResultInput,
) -> Result<(), Fault> {
    let id = input.job_id.clone().unwrap_or_default();
    let (job, pipeline, doc) = answerable(service, call, &id).await?;
    let details = input.execution_details.clone().unwrap_or_default();
    let structure = service.flow.structure(&doc.generation, doc.version).await?;
    let Some(action) = structure.stage(&doc.stage).and_then(|stage| stage.action(&doc.action)) else {
        return Err(errors::job_not_found_exception(format!("The job {id} does not exist.")).into());
    };
    let mut txn = Txn::new();
    txn.replace(&job, &JobDoc { state: JobState::Succeeded, ..job.doc.clone() });
    if let Some(token) = &input.continuation_token {
        let mut next = doc.doc.clone();
        let now = service.flow.store.now();
        let key = CustomTypeDoc::key_of(&doc.pipeline.account, &doc.pipeline.region, &action.type_id);
        let custom = service.flow.store.get::<CustomTypeDoc>(&key).await?;
        let name = custom.as_ref().and_then(|custom| custom.custom.queryable());
        let query = name.and_then(|name| doc.resolved.as_ref()?.get(name).cloned());
        let offered = work::offer(&mut txn, &doc, action, query, Some(token.clone()), now);
        let known = crate::events::external_id(&doc);
        next.external = External::Job { job: offered, external_id: details.external_execution_id.or(known) };
        next.summary = details.summary.or(next.summary);
        next.percent = details.percent_complete.or(next.percent);
        next.updated = now;
        txn.replace(&doc, &next);
        return Ok(service.flow.store.commit(txn).await?);
    }
    let products = products(service, doc.clone(), input).await?;
    let mut ending = Ending::succeeded(products, details.summary);
    ending.external_id = details.external_execution_id;
    service.try_finish(&pipeline, &doc.id, &ending, None, txn).await
}

/// What the job made: the declared outputs that the worker has stored.
async fn products(
    service: &Pipelines,
    doc: Versioned<ActionDoc>,
    input: &PutJobSuccessResultInput,
) -> Result<Products, Fault> {
    let ctx = service.prepare(doc).await.map_err(told)?;
    let revision = input.current_revision.clone();
    let mut artifacts = BTreeMap::new();
    for name in &ctx.action.outputs {
        let key = ctx.output_key(name);
        match ctx.stored(&key, revision.as_ref().and_then(|revision| revision.revision.clone())).await {
            Ok(artifact) => drop(artifacts.insert(name.clone(), artifact)),
            Err(failure) => return Err(told(failure)),
        }
    }
    let revision = revision.filter(|_| ctx.action.provider.is_source(&ctx.action.type_id)).map(|revision| {
        SourceRevision {
            action: ctx.action.name.clone(),
            artifact: ctx.action.outputs.first().cloned().unwrap_or_default(),
            revision_id: revision.revision.unwrap_or_default(),
            summary: revision.revision_summary,
            url: None,
            created: revision.created,
        }
    });
    Ok(Products { artifacts, variables: input.output_variables.clone().unwrap_or_default(), revision })
}

/// A worker that says "success" is told what is missing for it.
fn told(failure: Failure) -> Fault {
    match failure {
        Failure::Action(error) => ApiError::validation(format!(
            "The job cannot succeed: an output artifact is not stored where the job said: {}",
            error.message
        ))
        .into(),
        Failure::Later(error) => ApiError::internal(error).into(),
    }
}

pub async fn put_job_failure_result(
    service: &Pipelines,
    call: &Call,
    input: PutJobFailureResultInput,
) -> Result<PutJobFailureResultOutput, Fault> {
    call.authorize("codepipeline:PutJobFailureResult", "*", &[])?;
    retrying!(try_fail(service, call, &input).await)?;
    Ok(PutJobFailureResultOutput::default())
}

async fn try_fail(service: &Pipelines, call: &Call, input: &PutJobFailureResultInput) -> Result<(), Fault> {
    let id = input.job_id.clone().unwrap_or_default();
    let (job, pipeline, doc) = answerable(service, call, &id).await?;
    let details = input.failure_details.clone().unwrap_or_default();
    let code = details.type_.unwrap_or_else(|| failure_type::JOB_FAILED.into());
    let mut ending = Ending::failed(&code, details.message.unwrap_or_default());
    ending.external_id = details.external_execution_id;
    let mut txn = Txn::new();
    txn.replace(&job, &JobDoc { state: JobState::Failed, ..job.doc.clone() });
    service.try_finish(&pipeline, &doc.id, &ending, None, txn).await
}
