//! Projects: defaults, changes, and what is refused by name.

use super::world::*;
use towpath_api_codebuild::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_created_changed_read_and_deleted() {
    let world = World::new().await;
    let created =
        world.service.create_project(&world.call, project("version: 0.2")).await.unwrap().project.unwrap();
    assert_eq!(created.arn.as_deref(), Some("arn:aws:codebuild:us-east-1:000000000000:project/app"));
    assert_eq!((created.timeout_in_minutes, created.queued_timeout_in_minutes), (Some(60), Some(480)));
    let again = world.service.create_project(&world.call, project("version: 0.2")).await.unwrap_err();
    assert_eq!(again.code, "ResourceAlreadyExistsException");
    let change = UpdateProjectInput {
        name: Some("app".into()),
        description: Some("new".into()),
        concurrent_build_limit: Some(3),
        ..UpdateProjectInput::default()
    };
    let changed = world.service.update_project(&world.call, change).await.unwrap().project.unwrap();
    assert_eq!(changed.description.as_deref(), Some("new"));
    assert_eq!(changed.source, created.source);
    let unlimited = UpdateProjectInput {
        name: Some("app".into()),
        concurrent_build_limit: Some(-1),
        ..UpdateProjectInput::default()
    };
    let unlimited = world.service.update_project(&world.call, unlimited).await.unwrap().project.unwrap();
    assert_eq!(unlimited.concurrent_build_limit, None);
    let names = vec!["app".to_owned(), created.arn.unwrap(), "nothing".to_owned()];
    let got = world
        .service
        .batch_get_projects(&world.call, BatchGetProjectsInput { names: Some(names) })
        .await
        .unwrap();
    assert_eq!(got.projects.unwrap().len(), 2);
    assert_eq!(got.projects_not_found.unwrap(), ["nothing"]);
    let listed = world.service.list_projects(&world.call, ListProjectsInput::default()).await.unwrap();
    assert_eq!(listed.projects.unwrap(), ["app"]);
    world.service.delete_project(&world.call, DeleteProjectInput { name: Some("app".into()) }).await.unwrap();
    let start = StartBuildInput { project_name: Some("app".into()), ..StartBuildInput::default() };
    let error = world.service.start_build(&world.call, start).await.unwrap_err();
    assert_eq!(error.code, "ResourceNotFoundException");
    assert_eq!(
        error.message,
        "Project cannot be found: arn:aws:codebuild:us-east-1:000000000000:project/app"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_is_refused_by_name_and_changes_nothing() {
    let world = World::new().await;
    for (code, text, change) in REFUSED {
        let mut input = project("version: 0.2");
        change(&mut input);
        let error = world.service.create_project(&world.call, input).await.expect_err(text);
        assert_eq!(error.code, *code, "{text}: {error}");
        assert!(error.message.contains(text), "{text}: {error}");
    }
    let listed = world.service.list_projects(&world.call, ListProjectsInput::default()).await.unwrap();
    assert!(listed.projects.unwrap().is_empty());
    // Overrides are held to the same.
    world.project(&spec(&["true"]), |_| {}).await;
    let start = StartBuildInput {
        project_name: Some("app".into()),
        privileged_mode_override: Some(true),
        ..StartBuildInput::default()
    };
    assert_eq!(world.service.start_build(&world.call, start).await.unwrap_err().code, "NotImplemented");
    // An event that tells of it would be too large.
    let start = StartBuildInput {
        project_name: Some("app".into()),
        source_version: Some("v".repeat(300_000)),
        ..StartBuildInput::default()
    };
    assert_eq!(
        world.service.start_build(&world.call, start).await.unwrap_err().code,
        "InvalidInputException"
    );
}

type Change = fn(&mut CreateProjectInput);

/// Code, a part of the message, and what to change about a good project.
const REFUSED: &[(&str, &str, Change)] = &[
    ("NotImplemented", "GITHUB", |p| p.source.as_mut().unwrap().type_ = Some("GITHUB".into())),
    ("NotImplemented", "python:3", |p| p.environment.as_mut().unwrap().image = Some("python:3".into())),
    ("NotImplemented", "privilegedMode", |p| p.environment.as_mut().unwrap().privileged_mode = Some(true)),
    ("NotImplemented", "WINDOWS", |p| {
        p.environment.as_mut().unwrap().type_ = Some("WINDOWS_CONTAINER".into())
    }),
    ("NotImplemented", "LAMBDA", |p| {
        p.environment.as_mut().unwrap().compute_type = Some("BUILD_LAMBDA_1GB".into())
    }),
    ("NotImplemented", "SECRETS_MANAGER", |p| {
        p.environment.as_mut().unwrap().environment_variables = Some(vec![EnvironmentVariable {
            name: Some("A".into()),
            value: Some("b".into()),
            type_: Some("SECRETS_MANAGER".into()),
        }]);
    }),
    ("NotImplemented", "cache", |p| {
        p.cache = Some(ProjectCache { type_: Some("LOCAL".into()), ..ProjectCache::default() });
    }),
    ("NotImplemented", "vpcConfig", |p| {
        p.vpc_config = Some(VpcConfig { vpc_id: Some("vpc-1".into()), ..VpcConfig::default() });
    }),
    ("NotImplemented", "fileSystemLocations", |p| p.file_system_locations = Some(vec![Default::default()])),
    ("NotImplemented", "badges", |p| p.badge_enabled = Some(true)),
    ("NotImplemented", "batch", |p| p.build_batch_config = Some(Default::default())),
    ("NotImplemented", "KMS key", |p| p.encryption_key = Some("alias/mine".into())),
    ("NotImplemented", "autoRetryLimit", |p| p.auto_retry_limit = Some(1)),
    ("InvalidInputException", "needs a buildspec", |p| p.source.as_mut().unwrap().buildspec = None),
    ("InvalidInputException", "sourceVersion", |p| p.source_version = Some("v".repeat(5000))),
    ("InvalidInputException", "2097152 allowed", |p| {
        p.source.as_mut().unwrap().buildspec = Some("#".repeat(2 << 20))
    }),
    ("InvalidInputException", "clone URL", |p| {
        let source = p.source.as_mut().unwrap();
        source.type_ = Some("CODECOMMIT".into());
        source.location = Some("https://github.com/a/b".into());
    }),
    ("InvalidInputException", "CODEPIPELINE", |p| {
        p.source.as_mut().unwrap().type_ = Some("CODEPIPELINE".into())
    }),
    ("InvalidInputException", "location", |p| {
        p.artifacts = Some(s3_artifacts(|artifacts| artifacts.location = None));
    }),
    ("InvalidInputException", "'..'", |p| {
        p.artifacts = Some(s3_artifacts(|artifacts| artifacts.path = Some("a/../..".into())));
    }),
    ("InvalidInputException", "reserved", |p| {
        p.environment.as_mut().unwrap().environment_variables = Some(vec![EnvironmentVariable {
            name: Some("CODEBUILD_X".into()),
            ..EnvironmentVariable::default()
        }]);
    }),
];
