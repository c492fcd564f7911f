//! STS. Source: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>,
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access.html>.

use super::required;
use crate::documents::{AccessKeyDoc, RoleDoc};
use crate::limits::*;
use crate::problem::Problem;
use crate::service::IdentityService;
use crate::session::SessionOf;
use towpath_api::{ApiError, AuthzRequest, Call, Caller, SessionCredentials};
use towpath_api_sts::*;
use towpath_policy::{
    Denial, Environment, Facts, Grant, Kind, Policy, PolicyError, Question, Source, Verdict, Who,
};

fn rendered(credentials: SessionCredentials) -> Credentials {
    Credentials {
        access_key_id: Some(credentials.access_key_id),
        secret_access_key: Some(credentials.secret_access_key),
        session_token: Some(credentials.session_token),
        expiration: Some(credentials.expires_at),
    }
}

fn validation(message: impl Into<String>) -> ApiError {
    Problem::Validation(message.into()).into()
}

fn malformed(error: PolicyError) -> ApiError {
    errors::malformed_policy_document_exception(error.to_string())
}

/// Options that Towpath does not honour are refused by name.
fn refuse_unhonoured(input: &AssumeRoleInput) -> Result<(), ApiError> {
    let unhonoured = [
        (input.tags.as_ref().is_some_and(|tags| !tags.is_empty()), "Tags"),
        (input.transitive_tag_keys.as_ref().is_some_and(|keys| !keys.is_empty()), "TransitiveTagKeys"),
        (input.serial_number.is_some(), "SerialNumber"),
        (input.token_code.is_some(), "TokenCode"),
        (input.source_identity.is_some(), "SourceIdentity"),
        (input.provided_contexts.as_ref().is_some_and(|contexts| !contexts.is_empty()), "ProvidedContexts"),
    ];
    match unhonoured.into_iter().find(|(present, _)| *present) {
        Some((_, name)) => Err(ApiError::not_implemented(format!("sts:AssumeRole with {name}"))),
        None => Ok(()),
    }
}

/// Trust policy and identity policies together: who is named there needs no permission here, an account
/// that is named must still give the permission, and an explicit denial anywhere ends it.
fn may_assume(call: &Call, role_arn: &str, trust: Verdict, context: &[(&str, &str)]) -> Result<(), Denial> {
    let action = "sts:AssumeRole";
    let request = AuthzRequest { action, resource: role_arn, context };
    let identity = match call.gate.check(&request, call) {
        Ok(()) => None,
        Err(reason) => Some(
            Denial::from_reason(&reason, action)
                .unwrap_or_else(|| Denial::Implicit(Source::Identity, action.to_owned())),
        ),
    };
    if let Some(denial @ Denial::Explicit(_)) = identity {
        return Err(denial);
    }
    let grant = match trust {
        Verdict::Allow(grant) => grant,
        Verdict::Deny => return Err(Denial::Explicit(Source::Trust)),
        Verdict::Silent => return Err(Denial::Implicit(Source::Trust, action.to_owned())),
    };
    match (identity, grant) {
        (None, _) | (_, Grant::Direct) => Ok(()),
        (Some(Denial::Implicit(Source::Identity, _)), Grant::Role) => Ok(()),
        (Some(denial), _) => Err(denial),
    }
}

async fn assumable(
    service: &IdentityService,
    call: &Call,
    input: &AssumeRoleInput,
) -> Result<RoleDoc, ApiError> {
    let role_arn = required(input.role_arn.as_deref(), "roleArn")?;
    let session_name = required(input.role_session_name.as_deref(), "roleSessionName")?;
    if matches!(call.caller, Caller::Root { .. }) {
        return Err(ApiError::access_denied("Roles may not be assumed by root accounts."));
    }
    let mut context = vec![("sts:RoleSessionName", session_name)];
    context.extend(input.external_id.as_deref().map(|id| ("sts:ExternalId", id)));
    let role = service.by_arn::<RoleDoc>(role_arn).await?;
    let facts = Facts::default();
    let question = Question {
        action: "sts:AssumeRole",
        resource: role_arn,
        context: &context,
        who: Who::Caller(&call.caller),
        environment: Environment::of(call),
        facts: &facts,
    };
    let trust = match &role {
        Some(role) => service.trust_policy(role)?.verdict(&question),
        None => Verdict::Silent,
    };
    let denied = |denial: Denial| {
        ApiError::access_denied(format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {role_arn} {denial}",
            call.caller.arn()
        ))
    };
    may_assume(call, role_arn, trust, &context).map_err(denied)?;
    role.map(|role| role.into_doc())
        .ok_or_else(|| denied(Denial::Implicit(Source::Trust, "sts:AssumeRole".to_owned())))
}

