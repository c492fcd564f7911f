//! Stateful fakes of the services that a pipeline talks to.

use super::refusals::with_refusals;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use towpath_api::objects::PutOptions;
use towpath_api::pipeline_builds::{PipelineBuild, PipelineBuilds};
use towpath_api::sources::{ArchiveFormat, CloneDepth, CommitInfo, Revision, Sources};
use towpath_api::*;
use towpath_api_codebuild::*;

/// Who may do what: everything, but for what is denied by role and action.
#[derive(Default)]
pub struct Policies {
    pub denied: Mutex<BTreeSet<(String, String)>>,
    pub asked: Mutex<Vec<(String, String, String)>>,
    pub unknown_roles: Mutex<BTreeSet<String>>,
}

impl Policies {
    pub fn deny(&self, who: &str, action: &str) {
        self.denied.lock().unwrap().insert((who.into(), action.into()));
    }

    pub fn allow(&self, who: &str, action: &str) {
        self.denied.lock().unwrap().remove(&(who.into(), action.into()));
    }
}

struct Gatekeeper {
    policies: Arc<Policies>,
    who: String,
}

impl Gate for Gatekeeper {
    fn check(&self, request: &AuthzRequest, _: &Call) -> Result<(), String> {
        let (action, resource) = (request.action.to_owned(), request.resource.to_owned());
        self.policies.asked.lock().unwrap().push((self.who.clone(), action.clone(), resource));
        let denied = self.policies.denied.lock().unwrap();
        let denied =
            [action, "*".to_owned()].into_iter().any(|action| denied.contains(&(self.who.clone(), action)));
        if denied { Err("no identity-based policy allows the action".into()) } else { Ok(()) }
    }
}

pub fn call(policies: &Arc<Policies>, who: &str) -> Call {
    Call {
        request_id: id::uuid(),
        account: "000000000000".into(),
        region: "us-east-1".into(),
        at: Timestamp::EPOCH,
        caller: Caller::User {
            arn: format!("arn:aws:iam::000000000000:user/{who}"),
            name: who.into(),
            id: "AIDA".into(),
        },
        source_ip: None,
        secure: false,
        gate: Arc::new(Gatekeeper { policies: policies.clone(), who: who.into() }),
    }
}

pub struct People(pub Arc<Policies>);

#[async_trait]
impl Identity for People {
    async fn credential(&self, key: &str, _: Option<&str>) -> Result<Option<Credential>, ApiError> {
        let call = call(&self.0, key);
        let (access_key_id, secret_access_key) = (key.to_owned(), "secret".to_owned());
        Ok(Some(Credential { access_key_id, secret_access_key, caller: call.caller, gate: call.gate }))
    }

    async fn service_specific(&self, _: &str, _: &str, _: &str) -> Result<Option<Credential>, ApiError> {
        Ok(None)
    }

    async fn service_call(&self, _: &str, role: &str, _: &str) -> Result<Call, ApiError> {
        if self.0.unknown_roles.lock().unwrap().contains(role) {
            return Err(ApiError::access_denied(format!("{role} cannot be assumed")));
        }
        Ok(call(&self.0, role))
    }

    async fn service_credentials(
        &self,
        _: &str,
        role: &str,
        _: &str,
        _: u32,
    ) -> Result<SessionCredentials, ApiError> {
        Ok(SessionCredentials {
            access_key_id: role.into(),
            secret_access_key: "secret".into(),
            session_token: "token".into(),
            expires_at: Timestamp::EPOCH,
        })
    }
}

pub struct Tokens;
use towpath_api_sts::*;

