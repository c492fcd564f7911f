//! The action providers that Towpath carries out, with the artifacts and the configuration that each
//! takes. Pages: <https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference.html>.

use super::Action;
use towpath_api::ApiError;
use towpath_api_codepipeline::ActionTypeId;
use towpath_api_codepipeline::errors::invalid_action_declaration_exception as invalid_action;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    CodeCommit,
    S3Source,
    CodeBuild,
    Approval,
    CodeDeploy,
    S3Deploy,
    Custom,
}

impl Provider {
    /// Whether the action is a source; a custom type says so by its category.
    pub fn is_source(self, type_id: &ActionTypeId) -> bool {
        match self {
            Provider::CodeCommit | Provider::S3Source => true,
            Provider::Custom => type_id.category.as_deref() == Some("Source"),
            Provider::CodeBuild | Provider::Approval | Provider::CodeDeploy | Provider::S3Deploy => false,
        }
    }

    /// How long an action may take where it does not say.
    /// <https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html>
    pub fn default_timeout_minutes(self) -> u32 {
        match self {
            Provider::CodeCommit | Provider::S3Source => 60,
            Provider::CodeBuild => 8 * 60,
            Provider::Approval => 7 * 24 * 60,
            Provider::CodeDeploy => 5 * 24 * 60,
            Provider::S3Deploy => 90,
            Provider::Custom => 24 * 60,
        }
    }
}

/// What a type of action takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Least and most.
    pub inputs: (usize, usize),
    pub outputs: (usize, usize),
    pub required: Vec<String>,
    pub optional: Vec<String>,
    /// Keys that AWS knows and Towpath does not honour, with what is missing.
    pub refused: Vec<(String, &'static str)>,
}

/// A provider of AWS that is carried out here.
pub fn find(category: &str, owner: &str, provider: &str, version: &str) -> Option<(Provider, Rules)> {
    if owner != "AWS" || version != "1" {
        return None;
    }
    let found = match (category, provider) {
        ("Source", "CodeCommit") => (
            Provider::CodeCommit,
            rules(
                (0, 0),
                (1, 1),
                &["RepositoryName", "BranchName"],
                &["PollForSourceChanges", "OutputArtifactFormat"],
            ),
        ),
        ("Source", "S3") => (
            Provider::S3Source,
            rules(
                (0, 0),
                (1, 1),
                &["S3Bucket", "S3ObjectKey"],
                &["PollForSourceChanges", "AllowOverrideForS3ObjectKey"],
            ),
        ),
        ("Build" | "Test", "CodeBuild") => (
            Provider::CodeBuild,
            Rules {
                refused: vec![
                    ("BatchEnabled".into(), "codebuild batch builds"),
                    ("CombineArtifacts".into(), "codebuild batch builds"),
                ],
                ..rules((1, 5), (0, 5), &["ProjectName"], &["PrimarySource", "EnvironmentVariables"])
            },
        ),
        ("Approval", "Manual") => (
            Provider::Approval,
            Rules {
                refused: vec![("NotificationArn".into(), "SNS notifications of approvals")],
                ..rules((0, 0), (0, 0), &[], &["CustomData", "ExternalEntityLink"])
            },
        ),
        ("Deploy", "CodeDeploy") => {
            (Provider::CodeDeploy, rules((1, 1), (0, 0), &["ApplicationName", "DeploymentGroupName"], &[]))
        }
        ("Deploy", "S3") => (
            Provider::S3Deploy,
            Rules {
                refused: vec![
                    ("CannedACL".into(), "object ACLs"),
                    ("KMSEncryptionKeyARN".into(), "KMS encryption of objects"),
                ],
                ..rules((1, 1), (0, 0), &["BucketName", "Extract"], &["ObjectKey", "CacheControl"])
            },
        ),
        _ => return None,
    };
    Some(found)
}

fn rules(inputs: (usize, usize), outputs: (usize, usize), required: &[&str], optional: &[&str]) -> Rules {
    let owned = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    Rules { inputs, outputs, required: owned(required), optional: owned(optional), refused: Vec::new() }
}

/// Providers that AWS has and Towpath does not carry out yet: refused by name.
pub fn exists_at_aws(provider: &str) -> bool {
    const KNOWN: [&str; 27] = [
        "AlexaSkillsKit",
        "AppConfig",
        "BlazeMeter",
        "CloudFormation",
        "CloudFormationStackInstances",
        "CloudFormationStackSet",
        "CodeBuild",
        "CodeCommit",
        "CodeDeploy",
        "CodeDeployToECS",
        "CodeStarSourceConnection",
        "Commands",
        "DeviceFarm",
        "EC2",
        "ECR",
        "ECRBuildAndPublish",
        "ECS",
        "EKS",
        "ElasticBeanstalk",
        "GitHub",
        "InspectorScan",
        "Lambda",
        "Manual",
        "OpsWorks",
        "ServiceCatalog",
        "Snyk",
        "StepFunctions",
    ];
    KNOWN.contains(&provider)
}

/// Values that can be judged before anything runs. A value with a variable in it is judged when the
/// action starts.
pub(super) fn check_values(action: &Action, stage: &str) -> Result<(), ApiError> {
    let given = |key: &str| {
        action
            .configuration
            .get(key)
            .map(String::as_str)
            .filter(|value| !crate::variables::has_reference(value))
    };
    let invalid = |key: &str, value: &str, allowed: &str| {
        Err(invalid_action(format!(
            "Action configuration '{key}' of action '{}' in stage '{stage}' has the invalid value '{value}'. Valid: \
             {allowed}",
            action.name
        )))
    };
    for key in ["PollForSourceChanges", "Extract", "AllowOverrideForS3ObjectKey"] {
        if action.provider != Provider::Custom
            && let Some(value) = given(key)
            && parse_bool(value).is_none()
        {
            return invalid(key, value, "true, false");
        }
    }
    match action.provider {
        Provider::CodeCommit => match given("OutputArtifactFormat") {
            Some(value) if value != "CODE_ZIP" && value != "CODEBUILD_CLONE_REF" => {
                invalid("OutputArtifactFormat", value, "CODE_ZIP, CODEBUILD_CLONE_REF")
            }
            _ => Ok(()),
        },
        Provider::CodeBuild => check_build(action),
        Provider::S3Deploy => {
            let zipped = given("Extract").and_then(parse_bool) == Some(false);
            if zipped && !action.configuration.contains_key("ObjectKey") {
                return Err(invalid_action(format!(
                    "Action configuration for action '{}' is missing required configuration 'ObjectKey'",
                    action.name
                )));
            }
            Ok(())
        }
        Provider::S3Source | Provider::Approval | Provider::CodeDeploy | Provider::Custom => Ok(()),
    }
}

fn check_build(action: &Action) -> Result<(), ApiError> {
    match action.configuration.get("PrimarySource") {
        None if action.inputs.len() > 1 => {
            return Err(invalid_action(format!(
                "Action configuration for action '{}' is missing required configuration 'PrimarySource'",
                action.name
            )));
        }
        Some(name) if !crate::variables::has_reference(name) && !action.inputs.contains(name) => {
            return Err(invalid_action(format!(
                "PrimarySource '{name}' of action '{}' is not one of its input artifacts",
                action.name
            )));
        }
        _ => {}
    }
    match action.configuration.get("EnvironmentVariables") {
        Some(text) => crate::work::build::environment(text).map(drop).map_err(|reason| {
            invalid_action(format!("EnvironmentVariables of action '{}' {reason}", action.name))
        }),
        None => Ok(()),
    }
}

pub fn parse_bool(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}
