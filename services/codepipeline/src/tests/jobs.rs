//! Custom actions: what a job worker sees.

use super::*;

async fn custom(life: &Life) -> ActionDeclaration {
    let count = |maximum| Some(ArtifactDetails { minimum_count: Some(0), maximum_count: Some(maximum) });
    let property = |name: &str, queryable| ActionConfigurationProperty {
        name: Some(name.into()),
        required: Some(true),
        key: Some(true),
        secret: Some(false),
        queryable: Some(queryable),
        ..Default::default()
    };
    let input = CreateCustomActionTypeInput {
        category: Some("Test".into()),
        provider: Some("Jenkins".into()),
        version: Some("1".into()),
        configuration_properties: Some(vec![property("ProjectName", true)]),
        input_artifact_details: count(1),
        output_artifact_details: count(1),
        ..Default::default()
    };
    life.service.create_custom_action_type(&life.call, input).await.unwrap();
    let mut check = action("Check", "Test/Jenkins", 1, &["src"], &["report"]);
    check.action_type_id.as_mut().unwrap().owner = Some("Custom".into());
    check.configuration = Some([("ProjectName".to_owned(), "web-tests".to_owned())].into());
    check.namespace = Some("Check".into());
    check
}

async fn poll(life: &Life, project: &str) -> Vec<Job> {
    let input = PollForJobsInput {
        action_type_id: Some(ActionTypeId {
            category: Some("Test".into()),
            owner: Some("Custom".into()),
            provider: Some("Jenkins".into()),
            version: Some("1".into()),
        }),
        max_batch_size: Some(5),
        query_param: Some([("ProjectName".to_owned(), project.to_owned())].into()),
    };
    life.service.poll_for_jobs(&life.call, input).await.unwrap().jobs.unwrap()
}

async fn town_with_job() -> (Town, tempfile::TempDir, Life, String, Job) {
    let town = Town::default();
    town.repository.point("main", "c1");
    let folder = tempfile::tempdir().unwrap();
    let life = town.life(folder.path()).await;
    let check = custom(&life).await;
    let source = stage("Source", vec![action("Checkout", "Source/CodeCommit", 1, &[], &["src"])]);
    life.create(declaration("SUPERSEDED", vec![source, stage("Test", vec![check])])).await.unwrap();
    let first = life.nth(1).await;
    let job = life.until("a job", || async { poll(&life, "web-tests").await.pop() }).await;
    (town, folder, life, first, job)
}

fn nonce(job: &Job, nonce: &str) -> AcknowledgeJobInput {
    AcknowledgeJobInput { job_id: job.id.clone(), nonce: Some(nonce.into()) }
}

