//! The public operations: parse, authorize, one call into the domain, render. One file per resource.
//!
//! Resource ARNs that policies name are those of
//! <https://docs.aws.amazon.com/codedeploy/latest/userguide/auth-and-access-control-permissions-reference.html>.

mod applications;
mod common;
mod configs;
mod deployments;
mod groups;
mod instances;
mod refusals;
mod render;
mod revisions;
mod tags;
mod targets;

use crate::CodeDeployService;
use towpath_api::{ApiError, Call, async_trait};
use towpath_api_codedeploy::*;

#[async_trait]
impl CodeDeploy for CodeDeployService {
    async fn add_tags_to_on_premises_instances(
        &self,
        call: &Call,
        input: AddTagsToOnPremisesInstancesInput,
    ) -> Result<AddTagsToOnPremisesInstancesOutput, ApiError> {
        instances::add_tags_to_on_premises_instances(self, call, input).await
    }

    async fn batch_get_application_revisions(
        &self,
        call: &Call,
        input: BatchGetApplicationRevisionsInput,
    ) -> Result<BatchGetApplicationRevisionsOutput, ApiError> {
        revisions::batch_get_application_revisions(self, call, input).await
    }

    async fn batch_get_applications(
        &self,
        call: &Call,
        input: BatchGetApplicationsInput,
    ) -> Result<BatchGetApplicationsOutput, ApiError> {
        applications::batch_get_applications(self, call, input).await
    }

    async fn batch_get_deployment_groups(
        &self,
        call: &Call,
        input: BatchGetDeploymentGroupsInput,
    ) -> Result<BatchGetDeploymentGroupsOutput, ApiError> {
        groups::batch_get_deployment_groups(self, call, input).await
    }

    async fn batch_get_deployment_instances(
        &self,
        call: &Call,
        input: BatchGetDeploymentInstancesInput,
    ) -> Result<BatchGetDeploymentInstancesOutput, ApiError> {
        targets::batch_get_deployment_instances(self, call, input).await
    }

    async fn batch_get_deployment_targets(
        &self,
        call: &Call,
        input: BatchGetDeploymentTargetsInput,
    ) -> Result<BatchGetDeploymentTargetsOutput, ApiError> {
        targets::batch_get_deployment_targets(self, call, input).await
    }

    async fn batch_get_deployments(
        &self,
        call: &Call,
        input: BatchGetDeploymentsInput,
    ) -> Result<BatchGetDeploymentsOutput, ApiError> {
        deployments::batch_get_deployments(self, call, input).await
    }

    async fn batch_get_on_premises_instances(
        &self,
        call: &Call,
        input: BatchGetOnPremisesInstancesInput,
    ) -> Result<BatchGetOnPremisesInstancesOutput, ApiError> {
        instances::batch_get_on_premises_instances(self, call, input).await
    }

    async fn create_application(
        &self,
        call: &Call,
        input: CreateApplicationInput,
    ) -> Result<CreateApplicationOutput, ApiError> {
        applications::create_application(self, call, input).await
    }

    async fn create_deployment(
        &self,
        call: &Call,
        input: CreateDeploymentInput,
    ) -> Result<CreateDeploymentOutput, ApiError> {
        deployments::create_deployment(self, call, input).await
    }

    async fn create_deployment_config(
        &self,
        call: &Call,
        input: CreateDeploymentConfigInput,
    ) -> Result<CreateDeploymentConfigOutput, ApiError> {
        configs::create_deployment_config(self, call, input).await
    }

    async fn create_deployment_group(
        &self,
        call: &Call,
        input: CreateDeploymentGroupInput,
    ) -> Result<CreateDeploymentGroupOutput, ApiError> {
        groups::create_deployment_group(self, call, input).await
    }

    async fn delete_application(
        &self,
        call: &Call,
        input: DeleteApplicationInput,
    ) -> Result<DeleteApplicationOutput, ApiError> {
        applications::delete_application(self, call, input).await
    }

    async fn delete_deployment_config(
        &self,
        call: &Call,
        input: DeleteDeploymentConfigInput,
    ) -> Result<DeleteDeploymentConfigOutput, ApiError> {
        configs::delete_deployment_config(self, call, input).await
    }

    async fn delete_deployment_group(
        &self,
        call: &Call,
        input: DeleteDeploymentGroupInput,
    ) -> Result<DeleteDeploymentGroupOutput, ApiError> {
        groups::delete_deployment_group(self, call, input).await
    }

    async fn deregister_on_premises_instance(
        &self,
        call: &Call,
        input: DeregisterOnPremisesInstanceInput,
    ) -> Result<DeregisterOnPremisesInstanceOutput, ApiError> {
        instances::deregister_on_premises_instance(self, call, input).await
    }

    async fn get_application(
        &self,
        call: &Call,
        input: GetApplicationInput,
    ) -> Result<GetApplicationOutput, ApiError> {
        applications::get_application(self, call, input).await
    }

    async fn get_application_revision(
        &self,
        call: &Call,
        input: GetApplicationRevisionInput,
    ) -> Result<GetApplicationRevisionOutput, ApiError> {
        revisions::get_application_revision(self, call, input).await
    }

    async fn get_deployment(
        &self,
        call: &Call,
        input: GetDeploymentInput,
    ) -> Result<GetDeploymentOutput, ApiError> {
        deployments::get_deployment(self, call, input).await
    }

