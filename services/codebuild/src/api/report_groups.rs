//! Report groups. <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateReportGroup.html>.

use super::lists::{READ_AT_ONCE, all, page_of, timed};
use super::required;
use crate::CodeBuildService;
use crate::store::{CasesDoc, ReportDoc, ReportGroupDoc};
use towpath_api::{ApiError, Call};
use towpath_api_codebuild::errors::{invalid_input_exception, resource_already_exists_exception};
use towpath_api_codebuild::*;
use towpath_store::{Document, Order, StoreError, Txn, Versioned, key};

const PAGE: i64 = 100;

/// The group's name in an ARN of this account and region, spelled as policies spell it.
pub(super) fn group_of(call: &Call, arn: &str) -> Result<String, ApiError> {
    let name = arn.strip_prefix(&call.arn("codebuild", "report-group/")).map(str::to_owned);
    name.ok_or_else(|| invalid_input_exception(format!("Invalid report group ARN: {arn}")))
}

pub async fn create(
    service: &CodeBuildService,
    call: &Call,
    input: CreateReportGroupInput,
) -> Result<CreateReportGroupOutput, ApiError> {
    let name = required(input.name, "name")?;
    let arn = call.arn("codebuild", format!("report-group/{name}"));
    call.authorize("codebuild:CreateReportGroup", &arn, &[])?;
    let kind = input.type_.as_deref().unwrap_or("TEST");
    if kind != "TEST" {
        return Err(ApiError::not_implemented(format!("report groups of type {kind}")));
    }
    let export = input.export_config.and_then(|config| config.export_config_type);
    if export.as_deref().is_some_and(|export| export != "NO_EXPORT") {
        return Err(ApiError::not_implemented("exporting reports to S3"));
    }
    let good = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !good || name.len() < 2 {
        return Err(invalid_input_exception(format!("Invalid report group name: {name}")));
    }
    let mut doc = ReportGroupDoc::new(&call.account, &call.region, &name, service.store.now());
    doc.group.tags = input.tags;
    let mut txn = Txn::new();
    txn.create(&doc);
    match service.store.commit(txn).await {
        Ok(()) => Ok(CreateReportGroupOutput { report_group: Some(doc.group) }),
        Err(StoreError::Conflict { .. }) => {
            Err(resource_already_exists_exception(format!("Report group already exists: {arn}")))
        }
        Err(error) => Err(error.into()),
    }
}

pub async fn get(
    service: &CodeBuildService,
    call: &Call,
    input: BatchGetReportGroupsInput,
) -> Result<BatchGetReportGroupsOutput, ApiError> {
    let mut groups = Vec::new();
    let mut missing = Vec::new();
    for arn in input.report_group_arns.unwrap_or_default() {
        let name = group_of(call, &arn)?;
        call.authorize("codebuild:BatchGetReportGroups", &arn, &[])?;
        let group_key = key(&[&call.account, &call.region, &name]);
        match service.store.get::<ReportGroupDoc>(&group_key).await? {
            Some(doc) => groups.push(doc.into_doc().group),
            None => missing.push(arn),
        }
    }
    Ok(BatchGetReportGroupsOutput { report_groups: Some(groups), report_groups_not_found: Some(missing) })
}

pub async fn list(
    service: &CodeBuildService,
    call: &Call,
    input: ListReportGroupsInput,
) -> Result<ListReportGroupsOutput, ApiError> {
    call.authorize("codebuild:ListReportGroups", "*", &[])?;
    let prefix = key(&[&call.account, &call.region, ""]);
    let order = match input.sort_order.as_deref() {
        Some("DESCENDING") => Order::Descending,
        _ => Order::Ascending,
    };
    let groups: Vec<ReportGroupDoc> = all(&service.store, &prefix).await?;
    let keyed = groups.into_iter().filter_map(|doc| {
        let (group, arn) = (&doc.group, doc.group.arn.clone()?);
        let key = match input.sort_by.as_deref() {
            Some("CREATED_TIME") => timed(group.created, &arn),
            Some("LAST_MODIFIED_TIME") => timed(group.last_modified, &arn),
            _ => arn.clone(),
        };
        Some((key, arn))
    });
    let limit = input.max_results.unwrap_or(PAGE).clamp(1, PAGE) as usize;
    let (arns, next_token) = page_of(keyed.collect(), order, input.next_token.as_deref(), limit)?;
    Ok(ListReportGroupsOutput { report_groups: Some(arns), next_token })
}

pub async fn delete(
    service: &CodeBuildService,
    call: &Call,
    input: DeleteReportGroupInput,
) -> Result<DeleteReportGroupOutput, ApiError> {
    let arn = required(input.arn, "arn")?;
    let name = group_of(call, &arn)?;
    call.authorize("codebuild:DeleteReportGroup", &arn, &[])?;
    let Some(group) =
        service.store.get::<ReportGroupDoc>(&key(&[&call.account, &call.region, &name])).await?
    else {
        return Err(invalid_input_exception(format!("Report group cannot be found: {arn}")));
    };
    let prefix = key(&[&call.account, &call.region, &name, ""]);
    loop {
        let reports = service.store.list::<ReportDoc>(&prefix, None, READ_AT_ONCE, Order::Ascending).await?;
        if reports.items.is_empty() {
            break;
        }
        if !input.delete_reports.unwrap_or(false) {
            return Err(invalid_input_exception(format!(
                "Report group {arn} holds reports; delete them first, or set deleteReports"
            )));
        }
        for report in &reports.items {
            service.delete_report(report).await?;
        }
    }
    let mut txn = Txn::new();
    txn.delete(&group);
    service.store.commit(txn).await?;
    Ok(DeleteReportGroupOutput {})
}

impl CodeBuildService {
    /// The report goes first: cases without a report are invisible.
    pub(super) async fn delete_report(&self, report: &Versioned<ReportDoc>) -> Result<(), ApiError> {
        let mut txn = Txn::new();
        txn.delete(report);
        for page in 0..report.case_pages {
            if let Some(cases) = self.store.get::<CasesDoc>(&CasesDoc::key_of(&report.key(), page)).await? {
                txn.delete(&cases);
            }
        }
        Ok(self.store.commit(txn).await?)
    }
}
