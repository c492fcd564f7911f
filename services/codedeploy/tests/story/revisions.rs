//! Revisions that cannot be deployed are found before a host is touched.

use crate::support::*;
use std::sync::Arc;
use towpath_api_codedeploy::*;
use towpath_codedeploy::{AppSpecCheck, Config};

const ONE: &str = "CodeDeployDefault.OneAtATime";

async fn failure(world: &World, input: CreateDeploymentInput) -> (String, String) {
    let info = world.ended(&world.deploy_with(input).await).await;
    assert_eq!(info.status.as_deref(), Some("Failed"));
    assert_eq!(info.start_time, None, "no host was chosen");
    assert_eq!(info.rollback_info, None);
    let error = info.error_information.unwrap();
    (error.code.unwrap(), error.message.unwrap())
}

#[tokio::test]
async fn missing_changed_and_broken_bundles_are_refused() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let (code, message) = failure(&world, world.request("nowhere.zip")).await;
    assert_eq!(code, "REVISION_MISSING");
    assert!(message.contains("s3://bucket/nowhere.zip"), "{message}");

    let mut pinned = world.request("v1.zip");
    pinned.revision.as_mut().unwrap().s3_location.as_mut().unwrap().e_tag = Some("other".into());
    let (code, message) = failure(&world, pinned).await;
    assert_eq!(code, "INVALID_REVISION");
    assert!(message.contains("etag other"), "{message}");

    world.objects.put("bare.zip", zip(&[("index.html", "hello")]));
    let (code, message) = failure(&world, world.request("bare.zip")).await;
    assert_eq!(code, "INVALID_REVISION");
    assert!(message.contains("AppSpec file"), "{message}");

    world.objects.put("noise.zip", b"not an archive".to_vec());
    let (code, message) = failure(&world, world.request("noise.zip")).await;
    assert_eq!(code, "INVALID_REVISION");
    assert!(message.contains("cannot be unpacked"), "{message}");
    assert!(world.agent("web-1").poll().await.is_none());
    world.stop().await;
}

#[tokio::test]
async fn an_archive_that_climbs_out_is_refused() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let mut climbing = zip(&[("appspec.yml", "version: 0.0"), ("aa/evil.sh", "x")]);
    let name = b"aa/evil.sh";
    let places: Vec<usize> =
        climbing.windows(name.len()).enumerate().filter(|(_, w)| w == name).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 2, "local header and directory");
    for at in places {
        climbing[at..at + 2].copy_from_slice(b"..");
    }
    world.objects.put("climb.zip", climbing);
    let (code, message) = failure(&world, world.request("climb.zip")).await;
    assert_eq!(code, "INVALID_REVISION");
    assert!(message.contains("cannot be unpacked"), "{message}");
    world.stop().await;
}

#[tokio::test]
async fn an_appspec_below_one_folder_is_found() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    world.objects.put("nested.zip", zip(&[("shop-1.0/appspec.yml", "version: 0.0"), ("shop-1.0/a", "b")]));
    let id = world.deploy("nested.zip").await;
    assert_eq!(world.started(&id).await.status.as_deref(), Some("InProgress"));
    world.stop().await;
}

#[tokio::test]
async fn a_broken_appspec_touches_no_host() {
    let check = AppSpecCheck(Arc::new(|text| match text.contains("version: 0.0") {
        true => Ok(()),
        false => Err("line 1: version must be 0.0".into()),
    }));
    let world = World::with(Config { appspec_check: Some(check), ..Config::default() }).await;
    world.fleet(&["web-1"], ONE).await;
    world.objects.put("old.zip", zip(&[("appspec.yml", "version: 1.0")]));
    let (code, message) = failure(&world, world.request("old.zip")).await;
    assert_eq!(code, "INVALID_REVISION");
    assert!(message.ends_with("is not valid: line 1: version must be 0.0"), "{message}");
    let good = world.deploy("v1.zip").await;
    assert_eq!(world.started(&good).await.status.as_deref(), Some("InProgress"));
    world.stop().await;
}

#[tokio::test]
async fn a_service_role_without_s3_leaves_the_finding_to_the_agents() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    *world.objects.denied.lock().unwrap() = true;
    let id = world.deploy("v1.zip").await;
    world.started(&id).await;
    let agent = world.agent("web-1");
    let spec = agent.specification(&agent.next().await).await;
    assert_eq!(spec["Revision"]["S3Revision"].get("ETag"), None);
    world.stop().await;
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_fails_the_deployment() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    *world.identity.missing.lock().unwrap() = true;
    let (code, message) = failure(&world, world.request("v1.zip")).await;
    assert_eq!(code, "IAM_ROLE_MISSING");
    assert!(message.contains(ROLE), "{message}");
    world.stop().await;
}

#[tokio::test]
async fn revisions_are_registered_by_use_and_show_where_they_run() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let agent = world.agent("web-1").work(|_, _| true);
    let register = RegisterApplicationRevisionInput {
        application_name: Some("shop".into()),
        description: Some("the second".into()),
        revision: Some(s3("v2.zip")),
    };
    world.service.register_application_revision(&admin(), register).await.unwrap();
    // Revisions are listed by time: two of the same millisecond have no order.
    world.clock.advance(1_000);
    world.ended(&world.deploy("v1.zip").await).await;
    let get = |key: &str| GetApplicationRevisionInput {
        application_name: Some("shop".into()),
        revision: Some(s3(key)),
    };
    let used = world.service.get_application_revision(&admin(), get("v1.zip")).await.unwrap();
    let used = used.revision_info.unwrap();
    assert_eq!(used.deployment_groups.unwrap(), ["prod"]);
    assert!(used.first_used_time.is_some());
    let unused = world.service.get_application_revision(&admin(), get("v2.zip")).await.unwrap();
    assert_eq!(unused.revision_info.clone().unwrap().first_used_time, None);
    assert_eq!(unused.revision_info.unwrap().description.as_deref(), Some("the second"));
    let missing = world.service.get_application_revision(&admin(), get("v3.zip")).await;
    assert_eq!(code(missing), "RevisionDoesNotExistException");

    let list = |deployed: &str| ListApplicationRevisionsInput {
        application_name: Some("shop".into()),
        deployed: Some(deployed.into()),
        s3_bucket: Some("bucket".into()),
        s3_key_prefix: Some("v".into()),
        ..Default::default()
    };
    let deployed = world.service.list_application_revisions(&admin(), list("include")).await.unwrap();
    assert_eq!(deployed.revisions.unwrap(), [s3("v1.zip")]);
    let all = world.service.list_application_revisions(&admin(), list("ignore")).await.unwrap();
    assert_eq!(all.revisions.unwrap(), [s3("v2.zip"), s3("v1.zip")]);
    let batch = BatchGetApplicationRevisionsInput {
        application_name: Some("shop".into()),
        revisions: Some(vec![s3("v1.zip"), s3("v9.zip")]),
    };
    let batch = world.service.batch_get_application_revisions(&admin(), batch).await.unwrap();
    assert_eq!(batch.revisions.unwrap().len(), 1);
    assert!(batch.error_message.is_some());
    agent.abort();
    world.stop().await;
}