with_refusals! {
    impl Sts for Tokens {
        get_access_key_info: GetAccessKeyInfoInput => GetAccessKeyInfoOutput;
        get_caller_identity: GetCallerIdentityInput => GetCallerIdentityOutput;
        get_session_token: GetSessionTokenInput => GetSessionTokenOutput;
    } {
        async fn assume_role(&self, call: &Call, input: AssumeRoleInput) -> Result<AssumeRoleOutput, ApiError> {
            let role = input.role_arn.unwrap_or_default();
            call.authorize("sts:AssumeRole", &role, &[])?;
            let credentials = Credentials { access_key_id: Some(role), ..Default::default() };
            Ok(AssumeRoleOutput { credentials: Some(credentials), ..Default::default() })
        }
    }
}

/// Versions by bucket and key, oldest first.
pub type Stored = BTreeMap<(String, String), Vec<(ObjectInfo, Bytes)>>;

/// Buckets in memory, all versioned but `plain`.
#[derive(Default)]
pub struct Buckets {
    pub stored: Mutex<Stored>,
    pub puts: Mutex<Vec<String>>,
}

impl Buckets {
    pub fn write(&self, bucket: &str, key: &str, content: Bytes, options: &PutOptions) -> ObjectInfo {
        use sha2::Digest;
        let mut stored = self.stored.lock().unwrap();
        let versions = stored.entry((bucket.into(), key.into())).or_default();
        let info = ObjectInfo {
            bucket: bucket.into(),
            key: key.into(),
            version_id: (bucket != "plain").then(|| format!("v{}", versions.len() + 1)),
            etag: format!("etag{}", versions.len() + 1),
            size_bytes: content.len() as u64,
            last_modified: Timestamp::EPOCH,
            content_type: options.content_type.clone(),
            metadata: options.metadata.clone(),
            sha256: id::hex(&sha2::Sha256::digest(&content)),
        };
        versions.push((info.clone(), content));
        info
    }

    pub fn read(&self, bucket: &str, key: &str, version: Option<&str>) -> Option<(ObjectInfo, Bytes)> {
        let stored = self.stored.lock().unwrap();
        let versions = stored.get(&(bucket.to_owned(), key.to_owned()))?;
        match version {
            None => versions.last().cloned(),
            Some(version) => {
                versions.iter().find(|(info, _)| info.version_id.as_deref() == Some(version)).cloned()
            }
        }
    }

    fn get(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<(ObjectInfo, Bytes), ApiError> {
        call.authorize("s3:GetObject", &format!("arn:aws:s3:::{bucket}/{key}"), &[])?;
        self.read(bucket, key, version).ok_or_else(|| {
            ApiError::client("NoSuchKey", "The specified key does not exist.").with_status(404)
        })
    }
}

#[async_trait]
impl Objects for Buckets {
    async fn head(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<ObjectInfo, ApiError> {
        Ok(self.get(call, bucket, key, version)?.0)
    }

    async fn get_to_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        destination: &Path,
    ) -> Result<ObjectInfo, ApiError> {
        let (info, content) = self.get(call, bucket, key, version)?;
        std::fs::write(destination, content).map_err(ApiError::internal)?;
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
        self.get(call, bucket, key, version)
    }

    async fn put_file(
        &self,
        call: &Call,
        bucket: &str,
        key: &str,
        source: &Path,
        options: PutOptions,
    ) -> Result<ObjectInfo, ApiError> {
        let content = std::fs::read(source).map_err(ApiError::internal)?;
        self.put_bytes(call, bucket, key, content.into(), options).await
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
        if options.only_if_absent && self.read(bucket, key, None).is_some() {
            return Err(ApiError::client("PreconditionFailed", "It exists.").with_status(412));
        }
        self.puts.lock().unwrap().push(format!("{bucket}/{key}"));
        Ok(self.write(bucket, key, content, &options))
    }

