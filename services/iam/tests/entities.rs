//! Users, groups, roles and policies: their life, their quotas and their conflicts.

#![allow(clippy::unwrap_used)]

mod support;

use support::*;
use towpath_api_iam::*;

#[tokio::test]
async fn users_are_created_renamed_and_deleted() {
    let world = World::new().await;
    let root = world.root().await;
    let create = |name: &str| CreateUserInput {
        user_name: Some(name.into()),
        path: Some("/team/".into()),
        tags: Some(vec![Tag { key: Some("k".into()), value: Some("v".into()) }]),
        ..CreateUserInput::default()
    };
    let user = world.iam.create_user(&root, create("Alice")).await.unwrap().user.unwrap();
    assert_eq!(user.arn.as_deref(), Some("arn:aws:iam::000000000000:user/team/Alice"));
    assert!(user.user_id.as_deref().unwrap().starts_with("AIDA"));
    refused(
        world.iam.create_user(&root, create("aLICE")).await,
        "EntityAlreadyExists",
        "User with name aLICE already exists.",
    );

    let key = world.key("Alice").await;
    world.put_user("Alice", "read", ALLOW_READ).await.unwrap();
    world.group("g").await;
    world.join("Alice", "g").await;
    let rename = UpdateUserInput {
        user_name: Some("Alice".into()),
        new_user_name: Some("carol".into()),
        new_path: Some("/".into()),
    };
    world.iam.update_user(&root, rename).await.unwrap();
    let call = world.as_key(&key).await;
    assert_eq!(call.caller.arn(), "arn:aws:iam::000000000000:user/carol");
    assert!(may(&call, "codecommit:GetFile"));
    let gone = world.iam.get_user(&root, GetUserInput { user_name: Some("Alice".into()) }).await;
    refused(gone, "NoSuchEntity", "The user with name Alice cannot be found.");
    let group = GetGroupInput { group_name: Some("g".into()), ..GetGroupInput::default() };
    let members = world.iam.get_group(&root, group).await.unwrap().users.unwrap();
    assert_eq!(members[0].user_name.as_deref(), Some("carol"));
    assert_eq!(members[0].user_id, user.user_id);

    let delete = || DeleteUserInput { user_name: Some("carol".into()) };
    refused(world.iam.delete_user(&root, delete()).await, "DeleteConflict", "must delete access keys first.");
    let input = DeleteAccessKeyInput { user_name: Some("carol".into()), access_key_id: Some(key.id.clone()) };
    world.iam.delete_access_key(&root, input).await.unwrap();
    refused(world.iam.delete_user(&root, delete()).await, "DeleteConflict", "must delete policies first.");
    let input = DeleteUserPolicyInput { user_name: Some("carol".into()), policy_name: Some("read".into()) };
    world.iam.delete_user_policy(&root, input).await.unwrap();
    refused(
        world.iam.delete_user(&root, delete()).await,
        "DeleteConflict",
        "must remove users from group first.",
    );
    let input = RemoveUserFromGroupInput { user_name: Some("carol".into()), group_name: Some("g".into()) };
    world.iam.remove_user_from_group(&root, input).await.unwrap();
    world.iam.delete_user(&root, delete()).await.unwrap();
    refused(world.iam.delete_user(&root, delete()).await, "NoSuchEntity", "carol");
}

#[tokio::test]
async fn listings_go_by_path_and_marker() {
    let world = World::new().await;
    let root = world.root().await;
    for index in 0..7 {
        let path = if index % 2 == 0 { "/even/" } else { "/odd/" };
        let input = CreateUserInput {
            user_name: Some(format!("u{index}")),
            path: Some(path.into()),
            ..CreateUserInput::default()
        };
        world.iam.create_user(&root, input).await.unwrap();
    }
    let mut marker = None;
    let mut names = Vec::new();
    for _ in 0..10 {
        let input = ListUsersInput { path_prefix: Some("/even/".into()), marker, max_items: Some(3) };
        let page = world.iam.list_users(&root, input).await.unwrap();
        names.extend(page.users.unwrap().into_iter().filter_map(|user| user.user_name));
        assert_eq!(page.is_truncated, Some(page.marker.is_some()));
        marker = page.marker;
        if marker.is_none() {
            break;
        }
    }
    assert_eq!(names, ["u0", "u2", "u4", "u6"]);
}

