//! The other sides: a clock, policies, identities and objects.

use super::support::ACCOUNT;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use towpath_api::*;

/// The machine's clock, ahead by as much as a test says.
#[derive(Default)]
pub struct MovableClock(AtomicI64);

impl MovableClock {
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, SeqCst);
    }
}

impl Clock for MovableClock {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(SeqCst))
    }
}

/// Allows everything except the listed actions, and remembers what was asked.
#[derive(Default)]
pub struct FakeGate {
    pub denied: BTreeSet<String>,
    pub deny_all: bool,
    pub asked: Mutex<Vec<(String, String)>>,
}

impl Gate for FakeGate {
    fn check(&self, request: &AuthzRequest, _: &Call) -> Result<(), String> {
        self.asked.lock().unwrap().push((request.action.to_owned(), request.resource.to_owned()));
        if self.deny_all || self.denied.contains(request.action) {
            return Err(format!("no identity-based policy allows the {} action", request.action));
        }
        Ok(())
    }
}

pub fn call_as(caller: Caller, gate: Arc<FakeGate>) -> Call {
    Call {
        request_id: id::uuid(),
        account: ACCOUNT.into(),
        region: "us-east-1".into(),
        at: SystemClock.now(),
        caller,
        source_ip: None,
        secure: false,
        gate,
    }
}

pub fn admin() -> Call {
    call_as(Caller::Root { account: ACCOUNT.into() }, Arc::default())
}

pub fn user_arn(host: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/{host}")
}

/// The call of a host's agent. It has no policy that allows anything: the registration is its grant.
pub fn agent_call(host: &str) -> Call {
    let caller = Caller::User { arn: user_arn(host), name: host.into(), id: "AIDAEXAMPLE".into() };
    call_as(caller, Arc::new(FakeGate { deny_all: true, ..FakeGate::default() }))
}

#[derive(Default)]
pub struct FakeIdentity {
    pub missing: Mutex<bool>,
}

#[async_trait]
impl Identity for FakeIdentity {
    async fn credential(&self, _: &str, _: Option<&str>) -> Result<Option<Credential>, ApiError> {
        Ok(None)
    }

    async fn service_specific(&self, _: &str, _: &str, _: &str) -> Result<Option<Credential>, ApiError> {
        Ok(None)
    }

    async fn service_call(&self, service: &str, role_arn: &str, session: &str) -> Result<Call, ApiError> {
        assert_eq!(service, "codedeploy.amazonaws.com");
        if *self.missing.lock().unwrap() {
            return Err(ApiError::client("NoSuchEntity", format!("The role {role_arn} cannot be found.")));
        }
        let caller = Caller::Session {
            arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/CodeDeploy/{session}"),
            role_arn: role_arn.into(),
            role_id: "AROAEXAMPLE".into(),
            session_name: session.into(),
        };
        Ok(call_as(caller, Arc::default()))
    }

    async fn service_credentials(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: u32,
    ) -> Result<SessionCredentials, ApiError> {
        Err(ApiError::not_implemented("credentials in this test"))
    }
}

/// Objects by bucket and key, without versions.
#[derive(Default)]
pub struct FakeObjects {
    pub content: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub denied: Mutex<bool>,
}

impl FakeObjects {
    pub fn put(&self, key: &str, content: Vec<u8>) {
        self.content.lock().unwrap().insert(("bucket".into(), key.into()), content);
    }

    fn find(&self, bucket: &str, key: &str) -> Result<(ObjectInfo, Vec<u8>), ApiError> {
        if *self.denied.lock().unwrap() {
            return Err(ApiError::client("AccessDenied", "Access Denied").with_status(403));
        }
        let all = self.content.lock().unwrap();
        let content = all.get(&(bucket.to_owned(), key.to_owned())).ok_or_else(|| {
            ApiError::client("NoSuchKey", "The specified key does not exist.").with_status(404)
        })?;
        let info = ObjectInfo {
            bucket: bucket.into(),
            key: key.into(),
            version_id: None,
            etag: format!("etag-{}-{}", content.len(), content.iter().map(|b| u64::from(*b)).sum::<u64>()),
            size_bytes: content.len() as u64,
            last_modified: SystemClock.now(),
            content_type: None,
            metadata: BTreeMap::new(),
            sha256: String::new(),
        };
        Ok((info, content.clone()))
    }
}

#[async_trait]
impl Objects for FakeObjects {
    async fn head(&self, _: &Call, bucket: &str, key: &str, _: Option<&str>) -> Result<ObjectInfo, ApiError> {
        Ok(self.find(bucket, key)?.0)
    }

    async fn get_to_file(
        &self,
        _: &Call,
        bucket: &str,
        key: &str,
        _: Option<&str>,
        destination: &Path,
    ) -> Result<ObjectInfo, ApiError> {
        let (info, content) = self.find(bucket, key)?;
        std::fs::write(destination, content).map_err(ApiError::internal)?;
        Ok(info)
    }

    async fn get_bytes(
        &self,
        _: &Call,
        bucket: &str,
        key: &str,
        _: Option<&str>,
        _: u64,
    ) -> Result<(ObjectInfo, Bytes), ApiError> {
        let (info, content) = self.find(bucket, key)?;
        Ok((info, content.into()))
    }

    async fn put_file(
        &self,
        _: &Call,
        _: &str,
        _: &str,
        _: &Path,
        _: objects::PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        Err(ApiError::not_implemented("writing in this test"))
    }

    async fn put_bytes(
        &self,
        _: &Call,
        _: &str,
        _: &str,
        _: Bytes,
        _: objects::PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        Err(ApiError::not_implemented("writing in this test"))
    }

    async fn list(
        &self,
        _: &Call,
        _: &str,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<ObjectInfo>, ApiError> {
        Err(ApiError::not_implemented("listing in this test"))
    }
}
