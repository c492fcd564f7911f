//! Credentials: what they open, and that they stop at once.

#![allow(clippy::unwrap_used)]

mod support;

use support::*;
use towpath_api::{ApiError, Call, Caller, Credential, Identity};
use towpath_api_iam::*;
use towpath_api_sts::*;

const CODECOMMIT: &str = "codecommit.amazonaws.com";

async fn credential(world: &World, id: &str, token: Option<&str>) -> Result<Option<Credential>, ApiError> {
    world.iam.credential(id, token).await
}

#[tokio::test]
async fn an_access_key_gives_its_secret_and_its_users_policies() {
    let world = World::new().await;
    world.user("alice").await;
    world.put_user("alice", "read", ALLOW_READ).await.unwrap();
    let key = world.key("alice").await;
    let found = credential(&world, &key.id, None).await.unwrap().unwrap();
    assert_eq!(found.secret_access_key, key.secret);
    let call = world.as_key(&key).await;
    assert!(may(&call, "codecommit:GetFile"));
    let denied = call.authorize("codecommit:PutFile", REPOSITORY, &[]).unwrap_err();
    assert_eq!(
        denied.message,
        "User: arn:aws:iam::000000000000:user/alice is not authorized to perform: codecommit:PutFile on \
         resource: arn:aws:codecommit:us-east-1:000000000000:web because no identity-based policy allows \
         the codecommit:PutFile action"
    );
    assert!(credential(&world, "AKIAUNKNOWN", None).await.unwrap().is_none());
    refused(credential(&world, &key.id, Some("token")).await.map(|_| ()), "InvalidClientTokenId", "invalid");
}

