//! The server dies at the worst moments.

use super::world::*;
use towpath_api_codebuild::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_build_runs_again_from_scratch_after_the_server_died() {
    let world = World::new().await;
    let marker = world.folder.path().join("first");
    let text = format!(
        "{}artifacts:\n  files: ['*']\n",
        spec(&[
            "test ! -e leftover && touch leftover",
            &format!("if mkdir {}; then echo waiting; sleep 60; fi", marker.display()),
            "echo through"
        ])
    );
    world.project(&text, |input| input.artifacts = Some(s3_artifacts(|_| {}))).await;
    let id = world.start(|_| {}).await;
    world.logged(&id, "waiting").await;
    let world = world.crash().await;
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"), "{:#?}", world.log(&id));
    assert_eq!(build.build_number, Some(1));
    assert!(world.log(&id).iter().any(|line| line.contains("runs again from the start (attempt 2)")));
    let phases = build.phases.unwrap();
    assert_eq!(phases.iter().filter(|phase| phase.phase_type.as_deref() == Some("BUILD")).count(), 1);
    assert_eq!(world.objects.puts.lock().unwrap().len(), 1);
    world.nothing_left().await;
    let finished = world.store.events_after(0, 1000).await.unwrap();
    let finished = finished.iter().filter(|(_, event)| event.detail["build-status"] == "SUCCEEDED").count();
    assert_eq!(finished, 1, "never twice recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_build_is_run_after_the_server_died() {
    let world = World::new().await;
    world.stop_server().await;
    world.project(&spec(&["echo late"]), |_| {}).await;
    let id = world.start(|_| {}).await;
    let world = world.crash().await;
    assert_eq!(world.finished(&id).await.build_status.as_deref(), Some("SUCCEEDED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_gives_its_builds_to_the_next() {
    let world = World::new().await;
    let marker = world.folder.path().join("first");
    let command = format!("if mkdir {}; then echo waiting; sleep 60; fi", marker.display());
    world.project(&spec(&[&command]), |_| {}).await;
    let id = world.start(|_| {}).await;
    world.logged(&id, "waiting").await;
    world.stop_server().await;
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while world.sandboxes.alive.load(std::sync::atomic::Ordering::SeqCst) != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the sandbox ends with the server");
    let build = world.get(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("IN_PROGRESS"));
    let world = world.crash().await;
    assert_eq!(world.finished(&id).await.build_status.as_deref(), Some("SUCCEEDED"));
    let stop = StopBuildInput { id: Some(id) };
    assert!(world.service.stop_build(&world.call, stop).await.is_ok());
}