#[tokio::test]
async fn a_worker_does_a_job_in_two_legs() {
    let (town, _folder, life, first, job) = town_with_job().await;
    let service = &life.service;
    assert!(poll(&life, "web-tests").await.is_empty(), "it is handed out once");
    assert!(poll(&life, "other").await.is_empty());
    let data = job.data.clone().unwrap();
    assert_eq!(data.action_configuration.unwrap().configuration.unwrap()["ProjectName"], "web-tests");
    assert_eq!(
        data.artifact_credentials.unwrap().access_key_id.unwrap(),
        "arn:aws:iam::000000000000:role/pipeline"
    );
    assert_eq!(data.pipeline_context.unwrap().pipeline_execution_id.as_ref(), Some(&first));
    let early = PutJobSuccessResultInput { job_id: job.id.clone(), ..Default::default() };
    let error = service.put_job_success_result(&life.call, early.clone()).await.unwrap_err();
    assert_eq!(error.code, "InvalidJobStateException", "not acknowledged yet");
    let wrong = service.acknowledge_job(&life.call, nonce(&job, "nope")).await.unwrap_err();
    assert_eq!(wrong.code, "InvalidNonceException");
    let right = job.nonce.clone().unwrap();
    let status = service.acknowledge_job(&life.call, nonce(&job, &right)).await.unwrap().status;
    assert_eq!(status.as_deref(), Some("InProgress"));

    let details = ExecutionDetails {
        external_execution_id: Some("run-7".into()),
        percent_complete: Some(50),
        summary: Some("half".into()),
    };
    let going_on = PutJobSuccessResultInput {
        continuation_token: Some("leg-2".into()),
        execution_details: Some(details),
        ..early.clone()
    };
    service.put_job_success_result(&life.call, going_on).await.unwrap();
    let latest = life.latest("Test", "Check").await.unwrap();
    assert_eq!((latest.percent_complete, latest.external_execution_id.as_deref()), (Some(50), Some("run-7")));
    let second = poll(&life, "web-tests").await.pop().unwrap();
    assert_eq!(second.data.clone().unwrap().continuation_token.as_deref(), Some("leg-2"));
    service.acknowledge_job(&life.call, nonce(&second, second.nonce.as_deref().unwrap())).await.unwrap();
    let done = PutJobSuccessResultInput {
        job_id: second.id.clone(),
        output_variables: Some([("Tests".to_owned(), "42".to_owned())].into()),
        ..Default::default()
    };
    let missing = service.put_job_success_result(&life.call, done.clone()).await.unwrap_err();
    assert_eq!(missing.code, "ValidationException", "the declared output is not stored");
    let output =
        second.data.unwrap().output_artifacts.unwrap()[0].location.clone().unwrap().s3_location.unwrap();
    let (bucket, key) = (output.bucket_name.unwrap(), output.object_key.unwrap());
    town.buckets.write(&bucket, &key, "report".into(), &Default::default());
    service.put_job_success_result(&life.call, done.clone()).await.unwrap();
    life.until_status(&first, "Succeeded").await;
    let again = service.put_job_success_result(&life.call, done).await.unwrap_err();
    assert_eq!(again.code, "InvalidJobStateException");
    let variables = life.latest("Test", "Check").await.unwrap();
    assert_eq!(variables.percent_complete, Some(100));
}

#[tokio::test]
async fn a_job_that_nobody_acknowledges_is_offered_again_under_a_new_nonce() {
    let (town, _folder, life, first, job) = town_with_job().await;
    town.clock.0.fetch_add(61_000, Ordering::SeqCst);
    let again = poll(&life, "web-tests").await.pop().unwrap();
    assert_eq!(again.id, job.id);
    let late = nonce(&job, job.nonce.as_deref().unwrap());
    assert_eq!(
        life.service.acknowledge_job(&life.call, late).await.unwrap_err().code,
        "InvalidNonceException"
    );
    life.service.acknowledge_job(&life.call, nonce(&again, again.nonce.as_deref().unwrap())).await.unwrap();
    let failed = PutJobFailureResultInput {
        job_id: job.id.clone(),
        failure_details: Some(FailureDetails {
            type_: Some("JobFailed".into()),
            message: Some("3 tests failed".into()),
            external_execution_id: None,
        }),
    };
    life.service.put_job_failure_result(&life.call, failed).await.unwrap();
    life.until_status(&first, "Failed").await;
    let error = life.latest("Test", "Check").await.unwrap().error_details.unwrap();
    assert_eq!(
        (error.code.as_deref(), error.message.as_deref()),
        (Some("JobFailed"), Some("3 tests failed"))
    );
}

#[tokio::test]
async fn types_are_listed_and_unknown_ones_cannot_be_polled() {
    let town = Town::default();
    let folder = tempfile::tempdir().unwrap();
    let life = town.life(folder.path()).await;
    custom(&life).await;
    let input = ListActionTypesInput { action_owner_filter: Some("Custom".into()), ..Default::default() };
    let types = life.service.list_action_types(&life.call, input).await.unwrap().action_types.unwrap();
    assert_eq!(types.len(), 1);
    let delete = DeleteCustomActionTypeInput {
        category: Some("Test".into()),
        provider: Some("Jenkins".into()),
        version: Some("1".into()),
    };
    life.service.delete_custom_action_type(&life.call, delete).await.unwrap();
    let input = PollForJobsInput { action_type_id: types[0].id.clone(), ..Default::default() };
    assert_eq!(
        life.service.poll_for_jobs(&life.call, input).await.unwrap_err().code,
        "ActionTypeNotFoundException"
    );
}
