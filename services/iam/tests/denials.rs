//! Every operation refuses a user without policies, and changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::*;
use towpath_api::{Dispatch, Node};
use towpath_store::{Document, Order, Store};

fn node(value: Value) -> Node {
    match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Bool(value),
        Value::Number(value) => Node::Int(value.as_i64().unwrap()),
        Value::String(value) => Node::Str(value),
        Value::Array(items) => Node::List(items.into_iter().map(node).collect()),
        Value::Object(entries) => {
            Node::Map(entries.into_iter().map(|(key, value)| (key.into(), node(value))).collect())
        }
    }
}

macro_rules! raw {
    ($($name:ident = $kind:literal),*) => {
        $(#[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        struct $name(Value);

        impl Document for $name {
            const KIND: &'static str = $kind;

            fn key(&self) -> String {
                self.0.to_string()
            }
        })*

        /// Everything that the service stored.
        async fn snapshot(store: &Store) -> Vec<String> {
            let mut all = Vec::new();
            $(for item in store.list::<$name>("", None, 10_000, Order::Ascending).await.unwrap().items {
                all.push(format!("{} {}", $kind, item.0));
            })*
            all
        }
    };
}

raw!(
    Users = "iam/user",
    Groups = "iam/group",
    Roles = "iam/role",
    Ids = "iam/id",
    Keys = "iam/access-key",
    Credentials = "iam/service-credential",
    Policies = "iam/policy",
    Attachments = "iam/attachment",
    LastUses = "iam/last-use"
);

const POLICY: &str = "arn:aws:iam::000000000000:policy/p";
const OTHER: &str = "arn:aws:iam::aws:policy/ReadOnlyAccess";

type Table = BTreeMap<&'static str, Value>;

fn with(base: &Value, more: Value) -> Value {
    let mut merged = base.as_object().unwrap().clone();
    merged.extend(more.as_object().unwrap().clone());
    Value::Object(merged)
}

fn bob() -> Value {
    json!({"UserName": "bob"})
}

/// One input for each operation, all of which would succeed for who may do them.
fn inputs(key: &str, credential: &str) -> Table {
    let mut table = entities();
    table.extend(policies());
    table.extend(credentials(key, credential));
    table.extend(held());
    table
}

fn entities() -> Table {
    let trust = trust_service("codebuild.amazonaws.com");
    let tags = json!([{"Key": "k", "Value": "v"}]);
    let (user, group, role) = (bob(), json!({"GroupName": "g"}), json!({"RoleName": "r"}));
    BTreeMap::from([
        ("CreateUser", json!({"UserName": "new"})),
        ("GetUser", user.clone()),
        ("ListUsers", json!({})),
        ("UpdateUser", with(&user, json!({"NewUserName": "new"}))),
        ("DeleteUser", json!({"UserName": "idle"})),
        ("CreateGroup", json!({"GroupName": "new"})),
        ("GetGroup", group.clone()),
        ("ListGroups", json!({})),
        ("UpdateGroup", with(&group, json!({"NewGroupName": "new"}))),
        ("DeleteGroup", group.clone()),
        ("AddUserToGroup", with(&group, user.clone())),
        ("RemoveUserFromGroup", json!({"GroupName": "members", "UserName": "bob"})),
        ("ListGroupsForUser", user.clone()),
        ("CreateRole", json!({"RoleName": "new", "AssumeRolePolicyDocument": trust})),
        ("GetRole", role.clone()),
        ("ListRoles", json!({})),
        ("UpdateRole", with(&role, json!({"Description": "new"}))),
        ("UpdateRoleDescription", with(&role, json!({"Description": "new"}))),
        ("UpdateAssumeRolePolicy", with(&role, json!({"PolicyDocument": trust}))),
        ("DeleteRole", json!({"RoleName": "bare"})),
        ("PutUserPermissionsBoundary", with(&user, json!({"PermissionsBoundary": OTHER}))),
        ("DeleteUserPermissionsBoundary", user.clone()),
        ("PutRolePermissionsBoundary", with(&role, json!({"PermissionsBoundary": OTHER}))),
        ("DeleteRolePermissionsBoundary", role.clone()),
        ("TagUser", with(&user, json!({"Tags": tags}))),
        ("UntagUser", with(&user, json!({"TagKeys": ["t"]}))),
        ("ListUserTags", user.clone()),
        ("TagRole", with(&role, json!({"Tags": tags}))),
        ("UntagRole", with(&role, json!({"TagKeys": ["t"]}))),
        ("ListRoleTags", role.clone()),
    ])
}