#[tokio::test]
async fn managed_policies_have_five_versions_and_one_default() {
    let world = World::new().await;
    let root = world.root().await;
    let arn = world.policy("p", ALLOW_READ).await.unwrap();
    refused(world.policy("P", ALLOW_READ).await, "EntityAlreadyExists", "A policy called P already exists.");
    let add = |default| CreatePolicyVersionInput {
        policy_arn: Some(arn.clone()),
        policy_document: Some(document(ALLOW_ALL)),
        set_as_default: default,
    };
    for _ in 0..4 {
        world.iam.create_policy_version(&root, add(None)).await.unwrap();
    }
    refused(
        world.iam.create_policy_version(&root, add(Some(true))).await,
        "LimitExceeded",
        "up to 5 versions",
    );
    let list =
        ListPolicyVersionsInput { policy_arn: Some(arn.clone()), ..ListPolicyVersionsInput::default() };
    let versions = world.iam.list_policy_versions(&root, list).await.unwrap().versions.unwrap();
    let ids: Vec<_> = versions.iter().filter_map(|version| version.version_id.as_deref()).collect();
    assert_eq!(ids, ["v5", "v4", "v3", "v2", "v1"]);
    let version =
        |id: &str| DeletePolicyVersionInput { policy_arn: Some(arn.clone()), version_id: Some(id.into()) };
    refused(
        world.iam.delete_policy_version(&root, version("v1")).await,
        "DeleteConflict",
        "Cannot delete the default",
    );
    refused(
        world.iam.delete_policy_version(&root, version("v9")).await,
        "NoSuchEntity",
        "version v9 does not exist",
    );
    let delete = || DeletePolicyInput { policy_arn: Some(arn.clone()) };
    refused(world.iam.delete_policy(&root, delete()).await, "DeleteConflict", "more than one version");
    for id in ["v2", "v3", "v4", "v5"] {
        world.iam.delete_policy_version(&root, version(id)).await.unwrap();
    }
    let next = world.iam.create_policy_version(&root, add(None)).await.unwrap().policy_version.unwrap();
    assert_eq!(next.version_id.as_deref(), Some("v6"));
    world.iam.delete_policy_version(&root, version("v6")).await.unwrap();

    world.user("alice").await;
    world.attach_user("alice", &arn).await.unwrap();
    refused(
        world.iam.delete_policy(&root, delete()).await,
        "DeleteConflict",
        "Cannot delete a policy attached to entities.",
    );
    let detach = DetachUserPolicyInput { user_name: Some("alice".into()), policy_arn: Some(arn.clone()) };
    world.iam.detach_user_policy(&root, detach.clone()).await.unwrap();
    refused(world.iam.detach_user_policy(&root, detach).await, "NoSuchEntity", "was not found.");
    world.iam.delete_policy(&root, delete()).await.unwrap();
    let get = GetPolicyInput { policy_arn: Some(arn.clone()) };
    refused(world.iam.get_policy(&root, get).await, "NoSuchEntity", "was not found.");
    refused(world.attach_user("alice", &arn).await, "NoSuchEntity", "does not exist or is not attachable.");
    refused(world.attach_user("alice", "no-arn").await, "InvalidInput", "ARN no-arn is not valid.");
}

#[tokio::test]
async fn a_policy_knows_who_uses_it() {
    let world = World::new().await;
    let root = world.root().await;
    let arn = world.policy("p", ALLOW_READ).await.unwrap();
    world.user("alice").await;
    world.user("bob").await;
    world.role("r", &trust_aws("*")).await.unwrap();
    world.attach_user("alice", &arn).await.unwrap();
    world.attach_user("alice", &arn).await.unwrap();
    let bound = PutUserPermissionsBoundaryInput {
        user_name: Some("bob".into()),
        permissions_boundary: Some(arn.clone()),
    };
    world.iam.put_user_permissions_boundary(&root, bound).await.unwrap();
    let attach = AttachRolePolicyInput { role_name: Some("r".into()), policy_arn: Some(arn.clone()) };
    world.iam.attach_role_policy(&root, attach).await.unwrap();
    let policy = GetPolicyInput { policy_arn: Some(arn.clone()) };
    let policy = world.iam.get_policy(&root, policy).await.unwrap().policy.unwrap();
    assert_eq!((policy.attachment_count, policy.permissions_boundary_usage_count), (Some(2), Some(1)));
    let ask = |usage: Option<&str>| ListEntitiesForPolicyInput {
        policy_arn: Some(arn.clone()),
        policy_usage_filter: usage.map(str::to_owned),
        ..ListEntitiesForPolicyInput::default()
    };
    let all = world.iam.list_entities_for_policy(&root, ask(None)).await.unwrap();
    assert_eq!((all.policy_users.unwrap().len(), all.policy_roles.unwrap().len()), (2, 1));
    let bounded = world.iam.list_entities_for_policy(&root, ask(Some("PermissionsBoundary"))).await.unwrap();
    assert_eq!(bounded.policy_users.unwrap()[0].user_name.as_deref(), Some("bob"));
    // A user with a boundary can be deleted, and the policy is free again.
    world.iam.delete_user(&root, DeleteUserInput { user_name: Some("bob".into()) }).await.unwrap();
    let policy = GetPolicyInput { policy_arn: Some(arn.clone()) };
    let policy = world.iam.get_policy(&root, policy).await.unwrap().policy.unwrap();
    assert_eq!(policy.permissions_boundary_usage_count, Some(0));
}

