//! What is forgotten, and what is not.

use super::*;
use crate::history;
use crate::store::*;
use towpath_durable::Rounds;
use towpath_store::{Document, Order};

const YEAR_MS: i64 = 366 * 24 * 3_600_000;

/// Every document of a kind that names `id`.
async fn naming<D: Document>(life: &Life, id: &str) -> Vec<String> {
    let page = life.store.list::<D>("", None, 1000, Order::Ascending).await.unwrap();
    let bodies = page.items.iter().map(|doc| serde_json::to_string(&doc.doc).unwrap());
    bodies.filter(|body| body.contains(id)).collect()
}

async fn traces(life: &Life, id: &str) -> Vec<String> {
    let mut found = naming::<ExecutionDoc>(life, id).await;
    found.extend(naming::<ExecutionIndex>(life, id).await);
    found.extend(naming::<SucceededIndex>(life, id).await);
    found.extend(naming::<ActionDoc>(life, id).await);
    found.extend(naming::<ActionIndex>(life, id).await);
    found.extend(naming::<StartToken>(life, id).await);
    found
}

async fn succeed(town: &Town, life: &Life, execution: &str, deployments: usize) {
    town.build(life, execution, "Package", "SUCCEEDED").await;
    let look = || async {
        let stages = life.state().await.stage_states.unwrap();
        let at = stages.iter().find(|one| one.stage_name.as_deref() == Some("Approve"))?;
        let here = at.latest_execution.as_ref()?.pipeline_execution_id.as_deref() == Some(execution);
        life.latest("Approve", "Ask").await?.token.filter(|_| here)
    };
    let token = life.until("its approval", look).await;
    life.answer(&token, "Approved").await.unwrap();
    town.deploy(life, deployments, "Succeeded").await;
    life.until_status(execution, "Succeeded").await;
}

async fn round(life: &Life) {
    let mut txn = Txn::new();
    txn.enqueue(Rounds::job(&life.store, history::QUEUE));
    life.store.commit(txn).await.unwrap();
}

#[tokio::test]
async fn old_executions_go_with_all_they_left_and_others_stay() {
    let (town, _folder, life, first) = begin(journey()).await;
    succeed(&town, &life, &first, 1).await;
    let token = "a-token-of-the-second".to_owned();
    let input = StartPipelineExecutionInput {
        name: Some("web".into()),
        client_request_token: Some(token.clone()),
        ..Default::default()
    };
    let started = life.service.start_pipeline_execution(&life.call, input.clone()).await.unwrap();
    let second = started.pipeline_execution_id.unwrap();
    town.build(&life, &second, "Package", "FAILED").await;
    life.until_status(&second, "Failed").await;
    // The last that succeeded everywhere.
    let third = life.start().await;
    succeed(&town, &life, &third, 2).await;
    // The latest in the first stages, and not over.
    let fourth = life.start().await;
    town.build(&life, &fourth, "Package", "SUCCEEDED").await;
    life.token("Approve", "Ask").await;
    assert!(!traces(&life, &second).await.is_empty());
    let before = life.state().await.stage_states.unwrap().pop();

    town.clock.0.fetch_add(YEAR_MS, Ordering::SeqCst);
    let young = life.start().await;
    round(&life).await;
    life.until("the first two are forgotten", || async {
        let gone = traces(&life, &first).await.is_empty() && traces(&life, &second).await.is_empty();
        gone.then_some(())
    })
    .await;
    let left: Vec<_> =
        life.executions().await.into_iter().map(|one| one.pipeline_execution_id.unwrap()).collect();
    assert_eq!(left, [young, fourth.clone(), third.clone()]);
    assert_eq!(life.state().await.stage_states.unwrap().pop(), before, "the last stage's state changed");
    let awaited = life.store.list::<Awaited>("", None, 1000, Order::Ascending).await.unwrap();
    for one in awaited.items {
        let action = life.store.get::<ActionDoc>(&one.action_key).await.unwrap();
        assert!(action.is_some(), "{} is awaited by an action that is gone", one.external_id);
    }
    let input =
        GetPipelineExecutionInput { pipeline_name: Some("web".into()), pipeline_execution_id: Some(first) };
    let error = life.service.get_pipeline_execution(&life.call, input).await.unwrap_err();
    assert_eq!(error.code, "PipelineExecutionNotFoundException");
}

