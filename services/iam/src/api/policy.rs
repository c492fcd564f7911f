//! Managed policies. Source: <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreatePolicy.html>.

use super::context::Context;
use super::page::Paging;
use super::{render, required, tag};
use crate::aws_managed;
use crate::documents::{AttachmentDoc, ManagedDoc, PolicyVersion as StoredVersion, Usage};
use crate::limits;
use crate::problem::Problem;
use crate::service::{IdentityService, ManagedPolicy};
use std::collections::{BTreeMap, HashMap};
use towpath_api::{ApiError, Call, id};
use towpath_api_iam::*;
use towpath_policy::{Kind, Policy as ParsedPolicy, quota_size};
use towpath_store::{Order, Txn, Versioned};

/// A managed policy's document must be one, and within the quota.
pub fn check_document(document: &str) -> Result<(), Problem> {
    ParsedPolicy::parse(Kind::Identity, document)?;
    if quota_size(document) > limits::MANAGED_POLICY_SIZE {
        return Err(Problem::Quota { name: "PolicySize", limit: limits::MANAGED_POLICY_SIZE });
    }
    Ok(())
}

impl IdentityService {
    /// Authorizes `action` on the policy, and finds it.
    pub(super) async fn authorized_policy(
        &self,
        call: &Call,
        action: &str,
        arn: &str,
        context: Context,
    ) -> Result<ManagedPolicy, ApiError> {
        let found = self.find_policy(arn).await;
        let context = match &found {
            Ok(Some(ManagedPolicy::Local(policy))) => context.resource_tags(&policy.tags),
            _ => context,
        };
        context.authorize(call, action, arn)?;
        Ok(found?.ok_or_else(|| Problem::NoPolicy(arn.to_owned()))?)
    }

    /// The same for an operation that changes it: AWS's own policies are nobody's to change.
    pub(super) async fn authorized_local_policy(
        &self,
        call: &Call,
        action: &str,
        arn: &str,
        context: Context,
    ) -> Result<Versioned<ManagedDoc>, ApiError> {
        match self.authorized_policy(call, action, arn, context).await? {
            ManagedPolicy::Local(policy) => Ok(policy),
            ManagedPolicy::Aws(_) => Err(ApiError::access_denied(format!(
                "User: {} is not authorized to perform: {action} on resource: policy {arn}",
                call.caller.arn()
            ))),
        }
    }
}

pub async fn create(
    service: &IdentityService,
    call: &Call,
    input: CreatePolicyInput,
) -> Result<CreatePolicyOutput, ApiError> {
    let name = required(input.policy_name, "policyName")?;
    let document = required(input.policy_document, "policyDocument")?;
    let path = input.path.unwrap_or_else(|| "/".to_owned());
    let arn = format!("arn:aws:iam::{}:policy{path}{name}", service.account());
    let tags = tag::stored(input.tags.unwrap_or_default());
    Context::default().request_tags(&tags).authorize(call, "iam:CreatePolicy", &arn)?;
    tag::check(&tags)?;
    check_document(&document)?;
    let writer = service.writer().await;
    if service.store.get::<ManagedDoc>(&name.to_lowercase()).await.map_err(Problem::from)?.is_some() {
        return Err(Problem::PolicyExists(name).into());
    }
    service.check_quota::<ManagedDoc>("PoliciesPerAccount", limits::POLICIES).await?;
    let now = service.store.now();
    let policy = ManagedDoc {
        arn,
        name,
        path,
        id: id::iam_id("ANPA", 21),
        description: input.description,
        created_at: now,
        updated_at: now,
        default_version: 1,
        next_version: 2,
        versions: BTreeMap::from([(1, StoredVersion { document, created_at: now })]),
        tags,
        attachments: 0,
        boundaries: 0,
    };
    let mut txn = Txn::new();
    txn.create(&policy);
    writer.commit(txn).await?;
    Ok(CreatePolicyOutput { policy: Some(render::policy(&policy)) })
}

