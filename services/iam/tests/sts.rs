//! AssumeRole and its neighbours.

#![allow(clippy::unwrap_used)]

mod support;

use support::*;
use towpath_api::{ApiError, Call, Identity};
use towpath_api_iam::Iam;
use towpath_api_sts::*;

fn ask(role: &str) -> AssumeRoleInput {
    AssumeRoleInput {
        role_arn: Some(format!("arn:aws:iam::{ACCOUNT}:role/{role}")),
        role_session_name: Some("s".into()),
        ..AssumeRoleInput::default()
    }
}

async fn call_of(world: &World, credentials: &Credentials) -> Call {
    let id = credentials.access_key_id.as_deref().unwrap();
    let found = world.iam.credential(id, credentials.session_token.as_deref()).await.unwrap();
    world.call(found.unwrap())
}

/// Alice, with or without the permission to assume roles, and a role with this trust policy.
async fn outcome(
    trust: &str,
    identity: &[&str],
    input: AssumeRoleInput,
) -> Result<AssumeRoleOutput, ApiError> {
    let world = World::new().await;
    world.user("alice").await;
    for (index, statement) in identity.iter().enumerate() {
        world.put_user("alice", &format!("p{index}"), statement).await.unwrap();
    }
    world.role("r", trust).await?;
    let key = world.key("alice").await;
    world.iam.assume_role(&world.as_key(&key).await, input).await
}

const MAY: &str = r#"{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}"#;
const MUST_NOT: &str = r#"{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}"#;

#[tokio::test]
async fn trust_and_identity_policies_decide_together() {
    let alice = trust_aws("arn:aws:iam::000000000000:user/alice");
    let account = trust_aws("arn:aws:iam::000000000000:root");
    let everyone = trust_aws("*");
    let service = trust_service("codebuild.amazonaws.com");
    assert!(outcome(&alice, &[], ask("r")).await.is_ok());
    assert!(outcome(&account, &[MAY], ask("r")).await.is_ok());
    assert!(outcome(&everyone, &[], ask("r")).await.is_ok());
    let cases: [(&str, &[&str], &str); 4] = [
        (&account, &[], "because no identity-based policy allows the sts:AssumeRole action"),
        (&alice, &[MUST_NOT], "with an explicit deny in an identity-based policy"),
        (&service, &[MAY], "because no role trust policy allows the sts:AssumeRole action"),
        (&account, &[MAY, MUST_NOT], "with an explicit deny in an identity-based policy"),
    ];
    for (trust, identity, reason) in cases {
        refused(outcome(trust, identity, ask("r")).await, "AccessDeniedException", reason);
    }
    let both = document(
        r#"{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"},
           {"Effect":"Deny","Principal":"*","Action":"sts:AssumeRole","Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}}"#,
    );
    let denied = outcome(&both, &[MAY], ask("r")).await;
    refused(denied, "AccessDeniedException", "with an explicit deny in the role trust policy");
    // A role that does not exist looks like one that does not trust.
    let ghost = outcome(&alice, &[MAY], ask("ghost")).await;
    refused(ghost, "AccessDeniedException", "because no role trust policy allows");
}

#[tokio::test]
async fn an_external_id_must_be_the_one_that_is_asked_for() {
    let trust = document(
        r#"{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole",
            "Condition":{"StringEquals":{"sts:ExternalId":"secret-7"}}}"#,
    );
    let with = |id: &str| AssumeRoleInput { external_id: Some(id.into()), ..ask("r") };
    assert!(outcome(&trust, &[], with("secret-7")).await.is_ok());
    refused(outcome(&trust, &[], with("other")).await, "AccessDeniedException", "sts:AssumeRole");
    refused(outcome(&trust, &[], ask("r")).await, "AccessDeniedException", "sts:AssumeRole");
}

