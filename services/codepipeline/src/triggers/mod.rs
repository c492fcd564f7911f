//! From events to work: a push or a new object starts pipelines, the end of a build or a deployment
//! wakes the action that waits for it.
//!
//! An event becomes one durable job for each pipeline that it may concern, in the transaction that
//! moves the subscriber's cursor; the job starts the pipeline with the event's id as its token. So one
//! event starts one execution, however often anything is interrupted.
//!
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-triggers.html>,
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/update-change-detection.html>

pub mod filters;

use crate::Pipelines;
use crate::error::Fault;
use crate::starts::Start;
use crate::state::{Refusal, SourcePin, Trigger};
use crate::store::*;
use crate::structure::providers::parse_bool;
use crate::structure::{Action, Provider, Structure};
use crate::work::Failure;
use filters::{Reference, Verdict, judge, matches};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use towpath_api::Event;
use towpath_durable::{Held, Retry};
use towpath_store::{Job, Order, Txn};

const PUSH: &str = "CodeCommit Repository State Change";
const OBJECT: &str = "Object Created";
const BUILD: &str = "CodeBuild Build State Change";
const DEPLOYMENT: &str = "CodeDeploy Deployment State-change Notification";
/// How long a start waits for a place in a full pipeline.
const FULL_MS: i64 = 15_000;

