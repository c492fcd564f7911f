//! The deployment specification: what an agent needs to know about a deployment. The form is in the
//! module's essay ([`super`]).

use super::pkcs7;
use crate::CodeDeployService;
use crate::store::{Creator, Deployment};
use serde_json::{Value, json};
use towpath_api::ApiError;
use towpath_api_codedeploycommand::{DeploymentSpecification, Envelope};

/// Every event that an AppSpec file may have hooks for. AWS's agent refuses a specification whose list lacks
/// one that it knows.
const POSSIBLE_EVENTS: [&str; 11] = [
    "BeforeBlockTraffic",
    "AfterBlockTraffic",
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
    "BeforeAllowTraffic",
    "AfterAllowTraffic",
];

pub fn payload(deployment: &Deployment) -> Value {
    let s3 = deployment.s3();
    let mut revision = json!({ "Bucket": s3.bucket, "Key": s3.key, "BundleType": s3.bundle_type });
    if let Some(version) = s3.version {
        revision["Version"] = version.into();
    }
    if let Some(etag) = s3.e_tag {
        revision["ETag"] = etag.into();
    }
    let creator = match deployment.creator {
        Creator::User => "user",
        Creator::Rollback { .. } => "codeDeployRollback",
    };
    json!({
        "ApplicationId": deployment.application_id,
        "ApplicationName": deployment.application_name,
        "AppSpecFilename": "appspec.yml",
        "DeploymentId": deployment.id,
        "DeploymentGroupId": deployment.group_id,
        "DeploymentGroupName": deployment.group_name,
        "DeploymentCreator": creator,
        "DeploymentType": "IN_PLACE",
        "AgentActionOverrides": { "AgentOverrides": { "FileExistsBehavior": deployment.file_exists_behavior } },
        "AllPossibleLifecycleEvents": POSSIBLE_EVENTS,
        "Revision": { "RevisionType": "S3", "S3Revision": revision },
    })
}

fn envelope(format: &str, payload: String) -> Envelope {
    Envelope { format: Some(format.to_owned()), payload: Some(payload) }
}

impl CodeDeployService {
    /// Signed for AWS's agent, plain for those that read it.
    pub(super) async fn specification(
        &self,
        deployment: &Deployment,
    ) -> Result<DeploymentSpecification, ApiError> {
        let text = payload(deployment).to_string();
        let signed = pkcs7::sign(self.signer().await?, text.as_bytes()).map_err(ApiError::internal)?;
        Ok(DeploymentSpecification {
            generic_envelope: Some(envelope("PKCS7/JSON", signed)),
            variant_id: Some("TEXT".into()),
            variant_envelope: Some(envelope("TEXT/JSON", text)),
        })
    }
}