#[tokio::test]
async fn who_takes_a_deleted_users_name_is_not_trusted() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("alice").await;
    world.role("r", &trust_aws("arn:aws:iam::000000000000:user/alice")).await.unwrap();
    let delete = towpath_api_iam::DeleteUserInput { user_name: Some("alice".into()) };
    world.iam.delete_user(&root, delete).await.unwrap();
    let shown = towpath_api_iam::GetRoleInput { role_name: Some("r".into()) };
    let shown = world.iam.get_role(&root, shown).await.unwrap().role.unwrap();
    assert!(shown.assume_role_policy_document.unwrap().contains("%22AIDA"));
    world.user("alice").await;
    let key = world.key("alice").await;
    let denied = world.iam.assume_role(&world.as_key(&key).await, ask("r")).await;
    refused(denied, "AccessDeniedException", "because no role trust policy allows");
    let unknown = world.role("q", &trust_aws("arn:aws:iam::000000000000:user/ghost")).await;
    refused(
        unknown,
        "MalformedPolicyDocument",
        "Invalid principal in policy: \"AWS\":\"arn:aws:iam::000000000000:user/ghost\"",
    );
}

#[tokio::test]
async fn durations_are_held_to_the_roles_limit() {
    let trust = trust_aws("*");
    let lasting = |seconds| AssumeRoleInput { duration_seconds: Some(seconds), ..ask("r") };
    assert!(outcome(&trust, &[], lasting(900)).await.is_ok());
    assert!(outcome(&trust, &[], lasting(3600)).await.is_ok());
    refused(outcome(&trust, &[], lasting(3601)).await, "ValidationError", "exceeds the MaxSessionDuration");
    refused(outcome(&trust, &[], lasting(899)).await, "ValidationError", "at least 900");
}

#[tokio::test]
async fn what_is_not_honoured_is_refused_by_name() {
    let trust = trust_aws("*");
    let tag = Tag { key: Some("k".into()), value: Some("v".into()) };
    let cases = [
        (AssumeRoleInput { tags: Some(vec![tag]), ..ask("r") }, "Tags"),
        (AssumeRoleInput { serial_number: Some("mfa".into()), ..ask("r") }, "SerialNumber"),
        (AssumeRoleInput { source_identity: Some("me".into()), ..ask("r") }, "SourceIdentity"),
        (AssumeRoleInput { transitive_tag_keys: Some(vec!["k".into()]), ..ask("r") }, "TransitiveTagKeys"),
    ];
    for (input, name) in cases {
        refused(outcome(&trust, &[], input).await, "NotImplemented", &format!("sts:AssumeRole with {name}"));
    }
}

#[tokio::test]
async fn session_policies_narrow_a_session() {
    let world = World::new().await;
    world.user("alice").await;
    world.role("r", &trust_aws("*")).await.unwrap();
    world.put_role("r", "all", ALLOW_ALL).await.unwrap();
    let key = world.key("alice").await;
    let alice = world.as_key(&key).await;

    let narrowed = AssumeRoleInput { policy: Some(document(ALLOW_READ)), ..ask("r") };
    let output = world.iam.assume_role(&alice, narrowed).await.unwrap();
    assert!(output.packed_policy_size.unwrap() > 0);
    let call = call_of(&world, &output.credentials.unwrap()).await;
    assert!(may(&call, "codecommit:GetFile"));
    let denied = call.authorize("codecommit:PutFile", REPOSITORY, &[]).unwrap_err();
    assert!(denied.message.ends_with("because no session policy allows the codecommit:PutFile action"));

    let arn = |arn: &str| vec![PolicyDescriptorType { arn: Some(arn.into()) }];
    let managed = AssumeRoleInput {
        policy_arns: Some(arn("arn:aws:iam::aws:policy/AWSCodeCommitReadOnly")),
        ..ask("r")
    };
    let output = world.iam.assume_role(&alice, managed).await.unwrap();
    let call = call_of(&world, &output.credentials.unwrap()).await;
    assert!(may(&call, "codecommit:GetFile") && !may(&call, "codecommit:PutFile"));

    let broken = AssumeRoleInput { policy: Some("{}".into()), ..ask("r") };
    refused(
        world.iam.assume_role(&alice, broken).await,
        "MalformedPolicyDocument",
        "Syntax errors in policy.",
    );
    let large = AssumeRoleInput { policy: Some(document(ALLOW_READ) + &" ".repeat(5000)), ..ask("r") };
    refused(world.iam.assume_role(&alice, large).await, "PackedPolicyTooLarge", "too large");
    let ghost =
        AssumeRoleInput { policy_arns: Some(arn("arn:aws:iam::000000000000:policy/ghost")), ..ask("r") };
    refused(world.iam.assume_role(&alice, ghost).await, "NoSuchEntity", "does not exist");
}

