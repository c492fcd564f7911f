//! Builds that a pipeline starts.

use super::world::*;
use towpath_api::pipeline_builds::*;
use towpath_api_codebuild::{CodeBuild, ProjectArtifacts, ProjectSource, StartBuildInput};

fn request(token: &str) -> PipelineBuild {
    PipelineBuild {
        project: "app".into(),
        pipeline: "release".into(),
        execution_id: "e".into(),
        stage: "Build".into(),
        action: "Build".into(),
        inputs: vec![
            InputArtifact {
                name: "Source".into(),
                bucket: "store".into(),
                key: "in/source".into(),
                version: None,
            },
            InputArtifact {
                name: "Extra".into(),
                bucket: "store".into(),
                key: "in/extra".into(),
                version: None,
            },
        ],
        outputs: vec![OutputArtifact { name: "App".into(), bucket: "store".into(), key: "out/app".into() }],
        primary_source: Some("Source".into()),
        source_version: Some("abc".into()),
        environment_variables: vec![EnvironmentVariable {
            name: "FROM_PIPELINE".into(),
            value: "yes".into(),
            kind: "PLAINTEXT".into(),
        }],
        client_token: token.into(),
    }
}

async fn world(commands: &[&str]) -> World {
    let world = World::new().await;
    let text = format!("{}artifacts:\n  files: [built]\n", spec(commands));
    world.objects.put("store", "in/source", &zip(&[("buildspec.yml", &text)]));
    world.objects.put("store", "in/extra", &zip(&[("extra.txt", "extra\n")]));
    world
        .project("", |input| {
            input.source =
                Some(ProjectSource { type_: Some("CODEPIPELINE".into()), ..ProjectSource::default() });
            input.artifacts =
                Some(ProjectArtifacts { type_: Some("CODEPIPELINE".into()), ..Default::default() });
        })
        .await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_come_in_and_the_output_is_stored_once() {
    let world = world(&[
        "echo $FROM_PIPELINE $CODEBUILD_INITIATOR $CODEBUILD_RESOLVED_SOURCE_VERSION",
        "cat $CODEBUILD_SRC_DIR_Extra/extra.txt",
        "echo built > built",
    ])
    .await;
    let id = world.service.start_for_pipeline(&world.call, request("t")).await.unwrap();
    assert_eq!(world.service.start_for_pipeline(&world.call, request("t")).await.unwrap(), id);
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"), "{:#?}", world.log(&id));
    assert_eq!(world.printed(&build), ["yes codepipeline/release abc", "extra"]);
    let stored = world.objects.get("store", "out/app").unwrap();
    assert_eq!(unzip(&stored), [("built".into(), "built\n".into())]);
    // Another build for the same key must not write over it.
    world.objects.put("store", "out/app", b"other");
    let id = world.service.start_for_pipeline(&world.call, request("u")).await.unwrap();
    let build = world.finished(&id).await;
    assert!(context(&build, "UPLOAD_ARTIFACTS").contains("PreconditionFailed"));
    assert_eq!(world.objects.get("store", "out/app").unwrap(), b"other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_build_stores_no_output() {
    let world = world(&["touch built", "false"]).await;
    let id = world.service.start_for_pipeline(&world.call, request("t")).await.unwrap();
    assert_eq!(world.finished(&id).await.build_status.as_deref(), Some("FAILED"));
    assert!(world.objects.get("store", "out/app").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pipelines_start_such_projects_and_only_rightly() {
    let world = world(&["touch built"]).await;
    let start = StartBuildInput { project_name: Some("app".into()), ..StartBuildInput::default() };
    let error = world.service.start_build(&world.call, start).await.unwrap_err();
    assert_eq!(error.code, "InvalidInputException");
    let wrong: [fn(&mut PipelineBuild); 3] = [
        |build| build.primary_source = Some("None".into()),
        |build| build.primary_source = None,
        |build| build.inputs.clear(),
    ];
    for change in wrong {
        let mut build = request("t");
        change(&mut build);
        let error = world.service.start_for_pipeline(&world.call, build).await.unwrap_err();
        assert_eq!(error.code, "InvalidInputException");
    }
}
