//! Reports and their test cases.
//! <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_DescribeTestCases.html>.

use super::lists::{all, order, page_of, timed};
use super::report_groups::group_of;
use super::required;
use crate::CodeBuildService;
use crate::reports::Case;
use crate::store::{CasesDoc, ReportDoc, ReportGroupDoc};
use towpath_api::{ApiError, Call};
use towpath_api_codebuild::errors::{invalid_input_exception, resource_not_found_exception};
use towpath_api_codebuild::*;
use towpath_store::{Order, key};

const PAGE: i64 = 100;
const CASES_PAGE: i64 = 500;

/// Group and uuid in `report/GROUP:UUID`.
fn report_of(call: &Call, arn: &str) -> Result<(String, String), ApiError> {
    let parts = arn.strip_prefix(&call.arn("codebuild", "report/")).and_then(|rest| rest.split_once(':'));
    parts
        .map(|(group, uuid)| (group.to_owned(), uuid.to_owned()))
        .ok_or_else(|| invalid_input_exception(format!("Invalid report ARN: {arn}")))
}

/// Permissions on reports are given on their group.
fn group_arn(call: &Call, group: &str) -> String {
    call.arn("codebuild", format!("report-group/{group}"))
}

pub async fn get(
    service: &CodeBuildService,
    call: &Call,
    input: BatchGetReportsInput,
) -> Result<BatchGetReportsOutput, ApiError> {
    let mut reports = Vec::new();
    let mut missing = Vec::new();
    for arn in input.report_arns.unwrap_or_default() {
        let (group, uuid) = report_of(call, &arn)?;
        call.authorize("codebuild:BatchGetReports", &group_arn(call, &group), &[])?;
        match service.store.get::<ReportDoc>(&key(&[&call.account, &call.region, &group, &uuid])).await? {
            Some(doc) => reports.push(doc.into_doc().report),
            None => missing.push(arn),
        }
    }
    Ok(BatchGetReportsOutput { reports: Some(reports), reports_not_found: Some(missing) })
}

struct Listing {
    prefix: String,
    status: Option<String>,
    order: Order,
    token: Option<String>,
    limit: Option<i64>,
}

async fn listed(
    service: &CodeBuildService,
    listing: Listing,
) -> Result<(Vec<String>, Option<String>), ApiError> {
    let mut reports: Vec<ReportDoc> = all(&service.store, &listing.prefix).await?;
    reports.retain(|doc| listing.status.is_none() || doc.report.status == listing.status);
    let keyed = reports.into_iter().filter_map(|doc| {
        let key = timed(Some(doc.created_at), &doc.uuid);
        Some((key, doc.report.arn?))
    });
    let limit = listing.limit.unwrap_or(PAGE).clamp(1, PAGE) as usize;
    page_of(keyed.collect(), listing.order, listing.token.as_deref(), limit)
}

pub async fn list(
    service: &CodeBuildService,
    call: &Call,
    input: ListReportsInput,
) -> Result<ListReportsOutput, ApiError> {
    call.authorize("codebuild:ListReports", "*", &[])?;
    let listing = Listing {
        prefix: key(&[&call.account, &call.region, ""]),
        status: input.filter.and_then(|filter| filter.status),
        order: order(input.sort_order.as_deref()),
        token: input.next_token,
        limit: input.max_results,
    };
    let (reports, next_token) = listed(service, listing).await?;
    Ok(ListReportsOutput { reports: Some(reports), next_token })
}

pub async fn list_for_group(
    service: &CodeBuildService,
    call: &Call,
    input: ListReportsForReportGroupInput,
) -> Result<ListReportsForReportGroupOutput, ApiError> {
    let arn = required(input.report_group_arn, "reportGroupArn")?;
    let group = group_of(call, &arn)?;
    call.authorize("codebuild:ListReportsForReportGroup", &arn, &[])?;
    let group_key = key(&[&call.account, &call.region, &group]);
    if service.store.get::<ReportGroupDoc>(&group_key).await?.is_none() {
        return Err(resource_not_found_exception(format!("Report group cannot be found: {arn}")));
    }
    let listing = Listing {
        prefix: key(&[&call.account, &call.region, &group, ""]),
        status: input.filter.and_then(|filter| filter.status),
        order: order(input.sort_order.as_deref()),
        token: input.next_token,
        limit: input.max_results,
    };
    let (reports, next_token) = listed(service, listing).await?;
    Ok(ListReportsForReportGroupOutput { reports: Some(reports), next_token })
}

pub async fn cases(
    service: &CodeBuildService,
    call: &Call,
    input: DescribeTestCasesInput,
) -> Result<DescribeTestCasesOutput, ApiError> {
    let arn = required(input.report_arn, "reportArn")?;
    let (group, uuid) = report_of(call, &arn)?;
    call.authorize("codebuild:DescribeTestCases", &group_arn(call, &group), &[])?;
    let report_key = key(&[&call.account, &call.region, &group, &uuid]);
    let Some(report) = service.store.get::<ReportDoc>(&report_key).await? else {
        return Err(resource_not_found_exception(format!("Report cannot be found: {arn}")));
    };
    let filter = input.filter.unwrap_or_default();
    let matches = |case: &Case| {
        let status = filter.status.as_ref().is_none_or(|status| *status == case.status.to_string());
        status && filter.keyword.as_ref().is_none_or(|keyword| case.name.contains(keyword.as_str()))
    };
    let mut found = Vec::new();
    for page in 0..report.case_pages {
        if let Some(cases) = service.store.get::<CasesDoc>(&CasesDoc::key_of(&report_key, page)).await? {
            found.extend(cases.into_doc().cases.into_iter().filter(matches));
        }
    }
    let limit = input.max_results.unwrap_or(CASES_PAGE).clamp(1, CASES_PAGE) as usize;
    // A report's cases stay as they are, in their own order.
    let found = found.into_iter().enumerate().map(|(number, case)| (format!("{number:010}"), case));
    let token = input.next_token.as_deref();
    let (found, next_token) = page_of(found.collect(), Order::Ascending, token, limit)?;
    let shown = found.into_iter().map(|case| render(case, &report)).collect();
    Ok(DescribeTestCasesOutput { test_cases: Some(shown), next_token })
}

fn render(case: Case, report: &ReportDoc) -> TestCase {
    TestCase {
        report_arn: report.report.arn.clone(),
        test_raw_data_path: Some(case.file),
        prefix: case.prefix,
        name: Some(case.name),
        status: Some(case.status.to_string()),
        duration_in_nano_seconds: Some(case.duration_ns),
        message: case.message,
        expired: report.report.expired,
        test_suite_name: case.suite,
    }
}

pub async fn delete(
    service: &CodeBuildService,
    call: &Call,
    input: DeleteReportInput,
) -> Result<DeleteReportOutput, ApiError> {
    let arn = required(input.arn, "arn")?;
    let (group, uuid) = report_of(call, &arn)?;
    call.authorize("codebuild:DeleteReport", &group_arn(call, &group), &[])?;
    if let Some(report) =
        service.store.get::<ReportDoc>(&key(&[&call.account, &call.region, &group, &uuid])).await?
    {
        service.delete_report(&report).await?;
    }
    Ok(DeleteReportOutput {})
}