#[tokio::test]
async fn roles_can_be_chained_for_an_hour() {
    let world = World::new().await;
    world.user("alice").await;
    world.role("first", &trust_aws("*")).await.unwrap();
    world.role("second", &trust_aws("arn:aws:iam::000000000000:role/first")).await.unwrap();
    let root = world.root().await;
    let long = towpath_api_iam::UpdateRoleInput {
        role_name: Some("second".into()),
        max_session_duration: Some(43_200),
        description: None,
    };
    world.iam.update_role(&root, long).await.unwrap();
    let key = world.key("alice").await;
    let alice = world.as_key(&key).await;
    let first = world.iam.assume_role(&alice, ask("first")).await.unwrap().credentials.unwrap();
    let first = call_of(&world, &first).await;
    refused(world.iam.assume_role(&alice, ask("second")).await, "AccessDeniedException", "sts:AssumeRole");
    let second = world.iam.assume_role(&first, ask("second")).await.unwrap();
    assert!(second.assumed_role_user.unwrap().assumed_role_id.unwrap().ends_with(":s"));
    let two_hours = AssumeRoleInput { duration_seconds: Some(7200), ..ask("second") };
    refused(world.iam.assume_role(&first, two_hours).await, "ValidationError", "role chaining");
}

#[tokio::test]
async fn root_assumes_no_role() {
    let world = World::new().await;
    world.role("r", &trust_aws("*")).await.unwrap();
    let denied = world.iam.assume_role(&world.root().await, ask("r")).await;
    refused(denied, "AccessDeniedException", "Roles may not be assumed by root accounts.");
}

#[tokio::test]
async fn everyone_may_ask_who_they_are() {
    let world = World::new().await;
    let user = world.user("alice").await;
    let deny = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    world.put_user("alice", "nothing", deny).await.unwrap();
    let key = world.key("alice").await;
    let alice = world.as_key(&key).await;
    let identity = world.iam.get_caller_identity(&alice, GetCallerIdentityInput {}).await.unwrap();
    assert_eq!(identity.arn, user.arn);
    assert_eq!(identity.user_id, user.user_id);
    assert_eq!(identity.account.as_deref(), Some(ACCOUNT));
    let refusal = world.iam.get_session_token(&alice, GetSessionTokenInput::default()).await;
    refused(refusal, "AccessDeniedException", "with an explicit deny in an identity-based policy");
}

#[tokio::test]
async fn a_session_of_a_user_has_the_users_permissions_but_not_iams() {
    let world = World::new().await;
    world.user("alice").await;
    world.put_user("alice", "all", ALLOW_ALL).await.unwrap();
    let key = world.key("alice").await;
    let alice = world.as_key(&key).await;
    let output = world.iam.get_session_token(&alice, GetSessionTokenInput::default()).await.unwrap();
    let call = call_of(&world, &output.credentials.unwrap()).await;
    assert!(may(&call, "codecommit:PutFile") && may(&call, "sts:AssumeRole"));
    assert!(!may(&call, "iam:GetUser") && !may(&call, "sts:GetAccessKeyInfo"));
    refused(
        world.iam.get_session_token(&call, GetSessionTokenInput::default()).await,
        "AccessDeniedException",
        "GetSessionToken",
    );
    let mfa = GetSessionTokenInput { serial_number: Some("mfa".into()), ..GetSessionTokenInput::default() };
    refused(world.iam.get_session_token(&alice, mfa).await, "NotImplemented", "SerialNumber");
    let info = GetAccessKeyInfoInput { access_key_id: Some(key.id.clone()) };
    let info = world.iam.get_access_key_info(&alice, info).await.unwrap();
    assert_eq!(info.account.as_deref(), Some(ACCOUNT));
}