    async fn list(
        &self,
        _: &Call,
        _: &str,
        _: &str,
        _: Option<&str>,
        _: usize,
    ) -> Result<Vec<ObjectInfo>, ApiError> {
        Err(ApiError::not_implemented("fake list"))
    }
}

/// One repository, `app`: branches point to commits, and a commit's tree is one file with its id.
#[derive(Default)]
pub struct Repository {
    pub branches: Mutex<BTreeMap<String, String>>,
    pub changed: Mutex<BTreeMap<String, Vec<String>>>,
    pub archived: Mutex<Vec<String>>,
}

impl Repository {
    pub fn point(&self, branch: &str, commit: &str) {
        self.branches.lock().unwrap().insert(branch.into(), commit.into());
    }

    fn find(&self, revision: &Revision) -> Result<CommitInfo, ApiError> {
        let id = match revision {
            Revision::Commit(id) => id.clone(),
            Revision::Branch(name) | Revision::Tag(name) => {
                self.branches.lock().unwrap().get(name).cloned().ok_or_else(|| {
                    ApiError::client("BranchDoesNotExistException", format!("Branch {name} does not exist"))
                })?
            }
        };
        let message = format!("Commit {id}\n");
        Ok(CommitInfo { commit_id: id, repository_name: "app".into(), message, ..CommitInfo::default() })
    }
}

#[async_trait]
impl Sources for Repository {
    async fn commit(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
    ) -> Result<CommitInfo, ApiError> {
        call.authorize("codecommit:GetCommit", repository, &[])?;
        self.find(revision)
    }