#[tokio::test]
async fn every_change_holds_on_the_next_request() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("alice").await;
    world.group("readers").await;
    let key = world.key("alice").await;
    let arn = world.policy("read", ALLOW_READ).await.unwrap();
    let can = async || may(&world.as_key(&key).await, "codecommit:GetFile");
    assert!(!can().await);

    world.attach_user("alice", &arn).await.unwrap();
    assert!(can().await);
    let detach = DetachUserPolicyInput { user_name: Some("alice".into()), policy_arn: Some(arn.clone()) };
    world.iam.detach_user_policy(&root, detach).await.unwrap();
    assert!(!can().await);

    let attach = AttachGroupPolicyInput { group_name: Some("readers".into()), policy_arn: Some(arn.clone()) };
    world.iam.attach_group_policy(&root, attach).await.unwrap();
    world.join("alice", "readers").await;
    assert!(can().await);

    let version = CreatePolicyVersionInput {
        policy_arn: Some(arn.clone()),
        policy_document: Some(document(r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#)),
        set_as_default: Some(true),
    };
    world.iam.create_policy_version(&root, version).await.unwrap();
    assert!(!can().await);
    let back = SetDefaultPolicyVersionInput { policy_arn: Some(arn.clone()), version_id: Some("v1".into()) };
    world.iam.set_default_policy_version(&root, back).await.unwrap();
    assert!(can().await);

    let boundary = PutUserPermissionsBoundaryInput {
        user_name: Some("alice".into()),
        permissions_boundary: Some("arn:aws:iam::aws:policy/AmazonS3FullAccess".into()),
    };
    world.iam.put_user_permissions_boundary(&root, boundary).await.unwrap();
    let denied = world.as_key(&key).await.authorize("codecommit:GetFile", REPOSITORY, &[]).unwrap_err();
    assert!(denied.message.ends_with("because no permissions boundary allows the codecommit:GetFile action"));
    let unbound = DeleteUserPermissionsBoundaryInput { user_name: Some("alice".into()) };
    world.iam.delete_user_permissions_boundary(&root, unbound).await.unwrap();
    assert!(can().await);

    let leave =
        RemoveUserFromGroupInput { group_name: Some("readers".into()), user_name: Some("alice".into()) };
    world.iam.remove_user_from_group(&root, leave).await.unwrap();
    assert!(!can().await);

    for (status, works) in [("Inactive", false), ("Active", true)] {
        let update = UpdateAccessKeyInput {
            user_name: Some("alice".into()),
            access_key_id: Some(key.id.clone()),
            status: Some(status.into()),
        };
        world.iam.update_access_key(&root, update).await.unwrap();
        assert_eq!(credential(&world, &key.id, None).await.unwrap().is_some(), works);
    }
    let delete =
        DeleteAccessKeyInput { user_name: Some("alice".into()), access_key_id: Some(key.id.clone()) };
    world.iam.delete_access_key(&root, delete).await.unwrap();
    assert!(credential(&world, &key.id, None).await.unwrap().is_none());
}

async fn assume(world: &World, call: &Call, role: &str) -> Result<Credentials, ApiError> {
    let input = AssumeRoleInput {
        role_arn: Some(format!("arn:aws:iam::{ACCOUNT}:role/{role}")),
        role_session_name: Some("ci".into()),
        ..AssumeRoleInput::default()
    };
    Ok(world.iam.assume_role(call, input).await?.credentials.unwrap())
}

async fn session(world: &World, credentials: &Credentials) -> Result<Call, ApiError> {
    let id = credentials.access_key_id.as_deref().unwrap();
    let found = world.iam.credential(id, credentials.session_token.as_deref()).await?.unwrap();
    assert_eq!(Some(&found.secret_access_key), credentials.secret_access_key.as_ref());
    Ok(world.call(found))
}

async fn deployer() -> (World, Key) {
    let world = World::new().await;
    world.user("alice").await;
    world.role("deployer", &trust_aws(&format!("arn:aws:iam::{ACCOUNT}:user/alice"))).await.unwrap();
    world.put_role("deployer", "read", ALLOW_READ).await.unwrap();
    let key = world.key("alice").await;
    (world, key)
}

#[tokio::test]
async fn sessions_survive_a_restart_and_end_with_their_time() {
    let (world, key) = deployer().await;
    let credentials = assume(&world, &world.as_key(&key).await, "deployer").await.unwrap();
    let call = session(&world, &credentials).await.unwrap();
    assert_eq!(call.caller.arn(), "arn:aws:sts::000000000000:assumed-role/deployer/ci");
    assert!(may(&call, "codecommit:GetFile") && !may(&call, "codecommit:PutFile"));

    let world = world.restart().await;
    assert!(may(&session(&world, &credentials).await.unwrap(), "codecommit:GetFile"));
    assert!(credential(&world, &key.id, None).await.unwrap().is_some());

    world.clock.advance_seconds(3599);
    session(&world, &credentials).await.unwrap();
    world.clock.advance_seconds(1);
    refused(session(&world, &credentials).await.map(|_| ()), "ExpiredToken", "is expired");
    let world = world.restart().await;
    refused(session(&world, &credentials).await.map(|_| ()), "ExpiredToken", "is expired");
}

#[tokio::test]
async fn a_session_token_goes_only_with_its_own_key() {
    let (world, key) = deployer().await;
    let call = world.as_key(&key).await;
    let (one, two) =
        (assume(&world, &call, "deployer").await.unwrap(), assume(&world, &call, "deployer").await.unwrap());
    let id = one.access_key_id.as_deref().unwrap();
    session(&world, &one).await.unwrap();
    let token = one.session_token.clone().unwrap();
    let tampered = format!("{}{}", if token.starts_with('A') { "B" } else { "A" }, &token[1..]);
    for wrong in [two.session_token.as_deref(), Some("x"), Some(""), Some(&tampered), None] {
        refused(credential(&world, id, wrong).await.map(|_| ()), "InvalidClientTokenId", "invalid");
    }
}

#[tokio::test]
async fn a_running_session_follows_its_role() {
    let (world, key) = deployer().await;
    let root = world.root().await;
    let credentials = assume(&world, &world.as_key(&key).await, "deployer").await.unwrap();
    assert!(may(&session(&world, &credentials).await.unwrap(), "codecommit:GetFile"));
    let delete =
        DeleteRolePolicyInput { role_name: Some("deployer".into()), policy_name: Some("read".into()) };
    world.iam.delete_role_policy(&root, delete).await.unwrap();
    assert!(!may(&session(&world, &credentials).await.unwrap(), "codecommit:GetFile"));

    let delete = DeleteRoleInput { role_name: Some("deployer".into()) };
    world.iam.delete_role(&root, delete).await.unwrap();
    refused(session(&world, &credentials).await.map(|_| ()), "InvalidClientTokenId", "invalid");
    // The same name again is another role.
    world.role("deployer", &trust_aws(ACCOUNT)).await.unwrap();
    world.put_role("deployer", "all", ALLOW_ALL).await.unwrap();
    refused(session(&world, &credentials).await.map(|_| ()), "InvalidClientTokenId", "invalid");
}

#[tokio::test]
async fn root_credentials_are_made_once_and_kept_private() {
    use std::os::unix::fs::MetadataExt;
    let world = World::new().await;
    let first = world.iam.root_credentials().clone();
    assert!(first.access_key_id.starts_with("AKIA") && first.secret_access_key.len() == 40);
    let path = world.folder.path().join("secrets/root-credentials.json");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let world = world.restart().await;
    assert_eq!(world.iam.root_credentials().secret_access_key, first.secret_access_key);
    let read = towpath_iam::RootCredentials::read(&world.folder.path().join("secrets")).unwrap().unwrap();
    assert_eq!(read.access_key_id, first.access_key_id);
    assert!(matches!(world.root().await.caller, Caller::Root { .. }));
}

#[tokio::test]
async fn no_secret_lies_in_the_store_in_clear() {
    let (world, key) = deployer().await;
    let root = world.root().await;
    let input = CreateServiceSpecificCredentialInput {
        user_name: Some("alice".into()),
        service_name: Some(CODECOMMIT.into()),
        credential_age_days: None,
    };
    let made = world.iam.create_service_specific_credential(&root, input).await.unwrap();
    let password = made.service_specific_credential.unwrap().service_password.unwrap();
    world.store.close().await;
    let mut files = 0;
    for entry in std::fs::read_dir(world.folder.path().join("store")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += 1;
        for secret in [&key.secret, &password, &world.iam.root_credentials().secret_access_key] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
    assert!(files > 0);
}

#[tokio::test]
async fn git_passwords_open_until_they_are_reset_disabled_or_deleted() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("alice").await;
    world.put_user("alice", "read", ALLOW_READ).await.unwrap();
    let create = || CreateServiceSpecificCredentialInput {
        user_name: Some("alice".into()),
        service_name: Some(CODECOMMIT.into()),
        credential_age_days: None,
    };
    let made = world.iam.create_service_specific_credential(&root, create()).await.unwrap();
    let made = made.service_specific_credential.unwrap();
    let (name, password) = (made.service_user_name.unwrap(), made.service_password.unwrap());
    assert_eq!(name, "alice-at-000000000000");
    let opens = async |password: &str| world.iam.service_specific(CODECOMMIT, &name, password).await.unwrap();
    let found = opens(&password).await.unwrap();
    assert!(may(&world.call(found), "codecommit:GetFile"));
    assert!(opens("wrong").await.is_none() && opens("").await.is_none());
    assert!(world.iam.service_specific("other.amazonaws.com", &name, &password).await.unwrap().is_none());
    assert!(
        world.iam.service_specific(CODECOMMIT, "bob-at-000000000000", &password).await.unwrap().is_none()
    );

    let id = made.service_specific_credential_id;
    let reset =
        ResetServiceSpecificCredentialInput { user_name: None, service_specific_credential_id: id.clone() };
    refused(
        world.iam.reset_service_specific_credential(&root, reset.clone()).await,
        "ValidationError",
        "Must specify userName when calling with non-User credentials",
    );
    let reset = ResetServiceSpecificCredentialInput { user_name: Some("alice".into()), ..reset };
    let renewed = world.iam.reset_service_specific_credential(&root, reset).await.unwrap();
    let renewed = renewed.service_specific_credential.unwrap().service_password.unwrap();
    assert!(opens(&password).await.is_none() && opens(&renewed).await.is_some());

    for (status, works) in [("Inactive", false), ("Active", true)] {
        let update = UpdateServiceSpecificCredentialInput {
            user_name: Some("alice".into()),
            service_specific_credential_id: id.clone(),
            status: Some(status.into()),
        };
        world.iam.update_service_specific_credential(&root, update).await.unwrap();
        assert_eq!(opens(&renewed).await.is_some(), works);
    }
    let delete = DeleteServiceSpecificCredentialInput {
        user_name: Some("alice".into()),
        service_specific_credential_id: id,
    };
    world.iam.delete_service_specific_credential(&root, delete).await.unwrap();
    assert!(opens(&renewed).await.is_none());
    let list = ListServiceSpecificCredentialsInput {
        user_name: Some("alice".into()),
        ..ListServiceSpecificCredentialsInput::default()
    };
    let listed = world.iam.list_service_specific_credentials(&root, list).await.unwrap();
    assert_eq!(listed.service_specific_credentials.unwrap().len(), 0);
}

#[tokio::test]
async fn a_user_has_two_git_passwords_at_most() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("alice").await;
    let create = || CreateServiceSpecificCredentialInput {
        user_name: Some("alice".into()),
        service_name: Some(CODECOMMIT.into()),
        credential_age_days: None,
    };
    world.iam.create_service_specific_credential(&root, create()).await.unwrap();
    let second = world.iam.create_service_specific_credential(&root, create()).await.unwrap();
    let second = second.service_specific_credential.unwrap().service_user_name;
    assert_eq!(second.as_deref(), Some("alice+1-at-000000000000"));
    refused(
        world.iam.create_service_specific_credential(&root, create()).await,
        "LimitExceeded",
        "Cannot exceed quota for ServiceSpecificCredentialsPerUser: 2",
    );
    let other =
        CreateServiceSpecificCredentialInput { service_name: Some("s3.amazonaws.com".into()), ..create() };
    refused(
        world.iam.create_service_specific_credential(&root, other).await,
        "NotSupportedService",
        "s3.amazonaws",
    );
}

