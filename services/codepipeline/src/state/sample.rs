//! Small worlds for tests.

use super::*;
use crate::structure::{self, Context, Structure};
use std::sync::Arc;
use towpath_api_codepipeline::*;

pub fn execution(id: &str) -> Execution {
    Execution {
        id: id.into(),
        sequence: 0,
        version: 1,
        mode: Mode::Superseded,
        kind: ExecutionKind::Standard,
        trigger: Trigger::default(),
        started: Timestamp::EPOCH,
        updated: Timestamp::EPOCH,
        variables: BTreeMap::new(),
        pins: BTreeMap::new(),
        progress: Progress::Waiting { stage: "Source".into() },
        stages: BTreeMap::new(),
        artifacts: BTreeMap::new(),
        outputs: BTreeMap::new(),
        revisions: Vec::new(),
    }
}

/// An action declaration: `provider` is `category/provider`.
pub fn action(
    name: &str,
    provider: &str,
    order: i64,
    inputs: &[&str],
    outputs: &[&str],
) -> ActionDeclaration {
    let (category, provider) = provider.split_once('/').unwrap_or(("Approval", "Manual"));
    let configuration: &[(&str, &str)] = match provider {
        "CodeCommit" => &[("RepositoryName", "app"), ("BranchName", "main")],
        "CodeBuild" => &[("ProjectName", "build")],
        "CodeDeploy" => &[("ApplicationName", "app"), ("DeploymentGroupName", "fleet")],
        _ => &[],
    };
    ActionDeclaration {
        name: Some(name.into()),
        action_type_id: Some(ActionTypeId {
            category: Some(category.into()),
            owner: Some("AWS".into()),
            provider: Some(provider.into()),
            version: Some("1".into()),
        }),
        run_order: Some(order),
        configuration: Some(
            configuration.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ),
        input_artifacts: Some(
            inputs.iter().map(|name| InputArtifact { name: Some((*name).into()) }).collect(),
        ),
        output_artifacts: Some(
            outputs.iter().map(|name| OutputArtifact { name: Some((*name).into()), files: None }).collect(),
        ),
        ..ActionDeclaration::default()
    }
}

pub fn stage(name: &str, actions: Vec<ActionDeclaration>) -> StageDeclaration {
    StageDeclaration { name: Some(name.into()), actions: Some(actions), ..StageDeclaration::default() }
}

pub fn declaration(mode: &str, stages: Vec<StageDeclaration>) -> PipelineDeclaration {
    PipelineDeclaration {
        name: Some("web".into()),
        role_arn: Some("arn:aws:iam::000000000000:role/pipeline".into()),
        artifact_store: Some(ArtifactStore {
            type_: Some("S3".into()),
            location: Some("artifacts".into()),
            encryption_key: None,
        }),
        pipeline_type: Some("V2".into()),
        execution_mode: Some(mode.into()),
        stages: Some(stages),
        ..PipelineDeclaration::default()
    }
}

/// Source → Build (two in parallel, then one) → Deploy.
pub fn stages() -> Vec<StageDeclaration> {
    vec![
        stage("Source", vec![action("Checkout", "Source/CodeCommit", 1, &[], &["src"])]),
        stage(
            "Build",
            vec![
                action("Unit", "Test/CodeBuild", 1, &["src"], &[]),
                action("Lint", "Test/CodeBuild", 1, &["src"], &[]),
                action("Package", "Build/CodeBuild", 2, &["src"], &["app"]),
            ],
        ),
        stage("Deploy", vec![action("Fleet", "Deploy/CodeDeploy", 1, &["app"], &[])]),
    ]
}

pub fn structure(declaration: &PipelineDeclaration) -> Arc<Structure> {
    match structure::parse(declaration, &Context { region: "us-east-1", custom: &[] }) {
        Ok(structure) => Arc::new(structure),
        Err(error) => panic!("{error}"),
    }
}