    async fn get_deployment_config(
        &self,
        call: &Call,
        input: GetDeploymentConfigInput,
    ) -> Result<GetDeploymentConfigOutput, ApiError> {
        configs::get_deployment_config(self, call, input).await
    }

    async fn get_deployment_group(
        &self,
        call: &Call,
        input: GetDeploymentGroupInput,
    ) -> Result<GetDeploymentGroupOutput, ApiError> {
        groups::get_deployment_group(self, call, input).await
    }

    async fn get_deployment_instance(
        &self,
        call: &Call,
        input: GetDeploymentInstanceInput,
    ) -> Result<GetDeploymentInstanceOutput, ApiError> {
        targets::get_deployment_instance(self, call, input).await
    }

    async fn get_deployment_target(
        &self,
        call: &Call,
        input: GetDeploymentTargetInput,
    ) -> Result<GetDeploymentTargetOutput, ApiError> {
        targets::get_deployment_target(self, call, input).await
    }

    async fn get_on_premises_instance(
        &self,
        call: &Call,
        input: GetOnPremisesInstanceInput,
    ) -> Result<GetOnPremisesInstanceOutput, ApiError> {
        instances::get_on_premises_instance(self, call, input).await
    }

    async fn list_application_revisions(
        &self,
        call: &Call,
        input: ListApplicationRevisionsInput,
    ) -> Result<ListApplicationRevisionsOutput, ApiError> {
        revisions::list_application_revisions(self, call, input).await
    }

    async fn list_applications(
        &self,
        call: &Call,
        input: ListApplicationsInput,
    ) -> Result<ListApplicationsOutput, ApiError> {
        applications::list_applications(self, call, input).await
    }

    async fn list_deployment_configs(
        &self,
        call: &Call,
        input: ListDeploymentConfigsInput,
    ) -> Result<ListDeploymentConfigsOutput, ApiError> {
        configs::list_deployment_configs(self, call, input).await
    }

    async fn list_deployment_groups(
        &self,
        call: &Call,
        input: ListDeploymentGroupsInput,
    ) -> Result<ListDeploymentGroupsOutput, ApiError> {
        groups::list_deployment_groups(self, call, input).await
    }

    async fn list_deployment_instances(
        &self,
        call: &Call,
        input: ListDeploymentInstancesInput,
    ) -> Result<ListDeploymentInstancesOutput, ApiError> {
        targets::list_deployment_instances(self, call, input).await
    }

    async fn list_deployment_targets(
        &self,
        call: &Call,
        input: ListDeploymentTargetsInput,
    ) -> Result<ListDeploymentTargetsOutput, ApiError> {
        targets::list_deployment_targets(self, call, input).await
    }

    async fn list_deployments(
        &self,
        call: &Call,
        input: ListDeploymentsInput,
    ) -> Result<ListDeploymentsOutput, ApiError> {
        deployments::list_deployments(self, call, input).await
    }

    async fn list_on_premises_instances(
        &self,
        call: &Call,
        input: ListOnPremisesInstancesInput,
    ) -> Result<ListOnPremisesInstancesOutput, ApiError> {
        instances::list_on_premises_instances(self, call, input).await
    }

    async fn list_tags_for_resource(
        &self,
        call: &Call,
        input: ListTagsForResourceInput,
    ) -> Result<ListTagsForResourceOutput, ApiError> {
        tags::list_tags_for_resource(self, call, input).await
    }

    async fn register_application_revision(
        &self,
        call: &Call,
        input: RegisterApplicationRevisionInput,
    ) -> Result<RegisterApplicationRevisionOutput, ApiError> {
        revisions::register_application_revision(self, call, input).await
    }

    async fn register_on_premises_instance(
        &self,
        call: &Call,
        input: RegisterOnPremisesInstanceInput,
    ) -> Result<RegisterOnPremisesInstanceOutput, ApiError> {
        instances::register_on_premises_instance(self, call, input).await
    }

    async fn remove_tags_from_on_premises_instances(
        &self,
        call: &Call,
        input: RemoveTagsFromOnPremisesInstancesInput,
    ) -> Result<RemoveTagsFromOnPremisesInstancesOutput, ApiError> {
        instances::remove_tags_from_on_premises_instances(self, call, input).await
    }

    async fn stop_deployment(
        &self,
        call: &Call,
        input: StopDeploymentInput,
    ) -> Result<StopDeploymentOutput, ApiError> {
        deployments::stop_deployment(self, call, input).await
    }

    async fn tag_resource(
        &self,
        call: &Call,
        input: TagResourceInput,
    ) -> Result<TagResourceOutput, ApiError> {
        tags::tag_resource(self, call, input).await
    }

    async fn untag_resource(
        &self,
        call: &Call,
        input: UntagResourceInput,
    ) -> Result<UntagResourceOutput, ApiError> {
        tags::untag_resource(self, call, input).await
    }

    async fn update_application(
        &self,
        call: &Call,
        input: UpdateApplicationInput,
    ) -> Result<UpdateApplicationOutput, ApiError> {
        applications::update_application(self, call, input).await
    }

    async fn update_deployment_group(
        &self,
        call: &Call,
        input: UpdateDeploymentGroupInput,
    ) -> Result<UpdateDeploymentGroupOutput, ApiError> {
        groups::update_deployment_group(self, call, input).await
    }
}
