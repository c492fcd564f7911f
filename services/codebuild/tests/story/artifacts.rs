//! What builds leave in S3.

use super::fakes::sha256;
use super::world::*;
use towpath_api_codebuild::*;

const MAKE: &str =
    "mkdir -p dist/sub && echo one > dist/one.txt && echo two > dist/sub/two.txt && chmod +x dist/one.txt";

fn with_artifacts(command: &str, artifacts: &str) -> String {
    format!("{}artifacts:\n{artifacts}", spec(&[command]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_goes_where_the_project_says_with_its_hash() {
    let world = World::new().await;
    let text = with_artifacts(
        MAKE,
        "  files: ['**/*']\n  base-directory: dist\n  name: v-$CODEBUILD_BUILD_NUMBER-$(echo x)\n",
    );
    world
        .project(&text, |input| {
            input.artifacts = Some(s3_artifacts(|artifacts| {
                artifacts.path = Some("releases".into());
                artifacts.namespace_type = Some("BUILD_ID".into());
                artifacts.override_artifact_name = Some(true);
            }));
        })
        .await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    let key = format!("releases/{}/v-1-x", id.rsplit(':').next().unwrap());
    assert_eq!(world.objects.keys("out"), [key.as_str()]);
    let zip = world.objects.get("out", &key).unwrap();
    let files = unzip(&zip);
    assert_eq!(files, [("one.txt".into(), "one\n".into()), ("sub/two.txt".into(), "two\n".into())]);
    let artifacts = build.artifacts.unwrap();
    assert_eq!(artifacts.location.unwrap(), format!("arn:aws:s3:::out/{key}"));
    assert_eq!(artifacts.sha256sum.unwrap(), sha256(&zip));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_secondary_artifacts() {
    let world = World::new().await;
    let text = with_artifacts(
        MAKE,
        "  files: ['dist/**/*']\n  discard-paths: yes\n  secondary-artifacts:\n    docs:\n      files: dist/one.txt\n",
    );
    world
        .project(&text, |input| {
            input.artifacts = Some(s3_artifacts(|artifacts| artifacts.packaging = Some("NONE".into())));
            input.secondary_artifacts = Some(vec![s3_artifacts(|artifacts| {
                artifacts.artifact_identifier = Some("docs".into());
                artifacts.name = Some("docs.zip".into());
            })]);
        })
        .await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"), "{}", context(&build, "UPLOAD_ARTIFACTS"));
    assert_eq!(world.objects.keys("out"), ["app/one.txt", "app/two.txt", "docs.zip"]);
    let secondary = build.secondary_artifacts.unwrap();
    assert_eq!(secondary[0].artifact_identifier.as_deref(), Some("docs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_hostile_fails_the_upload_and_stores_nothing() {
    let world = World::new().await;
    std::fs::write(world.folder.path().join("secret"), "secret").unwrap();
    world.project(&spec(&["true"]), |input| input.artifacts = Some(s3_artifacts(|_| {}))).await;
    let secret = world.folder.path().join("secret").display().to_string();
    for (command, artifacts, expected) in [
        ("true".to_owned(), "  files: ['*.jar']\n", "CLIENT_ERROR: no matching artifact paths found"),
        (
            "true".to_owned(),
            "  files: ['*']\n  base-directory: dist\n",
            "no matching base directory path found for dist",
        ),
        (format!("ln -s {secret} link"), "  files: [link]\n", "'link' is a symbolic link that leads out"),
        (
            "ln -s /etc etc".to_owned(),
            "  files: ['*']\n  base-directory: etc\n",
            "no matching base directory",
        ),
        ("true".to_owned(), "  files: [/etc/passwd]\n", "must be beneath CODEBUILD_SRC_DIR"),
        (
            "mkdir a b; touch a/x b/x".to_owned(),
            "  files: ['*/x']\n  discard-paths: yes\n",
            "two files named 'x'",
        ),
    ] {
        let text = with_artifacts(&command, artifacts);
        let id = world.start(|input| input.buildspec_override = Some(text)).await;
        let build = world.finished(&id).await;
        assert_eq!(build.build_status.as_deref(), Some("FAILED"));
        let context = context(&build, "UPLOAD_ARTIFACTS");
        assert!(context.contains(expected), "{context}");
    }
    // A link among others is left out and said so.
    let text = with_artifacts(&format!("ln -s {secret} link; touch real"), "  files: ['**/*']\n");
    let id = world.start(|input| input.buildspec_override = Some(text)).await;
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"));
    assert!(world.log(&id).iter().any(|line| line.contains("Skipping link")));
    assert_eq!(unzip(&world.objects.get("out", "app").unwrap()), [("real".into(), String::new())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_write_fails_the_upload() {
    let world = World::new().await;
    world.identity.role.deny("s3:PutObject");
    let text = with_artifacts(MAKE, "  files: ['**/*']\n");
    world.project(&text, |input| input.artifacts = Some(s3_artifacts(|_| {}))).await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    assert!(context(&build, "UPLOAD_ARTIFACTS").contains("AccessDenied"));
    assert!(build.artifacts.unwrap().location.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_go_to_s3_where_asked() {
    let world = World::new().await;
    world
        .project(&spec(&["echo hello"]), |input| {
            input.logs_config = Some(LogsConfig {
                cloud_watch_logs: Some(CloudWatchLogsConfig {
                    status: Some("DISABLED".into()),
                    ..CloudWatchLogsConfig::default()
                }),
                s3_logs: Some(S3LogsConfig {
                    status: Some("ENABLED".into()),
                    location: Some("logs/builds".into()),
                    ..S3LogsConfig::default()
                }),
            });
        })
        .await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    let key = format!("builds/{}.gz", id.rsplit(':').next().unwrap());
    let mut text = String::new();
    let gz = world.objects.get("logs", &key).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(gz.as_slice()), &mut text).unwrap();
    assert!(text.contains("\nhello\n"), "{text}");
    assert!(world.logs.streams.lock().unwrap().is_empty());
    assert_eq!(build.logs.unwrap().s3_logs_arn.unwrap(), format!("arn:aws:s3:::logs/{key}"));
}