/// What a job in [`STARTS`] asks for.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    pipeline: PipelineId,
    #[serde(default)]
    generation: Option<String>,
    #[serde(default)]
    created_by: Option<String>,
    #[serde(default)]
    rollback: Option<Rollback>,
    #[serde(default)]
    push: Option<Push>,
    #[serde(default)]
    object: Option<Object>,
    #[serde(default)]
    event: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rollback {
    stage: String,
    target: String,
    failed: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Push {
    repository: String,
    /// `branch` or `tag`.
    kind: String,
    name: String,
    commit: String,
    before: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Object {
    bucket: String,
    key: String,
    version: Option<String>,
}

pub fn concerns_us(event: &Event) -> bool {
    matches!(
        (event.source.as_str(), event.detail_type.as_str()),
        ("aws.codecommit", PUSH)
            | ("aws.s3", OBJECT)
            | ("aws.codebuild", BUILD)
            | ("aws.codedeploy", DEPLOYMENT)
    )
}

/// One event of the outbox.
pub async fn receive(service: Arc<Pipelines>, event: Event) -> Result<Txn, Retry> {
    let text = |pointer: &str| event.detail.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let now = service.flow.store.now();
    match event.detail_type.as_str() {
        BUILD => {
            let id = text("/build-id").unwrap_or_default();
            let id = id.rsplit_once(":build/").map_or(id.as_str(), |(_, id)| id).to_owned();
            service.wake("build", &id).await
        }
        DEPLOYMENT => service.wake("deployment", &text("/deploymentId").unwrap_or_default()).await,
        PUSH => {
            let deleted = text("/event").as_deref() == Some("referenceDeleted");
            let (Some(repository), Some(kind), Some(name), Some(commit), false) = (
                text("/repositoryName"),
                text("/referenceType"),
                text("/referenceName"),
                text("/commitId"),
                deleted,
            ) else {
                return Ok(Txn::new());
            };
            let before = text("/oldCommitId");
            service
                .ask(&event, ("codecommit", &repository, None), now, |pipeline, event| Asked {
                    push: Some(Push {
                        repository: repository.clone(),
                        kind: kind.clone(),
                        name: name.clone(),
                        commit: commit.clone(),
                        before: before.clone(),
                    }),
                    ..Asked::of(pipeline, event)
                })
                .await
        }
        OBJECT => {
            let (Some(bucket), Some(key)) = (text("/bucket/name"), text("/object/key")) else {
                return Ok(Txn::new());
            };
            let version = text("/object/version-id");
            service
                .ask(&event, ("s3", &bucket, Some(&key)), now, |pipeline, event| Asked {
                    object: Some(Object {
                        bucket: bucket.clone(),
                        key: key.clone(),
                        version: version.clone(),
                    }),
                    ..Asked::of(pipeline, event)
                })
                .await
        }
        _ => Ok(Txn::new()),
    }
}

impl Asked {
    fn of(pipeline: PipelineId, event: &str) -> Asked {
        Asked {
            pipeline,
            generation: None,
            created_by: None,
            rollback: None,
            push: None,
            object: None,
            event: Some(event.to_owned()),
        }
    }
}

/// The job that starts a pipeline for the first time, right after it was created.
pub fn first_start(pipeline: &PipelineDoc, created_by: String) -> Job {
    let asked = Asked {
        generation: Some(pipeline.generation.clone()),
        created_by: Some(created_by),
        event: None,
        ..Asked::of(pipeline.id.clone(), "")
    };
    let key = towpath_store::key(&["created", &pipeline.generation]);
    Job::new(STARTS, key, pipeline.created).with_payload(serde_json::to_value(asked).unwrap_or_default())
}

/// One job of [`STARTS`].
pub async fn start(service: Arc<Pipelines>, held: Held) -> Result<Txn, Retry> {
    let asked: Asked = serde_json::from_value(held.payload.clone())?;
    let pipeline = match service.flow.pipeline(&asked.pipeline).await {
        Ok(pipeline) => pipeline.into_doc(),
        Err(Fault::NoPipeline { .. }) => return Ok(Txn::new()),
        Err(error) => return Err(error.into()),
    };
    if asked.generation.as_ref().is_some_and(|generation| *generation != pipeline.generation) {
        return Ok(Txn::new());
    }
    let result = service.carry_out(&pipeline, &asked, &held).await;
    let name = &pipeline.id.name;
    match result {
        Ok(()) => Ok(Txn::new()),
        Err(Fault::Refused(Refusal::TooManyExecutions)) => {
            Err(Retry::after(FULL_MS, format!("pipeline {name} has no place for another execution")))
        }
        // What cannot be started now cannot be started later: the reason is a person's to see.
        Err(Fault::Api(error)) if error.status < 500 => {
            tracing::warn!(pipeline = name, %error, "an event could not start the pipeline");
            Ok(Txn::new())
        }
        Err(Fault::Refused(refusal)) => {
            tracing::warn!(pipeline = name, %refusal, "an event could not start the pipeline");
            Ok(Txn::new())
        }
        Err(error) => Err(error.into()),
    }
}

impl Pipelines {
    async fn wake(&self, kind: &str, external_id: &str) -> Result<Txn, Retry> {
        let mut txn = Txn::new();
        if let Some(awaited) = self.flow.store.get::<Awaited>(&Awaited::key_of(kind, external_id)).await? {
            txn.enqueue(Job::new(ACTIONS, awaited.action_key.clone(), self.flow.store.now()));
        }
        Ok(txn)
    }

    /// One job for each pipeline that watches the subject: a source, its name, and which object of it. A bucket
    /// that holds the artifacts of many pipelines changes with every step of each.
    async fn ask(
        &self,
        event: &Event,
        (source, subject, object): (&str, &str, Option<&str>),
        now: towpath_api::Timestamp,
        asked: impl Fn(PipelineId, &str) -> Asked,
    ) -> Result<Txn, Retry> {
        let prefix = Watch::prefix(&event.account, &event.region, source, subject);
        let mut txn = Txn::new();
        let mut after = None;
        loop {
            let page =
                self.flow.store.list::<Watch>(&prefix, after.as_deref(), 1000, Order::Ascending).await?;
            for watch in page.items.iter().filter(|watch| watch.concerns(object)) {
                let key = towpath_store::key(&[&event.id, &watch.pipeline.key()]);
                let payload = serde_json::to_value(asked(watch.pipeline.clone(), &event.id))?;
                txn.enqueue(Job::new(STARTS, key, now).with_payload(payload));
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(txn),
            }
        }
    }

    async fn carry_out(&self, pipeline: &PipelineDoc, asked: &Asked, held: &Held) -> Result<(), Fault> {
        if let Some(rollback) = &asked.rollback {
            let trigger = Trigger { kind: "AutomatedRollback".into(), detail: rollback.failed.clone() };
            let token = Some(held.key.as_str());
            self.flow.roll_back(pipeline, &rollback.stage, &rollback.target, trigger, token).await?;
            return Ok(());
        }
        let mut start =
            Start { token: asked.event.clone().map(|id| format!("event:{id}")), ..Start::default() };
        if let Some(by) = &asked.created_by {
            start.token = Some("created".into());
            start.trigger = Trigger { kind: "CreatePipeline".into(), detail: by.clone() };
            self.flow.start(pipeline, &start).await?;
            return Ok(());
        }
        let structure = self.flow.structure(&pipeline.generation, pipeline.version).await?;
        let matched = match (&asked.push, &asked.object) {
            (Some(push), _) => self.match_push(&structure, push).await?,
            (None, Some(object)) => match_object(&structure, object),
            (None, None) => None,
        };
        let Some((trigger, pins)) = matched else { return Ok(()) };
        start.trigger = trigger;
        start.pins = pins;
        self.flow.start(pipeline, &start).await.map(drop)
    }

    /// Which source actions a push concerns. An action with a git trigger is started by its filters
    /// alone; one without by a push to its branch, unless it leaves that to rules.
    async fn match_push(
        &self,
        structure: &Structure,
        push: &Push,
    ) -> Result<Option<(Trigger, BTreeMap<String, SourcePin>)>, Fault> {
        let mut pins = BTreeMap::new();
        let mut kind = "PollForSourceChanges";
        for action in structure.sources().iter().filter(|action| action.provider == Provider::CodeCommit) {
            if setting(action, "RepositoryName") != Some(push.repository.as_str()) {
                continue;
            }
            let trigger = structure.triggers.iter().find(|trigger| trigger.source_action == action.name);
            let starts = match trigger {
                Some(trigger) => {
                    let reference = match push.kind.as_str() {
                        "tag" => Reference::Tag(&push.name),
                        _ => Reference::Branch(&push.name),
                    };
                    match judge(&trigger.push, reference) {
                        Verdict::Starts => true,
                        Verdict::Ignored => false,
                        Verdict::IfPaths(patterns) => {
                            let changed = self.changed_paths(structure, action, push).await?;
                            changed.is_none_or(|changed| {
                                changed.iter().any(|path| patterns.iter().any(|paths| matches(paths, path)))
                            })
                        }
                    }
                }
                None => {
                    push.kind == "branch"
                        && setting(action, "BranchName") == Some(push.name.as_str())
                        && polls(action)
                }
            };
            if starts {
                if trigger.is_some() {
                    kind = "WebhookV2";
                }
                let commit = push.commit.clone();
                let pin = match push.kind.as_str() {
                    "tag" => SourcePin::GitTag(push.name.clone()),
                    _ => SourcePin::GitRef { name: push.name.clone(), commit },
                };
                pins.insert(action.name.clone(), pin);
            }
        }
        let detail = format!("{}/{}/{}@{}", push.repository, push.kind, push.name, push.commit);
        Ok((!pins.is_empty()).then(|| (Trigger { kind: kind.into(), detail }, pins)))
    }

    /// `None` where the pipeline's role may not read them: the pipeline starts, and its history shows it.
    async fn changed_paths(
        &self,
        structure: &Structure,
        action: &Action,
        push: &Push,
    ) -> Result<Option<Vec<String>>, Fault> {
        let role = self.role_call(&structure.role_arn, action.role_arn.as_deref(), "trigger").await;
        let paths = match role {
            Ok(call) => {
                let sources = &self.handles.sources;
                let before = push.before.as_deref();
                let paths = match sources.changed_paths(&call, &push.repository, before, &push.commit).await {
                    // A forced push may have left the old commit unreachable.
                    Err(error) if error.code == "CommitDoesNotExistException" && before.is_some() => {
                        sources.changed_paths(&call, &push.repository, None, &push.commit).await
                    }
                    other => other,
                };
                paths.map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        match paths {
            Ok(paths) => Ok(Some(paths)),
            Err(Failure::Action(error)) => {
                let pipeline = &structure.name;
                tracing::warn!(
                    pipeline,
                    code = error.code,
                    message = error.message,
                    "changed paths cannot be read"
                );
                Ok(None)
            }
            Err(Failure::Later(error)) => Err(towpath_api::ApiError::internal(error).into()),
        }
    }
}

fn match_object(structure: &Structure, object: &Object) -> Option<(Trigger, BTreeMap<String, SourcePin>)> {
    let (mut pins, mut starts) = (BTreeMap::new(), false);
    for action in structure.sources().iter().filter(|action| action.provider == Provider::S3Source) {
        let (bucket, key) = (setting(action, "S3Bucket"), setting(action, "S3ObjectKey"));
        if bucket != Some(object.bucket.as_str()) || key != Some(object.key.as_str()) || !polls(action) {
            continue;
        }
        starts = true;
        if let Some(version) = &object.version {
            pins.insert(action.name.clone(), SourcePin::S3VersionId(version.clone()));
        }
    }
    let detail = format!("s3://{}/{}", object.bucket, object.key);
    starts.then(|| (Trigger { kind: "PollForSourceChanges".into(), detail }, pins))
}

fn setting<'a>(action: &'a Action, key: &str) -> Option<&'a str> {
    action.configuration.get(key).map(String::as_str)
}

/// `PollForSourceChanges`: absent means true.
fn polls(action: &Action) -> bool {
    setting(action, "PollForSourceChanges").and_then(parse_bool).unwrap_or(true)
}

/// What the pipeline watches: one document for each repository and bucket.
pub fn watches(id: &PipelineId, structure: &Structure) -> Vec<Watch> {
    let mut watches: Vec<Watch> = Vec::new();
    for action in structure.sources() {
        let (source, subject, object) = match action.provider {
            Provider::CodeCommit => ("codecommit", setting(action, "RepositoryName"), None),
            Provider::S3Source => {
                let key = setting(action, "S3ObjectKey").filter(|_| polls(action));
                ("s3", setting(action, "S3Bucket"), Some(key.map(str::to_owned)))
            }
            _ => continue,
        };
        let Some(subject) = subject else { continue };
        let same = |watch: &Watch| watch.source == source && watch.subject == subject;
        match (watches.iter().position(same), object) {
            (Some(index), Some(object)) => {
                watches[index].objects.get_or_insert_default().extend(object);
            }
            (Some(_), None) => {}
            (None, object) => watches.push(Watch {
                pipeline: id.clone(),
                source: source.to_owned(),
                subject: subject.to_owned(),
                objects: object.map(|key| key.into_iter().collect()),
            }),
        }
    }
    watches
}
