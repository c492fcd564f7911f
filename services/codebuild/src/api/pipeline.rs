//! Builds that a pipeline starts, with artifacts of its own.

use super::project_arn;
use super::start::{Request, Token, override_variables, submit};
use crate::{CodeBuildService, validate};
use towpath_api::pipeline_builds::{PipelineBuild, PipelineBuilds};
use towpath_api::{ApiError, Call, async_trait};
use towpath_api_codebuild::EnvironmentVariable;
use towpath_api_codebuild::errors::invalid_input_exception;

#[async_trait]
impl PipelineBuilds for CodeBuildService {
    async fn start_for_pipeline(&self, call: &Call, build: PipelineBuild) -> Result<String, ApiError> {
        call.authorize("codebuild:StartBuild", &project_arn(call, &build.project), &[])?;
        let mut project = self.project(call, &build.project).await?.project;
        let kind = |kind: Option<&str>| kind == Some("CODEPIPELINE");
        if !kind(project.source.as_ref().and_then(|source| source.type_.as_deref())) {
            return Err(invalid_input_exception(format!(
                "The project {} needs the source type CODEPIPELINE to be built by a pipeline",
                build.project
            )));
        }
        if build.inputs.is_empty() {
            return Err(invalid_input_exception("A pipeline's build needs an input artifact"));
        }
        if let Some(primary) = &build.primary_source {
            if !build.inputs.iter().any(|input| input.name == *primary) {
                return Err(invalid_input_exception(format!("PrimarySource {primary} is no input artifact")));
            }
        } else if build.inputs.len() > 1 {
            return Err(invalid_input_exception("PrimarySource is required with several input artifacts"));
        }
        let overrides = build.environment_variables.iter().map(|variable| EnvironmentVariable {
            name: Some(variable.name.clone()),
            value: Some(variable.value.clone()),
            type_: Some(variable.kind.clone()).filter(|kind| !kind.is_empty()),
        });
        override_variables(project.environment.get_or_insert_default(), overrides.collect())?;
        project.source_version = build.source_version.clone();
        validate::project(&project)?;
        let token = Token {
            operation: "pipeline",
            token: build.client_token.clone(),
            request: serde_json::to_value(&build).map_err(ApiError::internal)?,
            expires: false,
        };
        let request = Request {
            project,
            initiator: format!("codepipeline/{}", build.pipeline),
            token: Some(token),
            pipeline: Some(build.clone()),
        };
        submit(self, call, &build.project, request).await.map(|doc| doc.id)
    }
}
