//! Everything that carrying out one action needs at hand, and the kinds of its failures.

use super::{Next, approval, build, custom, deploy, s3, source};
use crate::Pipelines;
use crate::error::Fault;
use crate::state::{Artifact, Execution};
use crate::store::*;
use crate::structure::{Action, Provider, Structure};
use crate::variables;
use std::fmt;
use std::sync::Arc;
use towpath_api::{ApiError, Call, Timestamp, id};
use towpath_api_sts::AssumeRoleInput;
use towpath_store::{StoreError, Txn, Versioned};

/// The service principal under which pipelines assume their roles.
pub const PRINCIPAL: &str = "codepipeline.amazonaws.com";

/// One action execution in hand.
pub struct Ctx<'a> {
    pub service: &'a Pipelines,
    pub doc: Versioned<ActionDoc>,
    pub structure: Arc<Structure>,
    pub action: Action,
    pub execution: Execution,
    /// The role's call: nothing is done with any other rights.
    pub call: Call,
}

/// Why an action did not get further.
pub enum Failure {
    /// The action fails.
    Action(ActionError),
    /// Something outside does not answer now: try again later.
    Later(Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    pub fn action(code: &str, message: impl Into<String>) -> Failure {
        Failure::Action(ActionError { code: code.to_owned(), message: super::clip(message.into()) })
    }

    pub fn later(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
        Failure::Later(error.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Failure::Action(error) => write!(formatter, "{}: {}", error.code, error.message),
            Failure::Later(error) => write!(formatter, "{error}"),
        }
    }
}

/// What another service answered. A denial is told as one; a client's mistake fails the action; a
/// server's failure is tried again until the action's deadline.
impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let denied = error.code.contains("AccessDenied") || error.status == 403;
        match error.fault {
            _ if denied => Failure::action("PermissionError", format!("{}: {}", error.code, error.message)),
            towpath_api::Fault::Server if error.status != 501 => Failure::later(error),
            _ => Failure::action("ConfigurationError", format!("{}: {}", error.code, error.message)),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::later(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Api(error) => error.into(),
            other => Failure::later(other),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::later(error)
    }
}

impl Pipelines {
    /// Reads what belongs to the action, takes the role, and fixes what the action is given.
    pub(crate) async fn prepare(&self, doc: Versioned<ActionDoc>) -> Result<Ctx<'_>, Failure> {
        let structure = self.flow.structure(&doc.generation, doc.version).await?;
        let mut ctx = self.context(doc, structure).await?;
        ctx.fix_inputs().await?;
        Ok(ctx)
    }

    pub(super) async fn context(
        &self,
        doc: Versioned<ActionDoc>,
        structure: Arc<Structure>,
    ) -> Result<Ctx<'_>, Failure> {
        let execution =
            self.flow.execution_of(&doc.generation, &doc.pipeline, &doc.execution).await?.execution;
        let action = structure.stage(&doc.stage).and_then(|stage| stage.action(&doc.action)).cloned();
        let Some(action) = action else {
            return Err(Failure::action(
                "InternalError",
                "The action is not declared in the pipeline's version.",
            ));
        };
        let call = match action.provider {
            // An approval does nothing outside: it needs no role, and waits also where the role is gone.
            Provider::Approval => None,
            _ => Some(self.role_call(&structure.role_arn, action.role_arn.as_deref(), &doc.execution).await?),
        };
        let call = call.unwrap_or_else(|| self.own_call(&doc));
        Ok(Ctx { service: self, doc, structure, action, execution, call })
    }

    /// The pipeline's role, or the action's own role assumed by the pipeline's.
    pub(crate) async fn role_call(
        &self,
        role: &str,
        action_role: Option<&str>,
        session: &str,
    ) -> Result<Call, Failure> {
        let call = self
            .handles
            .identity
            .service_call(PRINCIPAL, role, session)
            .await
            .map_err(|error| refused_role(role, error))?;
        let Some(action_role) = action_role else { return Ok(call) };
        let input = AssumeRoleInput {
            role_arn: Some(action_role.to_owned()),
            role_session_name: Some(session.to_owned()),
            ..AssumeRoleInput::default()
        };
        let assumed = self.handles.sts.assume_role(&call, input).await;
        let assumed = assumed.map_err(|error| refused_role(action_role, error))?;
        let credentials = assumed.credentials.unwrap_or_default();
        let key = credentials.access_key_id.unwrap_or_default();
        let token = credentials.session_token;
        let credential = self.handles.identity.credential(&key, token.as_deref()).await?;
        let credential = credential.ok_or_else(|| {
            Failure::action("PermissionError", format!("The session of {action_role} is gone."))
        })?;
        Ok(Call { caller: credential.caller, gate: credential.gate, request_id: id::uuid(), ..call })
    }

    /// A call with no rights at all.
    fn own_call(&self, doc: &ActionDoc) -> Call {
        struct Nothing;
        impl towpath_api::Gate for Nothing {
            fn check(&self, _: &towpath_api::AuthzRequest, _: &Call) -> Result<(), String> {
                Err("the service itself has no rights".into())
            }
        }
        Call {
            request_id: id::uuid(),
            account: doc.pipeline.account.clone(),
            region: doc.pipeline.region.clone(),
            at: self.flow.store.now(),
            caller: towpath_api::Caller::Session {
                arn: PRINCIPAL.into(),
                role_arn: String::new(),
                role_id: String::new(),
                session_name: doc.execution.clone(),
            },
            source_ip: None,
            secure: true,
            gate: Arc::new(Nothing),
        }
    }
}

