#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use crate::state::sample::{action, declaration, stage, stages};
use towpath_api_codepipeline::*;

type Change = fn(&mut PipelineDeclaration);

fn stage_of(declared: &mut PipelineDeclaration, at: usize) -> &mut StageDeclaration {
    &mut declared.stages.as_mut().unwrap()[at]
}

fn action_of(declared: &mut PipelineDeclaration, at: usize, index: usize) -> &mut ActionDeclaration {
    &mut stage_of(declared, at).actions.as_mut().unwrap()[index]
}

fn set(declared: &mut PipelineDeclaration, at: usize, key: &str, value: &str) {
    action_of(declared, at, 0).configuration.as_mut().unwrap().insert(key.into(), value.into());
}

fn trigger(filter: GitPushFilter) -> Vec<PipelineTriggerDeclaration> {
    vec![PipelineTriggerDeclaration {
        provider_type: Some("CodeStarSourceConnection".into()),
        git_configuration: Some(GitConfiguration {
            source_action_name: Some("Checkout".into()),
            push: Some(vec![filter]),
            pull_request: None,
        }),
    }]
}

fn refuse(change: Change) -> (String, String) {
    let mut declared = declaration("SUPERSEDED", stages());
    change(&mut declared);
    let context = Context { region: "us-east-1", custom: &[] };
    let error = parse(&declared, &context).expect_err("it should be refused");
    (error.code.to_string(), error.message)
}

fn check(rows: &[(Change, &str, &str)]) {
    for (index, (change, code, text)) in rows.iter().enumerate() {
        let (got, message) = refuse(*change);
        assert_eq!(got, *code, "row {index}: {message}");
        assert!(message.contains(text), "row {index}: {message}");
    }
}

const STRUCTURE: &str = "InvalidStructureException";
const STAGE: &str = "InvalidStageDeclarationException";
const ACTION: &str = "InvalidActionDeclarationException";
const NOT_DONE: &str = "NotImplemented";

#[test]
fn a_sound_structure_is_read() {
    let mut declared = declaration("QUEUED", stages());
    declared.triggers = Some(trigger(GitPushFilter {
        tags: Some(GitTagFilterCriteria { includes: Some(vec!["v*".into()]), excludes: None }),
        ..Default::default()
    }));
    let structure = parse(&declared, &Context { region: "us-east-1", custom: &[] }).unwrap();
    assert_eq!(
        (structure.mode, structure.kind, structure.bucket.as_str()),
        (Mode::Queued, Kind::V2, "artifacts")
    );
    assert_eq!(structure.from("Build").len(), 2);
    assert_eq!(structure.triggers.len(), 1);
    let v1 = PipelineDeclaration { pipeline_type: None, execution_mode: None, ..declaration("", stages()) };
    assert_eq!(parse(&v1, &Context { region: "us-east-1", custom: &[] }).unwrap().kind, Kind::V1);
}

#[test]
fn stages_and_sources() {
    check(&[
        (|d| d.stages.as_mut().unwrap().truncate(1), STRUCTURE, "minimum of 2 stages"),
        (
            |d| {
                let one = stage("Ask", vec![action("Ask", "Approval/Manual", 1, &[], &[])]);
                let named = |n: usize| StageDeclaration { name: Some(format!("s{n}")), ..one.clone() };
                d.stages.as_mut().unwrap().extend((0..50).map(named));
            },
            STRUCTURE,
            "maximum of 50 stages",
        ),
        (|d| drop(d.stages.as_mut().unwrap().remove(0)), STRUCTURE, "only contains source actions"),
        (
            |d| {
                stage_of(d, 1).actions.as_mut().unwrap().push(action(
                    "More",
                    "Source/CodeCommit",
                    1,
                    &[],
                    &["x"],
                ))
            },
            STRUCTURE,
            "Only the first stage",
        ),
        (|d| stage_of(d, 1).name = Some("Source".into()), STAGE, "must be unique"),
        (|d| stage_of(d, 1).actions = Some(Vec::new()), STAGE, "at least one action"),
        (|d| action_of(d, 1, 1).name = Some("Unit".into()), ACTION, "must be unique"),
        (
            |d| stage_of(d, 1).blockers = Some(vec![BlockerDeclaration::default()]),
            "InvalidBlockerDeclarationException",
            "reserved",
        ),
        (|d| d.artifact_store = None, STRUCTURE, "either artifactStore or artifactStores"),
    ]);
}

