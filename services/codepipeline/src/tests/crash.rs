//! kill -9 at the worst moments: after the restart the execution ends as it should, with nothing done
//! twice. A server's life is a runtime of its own, which is dropped while it is in the middle of a call.

use super::*;
use std::sync::Mutex;

/// Runs a part of the story on a server that is killed at the end of it.
fn life_then_kill<T: Send>(town: &Town, folder: &Path, story: impl AsyncFnOnce(&Life) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (result, store) = runtime.block_on(async {
        let life = town.life(folder).await;
        let result = story(&life).await;
        (result, life.store.clone())
    });
    // Everything that runs is dropped where it stands.
    runtime.shutdown_timeout(Duration::from_secs(5));
    let closing = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    closing.block_on(store.close());
    result
}

fn set(hang: &Mutex<bool>, on: bool) {
    *hang.lock().unwrap() = on;
}

#[test]
fn killed_while_a_build_is_started_it_is_the_same_build_afterwards() {
    let (town, folder) = (Town::default(), tempfile::tempdir().unwrap());
    town.repository.point("main", "c1");
    set(&town.builders.hang, true);
    let first = life_then_kill(&town, folder.path(), async |life: &Life| {
        life.create(journey()).await.unwrap();
        let first = life.nth(1).await;
        life.until("the build", || async { town.builders.of(&first, "Package") }).await;
        first
    });
    set(&town.builders.hang, false);
    life_then_kill(&town, folder.path(), async |life: &Life| {
        town.build(life, &first, "Package", "SUCCEEDED").await;
        life.answer(&life.token("Approve", "Ask").await, "Approved").await.unwrap();
        town.deploy(life, 1, "Succeeded").await;
        life.until_status(&first, "Succeeded").await;
    });
    assert_eq!(town.builders.requests().len(), 1);
    assert_eq!(town.repository.archived.lock().unwrap().len(), 1);
}

#[test]
fn killed_while_a_build_ends_it_goes_on_without_the_event() {
    let (town, folder) = (Town::default(), tempfile::tempdir().unwrap());
    town.repository.point("main", "c1");
    let first = life_then_kill(&town, folder.path(), async |life: &Life| {
        life.create(journey()).await.unwrap();
        let first = life.nth(1).await;
        life.until("the build's id", || async {
            life.latest("Build", "Package").await?.external_execution_id
        })
        .await;
        first
    });
    let id = town.builders.of(&first, "Package").unwrap();
    let output = town.builders.requests()[0].outputs[0].clone();
    town.buckets.write(&output.bucket, &output.key, zip(&[("a", "1")]).into(), &Default::default());
    town.builders.set(&id, |build| build.build_status = Some("SUCCEEDED".into()));
    // The slow look at what waits is the net for events that never came.
    town.clock.0.fetch_add(120_000, Ordering::SeqCst);
    life_then_kill(&town, folder.path(), async |life: &Life| {
        life.token("Approve", "Ask").await;
    });
}

#[test]
fn killed_during_an_approval_the_token_stays_good() {
    let (town, folder) = (Town::default(), tempfile::tempdir().unwrap());
    town.repository.point("main", "c1");
    let (first, token) = life_then_kill(&town, folder.path(), async |life: &Life| {
        life.create(journey()).await.unwrap();
        let first = life.nth(1).await;
        town.build(life, &first, "Package", "SUCCEEDED").await;
        (first, life.token("Approve", "Ask").await)
    });
    life_then_kill(&town, folder.path(), async |life: &Life| {
        assert_eq!(life.token("Approve", "Ask").await, token);
        life.answer(&token, "Approved").await.unwrap();
        town.deploy(life, 1, "Succeeded").await;
        life.until_status(&first, "Succeeded").await;
    });
}

#[test]
fn killed_while_a_deployment_is_started_it_is_found_again() {
    let (town, folder) = (Town::default(), tempfile::tempdir().unwrap());
    town.repository.point("main", "c1");
    set(&town.fleet.hang, true);
    let first = life_then_kill(&town, folder.path(), async |life: &Life| {
        life.create(journey()).await.unwrap();
        let first = life.nth(1).await;
        town.build(life, &first, "Package", "SUCCEEDED").await;
        life.answer(&life.token("Approve", "Ask").await, "Approved").await.unwrap();
        life.until("the deployment", || async { town.fleet.ids().first().cloned() }).await;
        first
    });
    set(&town.fleet.hang, false);
    life_then_kill(&town, folder.path(), async |life: &Life| {
        town.deploy(life, 1, "Succeeded").await;
        life.until("its end", || async {
            life.store.wake_all();
            (life.status(&first).await == "Succeeded").then_some(())
        })
        .await;
    });
    assert_eq!(town.fleet.ids().len(), 1, "no second deployment");
}

#[test]
fn killed_right_after_a_push_it_starts_once() {
    let (town, folder) = (Town::default(), tempfile::tempdir().unwrap());
    town.repository.point("main", "c1");
    life_then_kill(&town, folder.path(), async |life: &Life| {
        life.create(journey()).await.unwrap();
        life.nth(1).await;
        town.push(life, "main", "c2").await;
    });
    for _ in 0..3 {
        life_then_kill(&town, folder.path(), async |life: &Life| {
            life.nth(2).await;
        });
    }
    life_then_kill(&town, folder.path(), async |life: &Life| {
        assert_eq!(life.executions().await.len(), 2);
    });
}
