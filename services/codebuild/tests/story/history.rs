//! What is forgotten, and what is not.

use super::world::*;
use std::time::Duration;
use towpath_api_codebuild::*;
use towpath_codebuild::history::QUEUE;
use towpath_durable::Rounds;
use towpath_store::Txn;

const DAY_MS: i64 = 24 * 3_600_000;
const XML: &str = "<testsuite name='s'><testcase classname='c' name='good' time='0.5'/></testsuite>";

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
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the round does not end");
}

async fn listed(world: &World) -> Vec<String> {
    let all = world.service.list_builds(&world.call, Default::default()).await.unwrap().ids.unwrap();
    let of = ListBuildsForProjectInput { project_name: Some("app".into()), ..Default::default() };
    let of = world.service.list_builds_for_project(&world.call, of).await.unwrap().ids.unwrap();
    assert_eq!(all, of);
    all
}

async fn cases(world: &World, report: &str) -> Result<usize, String> {
    let input = DescribeTestCasesInput { report_arn: Some(report.into()), ..Default::default() };
    let output = world.service.describe_test_cases(&world.call, input).await.map_err(|error| error.code)?;
    Ok(output.test_cases.unwrap().len())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_builds_and_reports_go_and_young_ones_stay() {
    let world = World::new().await;
    let command = format!("mkdir -p out && echo \"{XML}\" > out/junit.xml");
    let reports = "reports:\n  unit:\n    files: ['*.xml']\n    base-directory: out\n";
    let old = world.build(&format!("{}{reports}", spec(&[&command]))).await;
    let (old, report) = (old.id.unwrap(), old.report_arns.unwrap().remove(0));
    world.clock.advance(364 * DAY_MS);
    round(&world).await;
    assert_eq!(listed(&world).await, std::slice::from_ref(&old));
    assert_eq!(cases(&world, &report).await, Ok(1));

    let young = world.start(|_| {}).await;
    let young_report = world.finished(&young).await.report_arns.unwrap().remove(0);
    world.clock.advance(2 * DAY_MS);
    round(&world).await;
    assert_eq!(listed(&world).await, std::slice::from_ref(&young));
    let input = BatchGetBuildsInput { ids: Some(vec![old.clone()]) };
    let output = world.service.batch_get_builds(&world.call, input).await.unwrap();
    assert_eq!(output.builds_not_found, Some(vec![old]));
    assert_eq!(cases(&world, &report).await, Err("ResourceNotFoundException".to_owned()));
    assert_eq!(cases(&world, &young_report).await, Ok(1));
    // The number of the forgotten one is not given out again.
    assert_eq!(world.get(&young).await.build_number, Some(2));
}