#[test]
fn artifacts_flow_from_one_maker_to_later_actions() {
    check(&[
        (
            |d| action_of(d, 2, 0).input_artifacts.as_mut().unwrap()[0].name = Some("nope".into()),
            ACTION,
            "Input Artifact Bundle nope in action Fleet is not declared as Output Artifact Bundle in any of the preceding",
        ),
        // One that runs at the same time has not made it yet.
        (
            |d| {
                action_of(d, 1, 2).run_order = Some(1);
                let report = InputArtifact { name: Some("app".into()) };
                action_of(d, 1, 0).input_artifacts.as_mut().unwrap().push(report);
                set(d, 1, "PrimarySource", "src");
            },
            ACTION,
            "Input Artifact Bundle app",
        ),
        (
            |d| action_of(d, 1, 2).output_artifacts.as_mut().unwrap()[0].name = Some("src".into()),
            ACTION,
            "src has been used more than once",
        ),
        (
            |d| action_of(d, 1, 0).input_artifacts = None,
            ACTION,
            "Action Unit declares 0 input artifacts which is less than the minimum count (1)",
        ),
        (
            |d| {
                action_of(d, 2, 0).output_artifacts =
                    Some(vec![OutputArtifact { name: Some("x".into()), files: None }])
            },
            ACTION,
            "Action Fleet declares 1 output artifacts which is more than the maximum count (0)",
        ),
        (
            |d| {
                set(d, 0, "OutputArtifactFormat", "CODEBUILD_CLONE_REF");
                action_of(d, 2, 0).input_artifacts.as_mut().unwrap()[0].name = Some("src".into());
            },
            ACTION,
            "CODEBUILD_CLONE_REF",
        ),
    ]);
}