fn session_seconds(call: &Call, role: &RoleDoc, asked: Option<i64>) -> Result<i64, ApiError> {
    let seconds = asked.unwrap_or(SESSION_SECONDS_DEFAULT);
    if seconds < SESSION_SECONDS_MIN {
        return Err(validation(format!("DurationSeconds must be at least {SESSION_SECONDS_MIN}.")));
    }
    if matches!(call.caller, Caller::Session { .. }) && seconds > CHAINED_SESSION_SECONDS_MAX {
        return Err(validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        ));
    }
    if seconds > role.max_session_seconds {
        return Err(validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    Ok(seconds)
}

/// The session's policies, and how much of the room for them they take, in percent.
async fn session_policies(
    service: &IdentityService,
    policy: Option<&str>,
    descriptors: Vec<PolicyDescriptorType>,
) -> Result<(Vec<String>, Option<i64>), ApiError> {
    let arns: Vec<String> = descriptors.into_iter().filter_map(|descriptor| descriptor.arn).collect();
    if policy.is_none() && arns.is_empty() {
        return Ok((arns, None));
    }
    if arns.len() > SESSION_POLICY_ARNS {
        return Err(validation(format!("At most {SESSION_POLICY_ARNS} PolicyArns can be given.")));
    }
    if let Some(policy) = policy {
        Policy::parse(Kind::Identity, policy).map_err(malformed)?;
    }
    for arn in &arns {
        if service.find_policy(arn).await?.is_none() {
            return Err(Problem::NotAttachable(arn.clone()).into());
        }
    }
    let bytes = policy.map_or(0, str::len) + arns.iter().map(String::len).sum::<usize>();
    if bytes > PACKED_POLICY_BYTES {
        return Err(errors::packed_policy_too_large_exception(format!(
            "Serialized token too large for session: {bytes} bytes of policies exceed {PACKED_POLICY_BYTES}."
        )));
    }
    Ok((arns, Some((bytes * 100).div_ceil(PACKED_POLICY_BYTES) as i64)))
}

pub async fn assume_role(
    service: &IdentityService,
    call: &Call,
    input: AssumeRoleInput,
) -> Result<AssumeRoleOutput, ApiError> {
    let role = assumable(service, call, &input).await?;
    refuse_unhonoured(&input)?;
    let seconds = session_seconds(call, &role, input.duration_seconds)?;
    let session_name = required(input.role_session_name, "roleSessionName")?;
    let (arns, packed) =
        session_policies(service, input.policy.as_deref(), input.policy_arns.unwrap_or_default()).await?;
    let of = SessionOf::Role { id: role.id.clone(), session_name: session_name.clone() };
    let credentials = service.issue(of, seconds, input.policy, arns)?;
    Ok(AssumeRoleOutput {
        assumed_role_user: Some(AssumedRoleUser {
            arn: Some(service.role_caller(&role, &session_name).arn()),
            assumed_role_id: Some(format!("{}:{session_name}", role.id)),
        }),
        credentials: Some(rendered(credentials)),
        packed_policy_size: packed,
        ..AssumeRoleOutput::default()
    })
}

/// Needs no permission, and none can be taken away.
pub async fn get_caller_identity(
    _: &IdentityService,
    call: &Call,
    _: GetCallerIdentityInput,
) -> Result<GetCallerIdentityOutput, ApiError> {
    Ok(GetCallerIdentityOutput {
        user_id: Some(call.caller.user_id()),
        account: Some(call.account.clone()),
        arn: Some(call.caller.arn()),
    })
}

/// Needs no permission, but can be denied; sessions cannot call it.
pub async fn get_session_token(
    service: &IdentityService,
    call: &Call,
    input: GetSessionTokenInput,
) -> Result<GetSessionTokenOutput, ApiError> {
    let action = "sts:GetSessionToken";
    let (of, max) = match &call.caller {
        Caller::Root { .. } => (SessionOf::Root, ROOT_SESSION_SECONDS_MAX),
        Caller::User { id, .. } => (SessionOf::User { id: id.clone() }, USER_SESSION_SECONDS_MAX),
        Caller::Session { .. } => {
            return Err(ApiError::access_denied("Cannot call GetSessionToken with session credentials"));
        }
    };
    let request = AuthzRequest { action, resource: "*", context: &[] };
    if let Err(reason) = call.gate.check(&request, call)
        && !matches!(Denial::from_reason(&reason, action), Some(Denial::Implicit(..)))
    {
        return call.authorize(action, "*", &[]).map(|()| GetSessionTokenOutput::default());
    }
    if input.serial_number.is_some() || input.token_code.is_some() {
        return Err(ApiError::not_implemented("sts:GetSessionToken with SerialNumber and TokenCode"));
    }
    let seconds = input.duration_seconds.unwrap_or(USER_SESSION_SECONDS_DEFAULT.min(max));
    if seconds < SESSION_SECONDS_MIN {
        return Err(validation(format!("DurationSeconds must be at least {SESSION_SECONDS_MIN}.")));
    }
    // AWS shortens a session of root to an hour instead of refusing it.
    let credentials = service.issue(of, seconds.min(max), None, Vec::new())?;
    Ok(GetSessionTokenOutput { credentials: Some(rendered(credentials)), ..GetSessionTokenOutput::default() })
}

pub async fn get_access_key_info(
    service: &IdentityService,
    call: &Call,
    input: GetAccessKeyInfoInput,
) -> Result<GetAccessKeyInfoOutput, ApiError> {
    let id = required(input.access_key_id, "accessKeyId")?;
    call.authorize("sts:GetAccessKeyInfo", "*", &[])?;
    let known = id == service.root.access_key_id
        || id.starts_with("ASIA")
        || service.store.get::<AccessKeyDoc>(&id).await.map_err(Problem::from)?.is_some();
    if !known {
        return Err(validation(format!("The access key {id} is of no account known here.")));
    }
    Ok(GetAccessKeyInfoOutput { account: Some(service.account().to_owned()) })
}
