//! Listings: their order, their pages, their filters, and that a long history costs them nothing.

use super::*;
use crate::state::{End, Progress};
use crate::store::{ExecutionDoc, ExecutionIndex};

#[tokio::test]
async fn executions_and_actions_come_newest_first_in_pages() {
    let (town, _folder, life, first) = begin(journey()).await;
    town.build(&life, &first, "Package", "FAILED").await;
    life.until_status(&first, "Failed").await;
    let second = life.start().await;
    town.build(&life, &second, "Package", "SUCCEEDED").await;
    life.token("Approve", "Ask").await;
    let page = |token: Option<String>| ListPipelineExecutionsInput {
        pipeline_name: Some("web".into()),
        max_results: Some(1),
        next_token: token,
        ..Default::default()
    };
    let one = life.service.list_pipeline_executions(&life.call, page(None)).await.unwrap();
    assert_eq!(one.pipeline_execution_summaries.unwrap()[0].pipeline_execution_id, Some(second.clone()));
    let two = life.service.list_pipeline_executions(&life.call, page(one.next_token)).await.unwrap();
    assert_eq!(two.pipeline_execution_summaries.unwrap()[0].pipeline_execution_id, Some(first.clone()));
    let bad = life.service.list_pipeline_executions(&life.call, page(Some("%%".into()))).await.unwrap_err();
    assert_eq!(bad.code, "InvalidNextTokenException");
    let mut filtered = page(None);
    filtered.max_results = None;
    filtered.filter = Some(PipelineExecutionFilter {
        succeeded_in_stage: Some(SucceededInStageFilter { stage_name: Some("Build".into()) }),
    });
    let found = life.service.list_pipeline_executions(&life.call, filtered).await.unwrap();
    let found = found.pipeline_execution_summaries.unwrap();
    assert_eq!((found.len(), found[0].pipeline_execution_id.clone()), (1, Some(second.clone())));

    let actions = |filter: Option<ActionExecutionFilter>| {
        let input =
            ListActionExecutionsInput { pipeline_name: Some("web".into()), filter, ..Default::default() };
        async {
            let output = life.service.list_action_executions(&life.call, input).await?;
            let names =
                output.action_execution_details.unwrap().into_iter().map(|one| one.action_name.unwrap());
            Ok::<_, ApiError>(names.collect::<Vec<_>>())
        }
    };
    let all = actions(None).await.unwrap();
    assert_eq!(all, ["Ask", "Package", "Checkout", "Package", "Checkout"]);
    let of =
        |id: &str| ActionExecutionFilter { pipeline_execution_id: Some(id.into()), ..Default::default() };
    assert_eq!(actions(Some(of(&first))).await.unwrap(), ["Package", "Checkout"]);
    let latest = LatestInPipelineExecutionFilter {
        pipeline_execution_id: Some(second.clone()),
        start_time_range: Some("Latest".into()),
    };
    let latest = ActionExecutionFilter { latest_in_pipeline_execution: Some(latest), ..Default::default() };
    assert_eq!(actions(Some(latest)).await.unwrap(), ["Ask", "Package", "Checkout"]);
    let unknown = actions(Some(of(&towpath_api::id::uuid()))).await.unwrap_err();
    assert_eq!(unknown.code, "PipelineExecutionNotFoundException");
}

/// A hundred thousand past executions: state and lists look at a page, not at the history.
#[tokio::test]
async fn a_long_history_does_not_slow_the_present() {
    let (_town, _folder, life, first) = begin(journey()).await;
    let id = crate::api::pipeline_id(&life.call, Some("web".into()));
    let pipeline = life.service.flow.pipeline(&id).await.unwrap();
    let mut sample = life.service.flow.execution(&pipeline, &first).await.unwrap().execution;
    sample.progress = Progress::Ended { at: Timestamp::EPOCH, end: End::Succeeded };
    for batch in 0..25u64 {
        let mut txn = Txn::new();
        for number in 0..4000u64 {
            sample.sequence = 1000 + batch * 4000 + number;
            sample.id = format!("past-{}", sample.sequence);
            let generation = pipeline.generation.clone();
            txn.put(&ExecutionIndex {
                generation: generation.clone(),
                sequence: sample.sequence,
                execution: sample.id.clone(),
            });
            txn.put(&ExecutionDoc { generation, execution: sample.clone() });
        }
        life.store.commit(txn).await.unwrap();
    }
    let clock = std::time::Instant::now();
    for _ in 0..10 {
        life.state().await;
        let input = ListPipelineExecutionsInput {
            pipeline_name: Some("web".into()),
            max_results: Some(20),
            ..Default::default()
        };
        let page = life.service.list_pipeline_executions(&life.call, input).await.unwrap();
        assert_eq!(page.pipeline_execution_summaries.unwrap().len(), 20);
    }
    // A scan of the history takes seconds; ten rounds of both take some milliseconds each, also on a
    // busy machine.
    let elapsed = clock.elapsed();
    assert!(elapsed < Duration::from_secs(2), "{elapsed:?}");
}
