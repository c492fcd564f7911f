//! An account in a temporary folder, with a clock that a test moves.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;
use towpath_api::{ApiError, Call, Clock, Credential, Identity, Timestamp, id};
use towpath_api_iam::*;
use towpath_iam::{Config, IdentityService};
use towpath_store::{Options, Store};

pub const ACCOUNT: &str = "000000000000";

pub struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl TestClock {
    pub fn advance_seconds(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

pub struct World {
    pub folder: TempDir,
    pub clock: Arc<TestClock>,
    pub store: Store,
    pub iam: Arc<IdentityService>,
}

pub struct Key {
    pub id: String,
    pub secret: String,
}

impl World {
    pub async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(1_795_169_472_000)));
        let (store, iam) = open(&folder, clock.clone()).await;
        World { folder, clock, store, iam }
    }

    /// Ends the service and starts it again on the same folder.
    pub async fn restart(self) -> World {
        let World { folder, clock, store, iam } = self;
        drop(iam);
        store.close().await;
        drop(store);
        let (store, iam) = open(&folder, clock.clone()).await;
        World { folder, clock, store, iam }
    }

    pub fn call(&self, credential: Credential) -> Call {
        Call {
            request_id: id::uuid(),
            account: ACCOUNT.into(),
            region: "us-east-1".into(),
            at: self.clock.now(),
            caller: credential.caller,
            source_ip: Some("127.0.0.1".parse().unwrap()),
            secure: false,
            gate: credential.gate,
        }
    }

    pub async fn root(&self) -> Call {
        let id = self.iam.root_credentials().access_key_id.clone();
        self.call(self.iam.credential(&id, None).await.unwrap().unwrap())
    }

    /// Authenticates with a key, as each request does.
    pub async fn as_key(&self, key: &Key) -> Call {
        self.call(self.iam.credential(&key.id, None).await.unwrap().expect("an active key"))
    }

    pub async fn user(&self, name: &str) -> User {
        let input = CreateUserInput { user_name: Some(name.into()), ..CreateUserInput::default() };
        self.iam.create_user(&self.root().await, input).await.unwrap().user.unwrap()
    }

    pub async fn key(&self, user: &str) -> Key {
        let input = CreateAccessKeyInput { user_name: Some(user.into()) };
        let key = self.iam.create_access_key(&self.root().await, input).await.unwrap().access_key.unwrap();
        Key { id: key.access_key_id.unwrap(), secret: key.secret_access_key.unwrap() }
    }

    pub async fn group(&self, name: &str) {
        let input = CreateGroupInput { group_name: Some(name.into()), path: None };
        self.iam.create_group(&self.root().await, input).await.unwrap();
    }

    pub async fn join(&self, user: &str, group: &str) {
        let input = AddUserToGroupInput { user_name: Some(user.into()), group_name: Some(group.into()) };
        self.iam.add_user_to_group(&self.root().await, input).await.unwrap();
    }

    pub async fn role(&self, name: &str, trust: &str) -> Result<Role, ApiError> {
        let input = CreateRoleInput {
            role_name: Some(name.into()),
            assume_role_policy_document: Some(trust.into()),
            ..CreateRoleInput::default()
        };
        Ok(self.iam.create_role(&self.root().await, input).await?.role.unwrap())
    }

    pub async fn policy(&self, name: &str, statement: &str) -> Result<String, ApiError> {
        let input = CreatePolicyInput {
            policy_name: Some(name.into()),
            policy_document: Some(document(statement)),
            ..CreatePolicyInput::default()
        };
        Ok(self.iam.create_policy(&self.root().await, input).await?.policy.unwrap().arn.unwrap())
    }

    pub async fn attach_user(&self, user: &str, arn: &str) -> Result<(), ApiError> {
        let input = AttachUserPolicyInput { user_name: Some(user.into()), policy_arn: Some(arn.into()) };
        self.iam.attach_user_policy(&self.root().await, input).await.map(|_| ())
    }

    pub async fn put_user(&self, user: &str, policy: &str, statement: &str) -> Result<(), ApiError> {
        let input = PutUserPolicyInput {
            user_name: Some(user.into()),
            policy_name: Some(policy.into()),
            policy_document: Some(document(statement)),
        };
        self.iam.put_user_policy(&self.root().await, input).await.map(|_| ())
    }

    pub async fn put_role(&self, role: &str, policy: &str, statement: &str) -> Result<(), ApiError> {
        let input = PutRolePolicyInput {
            role_name: Some(role.into()),
            policy_name: Some(policy.into()),
            policy_document: Some(document(statement)),
        };
        self.iam.put_role_policy(&self.root().await, input).await.map(|_| ())
    }
}

async fn open(folder: &TempDir, clock: Arc<TestClock>) -> (Store, Arc<IdentityService>) {
    let store = Store::open(Options::new(folder.path().join("store")).with_clock(clock)).await.unwrap();
    let config = Config {
        account: ACCOUNT.into(),
        region: "us-east-1".into(),
        root: None,
        data_dir: folder.path().join("secrets"),
    };
    let iam = IdentityService::open(config, store.clone()).unwrap();
    (store, iam)
}

pub fn document(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
}

pub fn trust_service(service: &str) -> String {
    document(&format!(
        r#"{{"Effect":"Allow","Principal":{{"Service":"{service}"}},"Action":"sts:AssumeRole"}}"#
    ))
}

pub fn trust_aws(principal: &str) -> String {
    document(&format!(
        r#"{{"Effect":"Allow","Principal":{{"AWS":"{principal}"}},"Action":"sts:AssumeRole"}}"#
    ))
}

pub const ALLOW_ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
pub const ALLOW_READ: &str = r#"{"Effect":"Allow","Action":"codecommit:Get*","Resource":"*"}"#;
pub const REPOSITORY: &str = "arn:aws:codecommit:us-east-1:000000000000:web";

pub fn may(call: &Call, action: &str) -> bool {
    call.authorize(action, REPOSITORY, &[]).is_ok()
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, ApiError>, code: &str, text: &str) {
    let error = outcome.expect_err("refused");
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(text), "{error}");
}