fn policies() -> Table {
    let (policy, document) = (json!({"PolicyArn": POLICY}), document(ALLOW_READ));
    let tags = json!([{"Key": "k", "Value": "v"}]);
    BTreeMap::from([
        ("CreatePolicy", json!({"PolicyName": "new", "PolicyDocument": document})),
        ("GetPolicy", policy.clone()),
        ("ListPolicies", json!({})),
        ("DeletePolicy", json!({"PolicyArn": "arn:aws:iam::000000000000:policy/unused"})),
        ("CreatePolicyVersion", with(&policy, json!({"PolicyDocument": document}))),
        ("GetPolicyVersion", with(&policy, json!({"VersionId": "v1"}))),
        ("ListPolicyVersions", policy.clone()),
        ("SetDefaultPolicyVersion", with(&policy, json!({"VersionId": "v2"}))),
        ("DeletePolicyVersion", with(&policy, json!({"VersionId": "v2"}))),
        ("ListEntitiesForPolicy", policy.clone()),
        ("TagPolicy", with(&policy, json!({"Tags": tags}))),
        ("UntagPolicy", with(&policy, json!({"TagKeys": ["t"]}))),
        ("ListPolicyTags", policy.clone()),
    ])
}

fn credentials(key: &str, credential: &str) -> Table {
    let user = bob();
    let access_key = with(&user, json!({"AccessKeyId": key}));
    let specific = with(&user, json!({"ServiceSpecificCredentialId": credential}));
    BTreeMap::from([
        ("CreateAccessKey", user.clone()),
        ("ListAccessKeys", user.clone()),
        ("UpdateAccessKey", with(&access_key, json!({"Status": "Inactive"}))),
        ("DeleteAccessKey", access_key),
        ("GetAccessKeyLastUsed", json!({"AccessKeyId": key})),
        ("CreateServiceSpecificCredential", with(&user, json!({"ServiceName": "codecommit.amazonaws.com"}))),
        ("ListServiceSpecificCredentials", user.clone()),
        ("UpdateServiceSpecificCredential", with(&specific, json!({"Status": "Inactive"}))),
        ("ResetServiceSpecificCredential", specific.clone()),
        ("DeleteServiceSpecificCredential", specific),
        ("AssumeRole", json!({"RoleArn": "arn:aws:iam::000000000000:role/r", "RoleSessionName": "session"})),
        ("GetAccessKeyInfo", json!({"AccessKeyId": key})),
    ])
}

/// Attached and inline policies.
fn held() -> Table {
    let document = document(ALLOW_READ);
    let (user, group, role) = (bob(), json!({"GroupName": "g"}), json!({"RoleName": "r"}));
    let mut table = Table::new();
    let kinds = [
        (
            &user,
            [
                "AttachUserPolicy",
                "DetachUserPolicy",
                "ListAttachedUserPolicies",
                "PutUserPolicy",
                "GetUserPolicy",
                "ListUserPolicies",
                "DeleteUserPolicy",
            ],
        ),
        (
            &group,
            [
                "AttachGroupPolicy",
                "DetachGroupPolicy",
                "ListAttachedGroupPolicies",
                "PutGroupPolicy",
                "GetGroupPolicy",
                "ListGroupPolicies",
                "DeleteGroupPolicy",
            ],
        ),
        (
            &role,
            [
                "AttachRolePolicy",
                "DetachRolePolicy",
                "ListAttachedRolePolicies",
                "PutRolePolicy",
                "GetRolePolicy",
                "ListRolePolicies",
                "DeleteRolePolicy",
            ],
        ),
    ];
    for (base, [attach, detach, attached, put, get, list, delete]) in kinds {
        table.insert(attach, with(base, json!({"PolicyArn": OTHER})));
        table.insert(detach, with(base, json!({"PolicyArn": POLICY})));
        table.insert(attached, base.clone());
        table.insert(put, with(base, json!({"PolicyName": "inline", "PolicyDocument": document})));
        table.insert(get, with(base, json!({"PolicyName": "inline"})));
        table.insert(list, base.clone());
        table.insert(delete, with(base, json!({"PolicyName": "inline"})));
    }
    table
}

