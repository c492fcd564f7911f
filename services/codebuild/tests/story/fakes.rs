//! Stateful fakes of identity, S3, CodeCommit and Logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use towpath_api::log_batches::{LogBatch, LogBatches};
use towpath_api::objects::PutOptions;
use towpath_api::sources::{ArchiveFormat, CloneDepth, CommitInfo, Revision};
use towpath_api::*;
use towpath_api_logs::*;

/// Allows everything but what is listed.
#[derive(Default)]
pub struct Denials(pub Mutex<BTreeSet<String>>);

impl Denials {
    pub fn deny(&self, action: &str) {
        self.0.lock().unwrap().insert(action.to_owned());
    }
}

pub struct FakeGate(pub Arc<Denials>);

impl Gate for FakeGate {
    fn check(&self, request: &AuthzRequest, _: &Call) -> Result<(), String> {
        let denied = self.0.0.lock().unwrap();
        if denied.contains(request.action) || denied.contains("*") {
            return Err(format!("no identity-based policy allows the {} action", request.action));
        }
        Ok(())
    }
}

#[derive(Default)]
pub struct FakeIdentity {
    /// What service roles may not do.
    pub role: Arc<Denials>,
    pub broken_roles: Mutex<BTreeSet<String>>,
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
        assert_eq!(service, "codebuild.amazonaws.com");
        if self.broken_roles.lock().unwrap().contains(role_arn) {
            return Err(ApiError::access_denied(format!("{service} may not assume {role_arn}")));
        }
        let caller = Caller::Session {
            arn: format!("{role_arn}/{session}"),
            role_arn: role_arn.to_owned(),
            role_id: "AROA".into(),
            session_name: session.to_owned(),
        };
        Ok(super::world::call_of(caller, self.role.clone()))
    }

    async fn service_credentials(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: u32,
    ) -> Result<SessionCredentials, ApiError> {
        Ok(SessionCredentials {
            access_key_id: "ASIATEST".into(),
            secret_access_key: "very-secret-key".into(),
            session_token: "very-long-session-token".into(),
            expires_at: Timestamp::EPOCH,
        })
    }
}

#[derive(Default)]
pub struct FakeObjects {
    pub objects: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    /// Puts per key: an artifact is stored once.
    pub puts: Mutex<Vec<String>>,
}

impl FakeObjects {
    pub fn put(&self, bucket: &str, key: &str, content: &[u8]) {
        self.objects.lock().unwrap().insert((bucket.into(), key.into()), content.to_vec());
    }

    pub fn get(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.objects.lock().unwrap().get(&(bucket.into(), key.into())).cloned()
    }

    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let objects = self.objects.lock().unwrap();
        objects.keys().filter(|(b, _)| b == bucket).map(|(_, key)| key.clone()).collect()
    }

    fn info(&self, bucket: &str, key: &str) -> Result<ObjectInfo, ApiError> {
        let content = self.get(bucket, key).ok_or_else(|| {
            ApiError::client("NoSuchKey", "The specified key does not exist.").with_status(404)
        })?;
        Ok(ObjectInfo {
            bucket: bucket.into(),
            key: key.into(),
            version_id: None,
            etag: String::new(),
            size_bytes: content.len() as u64,
            last_modified: Timestamp::EPOCH,
            content_type: None,
            metadata: BTreeMap::new(),
            sha256: sha256(&content),
        })
    }
}

pub fn sha256(content: &[u8]) -> String {
    use sha2::Digest;
    id::hex(&sha2::Sha256::digest(content))
}

#[async_trait]
impl Objects for FakeObjects {
    async fn head(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        _: Option<&str>,
    ) -> Result<ObjectInfo, ApiError> {
        call.authorize("s3:GetObject", &format!("arn:aws:s3:::{bucket}/{key}"), &[])?;
        self.info(bucket, key)
    }

    async fn get_to_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        destination: &Path,
    ) -> Result<ObjectInfo, ApiError> {
        let info = self.head(call, bucket, key, version).await?;
        std::fs::write(destination, self.get(bucket, key).unwrap()).unwrap();
        Ok(info)
    }

    async fn get_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        _: u64,
    ) -> Result<(ObjectInfo, Bytes), ApiError> {
        let info = self.head(call, bucket, key, version).await?;
        Ok((info, self.get(bucket, key).unwrap().into()))
    }

    async fn put_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        source: &Path,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        self.put_bytes(call, bucket, key, std::fs::read(source).unwrap().into(), options).await
    }

    async fn put_bytes(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        content: Bytes,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        call.authorize("s3:PutObject", &format!("arn:aws:s3:::{bucket}/{key}"), &[])?;
        if options.only_if_absent && self.get(bucket, key).is_some() {
            return Err(ApiError::client("PreconditionFailed", "it exists").with_status(412));
        }
        self.put(bucket, key, &content);
        self.puts.lock().unwrap().push(key.to_owned());
        self.info(bucket, key)
    }

    async fn list(
        &self,
        _: &Call,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, ApiError> {
        let keys = self.keys(bucket).into_iter().filter(|key| key.starts_with(prefix));
        let keys = keys.filter(|key| after.is_none_or(|after| key.as_str() > after)).take(limit);
        keys.map(|key| self.info(bucket, &key)).collect()
    }
}

/// Repositories as maps of files, at the one commit of the branch `main`.
#[derive(Default)]
pub struct FakeSources {
    pub repositories: Mutex<BTreeMap<String, BTreeMap<String, String>>>,
    pub clones: Mutex<Vec<(Revision, CloneDepth)>>,
}

