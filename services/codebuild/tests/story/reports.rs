//! Test reports.

use super::world::*;
use towpath_api_codebuild::*;

const XML: &str = "<testsuite name='s'><testcase classname='c' name='good' time='0.5'/><testcase name='bad'><failure message='no'/></testcase></testsuite>";

fn with_report(extra: &str) -> String {
    let command = format!("mkdir -p out && echo \"{XML}\" > out/junit.xml; exit 1");
    format!("{}reports:\n  unit:\n    files: ['*.xml']\n    base-directory: out\n{extra}", spec(&[&command]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_suite_leaves_its_report() {
    let world = World::new().await;
    let build = world.build(&with_report("")).await;
    assert_eq!(build.build_status.as_deref(), Some("FAILED"));
    let arns = build.report_arns.unwrap();
    assert!(arns[0].starts_with("arn:aws:codebuild:us-east-1:000000000000:report/app-unit:"));
    let get = BatchGetReportsInput { report_arns: Some(arns.clone()) };
    let report =
        world.service.batch_get_reports(&world.call, get).await.unwrap().reports.unwrap().pop().unwrap();
    assert_eq!(report.status.as_deref(), Some("FAILED"));
    let summary = report.test_summary.unwrap();
    assert_eq!((summary.total, summary.duration_in_nano_seconds), (Some(2), Some(500_000_000)));
    assert_eq!(summary.status_counts.unwrap()["FAILED"], 1);
    let cases = DescribeTestCasesInput {
        report_arn: Some(arns[0].clone()),
        filter: Some(TestCaseFilter { status: Some("FAILED".into()), keyword: None }),
        ..DescribeTestCasesInput::default()
    };
    let cases = world.service.describe_test_cases(&world.call, cases).await.unwrap().test_cases.unwrap();
    assert_eq!(cases.len(), 1);
    assert_eq!((cases[0].name.as_deref(), cases[0].message.as_deref()), (Some("bad"), Some("no")));
    assert_eq!(cases[0].test_raw_data_path.as_deref(), Some("junit.xml"));

    let groups = world.service.list_report_groups(&world.call, Default::default()).await.unwrap();
    let group = groups.report_groups.unwrap().pop().unwrap();
    assert!(group.ends_with(":report-group/app-unit"));
    let listed =
        ListReportsForReportGroupInput { report_group_arn: Some(group.clone()), ..Default::default() };
    let listed = world.service.list_reports_for_report_group(&world.call, listed).await.unwrap();
    assert_eq!(listed.reports.unwrap(), arns);
    let passed = ListReportsInput {
        filter: Some(ReportFilter { status: Some("SUCCEEDED".into()) }),
        ..ListReportsInput::default()
    };
    assert!(world.service.list_reports(&world.call, passed).await.unwrap().reports.unwrap().is_empty());
    let keep = DeleteReportGroupInput { arn: Some(group.clone()), delete_reports: None };
    let error = world.service.delete_report_group(&world.call, keep).await.unwrap_err();
    assert_eq!(error.code, "InvalidInputException");
    let delete = DeleteReportGroupInput { arn: Some(group), delete_reports: Some(true) };
    world.service.delete_report_group(&world.call, delete).await.unwrap();
    assert!(
        world
            .service
            .list_reports(&world.call, Default::default())
            .await
            .unwrap()
            .reports
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_cannot_be_read_fail_the_upload_by_name() {
    let world = World::new().await;
    world.project(&spec(&["true"]), |_| {}).await;
    let bomb = "<!DOCTYPE x [<!ENTITY a 'b'>]><testsuite>&a;</testsuite>";
    for (command, expected) in [
        ("true".to_owned(), "report files not found in build"),
        (format!("echo \"{bomb}\" > a.xml"), "document type declarations and entities are refused"),
        ("echo '<html/>' > a.xml".to_owned(), "no JUnit report"),
        ("ln -s /etc/passwd a.xml".to_owned(), "report files not found"),
    ] {
        let text = format!("{}reports:\n  unit: {{files: '*.xml'}}\n", spec(&[&command]));
        let id = world.start(|input| input.buildspec_override = Some(text)).await;
        let build = world.finished(&id).await;
        let context = context(&build, "UPLOAD_ARTIFACTS");
        assert!(context.contains("CLIENT_ERROR: [unit: [") && context.contains(expected), "{context}");
        assert!(build.report_arns.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_needs_permission_to_report() {
    let world = World::new().await;
    world.identity.role.deny("codebuild:CreateReportGroup");
    let build = world.build(&with_report("")).await;
    assert!(context(&build, "UPLOAD_ARTIFACTS").contains("codebuild:CreateReportGroup"));
    let groups = world.service.list_report_groups(&world.call, Default::default()).await.unwrap();
    assert!(groups.report_groups.unwrap().is_empty());
}