#[test]
fn configurations() {
    check(&[
        (
            |d| drop(action_of(d, 0, 0).configuration.as_mut().unwrap().remove("BranchName")),
            ACTION,
            "Action configuration for action 'Checkout' is missing required configuration 'BranchName'",
        ),
        (|d| set(d, 0, "Branch", "x"), ACTION, "contains unknown configuration 'Branch'"),
        (|d| set(d, 0, "PollForSourceChanges", "maybe"), ACTION, "invalid value 'maybe'"),
        (|d| set(d, 1, "EnvironmentVariables", "{}"), ACTION, "JSON array"),
        (
            |d| set(d, 1, "EnvironmentVariables", r#"[{"name":"A","value":"b","type":"SECRETS_MANAGER"}]"#),
            ACTION,
            "SECRETS_MANAGER, which Towpath does not implement",
        ),
        (|d| set(d, 1, "PrimarySource", "other"), ACTION, "not one of its input artifacts"),
        (|d| set(d, 1, "BatchEnabled", "true"), NOT_DONE, "batch builds"),
        (
            |d| action_of(d, 0, 0).action_type_id.as_mut().unwrap().provider = Some("Nonsense".into()),
            ACTION,
            "ActionType (Category: 'Source', Provider: 'Nonsense', Owner: 'AWS', Version: '1') in action 'Checkout' is not available in region US_EAST_1",
        ),
        (
            |d| action_of(d, 2, 0).action_type_id.as_mut().unwrap().provider = Some("ECS".into()),
            NOT_DONE,
            "action provider ECS",
        ),
        (|d| action_of(d, 2, 0).region = Some("eu-west-1".into()), NOT_DONE, "other regions"),
        (|d| action_of(d, 2, 0).commands = Some(vec!["ls".into()]), NOT_DONE, "commands"),
    ]);
}

#[test]
fn variables_and_namespaces() {
    check(&[
        (
            |d| {
                action_of(d, 0, 0).namespace = Some("N".into());
                action_of(d, 1, 0).namespace = Some("N".into());
            },
            ACTION,
            "Namespaces must be unique across the pipeline definition. The following occur more than once in the pipeline. StageName=[Build], ActionName=[Unit], Namespace=[N]",
        ),
        (|d| action_of(d, 0, 0).namespace = Some("codepipeline".into()), ACTION, "reserved"),
        (
            |d| set(d, 2, "ApplicationName", "#{Src.CommitId}"),
            ACTION,
            "referencing a namespace that does not exist. StageName=[Deploy], ActionName=[Fleet], ActionConfigurationKey=[ApplicationName], VariableReferenceText=[Src.CommitId]",
        ),
        (|d| set(d, 2, "ApplicationName", "#{nonsense}"), ACTION, "not of the valid format"),
        (|d| set(d, 2, "ApplicationName", "#{variables.Nope}"), ACTION, "variable that does not exist"),
        (
            |d| {
                action_of(d, 1, 2).namespace = Some("Pack".into());
                set(d, 1, "ProjectName", "#{Pack.x}");
            },
            ACTION,
            "does not precede",
        ),
        (
            |d| {
                d.pipeline_type = Some("V1".into());
                d.variables =
                    Some(vec![PipelineVariableDeclaration { name: Some("A".into()), ..Default::default() }]);
            },
            STRUCTURE,
            "only supported for pipelines of type V2",
        ),
        (
            |d| {
                let variable = PipelineVariableDeclaration { name: Some("A".into()), ..Default::default() };
                d.variables = Some(vec![variable.clone(), variable]);
            },
            STRUCTURE,
            "'A' is declared more than once",
        ),
    ]);
}

#[test]
fn modes_and_triggers() {
    check(&[
        (
            |d| {
                d.pipeline_type = Some("V1".into());
                d.execution_mode = Some("QUEUED".into());
            },
            STRUCTURE,
            "QUEUED is only supported",
        ),
        (
            |d| {
                d.pipeline_type = Some("V1".into());
                d.triggers = Some(trigger(GitPushFilter::default()));
            },
            STRUCTURE,
            "Triggers are only supported",
        ),
        (
            |d| d.triggers = Some(trigger(GitPushFilter::default())),
            STRUCTURE,
            "must have tags, branches or filePaths",
        ),
        (
            |d| {
                let tags = GitTagFilterCriteria { includes: Some(vec!["v*".into()]), excludes: None };
                let branches =
                    GitBranchFilterCriteria { includes: Some(vec!["main".into()]), excludes: None };
                let filter = GitPushFilter { tags: Some(tags), branches: Some(branches), file_paths: None };
                d.triggers = Some(trigger(filter));
            },
            STRUCTURE,
            "cannot have tags together",
        ),
        (
            |d| {
                let branches = GitBranchFilterCriteria { includes: Some(vec!["a[".into()]), excludes: None };
                d.triggers = Some(trigger(GitPushFilter { branches: Some(branches), ..Default::default() }));
            },
            STRUCTURE,
            "pattern 'a[' is not valid",
        ),
        (
            |d| {
                let mut all = trigger(GitPushFilter::default());
                all[0].git_configuration.as_mut().unwrap().source_action_name = Some("Nope".into());
                d.triggers = Some(all);
            },
            STRUCTURE,
            "'Nope', which does not exist",
        ),
        (
            |d| {
                let mut all = trigger(GitPushFilter::default());
                all[0].git_configuration.as_mut().unwrap().pull_request = Some(Vec::new());
                d.triggers = Some(all);
            },
            NOT_DONE,
            "pull request",
        ),
    ]);
}

#[test]
fn conditions() {
    check(&[
        (|d| stage_of(d, 1).before_entry = Some(BeforeEntryConditions::default()), NOT_DONE, "beforeEntry"),
        (
            |d| {
                d.execution_mode = Some("PARALLEL".into());
                stage_of(d, 2).on_failure =
                    Some(FailureConditions { result: Some("ROLLBACK".into()), ..Default::default() });
            },
            STAGE,
            "PARALLEL",
        ),
        (
            |d| {
                stage_of(d, 0).on_failure =
                    Some(FailureConditions { result: Some("ROLLBACK".into()), ..Default::default() });
            },
            STAGE,
            "source stage",
        ),
    ]);
}
