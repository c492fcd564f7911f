//! StartBuild and RetryBuild: from a project and overrides to a queued build.
//! <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html>.

use super::projects::{check_role, complete_artifacts};
use super::{name_of, project_arn, required};
use crate::state::Progress;
use crate::store::{BUILDS_QUEUE, BuildDoc, CountersDoc, TIMERS_QUEUE, Timer, TokenDoc};
use crate::{CodeBuildService, validate, view};
use serde_json::Value;
use std::collections::BTreeSet;
use towpath_api::pipeline_builds::PipelineBuild;
use towpath_api::{ApiError, Call, Caller, id};
use towpath_api_codebuild::errors::{
    account_limit_exceeded_exception, invalid_input_exception, resource_not_found_exception,
};
use towpath_api_codebuild::*;
use towpath_store::{Document, Job, StoreError, Txn, Versioned, key};

/// How long a token stands for its build.
/// <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_StartBuild.html>.
const TOKEN_LIFE_MS: i64 = 5 * 60_000;
const MAX_ROUNDS: usize = 50;

/// A build about to be queued.
pub(super) struct Request {
    pub project: Project,
    pub initiator: String,
    pub pipeline: Option<PipelineBuild>,
    pub token: Option<Token>,
}

pub(super) struct Token {
    pub operation: &'static str,
    pub token: String,
    /// What must be the same for the same token.
    pub request: Value,
    pub expires: bool,
}

pub async fn start(
    service: &CodeBuildService,
    call: &Call,
    input: StartBuildInput,
) -> Result<StartBuildOutput, ApiError> {
    let asked = required(input.project_name.clone(), "projectName")?;
    let name = name_of(call, "project", &asked).unwrap_or(asked);
    call.authorize("codebuild:StartBuild", &project_arn(call, &name), &[])?;
    let project = service.project(call, &name).await?.project;
    if project.source.as_ref().and_then(|source| source.type_.as_deref()) == Some("CODEPIPELINE")
        && input.source_type_override.is_none()
    {
        return Err(invalid_input_exception(
            "Source type CODEPIPELINE: only a pipeline can start this build",
        ));
    }
    let token = input.idempotency_token.clone().map(|token| Token {
        operation: "StartBuild",
        token,
        request: serde_json::to_value(&input).unwrap_or_default(),
        expires: true,
    });
    let changes_role = input.service_role_override.is_some();
    let project = overridden(call, project, input)?;
    validate::project(&project)?;
    if changes_role {
        check_role(service, call, &project).await?;
    }
    let request = Request { project, initiator: initiator(call), pipeline: None, token };
    let doc = submit(service, call, &name, request).await?;
    Ok(StartBuildOutput { build: Some(view::build(&doc)) })
}

pub async fn retry(
    service: &CodeBuildService,
    call: &Call,
    input: RetryBuildInput,
) -> Result<RetryBuildOutput, ApiError> {
    let asked = required(input.id, "id")?;
    let build_id = name_of(call, "build", &asked).unwrap_or(asked);
    let name = build_id.split_once(':').map_or(build_id.as_str(), |(name, _)| name).to_owned();
    call.authorize("codebuild:RetryBuild", &project_arn(call, &name), &[])?;
    let old = service.build(call, &build_id).await?;
    if old.pipeline.is_some() {
        return Err(invalid_input_exception("Builds that a pipeline started are retried by the pipeline"));
    }
    if old.progress.status().is_none() {
        return Err(invalid_input_exception(format!("Build {build_id} is still in progress")));
    }
    service.project(call, &name).await?;
    let token = input.idempotency_token.map(|token| Token {
        operation: "RetryBuild",
        token,
        request: Value::String(build_id),
        expires: true,
    });
    let request = Request { project: old.project, initiator: initiator(call), pipeline: None, token };
    let doc = submit(service, call, &name, request).await?;
    Ok(RetryBuildOutput { build: Some(view::build(&doc)) })
}

/// Who started it: a user's name, `ROLE/SESSION`, or `root`.
pub(super) fn initiator(call: &Call) -> String {
    match &call.caller {
        Caller::Root { .. } => "root".to_owned(),
        Caller::User { name, .. } => name.clone(),
        Caller::Session { role_arn, session_name, .. } => {
            format!("{}/{session_name}", role_arn.rsplit('/').next().unwrap_or_default())
        }
    }
}

