//! A stateful fake of CodeDeploy: deployments that wait until a test ends them.

use super::refusals::with_refusals;
use std::collections::BTreeMap;
use std::sync::Mutex;
use towpath_api::*;
use towpath_api_codedeploy::*;

#[derive(Default)]
pub struct Fleet {
    pub deployments: Mutex<BTreeMap<String, DeploymentInfo>>,
    /// While it is set, a deployment is made and the answer never arrives.
    pub hang: Mutex<bool>,
    pub stopped: Mutex<Vec<String>>,
}

impl Fleet {
    pub fn ids(&self) -> Vec<String> {
        self.deployments.lock().unwrap().keys().cloned().collect()
    }

    pub fn set(&self, id: &str, status: &str) {
        self.deployments.lock().unwrap().get_mut(id).unwrap().status = Some(status.into());
    }
}

with_refusals! {
    impl CodeDeploy for Fleet {
        add_tags_to_on_premises_instances: AddTagsToOnPremisesInstancesInput => AddTagsToOnPremisesInstancesOutput;
        batch_get_application_revisions: BatchGetApplicationRevisionsInput => BatchGetApplicationRevisionsOutput;
        batch_get_applications: BatchGetApplicationsInput => BatchGetApplicationsOutput;
        batch_get_deployment_groups: BatchGetDeploymentGroupsInput => BatchGetDeploymentGroupsOutput;
        batch_get_deployment_instances: BatchGetDeploymentInstancesInput => BatchGetDeploymentInstancesOutput;
        batch_get_deployment_targets: BatchGetDeploymentTargetsInput => BatchGetDeploymentTargetsOutput;
        batch_get_deployments: BatchGetDeploymentsInput => BatchGetDeploymentsOutput;
        batch_get_on_premises_instances: BatchGetOnPremisesInstancesInput => BatchGetOnPremisesInstancesOutput;
        create_application: CreateApplicationInput => CreateApplicationOutput;
        create_deployment_config: CreateDeploymentConfigInput => CreateDeploymentConfigOutput;
        create_deployment_group: CreateDeploymentGroupInput => CreateDeploymentGroupOutput;
        delete_application: DeleteApplicationInput => DeleteApplicationOutput;
        delete_deployment_config: DeleteDeploymentConfigInput => DeleteDeploymentConfigOutput;
        delete_deployment_group: DeleteDeploymentGroupInput => DeleteDeploymentGroupOutput;
        deregister_on_premises_instance: DeregisterOnPremisesInstanceInput => DeregisterOnPremisesInstanceOutput;
        get_application: GetApplicationInput => GetApplicationOutput;
        get_application_revision: GetApplicationRevisionInput => GetApplicationRevisionOutput;
        get_deployment_config: GetDeploymentConfigInput => GetDeploymentConfigOutput;
        get_deployment_group: GetDeploymentGroupInput => GetDeploymentGroupOutput;
        get_deployment_instance: GetDeploymentInstanceInput => GetDeploymentInstanceOutput;
        get_deployment_target: GetDeploymentTargetInput => GetDeploymentTargetOutput;
        get_on_premises_instance: GetOnPremisesInstanceInput => GetOnPremisesInstanceOutput;
        list_application_revisions: ListApplicationRevisionsInput => ListApplicationRevisionsOutput;
        list_applications: ListApplicationsInput => ListApplicationsOutput;
        list_deployment_configs: ListDeploymentConfigsInput => ListDeploymentConfigsOutput;
        list_deployment_groups: ListDeploymentGroupsInput => ListDeploymentGroupsOutput;
        list_deployment_instances: ListDeploymentInstancesInput => ListDeploymentInstancesOutput;
        list_deployment_targets: ListDeploymentTargetsInput => ListDeploymentTargetsOutput;
        list_on_premises_instances: ListOnPremisesInstancesInput => ListOnPremisesInstancesOutput;
        list_tags_for_resource: ListTagsForResourceInput => ListTagsForResourceOutput;
        register_application_revision: RegisterApplicationRevisionInput => RegisterApplicationRevisionOutput;
        register_on_premises_instance: RegisterOnPremisesInstanceInput => RegisterOnPremisesInstanceOutput;
        remove_tags_from_on_premises_instances: RemoveTagsFromOnPremisesInstancesInput => RemoveTagsFromOnPremisesInstancesOutput;
        tag_resource: TagResourceInput => TagResourceOutput;
        untag_resource: UntagResourceInput => UntagResourceOutput;
        update_application: UpdateApplicationInput => UpdateApplicationOutput;
        update_deployment_group: UpdateDeploymentGroupInput => UpdateDeploymentGroupOutput;
    } {
        async fn create_deployment(&self, call: &Call, input: CreateDeploymentInput) -> Result<CreateDeploymentOutput, ApiError> {
            call.authorize("codedeploy:CreateDeployment", "*", &[])?;
            let id = {
                let mut deployments = self.deployments.lock().unwrap();
                let id = format!("d-{:04}", deployments.len());
                deployments.insert(id.clone(), DeploymentInfo {
                    deployment_id: Some(id.clone()),
                    description: input.description,
                    revision: input.revision,
                    status: Some("Created".into()),
                    ..DeploymentInfo::default()
                });
                id
            };
            if *self.hang.lock().unwrap() {
                std::future::pending::<()>().await;
            }
            Ok(CreateDeploymentOutput { deployment_id: Some(id) })
        }
        async fn get_deployment(&self, call: &Call, input: GetDeploymentInput) -> Result<GetDeploymentOutput, ApiError> {
            call.authorize("codedeploy:GetDeployment", "*", &[])?;
            let id = input.deployment_id.unwrap_or_default();
            Ok(GetDeploymentOutput { deployment_info: self.deployments.lock().unwrap().get(&id).cloned() })
        }
        async fn list_deployments(&self, call: &Call, _: ListDeploymentsInput) -> Result<ListDeploymentsOutput, ApiError> {
            call.authorize("codedeploy:ListDeployments", "*", &[])?;
            Ok(ListDeploymentsOutput { deployments: Some(self.ids()), next_token: None })
        }
        async fn stop_deployment(&self, call: &Call, input: StopDeploymentInput) -> Result<StopDeploymentOutput, ApiError> {
            call.authorize("codedeploy:StopDeployment", "*", &[])?;
            self.stopped.lock().unwrap().push(input.deployment_id.unwrap_or_default());
            Ok(StopDeploymentOutput::default())
        }
    }
}
