//! Two nodes over one database: what one does holds on the other at once, and neither breaks a rule that
//! the other just made narrower.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use support::*;
use tempfile::TempDir;
use towpath_api::Identity;
use towpath_api_iam::*;
use towpath_api_sts::{GetSessionTokenInput, Sts as _};
use towpath_iam::{ClusterError, ClusterKey, Config, IdentityService};
use towpath_store::Store;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn config(folder: &TempDir, region: &str) -> Config {
    Config {
        account: ACCOUNT.into(),
        region: region.into(),
        root: None,
        data_dir: folder.path().join("secrets"),
    }
}

async fn join(store: &Store, key: &str, region: &str) -> Result<Arc<IdentityService>, ClusterError> {
    let folder = tempfile::tempdir().unwrap();
    let key: ClusterKey = key.parse()?;
    IdentityService::join(config(&folder, region), &key, store.clone()).await
}

/// The same world as two nodes see it.
async fn two() -> (World, World) {
    let World { folder, clock, store, .. } = World::new().await;
    let a = join(&store, KEY, "us-east-1").await.unwrap();
    let b = join(&store, KEY, "us-east-1").await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let first = World { folder, clock: clock.clone(), store: store.clone(), iam: a };
    (first, World { folder: other, clock, store, iam: b })
}

#[tokio::test]
async fn what_one_node_does_holds_on_the_other_in_the_next_request() {
    let (a, b) = two().await;
    let root = a.iam.root_credentials();
    assert_eq!(root.access_key_id, b.iam.root_credentials().access_key_id);
    assert_eq!(root.secret_access_key, b.iam.root_credentials().secret_access_key);
    a.user("alice").await;
    let key = a.key("alice").await;
    let on_b = b.iam.credential(&key.id, None).await.unwrap().unwrap();
    assert_eq!(on_b.secret_access_key, key.secret);
    for _ in 0..3 {
        a.put_user("alice", "read", ALLOW_READ).await.unwrap();
        assert!(may(&b.as_key(&key).await, "codecommit:GetFile"));
        let input =
            DeleteUserPolicyInput { user_name: Some("alice".into()), policy_name: Some("read".into()) };
        b.iam.delete_user_policy(&b.root().await, input).await.unwrap();
        assert!(!may(&a.as_key(&key).await, "codecommit:GetFile"));
    }
    let input = DeleteAccessKeyInput { user_name: Some("alice".into()), access_key_id: Some(key.id.clone()) };
    a.iam.delete_access_key(&a.root().await, input).await.unwrap();
    assert!(b.iam.credential(&key.id, None).await.unwrap().is_none());
}

#[tokio::test]
async fn a_limit_holds_for_both_together() {
    let (a, b) = two().await;
    a.user("alice").await;
    let (a, b) = (Arc::new(a), Arc::new(b));
    let attempts = (0..8).map(|number| {
        let world = if number % 2 == 0 { a.clone() } else { b.clone() };
        tokio::spawn(async move {
            let input = CreateAccessKeyInput { user_name: Some("alice".into()) };
            world.iam.create_access_key(&world.root().await, input).await.map(|_| ())
        })
    });
    let mut made = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(()) => made += 1,
            Err(error) => assert_eq!(error.code, "LimitExceeded", "{error}"),
        }
    }
    assert_eq!(made, 2);
}

#[tokio::test]
async fn a_node_that_does_not_belong_is_refused() {
    let world = World::new().await;
    join(&world.store, KEY, "us-east-1").await.unwrap();
    let other = KEY.replace("00", "01");
    assert!(matches!(join(&world.store, &other, "us-east-1").await, Err(ClusterError::OtherKey)));
    let elsewhere = join(&world.store, KEY, "eu-west-1").await.err().unwrap().to_string();
    assert!(elsewhere.contains("eu-west-1") && elsewhere.contains("us-east-1"), "{elsewhere}");
    let many = [KEY; 9].join(",");
    for wrong in ["", ",", "0011", &format!("{KEY},0011"), &many, &KEY.replace('0', "x")] {
        assert!(matches!(wrong.parse::<ClusterKey>(), Err(ClusterError::Malformed)));
    }
}