/// The project under a start's overrides.
fn overridden(call: &Call, mut project: Project, input: StartBuildInput) -> Result<Project, ApiError> {
    fn set<T>(field: &mut Option<T>, value: Option<T>) {
        if value.is_some() {
            *field = value;
        }
    }
    if input.debug_session_enabled.unwrap_or(false) {
        return Err(ApiError::not_implemented("debugSessionEnabled of StartBuild"));
    }
    let name = project.name.clone();
    if let Some(mut artifacts) = input.artifacts_override {
        complete_artifacts(&mut artifacts, name.as_deref());
        project.artifacts = Some(artifacts);
    }
    set(&mut project.auto_retry_limit, input.auto_retry_limit_override);
    set(&mut project.cache, input.cache_override);
    set(&mut project.encryption_key, input.encryption_key_override);
    set(&mut project.logs_config, input.logs_config_override);
    set(&mut project.queued_timeout_in_minutes, input.queued_timeout_in_minutes_override);
    set(&mut project.timeout_in_minutes, input.timeout_in_minutes_override);
    set(&mut project.secondary_artifacts, input.secondary_artifacts_override);
    set(&mut project.secondary_sources, input.secondary_sources_override);
    set(&mut project.secondary_source_versions, input.secondary_sources_version_override);
    set(&mut project.source_version, input.source_version);
    if let Some(role) = input.service_role_override {
        let full = role.starts_with("arn:");
        let arn = if full { role } else { format!("arn:aws:iam::{}:role/{role}", call.account) };
        project.service_role = Some(arn);
    }
    for artifacts in project.secondary_artifacts.iter_mut().flatten() {
        let identifier = artifacts.artifact_identifier.clone();
        complete_artifacts(artifacts, identifier.as_deref());
    }
    let source = project.source.get_or_insert_default();
    if let Some(kind) = input.source_type_override
        && source.type_.as_ref() != Some(&kind)
    {
        source.type_ = Some(kind);
        source.location = None;
    }
    set(&mut source.location, input.source_location_override);
    set(&mut source.buildspec, input.buildspec_override);
    set(&mut source.git_clone_depth, input.git_clone_depth_override);
    set(&mut source.git_submodules_config, input.git_submodules_config_override);
    set(&mut source.insecure_ssl, input.insecure_ssl_override);
    set(&mut source.auth, input.source_auth_override);
    set(&mut source.report_build_status, input.report_build_status_override);
    set(&mut source.build_status_config, input.build_status_config_override);
    let environment = project.environment.get_or_insert_default();
    set(&mut environment.certificate, input.certificate_override);
    set(&mut environment.compute_type, input.compute_type_override);
    set(&mut environment.type_, input.environment_type_override);
    set(&mut environment.fleet, input.fleet_override);
    set(&mut environment.host_kernel, input.host_kernel_override);
    set(&mut environment.image, input.image_override);
    set(&mut environment.image_pull_credentials_type, input.image_pull_credentials_type_override);
    set(&mut environment.privileged_mode, input.privileged_mode_override);
    set(&mut environment.registry_credential, input.registry_credential_override);
    override_variables(environment, input.environment_variables_override.unwrap_or_default())?;
    Ok(project)
}

/// A start's variables go over the project's, name by name.
pub(super) fn override_variables(
    environment: &mut ProjectEnvironment,
    overrides: Vec<EnvironmentVariable>,
) -> Result<(), ApiError> {
    validate::variables(&overrides)?;
    let variables = environment.environment_variables.get_or_insert_default();
    for mut variable in overrides {
        variable.type_.get_or_insert_with(|| "PLAINTEXT".to_owned());
        match variables.iter_mut().find(|old| old.name == variable.name) {
            Some(old) => *old = variable,
            None => variables.push(variable),
        }
    }
    Ok(())
}