/// How often each policy is used as permissions and as a boundary.
async fn use_counts(service: &IdentityService) -> Result<HashMap<String, (i64, i64)>, Problem> {
    let mut counts: HashMap<String, (i64, i64)> = HashMap::new();
    let mut after = None;
    loop {
        let page = service.store.list::<AttachmentDoc>("", after.as_deref(), 1000, Order::Ascending).await?;
        for attachment in page.items {
            let count = counts.entry(attachment.policy_arn.clone()).or_default();
            match attachment.usage {
                Usage::Permissions => count.0 += 1,
                Usage::Boundary => count.1 += 1,
            }
        }
        after = match page.next {
            Some(next) => Some(next),
            None => return Ok(counts),
        };
    }
}

pub async fn get(
    service: &IdentityService,
    call: &Call,
    input: GetPolicyInput,
) -> Result<GetPolicyOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let policy = match service.authorized_policy(call, "iam:GetPolicy", &arn, Context::default()).await? {
        ManagedPolicy::Local(policy) => render::policy(&policy),
        ManagedPolicy::Aws(policy) => {
            let (attachments, boundaries) = use_counts(service).await?.get(&arn).copied().unwrap_or_default();
            render::aws_policy(policy, attachments, boundaries)
        }
    };
    Ok(GetPolicyOutput { policy: Some(policy) })
}

pub async fn list(
    service: &IdentityService,
    call: &Call,
    input: ListPoliciesInput,
) -> Result<ListPoliciesOutput, ApiError> {
    call.authorize("iam:ListPolicies", &format!("arn:aws:iam::{}:policy/", service.account()), &[])?;
    let scope = input.scope.unwrap_or_else(|| "All".to_owned());
    let mut policies = Vec::new();
    if scope != "AWS" {
        let page = service.store.list::<ManagedDoc>("", None, limits::POLICIES, Order::Ascending).await;
        policies
            .extend(page.map_err(Problem::from)?.items.iter().map(|policy| render::listed_policy(policy)));
    }
    if scope != "Local" {
        let counts = use_counts(service).await?;
        policies.extend(aws_managed::all().iter().map(|policy| {
            let (attachments, boundaries) = counts.get(&policy.arn()).copied().unwrap_or_default();
            render::aws_policy(policy, attachments, boundaries)
        }));
    }
    let prefix = input.path_prefix.unwrap_or_else(|| "/".to_owned());
    let filter = input.policy_usage_filter.as_deref();
    policies.retain(|policy| {
        let attached = policy.attachment_count.unwrap_or(0) > 0;
        let bounds = policy.permissions_boundary_usage_count.unwrap_or(0) > 0;
        policy.path.as_ref().is_some_and(|path| path.starts_with(&prefix))
            && (!input.only_attached.unwrap_or(false) || attached)
            && match filter {
                Some("PermissionsPolicy") => attached,
                Some("PermissionsBoundary") => bounds,
                _ => true,
            }
    });
    let paging = Paging::new(input.marker, input.max_items);
    let (policies, marker) = paging.of(policies, |policy| {
        format!("{}\n{}", policy.policy_name.as_deref().unwrap_or(""), policy.arn.as_deref().unwrap_or(""))
    });
    Ok(ListPoliciesOutput { policies: Some(policies), is_truncated: Some(marker.is_some()), marker })
}

pub async fn delete(
    service: &IdentityService,
    call: &Call,
    input: DeletePolicyInput,
) -> Result<DeletePolicyOutput, ApiError> {
    let arn = required(input.policy_arn, "policyArn")?;
    let writer = service.writer().await;
    let policy = service.authorized_local_policy(call, "iam:DeletePolicy", &arn, Context::default()).await?;
    if policy.attachments + policy.boundaries > 0 {
        return Err(Problem::PolicyInUse.into());
    }
    if policy.versions.len() > 1 {
        return Err(Problem::PolicyHasVersions.into());
    }
    let mut txn = Txn::new();
    txn.delete(&policy);
    writer.commit(txn).await?;
    Ok(DeletePolicyOutput {})
}