pub const COMMIT: &str = "4c925148f5d3f5a2d9e8f2cbbbd2bd0f1cf9a0a1";

#[async_trait]
impl Sources for FakeSources {
    async fn commit(&self, _: &Call, repository: &str, revision: &Revision) -> Result<CommitInfo, ApiError> {
        if !self.repositories.lock().unwrap().contains_key(repository) {
            return Err(ApiError::client(
                "RepositoryDoesNotExistException",
                format!("{repository} does not exist"),
            ));
        }
        match revision {
            Revision::Branch(name) if name != "main" => {
                Err(ApiError::client("BranchDoesNotExistException", format!("Branch {name} does not exist")))
            }
            _ => Ok(CommitInfo { commit_id: COMMIT.into(), ..CommitInfo::default() }),
        }
    }

    async fn changed_paths(
        &self,
        _: &Call,
        _: &str,
        _: Option<&str>,
        _: &str,
    ) -> Result<Vec<String>, ApiError> {
        panic!("no build asks for this")
    }

    async fn archive(
        &self,
        _: &Call,
        _: &str,
        _: &Revision,
        _: ArchiveFormat,
        _: &Path,
    ) -> Result<CommitInfo, ApiError> {
        panic!("no build asks for this")
    }

    async fn checkout(&self, _: &Call, _: &str, _: &Revision, _: &Path) -> Result<CommitInfo, ApiError> {
        panic!("no build asks for this")
    }

    async fn clone_to(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        depth: CloneDepth,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError> {
        call.authorize("codecommit:GitPull", repository, &[])?;
        let commit = self.commit(call, repository, revision).await?;
        self.clones.lock().unwrap().push((revision.clone(), depth));
        for (name, content) in &self.repositories.lock().unwrap()[repository] {
            let path = destination.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Ok(commit)
    }
}

#[derive(Default)]
pub struct FakeLogs {
    pub streams: Mutex<BTreeMap<(String, String), Vec<String>>>,
    /// The last batch of each stream's writers.
    pub writers: Mutex<BTreeMap<(String, String), u64>>,
    /// So many batches are stored, and then their answers are lost.
    pub lost_answers: Mutex<usize>,
}

impl FakeLogs {
    pub fn lines(&self, stream: &str) -> Vec<String> {
        let streams = self.streams.lock().unwrap();
        streams
            .iter()
            .find(|((_, name), _)| name == stream)
            .map(|(_, lines)| lines.clone())
            .unwrap_or_default()
    }
}

#[async_trait]
impl LogBatches for FakeLogs {
    async fn put_batch(&self, call: &Call, batch: LogBatch) -> Result<(), ApiError> {
        call.authorize("logs:PutLogEvents", &batch.group, &[])?;
        let mut writers = self.writers.lock().unwrap();
        let last = writers.entry((batch.stream.clone(), batch.writer)).or_default();
        let number = batch.number.expect("builds number their batches");
        if number > *last {
            *last = number;
            let mut streams = self.streams.lock().unwrap();
            let lines = batch.events.into_iter().map(|(_, line)| line);
            streams.get_mut(&(batch.group, batch.stream)).unwrap().extend(lines);
        }
        let mut lost = self.lost_answers.lock().unwrap();
        if *lost > 0 {
            *lost -= 1;
            return Err(ApiError::internal("the answer was lost"));
        }
        Ok(())
    }
}

macro_rules! unused {
    ($($method:ident($input:ident) -> $output:ident),* $(,)?) => {
        #[async_trait]
        impl Logs for FakeLogs {
            async fn create_log_group(&self, call: &Call, input: CreateLogGroupInput) -> Result<CreateLogGroupOutput, ApiError> {
                call.authorize("logs:CreateLogGroup", &input.log_group_name.unwrap(), &[])?;
                Ok(CreateLogGroupOutput {})
            }

            async fn create_log_stream(&self, call: &Call, input: CreateLogStreamInput) -> Result<CreateLogStreamOutput, ApiError> {
                call.authorize("logs:CreateLogStream", input.log_group_name.as_ref().unwrap(), &[])?;
                let key = (input.log_group_name.unwrap(), input.log_stream_name.unwrap());
                let mut streams = self.streams.lock().unwrap();
                if streams.contains_key(&key) {
                    return Err(towpath_api_logs::errors::resource_already_exists_exception("it exists"));
                }
                streams.insert(key, Vec::new());
                Ok(CreateLogStreamOutput {})
            }

            $(async fn $method(&self, _: &Call, _: $input) -> Result<$output, ApiError> {
                panic!("no build asks for this")
            })*
        }
    };
}

unused! {
    put_log_events(PutLogEventsInput) -> PutLogEventsOutput,
    delete_log_group(DeleteLogGroupInput) -> DeleteLogGroupOutput,
    delete_log_stream(DeleteLogStreamInput) -> DeleteLogStreamOutput,
    delete_retention_policy(DeleteRetentionPolicyInput) -> DeleteRetentionPolicyOutput,
    describe_log_groups(DescribeLogGroupsInput) -> DescribeLogGroupsOutput,
    describe_log_streams(DescribeLogStreamsInput) -> DescribeLogStreamsOutput,
    filter_log_events(FilterLogEventsInput) -> FilterLogEventsOutput,
    get_log_events(GetLogEventsInput) -> GetLogEventsOutput,
    list_tags_for_resource(ListTagsForResourceInput) -> ListTagsForResourceOutput,
    put_retention_policy(PutRetentionPolicyInput) -> PutRetentionPolicyOutput,
    tag_resource(TagResourceInput) -> TagResourceOutput,
    untag_resource(UntagResourceInput) -> UntagResourceOutput,
}