/// Makes the build, its number, its job and its events true together; or gives the build that the same
/// token made before.
pub(super) async fn submit(
    service: &CodeBuildService,
    call: &Call,
    name: &str,
    request: Request,
) -> Result<BuildDoc, ApiError> {
    for _ in 0..MAX_ROUNDS {
        let over = match earlier(service, call, request.token.as_ref()).await? {
            Earlier::Made(doc) => return Ok(*doc),
            Earlier::Over(token) => Some(token),
            Earlier::None => None,
        };
        let counters_key = key(&[&call.account, &call.region, name]);
        let seen = service.store.get::<CountersDoc>(&counters_key).await?;
        let mut counters = seen.as_deref().cloned().unwrap_or_else(|| CountersDoc {
            account: call.account.clone(),
            region: call.region.clone(),
            name: name.to_owned(),
            last_number: 0,
            active: BTreeSet::new(),
        });
        let limit = request.project.concurrent_build_limit;
        if let Some(limit) = limit.filter(|limit| counters.active.len() as i64 >= *limit) {
            return Err(account_limit_exceeded_exception(format!(
                "Cannot have more than {limit} active builds for the project"
            )));
        }
        counters.last_number += 1;
        let (doc, mut txn) = new_build(service, call, name, counters.last_number, &request);
        counters.active.insert(doc.id.clone());
        if let Some(token) = &request.token {
            note_token(&mut txn, token, over.as_ref(), &doc);
        }
        match &seen {
            Some(seen) => txn.replace(seen, &counters),
            None => txn.create(&counters),
        };
        match service.store.commit(txn).await {
            Ok(()) => return Ok(doc),
            Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    Err(account_limit_exceeded_exception(
        "Too many builds of this project are being started at once; try again",
    ))
}

fn new_build(
    service: &CodeBuildService,
    call: &Call,
    name: &str,
    number: i64,
    request: &Request,
) -> (BuildDoc, Txn) {
    let now = service.store.now();
    let (progress, effects) = Progress::submitted(now);
    let doc = BuildDoc {
        account: call.account.clone(),
        region: call.region.clone(),
        id: format!("{name}:{}", id::uuid()),
        number,
        started_at: now,
        initiator: request.initiator.clone(),
        project: request.project.clone(),
        pipeline: request.pipeline.clone(),
        resolved_source_version: None,
        progress,
        exported: Vec::new(),
        artifacts: None,
        secondary_artifacts: Vec::new(),
        report_arns: Vec::new(),
        holder: None,
        staged_at: None,
    };
    let mut txn = Txn::new();
    txn.create(&doc).create(&doc.by_time()).create(&doc.by_project());
    txn.enqueue(Job::new(BUILDS_QUEUE, doc.key(), now));
    let minutes = doc.project.queued_timeout_in_minutes.unwrap_or(480);
    let timer = Timer::QueuedTimeout { build_key: doc.key() };
    enqueue_timer(&mut txn, &doc.key(), &timer, now.plus_millis(minutes * 60_000));
    service.carry_out(&doc, &effects, &mut txn);
    (doc, txn)
}

/// Remembers what the token made, in the place of what is `over`.
fn note_token(txn: &mut Txn, token: &Token, over: Option<&Versioned<TokenDoc>>, build: &BuildDoc) {
    let expires_at = token.expires.then(|| build.started_at.plus_millis(TOKEN_LIFE_MS));
    let token_doc = TokenDoc {
        account: build.account.clone(),
        region: build.region.clone(),
        operation: token.operation.to_owned(),
        token: token.token.clone(),
        request: token.request.clone(),
        build_id: build.id.clone(),
        expires_at,
    };
    match over {
        Some(over) => txn.replace(over, &token_doc),
        None => txn.create(&token_doc),
    };
    if let Some(expires_at) = expires_at {
        let timer = Timer::TokenExpires { token_key: token_doc.key() };
        enqueue_timer(txn, &token_doc.key(), &timer, expires_at);
    }
}

fn enqueue_timer(txn: &mut Txn, timer_key: &str, timer: &Timer, at: towpath_api::Timestamp) {
    let payload = serde_json::to_value(timer).unwrap_or_default();
    txn.enqueue(Job::new(TIMERS_QUEUE, timer_key, at).with_payload(payload));
}

/// What a token stands for already.
enum Earlier {
    None,
    Made(Box<BuildDoc>),
    /// Its time is up: it is as good as new.
    Over(Versioned<TokenDoc>),
}

async fn earlier(
    service: &CodeBuildService,
    call: &Call,
    token: Option<&Token>,
) -> Result<Earlier, ApiError> {
    let Some(token) = token else { return Ok(Earlier::None) };
    let token_key = TokenDoc::key_of(&call.account, &call.region, token.operation, &token.token);
    let Some(seen) = service.store.get::<TokenDoc>(&token_key).await? else { return Ok(Earlier::None) };
    if seen.is_over(service.store.now()) {
        return Ok(Earlier::Over(seen));
    }
    if seen.request != token.request {
        return Err(invalid_input_exception(
            "Parameter mismatch: the idempotencyToken was used before with other parameters",
        ));
    }
    let made = service.build(call, &seen.build_id).await?;
    Ok(Earlier::Made(Box::new(made)))
}

impl CodeBuildService {
    pub(crate) async fn build(&self, call: &Call, build_id: &str) -> Result<BuildDoc, ApiError> {
        let found =
            self.store.get::<BuildDoc>(&BuildDoc::key_of(&call.account, &call.region, build_id)).await?;
        found.map(|doc| doc.into_doc()).ok_or_else(|| {
            let arn = call.arn("codebuild", format!("build/{build_id}"));
            resource_not_found_exception(format!("Build cannot be found: {arn}"))
        })
    }
}