#[tokio::test]
async fn an_execution_that_ended_within_the_time_stays() {
    let (town, _folder, life, first) = begin(journey()).await;
    succeed(&town, &life, &first, 1).await;
    let second = life.start().await;
    succeed(&town, &life, &second, 2).await;
    // Young by a day; then another day later, old.
    town.clock.0.fetch_add(YEAR_MS - 2 * 24 * 3_600_000, Ordering::SeqCst);
    whole_round(&life).await;
    assert_eq!(life.executions().await.len(), 2);
    town.clock.0.fetch_add(2 * 24 * 3_600_000, Ordering::SeqCst);
    round(&life).await;
    let gone = || async { (life.executions().await.len() == 1).then_some(()) };
    life.until("the first is forgotten", gone).await;
    assert_eq!(life.executions().await[0].pipeline_execution_id, Some(second));
}

/// Updates the pipeline as it is, so that it has one version more.
async fn replace_version(life: &Life) -> i64 {
    let got =
        life.service.get_pipeline(&life.call, GetPipelineInput { name: Some("web".into()), version: None });
    let input = UpdatePipelineInput { pipeline: got.await.unwrap().pipeline };
    let updated = life.service.update_pipeline(&life.call, input).await.unwrap();
    updated.pipeline.unwrap().version.unwrap()
}

async fn stored_versions(life: &Life) -> Vec<i64> {
    let page = life.store.list::<VersionDoc>("", None, 1000, Order::Ascending).await.unwrap();
    page.items.iter().map(|doc| doc.version).collect()
}

/// Has everything looked at, and waits until it was.
async fn whole_round(life: &Life) {
    round(life).await;
    let over = || async {
        let due = life.store.next_due(history::QUEUE).await.unwrap()?;
        (due.since_millis(life.store.now()) > 3_600_000).then_some(())
    };
    life.until("a round is over", over).await;
}

#[tokio::test]
async fn replaced_versions_go_unless_an_execution_is_of_them_or_of_an_older_one() {
    let (town, _folder, life, first) = begin(journey()).await;
    succeed(&town, &life, &first, 1).await;
    assert_eq!(replace_version(&life).await, 2);
    assert_eq!(replace_version(&life).await, 3);
    let second = life.start().await;
    succeed(&town, &life, &second, 2).await;
    assert_eq!(replace_version(&life).await, 4);
    // Young: all stay.
    whole_round(&life).await;
    assert_eq!(stored_versions(&life).await, [1, 2, 3, 4]);
    // Old: the second execution stays, for it is what a rollback goes back to.
    town.clock.0.fetch_add(YEAR_MS, Ordering::SeqCst);
    assert_eq!(replace_version(&life).await, 5);
    whole_round(&life).await;
    assert_eq!(stored_versions(&life).await, [3, 4, 5]);
    let input = GetPipelineInput { name: Some("web".into()), version: Some(2) };
    let error = life.service.get_pipeline(&life.call, input).await.unwrap_err();
    assert_eq!(error.code, "PipelineVersionNotFoundException");
    // A newer one succeeds; when it alone is left, only the versions from its own on are.
    let third = life.start().await;
    succeed(&town, &life, &third, 3).await;
    town.clock.0.fetch_add(YEAR_MS, Ordering::SeqCst);
    whole_round(&life).await;
    let left: Vec<_> =
        life.executions().await.into_iter().map(|one| one.pipeline_execution_id.unwrap()).collect();
    assert_eq!(left, [third]);
    assert_eq!(stored_versions(&life).await, [5]);
    assert!(!life.start().await.is_empty());
}

#[tokio::test]
async fn an_execution_of_a_wrong_clock_does_not_hold_up_those_after_it() {
    let (town, _folder, life, first) = begin(journey()).await;
    succeed(&town, &life, &first, 1).await;
    // As a clock that is ten years ahead would have dated it.
    let found =
        life.store.list::<ExecutionDoc>("", None, 10, Order::Ascending).await.unwrap().items.remove(0);
    let mut wrong = found.doc.clone();
    wrong.execution.started = wrong.execution.started.plus_millis(10 * YEAR_MS);
    let mut txn = Txn::new();
    txn.replace(&found, &wrong);
    life.store.commit(txn).await.unwrap();
    let second = life.start().await;
    succeed(&town, &life, &second, 2).await;
    let third = life.start().await;
    succeed(&town, &life, &third, 3).await;
    town.clock.0.fetch_add(YEAR_MS, Ordering::SeqCst);
    whole_round(&life).await;
    let left: Vec<_> =
        life.executions().await.into_iter().map(|one| one.pipeline_execution_id.unwrap()).collect();
    assert_eq!(left, [third, first]);
}
