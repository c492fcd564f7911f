//! What is forgotten, and what is not.

use crate::support::*;
use towpath_api_codedeploy::*;
use towpath_codedeploy::store::{Deployment, DeploymentEntry, Plan, Target};
use towpath_codedeploy::work::history::QUEUE;
use towpath_durable::Rounds;
use towpath_store::{Document, Order, Txn};

const ONE: &str = "CodeDeployDefault.OneAtATime";
const DAY_MS: i64 = 24 * 3_600_000;

async fn left<D: Document>(world: &World, of: impl Fn(&D) -> &str) -> Vec<String> {
    let page = world.store.list::<D>("", None, 1000, Order::Ascending).await.unwrap();
    page.items.iter().map(|doc| of(&doc.doc).to_owned()).collect()
}

/// A round from its beginning to its end.
async fn round(world: &World) {
    let mut txn = Txn::new();
    txn.enqueue(Rounds::job(&world.store, QUEUE));
    world.store.commit(txn).await.unwrap();
    for _ in 0..2_000 {
        let due = world.store.next_due(QUEUE).await.unwrap();
        if due.is_some_and(|due| due.since_millis(world.store.now()) > 3_600_000) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("the round does not end");
}

async fn listed(world: &World) -> Vec<String> {
    let output = world.service.list_deployments(&admin(), Default::default()).await.unwrap();
    output.deployments.unwrap()
}

#[tokio::test]
async fn old_deployments_go_and_the_last_ones_of_their_group_stay() {
    let world = World::new().await;
    world.fleet(&["web-1"], ONE).await;
    let agent = world.agent("web-1").work(|_, _| true);
    let first = world.deploy("v1.zip").await;
    world.ended(&first).await;
    let good = world.deploy("v2.zip").await;
    world.ended(&good).await;
    agent.abort();
    let _ = agent.await;
    let last = world.deploy("v1.zip").await;
    world.started(&last).await;
    let stop = StopDeploymentInput { deployment_id: Some(last.clone()), auto_rollback_enabled: Some(false) };
    world.service.stop_deployment(&admin(), stop).await.unwrap();
    world.ended(&last).await;

    world.clock.advance(364 * DAY_MS);
    round(&world).await;
    assert_eq!(listed(&world).await, [last.clone(), good.clone(), first.clone()]);
    world.clock.advance(2 * DAY_MS);
    round(&world).await;
    assert_eq!(listed(&world).await, [last.clone(), good.clone()]);
    let input = GetDeploymentInput { deployment_id: Some(first.clone()) };
    let error = world.service.get_deployment(&admin(), input).await.unwrap_err();
    assert_eq!(error.code, "DeploymentDoesNotExistException");
    let mut named = left::<Deployment>(&world, |doc| &doc.id).await;
    named.extend(left::<DeploymentEntry>(&world, |doc| &doc.deployment_id).await);
    named.extend(left::<Plan>(&world, |doc| &doc.deployment_id).await);
    named.extend(left::<Target>(&world, |doc| &doc.deployment_id).await);
    assert!(named.len() >= 8 && !named.contains(&first), "{named:?}");
    world.stop().await;
}
