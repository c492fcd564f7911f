//! Projects. <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html>.

use super::{name_of, project_arn, required};
use crate::store::ProjectDoc;
use crate::{CodeBuildService, SERVICE, validate};
use towpath_api::{ApiError, Arn, Call};
use towpath_api_codebuild::errors::{
    account_limit_exceeded_exception, invalid_input_exception, resource_already_exists_exception,
    resource_not_found_exception,
};
use towpath_api_codebuild::*;
use towpath_store::{Change, Order, StoreError, key};

const DEFAULT_TIMEOUT_MINUTES: i64 = 60;
const DEFAULT_QUEUED_TIMEOUT_MINUTES: i64 = 480;
/// AWS's quota of projects in an account and region.
const MAX_PROJECTS: usize = 5000;

pub async fn create(
    service: &CodeBuildService,
    call: &Call,
    input: CreateProjectInput,
) -> Result<CreateProjectOutput, ApiError> {
    let name = required(input.name.clone(), "Project name")?;
    let arn = project_arn(call, &name);
    call.authorize("codebuild:CreateProject", &arn, &[])?;
    let now = service.store.now();
    let mut project = Project {
        arn: Some(arn.clone()),
        name: Some(name.clone()),
        created: Some(now),
        last_modified: Some(now),
        project_visibility: Some("PRIVATE".to_owned()),
        artifacts: input.artifacts,
        auto_retry_limit: input.auto_retry_limit,
        badge: Some(ProjectBadge {
            badge_enabled: Some(input.badge_enabled.unwrap_or(false)),
            ..ProjectBadge::default()
        }),
        build_batch_config: input.build_batch_config,
        cache: input.cache,
        concurrent_build_limit: input.concurrent_build_limit,
        description: input.description,
        encryption_key: input.encryption_key,
        environment: input.environment,
        file_system_locations: input.file_system_locations,
        logs_config: input.logs_config,
        queued_timeout_in_minutes: input.queued_timeout_in_minutes,
        secondary_artifacts: input.secondary_artifacts,
        secondary_source_versions: input.secondary_source_versions,
        secondary_sources: input.secondary_sources,
        service_role: input.service_role,
        source: input.source,
        source_version: input.source_version,
        tags: input.tags,
        timeout_in_minutes: input.timeout_in_minutes,
        vpc_config: input.vpc_config,
        ..Project::default()
    };
    complete(call, &mut project);
    validate::project(&project)?;
    check_role(service, call, &project).await?;
    let prefix = key(&[&call.account, &call.region, ""]);
    let page = service.store.list::<ProjectDoc>(&prefix, None, MAX_PROJECTS, Order::Ascending).await?;
    if page.items.len() >= MAX_PROJECTS {
        return Err(account_limit_exceeded_exception(format!(
            "Cannot have more than {MAX_PROJECTS} projects"
        )));
    }
    let doc = ProjectDoc { account: call.account.clone(), region: call.region.clone(), name, project };
    let mut txn = towpath_store::Txn::new();
    txn.create(&doc);
    match service.store.commit(txn).await {
        Ok(()) => Ok(CreateProjectOutput { project: Some(doc.project) }),
        Err(StoreError::Conflict { .. }) => {
            Err(resource_already_exists_exception(format!("Project already exists: {arn}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// AWS's defaults, written down so that the API shows them.
fn complete(call: &Call, project: &mut Project) {
    project.timeout_in_minutes.get_or_insert(DEFAULT_TIMEOUT_MINUTES);
    project.queued_timeout_in_minutes.get_or_insert(DEFAULT_QUEUED_TIMEOUT_MINUTES);
    project.encryption_key.get_or_insert_with(|| call.arn("kms", "alias/aws/s3"));
    project.cache.get_or_insert_with(|| ProjectCache {
        type_: Some("NO_CACHE".to_owned()),
        ..ProjectCache::default()
    });
    if let Some(role) = project.service_role.as_mut().filter(|role| !role.starts_with("arn:")) {
        *role = format!("arn:aws:iam::{}:role/{role}", call.account);
    }
    let name = project.name.clone();
    if let Some(artifacts) = &mut project.artifacts {
        complete_artifacts(artifacts, name.as_deref());
    }
    for artifacts in project.secondary_artifacts.iter_mut().flatten() {
        let identifier = artifacts.artifact_identifier.clone();
        complete_artifacts(artifacts, identifier.as_deref());
    }
    if let Some(environment) = &mut project.environment {
        environment.privileged_mode.get_or_insert(false);
        environment.image_pull_credentials_type.get_or_insert_with(|| "CODEBUILD".to_owned());
        for variable in environment.environment_variables.get_or_insert_default() {
            variable.type_.get_or_insert_with(|| "PLAINTEXT".to_owned());
        }
    }
    if let Some(source) = &mut project.source {
        source.insecure_ssl.get_or_insert(false);
    }
}

pub(super) fn complete_artifacts(artifacts: &mut ProjectArtifacts, name: Option<&str>) {
    if artifacts.type_.as_deref() == Some("S3") {
        artifacts.encryption_disabled.get_or_insert(false);
        artifacts.namespace_type.get_or_insert_with(|| "NONE".to_owned());
        artifacts.packaging.get_or_insert_with(|| "NONE".to_owned());
        if artifacts.name.is_none() {
            artifacts.name = name.map(str::to_owned);
        }
    }
    artifacts.override_artifact_name.get_or_insert(false);
}

/// The caller may pass the role, and CodeBuild may assume it.
pub(super) async fn check_role(
    service: &CodeBuildService,
    call: &Call,
    project: &Project,
) -> Result<(), ApiError> {
    let role = project.service_role.as_deref().unwrap_or("");
    if Arn::parse(role).and_then(|arn| arn.resource_of("role").map(str::to_owned)).is_none() {
        return Err(invalid_input_exception(format!("Invalid service role: {role}")));
    }
    call.authorize_pass_role(role, SERVICE)?;
    service.identity.service_call(SERVICE, role, "AWSCodeBuild").await.map(drop).map_err(|error| {
        invalid_input_exception(format!(
            "CodeBuild is not authorized to perform: sts:AssumeRole on {role}. {}",
            error.message
        ))
    })
}

pub async fn update(
    service: &CodeBuildService,
    call: &Call,
    input: UpdateProjectInput,
) -> Result<UpdateProjectOutput, ApiError> {
    let name = required(input.name.clone(), "Project name")?;
    let name = name_of(call, "project", &name).unwrap_or(name);
    let arn = project_arn(call, &name);
    call.authorize("codebuild:UpdateProject", &arn, &[])?;
    let changes_role = input.service_role.is_some();
    let merged = |current: &Project| {
        let mut project = merge(current.clone(), input.clone());
        project.last_modified = Some(service.store.now());
        complete(call, &mut project);
        validate::project(&project).map(|()| project)
    };
    let current = service.project(call, &name).await?;
    let project = merged(&current.project)?;
    if changes_role {
        check_role(service, call, &project).await?;
    }
    let updated = service
        .store
        .update::<ProjectDoc, Project, ApiError>(&current.key_text(), |current, _| {
            let Some(current) = current else { return Err(not_found(&arn)) };
            let project = merged(&current.project)?;
            Ok((Change::Put(ProjectDoc { project: project.clone(), ..current.clone() }), project))
        })
        .await?;
    Ok(UpdateProjectOutput { project: Some(updated) })
}

/// What the request leaves out stays as it is.
fn merge(mut project: Project, input: UpdateProjectInput) -> Project {
    fn set<T>(field: &mut Option<T>, value: Option<T>) {
        if value.is_some() {
            *field = value;
        }
    }
    set(&mut project.artifacts, input.artifacts);
    set(&mut project.auto_retry_limit, input.auto_retry_limit);
    if let Some(enabled) = input.badge_enabled {
        project.badge = Some(ProjectBadge { badge_enabled: Some(enabled), ..ProjectBadge::default() });
    }
    set(&mut project.build_batch_config, input.build_batch_config);
    set(&mut project.cache, input.cache);
    match input.concurrent_build_limit {
        // AWS's way to take the limit away.
        Some(-1) => project.concurrent_build_limit = None,
        limit => set(&mut project.concurrent_build_limit, limit),
    }
    set(&mut project.description, input.description);
    set(&mut project.encryption_key, input.encryption_key);
    set(&mut project.environment, input.environment);
    set(&mut project.file_system_locations, input.file_system_locations);
    set(&mut project.logs_config, input.logs_config);
    set(&mut project.queued_timeout_in_minutes, input.queued_timeout_in_minutes);
    set(&mut project.secondary_artifacts, input.secondary_artifacts);
    set(&mut project.secondary_source_versions, input.secondary_source_versions);
    set(&mut project.secondary_sources, input.secondary_sources);
    set(&mut project.service_role, input.service_role);
    set(&mut project.source, input.source);
    set(&mut project.source_version, input.source_version);
    set(&mut project.tags, input.tags);
    set(&mut project.timeout_in_minutes, input.timeout_in_minutes);
    set(&mut project.vpc_config, input.vpc_config);
    project
}

pub async fn delete(
    service: &CodeBuildService,
    call: &Call,
    input: DeleteProjectInput,
) -> Result<DeleteProjectOutput, ApiError> {
    let name = required(input.name, "Project name")?;
    let name = name_of(call, "project", &name).unwrap_or(name);
    call.authorize("codebuild:DeleteProject", &project_arn(call, &name), &[])?;
    // Deleting what is not there succeeds, as with AWS. Its builds stay.
    let project_key = key(&[&call.account, &call.region, &name]);
    service
        .store
        .update::<ProjectDoc, (), ApiError>(&project_key, |current, _| {
            Ok((if current.is_some() { Change::Delete } else { Change::Keep }, ()))
        })
        .await?;
    Ok(DeleteProjectOutput {})
}

pub async fn get(
    service: &CodeBuildService,
    call: &Call,
    input: BatchGetProjectsInput,
) -> Result<BatchGetProjectsOutput, ApiError> {
    let mut projects = Vec::new();
    let mut missing = Vec::new();
    for asked in input.names.unwrap_or_default() {
        let name = name_of(call, "project", &asked);
        let arn = project_arn(call, name.as_deref().unwrap_or(&asked));
        call.authorize("codebuild:BatchGetProjects", &arn, &[])?;
        let doc = match name {
            Some(name) => {
                service.store.get::<ProjectDoc>(&key(&[&call.account, &call.region, &name])).await?
            }
            None => None,
        };
        match doc {
            Some(doc) => projects.push(doc.into_doc().project),
            None => missing.push(asked),
        }
    }
    Ok(BatchGetProjectsOutput { projects: Some(projects), projects_not_found: Some(missing) })
}

fn not_found(arn: &str) -> ApiError {
    resource_not_found_exception(format!("Project cannot be found: {arn}"))
}

impl ProjectDoc {
    fn key_text(&self) -> String {
        key(&[&self.account, &self.region, &self.name])
    }
}

impl CodeBuildService {
    pub(crate) async fn project(&self, call: &Call, name: &str) -> Result<ProjectDoc, ApiError> {
        let found = self.store.get::<ProjectDoc>(&key(&[&call.account, &call.region, name])).await?;
        found.map(|doc| doc.into_doc()).ok_or_else(|| not_found(&project_arn(call, name)))
    }
}
