//! The five rules of a delivery pipeline, one test each.

use super::*;

/// Artifacts are built once: the build's one artifact is what every later stage gets.
#[tokio::test]
async fn artifacts_are_built_once() {
    let mut declared = journey();
    let stages = declared.stages.as_mut().unwrap();
    stages.push(stage("Production", vec![action("Fleet", "Deploy/CodeDeploy", 1, &["app"], &[])]));
    let (town, _folder, life, first) = begin(declared).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    let token = life.token("Approve", "Ask").await;
    life.answer(&token, "Approved").await.unwrap();
    let staging = town.deploy(&life, 1, "Succeeded").await;
    let production = town.deploy(&life, 2, "Succeeded").await;
    life.until_status(&first, "Succeeded").await;
    assert_eq!(town.builders.requests().len(), 1);
    let deployments = town.fleet.deployments.lock().unwrap();
    assert_eq!(deployments[&staging].revision, deployments[&production].revision);
    let output = town.builders.requests()[0].outputs[0].clone();
    let location = deployments[&staging].revision.clone().unwrap().s3_location.unwrap();
    assert_eq!((location.bucket, location.key), (Some(output.bucket), Some(output.key)));
}

/// Artifacts are immutable: what was tested is what is deployed, or nothing is deployed.
#[tokio::test]
async fn an_artifact_that_changed_is_never_deployed() {
    let (town, _folder, life, first) = begin(journey()).await;
    town.build(&life, &first, "Package", "SUCCEEDED").await;
    let token = life.token("Approve", "Ask").await;
    let output = town.builders.requests()[0].outputs[0].clone();
    // Somebody writes other content over the very version that was tested.
    {
        let mut stored = town.buckets.stored.lock().unwrap();
        let versions = stored.get_mut(&(output.bucket.clone(), output.key.clone())).unwrap();
        versions[0].0.sha256 = "0".repeat(64);
    }
    life.answer(&token, "Approved").await.unwrap();
    life.until_status(&first, "Failed").await;
    let error = life.latest("Deploy", "Fleet").await.unwrap().error_details.unwrap();
    assert_eq!(error.code.as_deref(), Some("ArtifactChanged"), "{error:?}");
    assert!(town.fleet.ids().is_empty());
}

/// Production comes after a copy of production: a stage is entered only after all before it succeeded.
#[tokio::test]
async fn production_is_reached_only_through_staging() {
    let declared = declaration(
        "SUPERSEDED",
        vec![
            stage("Source", vec![action("Checkout", "Source/CodeCommit", 1, &[], &["src"])]),
            stage("Staging", vec![action("Fleet", "Deploy/CodeDeploy", 1, &["src"], &[])]),
            stage("Production", vec![action("Fleet", "Deploy/CodeDeploy", 1, &["src"], &[])]),
        ],
    );
    let (town, _folder, life, first) = begin(declared).await;
    town.deploy(&life, 1, "Failed").await;
    life.until_status(&first, "Failed").await;
    assert_eq!(town.fleet.ids().len(), 1, "production was not touched");
    assert!(life.latest("Production", "Fleet").await.is_none());
    let second = life.start().await;
    town.deploy(&life, 2, "Succeeded").await;
    town.deploy(&life, 3, "Succeeded").await;
    life.until_status(&second, "Succeeded").await;
    let starts: Vec<String> = life.events(crate::events::STAGE).await;
    let position = |text: &str| starts.iter().rposition(|event| event == text).unwrap();
    assert!(position("Staging  SUCCEEDED") < position("Production  STARTED"), "{starts:?}");
}

/// A failed step stops what follows.
#[tokio::test]
async fn a_failed_build_never_reaches_a_person_or_a_host() {
    let (town, _folder, life, first) = begin(journey()).await;
    let id = town.builders.clone();
    let build = life.until("the build", || async { id.of(&first, "Package") }).await;
    town.builders.set(&build, |build| {
        build.phases = Some(vec![towpath_api_codebuild::BuildPhase {
            phase_type: Some("BUILD".into()),
            phase_status: Some("FAILED".into()),
            contexts: Some(vec![towpath_api_codebuild::PhaseContext {
                status_code: Some("COMMAND_EXECUTION_ERROR".into()),
                message: Some("exit status 1".into()),
            }]),
            ..Default::default()
        }]);
    });
    town.build(&life, &first, "Package", "FAILED").await;
    life.until_status(&first, "Failed").await;
    let error = life.latest("Build", "Package").await.unwrap().error_details.unwrap();
    assert_eq!(
        error.message.as_deref(),
        Some(
            "Build terminated with state: FAILED. Phase: BUILD, Code: COMMAND_EXECUTION_ERROR, Message: exit status 1"
        )
    );
    assert!(life.latest("Approve", "Ask").await.is_none());
    assert!(town.fleet.ids().is_empty());
    let actions = life.events(crate::events::ACTION).await;
    assert_eq!(
        actions,
        [
            "Source Checkout STARTED",
            "Source Checkout SUCCEEDED",
            "Build Package STARTED",
            "Build Package FAILED"
        ]
    );
}

/// A deployment run twice changes nothing the second time.
#[tokio::test]
async fn deploying_the_same_again_writes_nothing() {
    let mut deploy = action("Site", "Deploy/S3", 1, &["src"], &[]);
    let settings =
        [("BucketName", "site"), ("Extract", "true"), ("ObjectKey", "www"), ("CacheControl", "max-age=60")];
    deploy.configuration =
        Some(settings.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
    let source = stage("Source", vec![action("Checkout", "Source/CodeCommit", 1, &[], &["src"])]);
    let (town, _folder, life, first) =
        begin(declaration("SUPERSEDED", vec![source, stage("Deploy", vec![deploy])])).await;
    life.until_status(&first, "Succeeded").await;
    let (info, content) = town.buckets.read("site", "www/tree.txt", None).unwrap();
    assert_eq!((content.as_ref(), info.content_type.as_deref()), (b"c1".as_slice(), Some("text/plain")));
    let second = life.start().await;
    life.until_status(&second, "Succeeded").await;
    let puts = town.buckets.puts.lock().unwrap().iter().filter(|put| put.starts_with("site/")).count();
    assert_eq!(puts, 1);
    let summary = life.latest("Deploy", "Site").await.unwrap().summary.unwrap();
    assert_eq!(summary, "0 of 1 objects written to s3://site/www");
    town.push(&life, "main", "c2").await;
    let third = life.nth(3).await;
    life.until_status(&third, "Succeeded").await;
    assert_eq!(town.buckets.read("site", "www/tree.txt", None).unwrap().1.as_ref(), b"c2");
}