#[tokio::test]
async fn given_root_credentials_become_the_clusters() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let given = Some(("AKIAGIVENGIVENGIVEN0".to_owned(), "s".repeat(40)));
    let with = Config { root: given, ..config(&folder, "us-east-1") };
    IdentityService::join(with, &KEY.parse().unwrap(), world.store.clone()).await.unwrap();
    assert!(!folder.path().join("secrets").exists(), "what the environment gives is not written down");
    let later = join(&world.store, KEY, "us-east-1").await.unwrap();
    assert_eq!(later.root_credentials().access_key_id, "AKIAGIVENGIVENGIVEN0");
}

/// A user's login for git.
async fn git_login(world: &World, user: &str) -> (String, String) {
    let input = CreateServiceSpecificCredentialInput {
        user_name: Some(user.into()),
        service_name: Some("codecommit.amazonaws.com".into()),
        ..Default::default()
    };
    let made = world.iam.create_service_specific_credential(&world.root().await, input).await.unwrap();
    let made = made.service_specific_credential.unwrap();
    (made.service_user_name.unwrap(), made.service_password.unwrap())
}

async fn opens(world: &World, login: &str, password: &str) -> bool {
    world.iam.service_specific("codecommit.amazonaws.com", login, password).await.unwrap().is_some()
}

/// Temporary credentials of a user: id, secret, token.
async fn session(world: &World, key: &Key) -> [String; 3] {
    let call = world.as_key(key).await;
    let made = world.iam.get_session_token(&call, GetSessionTokenInput::default()).await.unwrap();
    let made = made.credentials.unwrap();
    [made.access_key_id, made.secret_access_key, made.session_token].map(Option::unwrap)
}

#[tokio::test]
async fn the_cluster_key_is_followed_by_another() {
    let World { folder, clock, store, .. } = World::new().await;
    let new_key = KEY.replace("00", "77");
    let (old_first, new_first) = (format!("{KEY},{new_key}"), format!("{new_key}, {KEY}\n"));
    let world =
        |iam| World { folder: tempfile::tempdir().unwrap(), clock: clock.clone(), store: store.clone(), iam };
    let before = world(join(&store, KEY, "us-east-1").await.unwrap());
    let root = before.iam.root_credentials().clone();
    before.user("alice").await;
    let key = before.key("alice").await;
    before.put_user("alice", "read", ALLOW_READ).await.unwrap();
    let (login, password) = git_login(&before, "alice").await;
    let session = session(&before, &key).await;

    // Every node opens what the new key seals before one seals with it.
    let both = world(join(&store, &old_first, "us-east-1").await.unwrap());
    let first = world(join(&store, &new_first, "us-east-1").await.unwrap());
    first.user("bob").await;
    let bobs = first.key("bob").await;
    let bobs_session = self::session(&first, &bobs).await;
    for node in [&both, &first] {
        for (key, secret) in [(&key, &key.secret), (&bobs, &bobs.secret)] {
            assert_eq!(node.iam.credential(&key.id, None).await.unwrap().unwrap().secret_access_key, *secret);
        }
        assert!(opens(node, &login, &password).await);
        for [id, secret, token] in [&session, &bobs_session] {
            let found = node.iam.credential(id, Some(token)).await;
            assert_eq!(found.unwrap().unwrap().secret_access_key, *secret);
        }
    }
    // An access key that the last node with the old key first makes is not lost.
    let late = both.key("bob").await;
    assert!(
        matches!(join(&store, &new_key, "us-east-1").await, Err(ClusterError::Unopened(id)) if id == late.id)
    );
    join(&store, &new_first, "us-east-1").await.unwrap();

    let after = world(join(&store, &new_key, "us-east-1").await.unwrap());
    assert!(after.iam.root_credentials().secret_access_key == root.secret_access_key);
    for key in [&key, &bobs, &late] {
        assert_eq!(after.iam.credential(&key.id, None).await.unwrap().unwrap().secret_access_key, key.secret);
    }
    assert!(opens(&after, &login, &password).await, "passwords outlive the key that they were made under");
    assert!(!opens(&after, &login, "another").await);
    let old = after.iam.credential(&session[0], Some(&session[2])).await;
    assert_eq!(old.err().unwrap().code, "InvalidClientTokenId");
    let of_new = after.iam.credential(&bobs_session[0], Some(&bobs_session[2])).await;
    assert!(of_new.unwrap().is_some());
    assert!(
        matches!(join(&store, KEY, "us-east-1").await, Err(ClusterError::OtherKey)),
        "the old one opens nothing"
    );
    drop(folder);
}
