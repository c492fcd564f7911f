//! Where sources and buildspecs come from.

use super::fakes::COMMIT;
use super::world::*;
use towpath_api::sources::{CloneDepth, Revision};
use towpath_api_codebuild::*;

fn source(kind: &str, location: &str) -> Option<ProjectSource> {
    Some(ProjectSource {
        type_: Some(kind.into()),
        location: Some(location.into()),
        ..ProjectSource::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn codecommit_with_a_depth_and_a_version() {
    let world = World::new().await;
    let files = [
        ("buildspec.yml", spec(&["cat hello", "echo $CODEBUILD_RESOLVED_SOURCE_VERSION"])),
        ("hello", "hi".into()),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text));
    world.sources.repositories.lock().unwrap().insert("repo".into(), files.into());
    world
        .project("", |input| {
            input.source = source("CODECOMMIT", "http://127.0.0.1:4566/v1/repos/repo");
            input.source.as_mut().unwrap().git_clone_depth = Some(5);
        })
        .await;
    let id = world.start(|input| input.source_version = Some("refs/heads/main".into())).await;
    let build = world.finished(&id).await;
    assert_eq!(world.printed(&build), ["hi", COMMIT]);
    assert_eq!(build.resolved_source_version.as_deref(), Some(COMMIT));
    let clones = world.sources.clones.lock().unwrap().clone();
    assert_eq!(clones, [(Revision::Branch("main".into()), CloneDepth::Shallow(5))]);

    let id = world.start(|input| input.source_version = Some("nowhere".into())).await;
    let build = world.finished(&id).await;
    assert_eq!(
        context(&build, "DOWNLOAD_SOURCE"),
        "CLIENT_ERROR: BranchDoesNotExistException: Branch nowhere does not exist for primary source and source version nowhere"
    );
    let id = world.start(|_| {}).await;
    assert_eq!(world.finished(&id).await.build_status.as_deref(), Some("SUCCEEDED"), "the default branch");
    world.identity.role.deny("codecommit:GitPull");
    let id = world.start(|_| {}).await;
    assert!(context(&world.finished(&id).await, "DOWNLOAD_SOURCE").contains("codecommit:GitPull"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_zips_folders_and_secondary_sources() {
    let world = World::new().await;
    let text =
        spec(&["cat hello", "cat $CODEBUILD_SRC_DIR_more/sub/x", "echo $CODEBUILD_SOURCE_REPO_URL_more"]);
    world.objects.put("in", "src.zip", &zip(&[("ci/spec.yml", &text), ("hello", "hi\n")]));
    world.objects.put("in", "folder/sub/x", b"secondary\n");
    world
        .project("", |input| {
            input.source = source("S3", "in/src.zip");
            input.source.as_mut().unwrap().buildspec = Some("ci/spec.yml".into());
            let mut more = source("S3", "in/folder/").unwrap();
            more.source_identifier = Some("more".into());
            input.secondary_sources = Some(vec![more]);
        })
        .await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    assert_eq!(world.printed(&build), ["hi", "secondary", "s3://in/folder/"], "{:#?}", build.phases);
    // The buildspec as an object of its own.
    world.objects.put("in", "other.yml", spec(&["echo other"]).as_bytes());
    let id = world.start(|input| input.buildspec_override = Some("arn:aws:s3:::in/other.yml".into())).await;
    assert_eq!(world.printed(&world.finished(&id).await), ["other"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_climbs_out_fails_download_source() {
    let world = World::new().await;
    world.project("", |input| input.source = source("S3", "in/src.zip")).await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    assert!(context(&build, "DOWNLOAD_SOURCE").starts_with("CLIENT_ERROR: NoSuchKey: "));
    world.objects.put("in", "src.zip", &zip(&[("x", "")]));
    let id = world.start(|_| {}).await;
    assert_eq!(
        context(&world.finished(&id).await, "DOWNLOAD_SOURCE"),
        "YAML_FILE_ERROR: YAML file does not exist"
    );
    world.objects.put("in", "src.zip", &zip(&[("../evil", "x")]));
    let id = world.start(|_| {}).await;
    let context = context(&world.finished(&id).await, "DOWNLOAD_SOURCE");
    assert!(context.contains("'../evil' is refused: its path climbs out"), "{context}");
}