/// Who may do everything makes one of each thing, by the very table that is denied afterwards.
async fn furnish(world: &World, iam: &dyn Dispatch) -> (String, String) {
    let root = world.root().await;
    for (operation, input) in [
        ("CreateUser", json!({"UserName": "bob", "Tags": [{"Key": "t", "Value": "1"}]})),
        ("CreateUser", json!({"UserName": "idle"})),
        ("CreateUser", json!({"UserName": "mallory"})),
        ("CreateGroup", json!({"GroupName": "g"})),
        ("CreateGroup", json!({"GroupName": "members"})),
        ("AddUserToGroup", json!({"GroupName": "members", "UserName": "bob"})),
        ("CreateRole", json!({"RoleName": "r", "AssumeRolePolicyDocument": trust_aws(ACCOUNT)})),
        ("CreateRole", json!({"RoleName": "bare", "AssumeRolePolicyDocument": trust_aws(ACCOUNT)})),
        ("CreatePolicy", json!({"PolicyName": "p", "PolicyDocument": document(ALLOW_ALL)})),
        ("CreatePolicy", json!({"PolicyName": "unused", "PolicyDocument": document(ALLOW_ALL)})),
        (
            "CreatePolicyVersion",
            json!({"PolicyArn": "arn:aws:iam::000000000000:policy/p", "PolicyDocument": document(ALLOW_READ)}),
        ),
    ] {
        iam.dispatch(&root, operation, node(input)).await.unwrap();
    }
    let policy = json!("arn:aws:iam::000000000000:policy/p");
    for (kind, name) in [("User", "bob"), ("Group", "g"), ("Role", "r")] {
        let of = |more: Value| {
            let mut input = more.as_object().unwrap().clone();
            input.insert(format!("{kind}Name"), json!(name));
            node(Value::Object(input))
        };
        iam.dispatch(&root, &format!("Attach{kind}Policy"), of(json!({"PolicyArn": policy}))).await.unwrap();
        let inline = json!({"PolicyName": "inline", "PolicyDocument": document(ALLOW_READ)});
        iam.dispatch(&root, &format!("Put{kind}Policy"), of(inline)).await.unwrap();
        if kind != "Group" {
            let operation = format!("Put{kind}PermissionsBoundary");
            iam.dispatch(&root, &operation, of(json!({"PermissionsBoundary": policy}))).await.unwrap();
        }
    }
    let key = world.key("bob").await.id;
    let input = node(json!({"UserName": "bob", "ServiceName": "codecommit.amazonaws.com"}));
    let made = iam.dispatch(&root, "CreateServiceSpecificCredential", input).await.unwrap();
    let credential = made.get("ServiceSpecificCredential").unwrap();
    (key, credential.get("ServiceSpecificCredentialId").unwrap().as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_user_without_policies_is_denied_every_operation() {
    let world = World::new().await;
    let iam = towpath_api_iam::Server(world.iam.clone());
    let sts = towpath_api_sts::Server(world.iam.clone());
    let (key, credential) = furnish(&world, &iam).await;
    let mallory = world.key("mallory").await;
    let mut table = inputs(&key, &credential);
    let before = snapshot(&world.store).await;
    assert!(before.len() > 20, "{before:#?}");

    // AWS lets every principal ask who it is and make a session of itself.
    let open = ["GetCallerIdentity", "GetSessionToken"];
    let services: [&dyn Dispatch; 2] = [&iam, &sts];
    for service in services {
        for operation in service.model().operations {
            if open.contains(&operation.name) {
                continue;
            }
            let input =
                table.remove(operation.name).unwrap_or_else(|| panic!("{} has no case", operation.name));
            let call = world.as_key(&mallory).await;
            let error = service.dispatch(&call, operation.name, node(input)).await.expect_err(operation.name);
            assert_eq!(error.code, "AccessDeniedException", "{}: {error}", operation.name);
            let sentence = format!(
                "User: arn:aws:iam::{ACCOUNT}:user/mallory is not authorized to perform: {}:{}",
                service.model().name,
                operation.name
            );
            assert!(error.message.starts_with(&sentence), "{error}");
        }
    }
    assert!(table.is_empty(), "cases without an operation: {:?}", table.keys());
    assert_eq!(snapshot(&world.store).await, before, "a denied operation changed something");
}

#[tokio::test]
async fn the_same_inputs_succeed_for_who_may_do_them() {
    let world = World::new().await;
    let iam = towpath_api_iam::Server(world.iam.clone());
    let (key, credential) = furnish(&world, &iam).await;
    world.attach_user("mallory", "arn:aws:iam::aws:policy/AdministratorAccess").await.unwrap();
    let mallory = world.key("mallory").await;
    // Each on its own account state would need a world per case; reading ones suffice as a control.
    for (operation, input) in inputs(&key, &credential) {
        if ["Get", "List"].iter().any(|prefix| operation.starts_with(prefix))
            && operation != "GetAccessKeyInfo"
        {
            let call = world.as_key(&mallory).await;
            iam.dispatch(&call, operation, node(input))
                .await
                .unwrap_or_else(|error| panic!("{operation}: {error}"));
        }
    }
}

#[tokio::test]
async fn denial_does_not_tell_what_exists() {
    let world = World::new().await;
    world.user("mallory").await;
    world.user("bob").await;
    let key = world.key("mallory").await;
    let iam = towpath_api_iam::Server(world.iam.clone());
    let mut sentences = Vec::new();
    for name in ["bob", "ghost"] {
        let call = world.as_key(&key).await;
        let error = iam.dispatch(&call, "GetUser", node(json!({"UserName": name}))).await.unwrap_err();
        sentences.push(error.message.replace(name, "NAME"));
    }
    assert_eq!(sentences[0], sentences[1]);
}
