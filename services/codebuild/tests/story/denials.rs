//! Every operation asks the gate, under its own action.

use super::world::*;
use towpath_api::pipeline_builds::{PipelineBuild, PipelineBuilds};
use towpath_api_codebuild::*;

macro_rules! denied {
    ($world:ident, $($method:ident => $action:literal, $input:expr;)*) => {$(
        {
            let error = $world.service.$method(&$world.call, $input).await.err().expect($action);
            assert_eq!(error.code, "AccessDeniedException", "{}: {error}", $action);
            assert!(error.message.contains(concat!("to perform: codebuild:", $action, " on resource")), "{error}");
        }
    )*};
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_can_be_denied() {
    let world = World::new().await;
    world.project(&spec(&["true"]), |_| {}).await;
    let id = world.start(|_| {}).await;
    world.finished(&id).await;
    world.denials.deny("*");
    let group = Some("arn:aws:codebuild:us-east-1:000000000000:report-group/g".to_owned());
    let report = Some("arn:aws:codebuild:us-east-1:000000000000:report/g:1".to_owned());
    let app = Some("app".to_owned());
    let ids = Some(vec![id.clone()]);
    denied! { world,
        create_project => "CreateProject", project("x");
        update_project => "UpdateProject", UpdateProjectInput { name: app.clone(), ..Default::default() };
        delete_project => "DeleteProject", DeleteProjectInput { name: app.clone() };
        batch_get_projects => "BatchGetProjects", BatchGetProjectsInput { names: Some(vec!["app".into()]) };
        list_projects => "ListProjects", ListProjectsInput::default();
        start_build => "StartBuild", StartBuildInput { project_name: app.clone(), ..Default::default() };
        stop_build => "StopBuild", StopBuildInput { id: Some(id.clone()) };
        retry_build => "RetryBuild", RetryBuildInput { id: Some(id.clone()), ..Default::default() };
        batch_get_builds => "BatchGetBuilds", BatchGetBuildsInput { ids: ids.clone() };
        batch_delete_builds => "BatchDeleteBuilds", BatchDeleteBuildsInput { ids: ids.clone() };
        list_builds => "ListBuilds", ListBuildsInput::default();
        list_builds_for_project => "ListBuildsForProject",
            ListBuildsForProjectInput { project_name: app.clone(), ..Default::default() };
        create_report_group => "CreateReportGroup",
            CreateReportGroupInput { name: Some("g".into()), ..Default::default() };
        batch_get_report_groups => "BatchGetReportGroups",
            BatchGetReportGroupsInput { report_group_arns: Some(vec![group.clone().unwrap()]) };
        list_report_groups => "ListReportGroups", ListReportGroupsInput::default();
        delete_report_group => "DeleteReportGroup",
            DeleteReportGroupInput { arn: group.clone(), ..Default::default() };
        batch_get_reports => "BatchGetReports",
            BatchGetReportsInput { report_arns: Some(vec![report.clone().unwrap()]) };
        list_reports => "ListReports", ListReportsInput::default();
        list_reports_for_report_group => "ListReportsForReportGroup",
            ListReportsForReportGroupInput { report_group_arn: group.clone(), ..Default::default() };
        describe_test_cases => "DescribeTestCases",
            DescribeTestCasesInput { report_arn: report.clone(), ..Default::default() };
        delete_report => "DeleteReport", DeleteReportInput { arn: report.clone() };
        start_for_pipeline => "StartBuild", PipelineBuild { project: "app".into(), ..Default::default() };
    }
    let operations = MODEL.operations.len();
    assert_eq!(operations, 21, "a new operation needs a line above");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_must_be_passable_and_trust_codebuild() {
    let world = World::new().await;
    world.identity.broken_roles.lock().unwrap().insert(ROLE.into());
    let error = world.service.create_project(&world.call, project("version: 0.2")).await.unwrap_err();
    assert_eq!(error.code, "InvalidInputException");
    assert!(error.message.contains("not authorized to perform: sts:AssumeRole"), "{error}");
    world.identity.broken_roles.lock().unwrap().clear();
    world.denials.deny("iam:PassRole");
    let error = world.service.create_project(&world.call, project("version: 0.2")).await.unwrap_err();
    assert!(error.message.contains("iam:PassRole"), "{error}");
}
