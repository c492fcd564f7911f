//! The API: each method parses, authorizes, asks the domain once, renders.

mod builds;
mod lists;
mod pipeline;
mod projects;
mod report_groups;
mod reports;
mod start;

use crate::CodeBuildService;
use towpath_api::{ApiError, Call, async_trait};
use towpath_api_codebuild::errors::invalid_input_exception;
use towpath_api_codebuild::*;

/// `name` for `arn:aws:codebuild:REGION:ACCOUNT:KIND/name` of this account and region; any other text is
/// a name already.
pub(crate) fn name_of(call: &Call, kind: &str, text: &str) -> Option<String> {
    if !text.starts_with("arn:") {
        return Some(text.to_owned());
    }
    text.strip_prefix(&call.arn("codebuild", format!("{kind}/"))).map(str::to_owned)
}

pub(crate) fn required(value: Option<String>, name: &str) -> Result<String, ApiError> {
    value.ok_or_else(|| invalid_input_exception(format!("{name} is required")))
}

pub(crate) fn project_arn(call: &Call, name: &str) -> String {
    call.arn("codebuild", format!("project/{name}"))
}

#[async_trait]
impl CodeBuild for CodeBuildService {
    async fn batch_delete_builds(
        &self,
        call: &Call,
        input: BatchDeleteBuildsInput,
    ) -> Result<BatchDeleteBuildsOutput, ApiError> {
        builds::delete(self, call, input).await
    }

    async fn batch_get_builds(
        &self,
        call: &Call,
        input: BatchGetBuildsInput,
    ) -> Result<BatchGetBuildsOutput, ApiError> {
        builds::get(self, call, input).await
    }

    async fn batch_get_projects(
        &self,
        call: &Call,
        input: BatchGetProjectsInput,
    ) -> Result<BatchGetProjectsOutput, ApiError> {
        projects::get(self, call, input).await
    }

    async fn batch_get_report_groups(
        &self,
        call: &Call,
        input: BatchGetReportGroupsInput,
    ) -> Result<BatchGetReportGroupsOutput, ApiError> {
        report_groups::get(self, call, input).await
    }

    async fn batch_get_reports(
        &self,
        call: &Call,
        input: BatchGetReportsInput,
    ) -> Result<BatchGetReportsOutput, ApiError> {
        reports::get(self, call, input).await
    }

    async fn create_project(
        &self,
        call: &Call,
        input: CreateProjectInput,
    ) -> Result<CreateProjectOutput, ApiError> {
        projects::create(self, call, input).await
    }

    async fn create_report_group(
        &self,
        call: &Call,
        input: CreateReportGroupInput,
    ) -> Result<CreateReportGroupOutput, ApiError> {
        report_groups::create(self, call, input).await
    }

    async fn delete_project(
        &self,
        call: &Call,
        input: DeleteProjectInput,
    ) -> Result<DeleteProjectOutput, ApiError> {
        projects::delete(self, call, input).await
    }

    async fn delete_report(
        &self,
        call: &Call,
        input: DeleteReportInput,
    ) -> Result<DeleteReportOutput, ApiError> {
        reports::delete(self, call, input).await
    }

    async fn delete_report_group(
        &self,
        call: &Call,
        input: DeleteReportGroupInput,
    ) -> Result<DeleteReportGroupOutput, ApiError> {
        report_groups::delete(self, call, input).await
    }

    async fn describe_test_cases(
        &self,
        call: &Call,
        input: DescribeTestCasesInput,
    ) -> Result<DescribeTestCasesOutput, ApiError> {
        reports::cases(self, call, input).await
    }

    async fn list_builds(&self, call: &Call, input: ListBuildsInput) -> Result<ListBuildsOutput, ApiError> {
        lists::builds(self, call, input).await
    }

    async fn list_builds_for_project(
        &self,
        call: &Call,
        input: ListBuildsForProjectInput,
    ) -> Result<ListBuildsForProjectOutput, ApiError> {
        lists::builds_for_project(self, call, input).await
    }

    async fn list_projects(
        &self,
        call: &Call,
        input: ListProjectsInput,
    ) -> Result<ListProjectsOutput, ApiError> {
        lists::projects(self, call, input).await
    }

    async fn list_report_groups(
        &self,
        call: &Call,
        input: ListReportGroupsInput,
    ) -> Result<ListReportGroupsOutput, ApiError> {
        report_groups::list(self, call, input).await
    }

    async fn list_reports(
        &self,
        call: &Call,
        input: ListReportsInput,
    ) -> Result<ListReportsOutput, ApiError> {
        reports::list(self, call, input).await
    }

    async fn list_reports_for_report_group(
        &self,
        call: &Call,
        input: ListReportsForReportGroupInput,
    ) -> Result<ListReportsForReportGroupOutput, ApiError> {
        reports::list_for_group(self, call, input).await
    }

    async fn retry_build(&self, call: &Call, input: RetryBuildInput) -> Result<RetryBuildOutput, ApiError> {
        start::retry(self, call, input).await
    }

    async fn start_build(&self, call: &Call, input: StartBuildInput) -> Result<StartBuildOutput, ApiError> {
        start::start(self, call, input).await
    }

    async fn stop_build(&self, call: &Call, input: StopBuildInput) -> Result<StopBuildOutput, ApiError> {
        builds::stop(self, call, input).await
    }

    async fn update_project(
        &self,
        call: &Call,
        input: UpdateProjectInput,
    ) -> Result<UpdateProjectOutput, ApiError> {
        projects::update(self, call, input).await
    }
}