fn refused_role(role: &str, error: ApiError) -> Failure {
    match error.fault {
        towpath_api::Fault::Server if error.status != 501 => Failure::later(error),
        _ => Failure::action(
            "PermissionError",
            format!("CodePipeline could not assume the role {role}: {}: {}", error.code, error.message),
        ),
    }
}

impl Ctx<'_> {
    pub(super) async fn perform(&mut self) -> Result<Next, Failure> {
        match self.action.provider {
            Provider::CodeCommit => source::codecommit(self).await,
            Provider::S3Source => source::s3(self).await,
            Provider::CodeBuild => build::perform(self).await,
            Provider::Approval => approval::perform(self),
            Provider::CodeDeploy => deploy::perform(self).await,
            Provider::S3Deploy => s3::deploy(self).await,
            Provider::Custom => custom::perform(self).await,
        }
    }

    pub(super) async fn stop(&mut self) -> Result<(), Failure> {
        match self.action.provider {
            Provider::CodeBuild => build::stop(self).await,
            Provider::CodeDeploy => deploy::stop(self).await,
            _ => Ok(()),
        }
    }

    /// Resolves the configuration and takes the inputs, once; what was fixed stays.
    async fn fix_inputs(&mut self) -> Result<(), Failure> {
        if self.doc.resolved.is_some() {
            return Ok(());
        }
        let resolved = variables::resolve(&self.action.configuration, &self.execution)
            .map_err(|error| Failure::action("ConfigurationError", error.to_string()))?;
        let mut inputs = std::collections::BTreeMap::new();
        for name in &self.action.inputs {
            let artifact = self.execution.artifacts.get(name).cloned().ok_or_else(|| {
                Failure::action(
                    "ConfigurationError",
                    format!("The input artifact {name} has not been produced."),
                )
            })?;
            inputs.insert(name.clone(), artifact);
        }
        self.save(Txn::new(), |doc| {
            doc.resolved = Some(resolved.clone());
            doc.inputs = inputs.clone();
        })
        .await
    }

    /// Changes the document, whatever else changed in it meanwhile: what was learnt is never lost.
    pub async fn save(&mut self, also: Txn, change: impl Fn(&mut ActionDoc)) -> Result<(), Failure> {
        let key = towpath_store::Document::key(&self.doc.doc);
        for _ in 0..crate::flow::ROUNDS {
            let mut doc = self.doc.doc.clone();
            change(&mut doc);
            doc.updated = self.now();
            let mut txn = also.clone();
            txn.replace(&self.doc, &doc);
            let written = self.service.flow.store.commit(txn).await;
            self.doc = self
                .service
                .flow
                .store
                .get::<ActionDoc>(&key)
                .await?
                .ok_or_else(|| Failure::later("the action execution was deleted"))?;
            match written {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::later("the action execution changes too often"))
    }

    /// A value of the resolved configuration.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.doc.resolved.as_ref()?.get(key).map(String::as_str)
    }

    pub fn required(&self, key: &str) -> Result<String, Failure> {
        self.setting(key).map(str::to_owned).ok_or_else(|| {
            Failure::action("ConfigurationError", format!("The configuration has no value for {key}."))
        })
    }

    pub fn now(&self) -> Timestamp {
        self.service.flow.store.now()
    }

    /// When to look again if nothing wakes the job.
    pub fn net(&self) -> Next {
        Next::Wait(self.now().plus_millis(self.service.config.net_ms))
    }

    pub fn output_key(&self, artifact: &str) -> String {
        super::output_key(&self.structure.name, artifact, &self.doc.id)
    }

    /// Proves that an input still is what was made: the stored object has the hash of its making.
    pub async fn verified(&self, name: &str) -> Result<Artifact, Failure> {
        let Some(artifact) = self.doc.inputs.get(name) else {
            return Err(Failure::action(
                "ConfigurationError",
                format!("The input artifact {name} is missing."),
            ));
        };
        let version = artifact.version_id.as_deref();
        let found =
            self.service.handles.objects.head(&self.call, &artifact.bucket, &artifact.key, version).await?;
        if found.sha256 != artifact.sha256 {
            return Err(Failure::action(
                "ArtifactChanged",
                format!(
                    "The artifact {name} (s3://{}/{}) is not what was produced: its SHA-256 is {}, it was {}.",
                    artifact.bucket, artifact.key, found.sha256, artifact.sha256
                ),
            ));
        }
        Ok(artifact.clone())
    }

    /// Records an output that is stored.
    pub async fn stored(&self, key: &str, revision: Option<String>) -> Result<Artifact, Failure> {
        let bucket = &self.structure.bucket;
        let found = self.service.handles.objects.head(&self.call, bucket, key, None).await?;
        Ok(Artifact {
            bucket: bucket.clone(),
            key: key.to_owned(),
            version_id: found.version_id,
            etag: found.etag,
            sha256: found.sha256,
            revision,
        })
    }

    /// Stores an output's zip, once: one that an earlier try has stored stays.
    pub async fn store_output(
        &self,
        name: &str,
        file: &std::path::Path,
        revision: &str,
    ) -> Result<Artifact, Failure> {
        let key = self.output_key(name);
        let options = towpath_api::objects::PutOptions {
            content_type: Some("application/zip".into()),
            only_if_absent: true,
            ..Default::default()
        };
        let objects = &self.service.handles.objects;
        match objects.put_file(&self.call, &self.structure.bucket, &key, file, options).await {
            Ok(_) => {}
            Err(error) if error.code == "PreconditionFailed" => {}
            Err(error) => return Err(error.into()),
        }
        self.stored(&key, Some(revision.to_owned())).await
    }
}