#[tokio::test]
async fn services_act_only_with_roles_that_trust_them() {
    let world = World::new().await;
    let role = world.role("build", &trust_service("codebuild.amazonaws.com")).await.unwrap();
    world.put_role("build", "read", ALLOW_READ).await.unwrap();
    let arn = role.arn.unwrap();
    let call = world.iam.service_call("codebuild.amazonaws.com", &arn, "build-1").await.unwrap();
    assert_eq!(call.caller.arn(), "arn:aws:sts::000000000000:assumed-role/build/build-1");
    assert!(may(&call, "codecommit:GetFile") && !may(&call, "codecommit:PutFile"));

    let other = world.iam.service_call("codedeploy.amazonaws.com", &arn, "s").await.map(|_| ());
    refused(
        other,
        "AccessDeniedException",
        "codedeploy.amazonaws.com is not authorized to perform: sts:AssumeRole",
    );
    let ghost =
        world.iam.service_call("codebuild.amazonaws.com", "arn:aws:iam::000000000000:role/ghost", "s").await;
    refused(ghost.map(|_| ()), "AccessDeniedException", "there is no such role in account 000000000000");
    let elsewhere =
        world.iam.service_call("codebuild.amazonaws.com", "arn:aws:iam::999999999999:role/build", "s");
    refused(elsewhere.await.map(|_| ()), "AccessDeniedException", "no such role");

    let handed =
        world.iam.service_credentials("codebuild.amazonaws.com", &arn, "build-1", 900).await.unwrap();
    let found =
        world.iam.credential(&handed.access_key_id, Some(&handed.session_token)).await.unwrap().unwrap();
    assert_eq!(found.secret_access_key, handed.secret_access_key);
    assert!(may(&world.call(found), "codecommit:GetFile"));
    world.clock.advance_seconds(900);
    let late = world.iam.credential(&handed.access_key_id, Some(&handed.session_token)).await;
    refused(late.map(|_| ()), "ExpiredToken", "expired");
}

#[tokio::test]
async fn last_use_is_known_at_once_and_written_at_the_end() {
    let world = World::new().await;
    world.user("alice").await;
    let key = world.key("alice").await;
    let root = world.root().await;
    let ask = async |world: &World| {
        let input = GetAccessKeyLastUsedInput { access_key_id: Some(key.id.clone()) };
        world.iam.get_access_key_last_used(&root, input).await.unwrap().access_key_last_used.unwrap()
    };
    let never = ask(&world).await;
    assert_eq!((never.last_used_date, never.service_name.as_deref()), (None, Some("N/A")));
    world.iam.note_use(&key.id, "codecommit", "eu-west-1", towpath_api::Clock::now(world.clock.as_ref()));
    assert_eq!(ask(&world).await.region.as_deref(), Some("eu-west-1"));

    let shutdown = towpath_durable::Shutdown::new();
    let running = tokio::spawn(world.iam.clone().run(shutdown.clone()));
    shutdown.trigger();
    running.await.unwrap();
    let world = world.restart().await;
    let kept = ask(&world).await;
    assert_eq!(kept.service_name.as_deref(), Some("codecommit"));
    assert!(kept.last_used_date.is_some());
}