#[tokio::test]
async fn aws_managed_policies_can_be_used_but_not_changed() {
    let world = World::new().await;
    let root = world.root().await;
    let arn = "arn:aws:iam::aws:policy/PowerUserAccess";
    world.user("alice").await;
    world.attach_user("alice", arn).await.unwrap();
    let key = world.key("alice").await;
    let call = world.as_key(&key).await;
    assert!(may(&call, "codecommit:PutFile") && !may(&call, "iam:CreateUser"));
    let policy = world.iam.get_policy(&root, GetPolicyInput { policy_arn: Some(arn.into()) }).await.unwrap();
    assert_eq!(policy.policy.unwrap().attachment_count, Some(1));
    let denied = world.iam.delete_policy(&root, DeletePolicyInput { policy_arn: Some(arn.into()) }).await;
    refused(denied, "AccessDeniedException", "is not authorized to perform: iam:DeletePolicy");
    let list = ListPoliciesInput { scope: Some("AWS".into()), ..ListPoliciesInput::default() };
    assert!(world.iam.list_policies(&root, list).await.unwrap().policies.unwrap().len() > 20);
    let attached = ListPoliciesInput { only_attached: Some(true), ..ListPoliciesInput::default() };
    assert_eq!(world.iam.list_policies(&root, attached).await.unwrap().policies.unwrap().len(), 1);
}

#[tokio::test]
async fn documents_come_back_encoded_and_bad_ones_change_nothing() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("alice").await;
    world.put_user("alice", "read", ALLOW_READ).await.unwrap();
    let bad = world.put_user("alice", "read", r#"{"Effect":"Allow","Action":"s3:Get"}"#).await;
    refused(bad, "MalformedPolicyDocument", "Policy statement must contain resources.");
    let get = GetUserPolicyInput { user_name: Some("alice".into()), policy_name: Some("read".into()) };
    let found = world.iam.get_user_policy(&root, get).await.unwrap().policy_document.unwrap();
    assert!(found.starts_with("%7B%22Version%22%3A%222012-10-17%22%2C"), "{found}");
    let role = world.role("r", &trust_service("codebuild.amazonaws.com")).await.unwrap();
    assert!(role.assume_role_policy_document.unwrap().contains("%22sts%3AAssumeRole%22"));
    let bad = UpdateAssumeRolePolicyInput {
        role_name: Some("r".into()),
        policy_document: Some(document(ALLOW_ALL)),
    };
    refused(world.iam.update_assume_role_policy(&root, bad).await, "MalformedPolicyDocument", "Principal");
    let missing = GetUserPolicyInput { user_name: Some("alice".into()), policy_name: Some("x".into()) };
    let missing = world.iam.get_user_policy(&root, missing).await;
    refused(missing, "NoSuchEntity", "The user policy with name x cannot be found.");
}