    async fn changed_paths(
        &self,
        call: &Call,
        repository: &str,
        _: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>, ApiError> {
        call.authorize("codecommit:GetDifferences", repository, &[])?;
        Ok(self.changed.lock().unwrap().get(after).cloned().unwrap_or_default())
    }

    async fn archive(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        _: ArchiveFormat,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError> {
        call.authorize("codecommit:UploadArchive", repository, &[])?;
        let commit = self.find(revision)?;
        self.archived.lock().unwrap().push(commit.commit_id.clone());
        std::fs::write(destination, zip(&[("tree.txt", &commit.commit_id)])).map_err(ApiError::internal)?;
        Ok(commit)
    }

    async fn checkout(&self, _: &Call, _: &str, _: &Revision, _: &Path) -> Result<CommitInfo, ApiError> {
        Err(ApiError::not_implemented("fake checkout"))
    }

    async fn clone_to(
        &self,
        call: &Call,
        repository: &str,
        revision: &Revision,
        _: CloneDepth,
        destination: &Path,
    ) -> Result<CommitInfo, ApiError> {
        call.authorize("codecommit:GitPull", repository, &[])?;
        let commit = self.find(revision)?;
        std::fs::create_dir_all(destination.join(".git")).map_err(ApiError::internal)?;
        std::fs::write(destination.join(".git/HEAD"), &commit.commit_id).map_err(ApiError::internal)?;
        std::fs::write(destination.join("tree.txt"), &commit.commit_id).map_err(ApiError::internal)?;
        Ok(commit)
    }
}

/// A zip of files with their content.
pub fn zip(files: &[(&str, &str)]) -> Vec<u8> {
    use towpath_archive::{Content, Entry, Kind, pack};
    let entry = |(name, content): &(&str, &str)| Entry {
        name: (*name).to_owned(),
        content: Content::Bytes(content.as_bytes().to_vec()),
    };
    let mut file = tempfile::tempfile().unwrap();
    pack(Kind::Zip, files.iter().map(entry).collect(), &mut file).unwrap();
    use std::io::{Read, Seek};
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Builds that wait until a test ends them.
#[derive(Default)]
pub struct Builders {
    pub builds: Mutex<BTreeMap<String, (PipelineBuild, Build)>>,
    /// While it is set, a start happens and its answer never arrives.
    pub hang: Mutex<bool>,
    pub stopped: Mutex<Vec<String>>,
}

impl Builders {
    pub fn requests(&self) -> Vec<PipelineBuild> {
        self.builds.lock().unwrap().values().map(|(request, _)| request.clone()).collect()
    }

    /// The id of the build that an action of an execution started.
    pub fn of(&self, execution: &str, action: &str) -> Option<String> {
        let builds = self.builds.lock().unwrap();
        let mut found = builds
            .iter()
            .filter(|(_, (request, _))| request.execution_id == execution && request.action == action);
        found.next_back().map(|(id, _)| id.clone())
    }

    pub fn set(&self, id: &str, change: impl FnOnce(&mut Build)) {
        change(&mut self.builds.lock().unwrap().get_mut(id).unwrap().1);
    }
}

#[async_trait]
impl PipelineBuilds for Builders {
    async fn start_for_pipeline(&self, call: &Call, build: PipelineBuild) -> Result<String, ApiError> {
        call.authorize(
            "codebuild:StartBuild",
            &call.arn("codebuild", format!("project/{}", build.project)),
            &[],
        )?;
        let known = {
            let mut builds = self.builds.lock().unwrap();
            let known = builds.iter().find(|(_, (known, _))| known.client_token == build.client_token);
            known.map(|(id, _)| id.clone()).unwrap_or_else(|| {
                let id = format!("{}:{:04}", build.project, builds.len());
                let fresh = Build {
                    id: Some(id.clone()),
                    build_status: Some("IN_PROGRESS".into()),
                    ..Build::default()
                };
                builds.insert(id.clone(), (build, fresh));
                id
            })
        };
        if *self.hang.lock().unwrap() {
            std::future::pending::<()>().await;
        }
        Ok(known)
    }
}

with_refusals! {
    impl CodeBuild for Builders {
        batch_delete_builds: BatchDeleteBuildsInput => BatchDeleteBuildsOutput;
        batch_get_projects: BatchGetProjectsInput => BatchGetProjectsOutput;
        batch_get_report_groups: BatchGetReportGroupsInput => BatchGetReportGroupsOutput;
        batch_get_reports: BatchGetReportsInput => BatchGetReportsOutput;
        create_project: CreateProjectInput => CreateProjectOutput;
        create_report_group: CreateReportGroupInput => CreateReportGroupOutput;
        delete_project: DeleteProjectInput => DeleteProjectOutput;
        delete_report: DeleteReportInput => DeleteReportOutput;
        delete_report_group: DeleteReportGroupInput => DeleteReportGroupOutput;
        describe_test_cases: DescribeTestCasesInput => DescribeTestCasesOutput;
        list_builds: ListBuildsInput => ListBuildsOutput;
        list_builds_for_project: ListBuildsForProjectInput => ListBuildsForProjectOutput;
        list_projects: ListProjectsInput => ListProjectsOutput;
        list_report_groups: ListReportGroupsInput => ListReportGroupsOutput;
        list_reports: ListReportsInput => ListReportsOutput;
        list_reports_for_report_group: ListReportsForReportGroupInput => ListReportsForReportGroupOutput;
        retry_build: RetryBuildInput => RetryBuildOutput;
        start_build: StartBuildInput => StartBuildOutput;
        update_project: UpdateProjectInput => UpdateProjectOutput;
    } {
        async fn batch_get_builds(&self, call: &Call, input: BatchGetBuildsInput) -> Result<BatchGetBuildsOutput, ApiError> {
            call.authorize("codebuild:BatchGetBuilds", "*", &[])?;
            let builds = self.builds.lock().unwrap();
            let found = input.ids.iter().flatten().filter_map(|id| builds.get(id)).map(|(_, build)| build.clone());
            Ok(BatchGetBuildsOutput { builds: Some(found.collect()), ..Default::default() })
        }
        async fn stop_build(&self, call: &Call, input: StopBuildInput) -> Result<StopBuildOutput, ApiError> {
            call.authorize("codebuild:StopBuild", "*", &[])?;
            self.stopped.lock().unwrap().push(input.id.unwrap_or_default());
            Ok(StopBuildOutput::default())
        }
    }
}