#[tokio::test]
async fn quotas_are_iams() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("alice").await;
    world.key("alice").await;
    world.key("alice").await;
    let third = CreateAccessKeyInput { user_name: Some("alice".into()) };
    refused(
        world.iam.create_access_key(&root, third).await,
        "LimitExceeded",
        "Cannot exceed quota for AccessKeysPerUser: 2",
    );
    for index in 0..10 {
        let arn = world.policy(&format!("p{index}"), ALLOW_READ).await.unwrap();
        world.attach_user("alice", &arn).await.unwrap();
        world.group(&format!("g{index}")).await;
        world.join("alice", &format!("g{index}")).await;
    }
    let arn = world.policy("p10", ALLOW_READ).await.unwrap();
    refused(
        world.attach_user("alice", &arn).await,
        "LimitExceeded",
        "Cannot exceed quota for PoliciesPerUser: 10",
    );
    world.group("g10").await;
    let join = AddUserToGroupInput { user_name: Some("alice".into()), group_name: Some("g10".into()) };
    refused(world.iam.add_user_to_group(&root, join).await, "LimitExceeded", "GroupsPerUser: 10");
    let long = format!(r#"{{"Sid":"{}","Effect":"Allow","Action":"*","Resource":"*"}}"#, "a".repeat(2048));
    refused(
        world.put_user("alice", "long", &long).await,
        "LimitExceeded",
        "Maximum policy size of 2048 bytes exceeded for user alice",
    );
    let long = format!(r#"{{"Sid":"{}","Effect":"Allow","Action":"*","Resource":"*"}}"#, "a".repeat(6144));
    refused(world.policy("long", &long).await, "LimitExceeded", "Cannot exceed quota for PolicySize: 6144");
}

#[tokio::test]
async fn tags_are_unique_without_case() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("alice").await;
    let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
    let put = |tags: Vec<Tag>| TagUserInput { user_name: Some("alice".into()), tags: Some(tags) };
    world.iam.tag_user(&root, put(vec![tag("Team", "a"), tag("x", "1")])).await.unwrap();
    world.iam.tag_user(&root, put(vec![tag("team", "b")])).await.unwrap();
    refused(
        world.iam.tag_user(&root, put(vec![tag("a", "1"), tag("A", "2")])).await,
        "InvalidInput",
        "Duplicate tag keys found.",
    );
    refused(world.iam.tag_user(&root, put(vec![tag("aws:x", "1")])).await, "InvalidInput", "aws: prefixed");
    let many: Vec<Tag> = (0..49).map(|index| tag(&format!("k{index}"), "v")).collect();
    refused(world.iam.tag_user(&root, put(many)).await, "LimitExceeded", "The number of tags");
    let untag = UntagUserInput { user_name: Some("alice".into()), tag_keys: Some(vec!["X".into()]) };
    world.iam.untag_user(&root, untag).await.unwrap();
    let list = ListUserTagsInput { user_name: Some("alice".into()), ..ListUserTagsInput::default() };
    assert_eq!(world.iam.list_user_tags(&root, list).await.unwrap().tags.unwrap(), [tag("team", "b")]);
}

/// The pattern of delegated administration: bob may make users only with the boundary that he is told.
#[tokio::test]
async fn a_boundary_can_be_demanded_of_new_users() {
    let world = World::new().await;
    let boundary = world.policy("limit", ALLOW_READ).await.unwrap();
    world.user("bob").await;
    let statement = format!(
        r#"{{"Effect":"Allow","Action":"iam:CreateUser","Resource":"arn:aws:iam::*:user/dev/*",
            "Condition":{{"StringEquals":{{"iam:PermissionsBoundary":"{boundary}"}}}}}}"#
    );
    world.put_user("bob", "delegate", &statement).await.unwrap();
    let key = world.key("bob").await;
    let bob = world.as_key(&key).await;
    let ask = |name: &str, path: &str, boundary: Option<&str>| CreateUserInput {
        user_name: Some(name.into()),
        path: Some(path.into()),
        permissions_boundary: boundary.map(str::to_owned),
        tags: None,
    };
    let free = world.iam.create_user(&bob, ask("a", "/dev/", None)).await;
    refused(free, "AccessDeniedException", "iam:CreateUser");
    let elsewhere = world.iam.create_user(&bob, ask("a", "/ops/", Some(&boundary))).await;
    refused(elsewhere, "AccessDeniedException", "iam:CreateUser");
    let made = world.iam.create_user(&bob, ask("a", "/dev/", Some(&boundary))).await.unwrap().user.unwrap();
    assert_eq!(
        made.permissions_boundary.unwrap().permissions_boundary_arn.as_deref(),
        Some(boundary.as_str())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tags_that_are_given_at_once_are_all_there() {
    let world = World::new().await;
    let root = world.root().await;
    world.user("shared").await;
    let mut tasks = Vec::new();
    for number in 0..24 {
        let (iam, root) = (world.iam.clone(), root.clone());
        tasks.push(tokio::spawn(async move {
            let tag = |key: &str| Some(vec![Tag { key: Some(key.into()), value: Some("v".into()) }]);
            let name = format!("own-{number}");
            let create = CreateUserInput { user_name: Some(name.clone()), ..CreateUserInput::default() };
            iam.create_user(&root, create).await.unwrap();
            for (user, key) in [("shared", name.as_str()), (name.as_str(), "k")] {
                iam.tag_user(&root, TagUserInput { user_name: Some(user.into()), tags: tag(key) })
                    .await
                    .unwrap();
            }
            if number % 2 == 0 {
                iam.delete_user(&root, DeleteUserInput { user_name: Some(name) }).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let input = ListUserTagsInput { user_name: Some("shared".into()), ..ListUserTagsInput::default() };
    let tags = world.iam.list_user_tags(&root, input).await.unwrap().tags.unwrap();
    let mut keys: Vec<String> = tags.into_iter().map(|tag| tag.key.unwrap()).collect();
    keys.sort();
    let mut wanted: Vec<String> = (0..24).map(|number| format!("own-{number}")).collect();
    wanted.sort();
    assert_eq!(keys, wanted);
}
