//! The service as its users see it, over a real store, with stateful fakes of the services beside it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod crash;
mod denials;
mod fakes;
mod fleet;
mod history;
mod jobs;
mod journeys;
mod lists;
mod refusals;
mod rules;
mod triggers;

use crate::state::sample::{action, declaration, stage};
use crate::{Config, Handles, Pipelines};
use fakes::*;
use fleet::Fleet;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use towpath_api::{ApiError, Call, Clock, Event, Timestamp};
use towpath_api_codepipeline::*;
use towpath_durable::Shutdown;
use towpath_store::{Options, Store, Txn};

/// A clock that moves with the machine's and can be moved on.
#[derive(Default)]
pub struct Clockwork(AtomicI64);

impl Clock for Clockwork {
    fn now(&self) -> Timestamp {
        towpath_api::SystemClock.now().plus_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Everything that outlives a server: the other services.
#[derive(Default)]
pub struct Town {
    pub policies: Arc<Policies>,
    pub buckets: Arc<Buckets>,
    pub repository: Arc<Repository>,
    pub builders: Arc<Builders>,
    pub fleet: Arc<Fleet>,
    pub clock: Arc<Clockwork>,
}

/// One life of the server.
pub struct Life {
    pub store: Store,
    pub service: Arc<Pipelines>,
    pub call: Call,
}

impl Town {
    pub async fn life(&self, folder: &Path) -> Life {
        let options = Options::new(folder.join("store")).with_clock(self.clock.clone());
        let store = Store::open(options).await.unwrap();
        let handles = Handles {
            identity: Arc::new(People(self.policies.clone())),
            sts: Arc::new(Tokens),
            objects: self.buckets.clone(),
            sources: self.repository.clone(),
            builds: self.builders.clone(),
            codebuild: self.builders.clone(),
            codedeploy: self.fleet.clone(),
        };
        let service = Pipelines::new(store.clone(), handles, Config::new(folder.join("scratch")));
        tokio::spawn(service.clone().run(Shutdown::new()));
        Life { store, service, call: call(&self.policies, "me") }
    }
}

impl Life {
    pub async fn create(&self, declaration: PipelineDeclaration) -> Result<PipelineDeclaration, ApiError> {
        let input = CreatePipelineInput { pipeline: Some(declaration), tags: None };
        self.service.create_pipeline(&self.call, input).await.map(|output| output.pipeline.unwrap())
    }

    pub async fn start(&self) -> String {
        let input = StartPipelineExecutionInput { name: Some("web".into()), ..Default::default() };
        self.service.start_pipeline_execution(&self.call, input).await.unwrap().pipeline_execution_id.unwrap()
    }

    pub async fn executions(&self) -> Vec<PipelineExecutionSummary> {
        let input = ListPipelineExecutionsInput { pipeline_name: Some("web".into()), ..Default::default() };
        let output = self.service.list_pipeline_executions(&self.call, input).await.unwrap();
        output.pipeline_execution_summaries.unwrap()
    }

    pub async fn status(&self, execution: &str) -> String {
        let all = self.executions().await;
        let found = all.into_iter().find(|one| one.pipeline_execution_id.as_deref() == Some(execution));
        found.unwrap().status.unwrap()
    }

    pub async fn state(&self) -> GetPipelineStateOutput {
        let input = GetPipelineStateInput { name: Some("web".into()) };
        self.service.get_pipeline_state(&self.call, input).await.unwrap()
    }

    /// The latest run of an action as GetPipelineState shows it.
    pub async fn latest(&self, stage: &str, action: &str) -> Option<ActionExecution> {
        let state = self.state().await;
        let stage =
            state.stage_states.unwrap().into_iter().find(|one| one.stage_name.as_deref() == Some(stage))?;
        let actions = stage.action_states.unwrap();
        actions.into_iter().find(|one| one.action_name.as_deref() == Some(action))?.latest_execution
    }

    pub async fn events(&self, detail_type: &str) -> Vec<String> {
        let events = self.store.events_after(0, 10_000).await.unwrap();
        let matching =
            events.into_iter().map(|(_, event)| event).filter(|event| event.detail_type == detail_type);
        let text = |event: &Event, key: &str| event.detail[key].as_str().unwrap_or_default().to_owned();
        matching
            .map(|event| {
                format!("{} {} {}", text(&event, "stage"), text(&event, "action"), text(&event, "state"))
                    .trim()
                    .to_owned()
            })
            .collect()
    }

    pub async fn emit(&self, source: &str, detail_type: &str, detail: serde_json::Value) {
        let scope = ("000000000000", "us-east-1");
        let mut txn = Txn::new();
        txn.emit(Event::new(source, detail_type, scope, self.store.now(), Vec::new(), detail));
        self.store.commit(txn).await.unwrap();
    }

    /// Waits until something is there, looking after every commit.
    pub async fn until<T, F: Future<Output = Option<T>>>(&self, what: &str, look: impl Fn() -> F) -> T {
        let mut committed = self.store.committed();
        let waiting = async {
            loop {
                committed.borrow_and_update();
                if let Some(found) = look().await {
                    return found;
                }
                // A fake may change without a commit: look again soon in any case.
                let _ = tokio::time::timeout(Duration::from_millis(50), committed.changed()).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .unwrap_or_else(|_| panic!("never: {what}"))
    }

    pub async fn until_status(&self, execution: &str, wanted: &str) {
        let look = || async { (self.status(execution).await == wanted).then_some(()) };
        self.until(&format!("{execution} {wanted}"), look).await;
    }

    /// The newest execution, once there are `count`.
    pub async fn nth(&self, count: usize) -> String {
        let look = || async {
            let all = self.executions().await;
            (all.len() >= count).then(|| all[0].pipeline_execution_id.clone().unwrap())
        };
        self.until(&format!("{count} executions"), look).await
    }

    pub async fn token(&self, stage: &str, action: &str) -> String {
        let look = || async { self.latest(stage, action).await?.token };
        self.until("an approval token", look).await
    }

    pub async fn answer(&self, token: &str, status: &str) -> Result<PutApprovalResultOutput, ApiError> {
        let input = PutApprovalResultInput {
            pipeline_name: Some("web".into()),
            stage_name: Some("Approve".into()),
            action_name: Some("Ask".into()),
            result: Some(ApprovalResult { summary: Some("fine".into()), status: Some(status.into()) }),
            token: Some(token.into()),
        };
        self.service.put_approval_result(&self.call, input).await
    }
}

impl Town {
    /// Waits for an action's build, and ends it: with outputs stored if it succeeds.
    pub async fn build(&self, life: &Life, execution: &str, action: &str, status: &str) -> String {
        let builders = self.builders.clone();
        let look = || async { builders.of(execution, action) };
        let id = life.until(&format!("a build of {action}"), look).await;
        if status == "SUCCEEDED" {
            let request = self.builders.builds.lock().unwrap()[&id].0.clone();
            for output in request.outputs {
                let content = zip(&[("appspec.yml", "version: 0.0"), ("built.txt", &id)]);
                self.buckets.write(&output.bucket, &output.key, content.into(), &Default::default());
            }
        }
        self.builders.set(&id, |build| build.build_status = Some(status.into()));
        let arn = format!("arn:aws:codebuild:us-east-1:000000000000:build/{id}");
        life.emit("aws.codebuild", "CodeBuild Build State Change", serde_json::json!({"build-id": arn}))
            .await;
        id
    }

    /// Waits for the `count`th deployment, and ends it.
    pub async fn deploy(&self, life: &Life, count: usize, status: &str) -> String {
        let fleet = self.fleet.clone();
        let look = || async { fleet.ids().get(count - 1).cloned() };
        let id = life.until(&format!("deployment {count}"), look).await;
        self.fleet.set(&id, status);
        let detail = serde_json::json!({"deploymentId": id});
        life.emit("aws.codedeploy", "CodeDeploy Deployment State-change Notification", detail).await;
        id
    }

    /// A push to a branch, as CodeCommit tells it.
    pub async fn push(&self, life: &Life, branch: &str, commit: &str) {
        self.repository.point(branch, commit);
        let detail = serde_json::json!({
            "event": "referenceUpdated", "repositoryName": "app", "referenceType": "branch",
            "referenceName": branch, "commitId": commit, "oldCommitId": "0",
        });
        life.emit("aws.codecommit", "CodeCommit Repository State Change", detail).await;
    }
}

/// Source → Build → Approve → Deploy.
pub fn journey() -> PipelineDeclaration {
    let mut source = action("Checkout", "Source/CodeCommit", 1, &[], &["src"]);
    source.namespace = Some("Src".into());
    let mut package = action("Package", "Build/CodeBuild", 1, &["src"], &["app"]);
    let variables = r##"[{"name":"COMMIT","value":"#{Src.CommitId}"}]"##;
    package.configuration.as_mut().unwrap().insert("EnvironmentVariables".into(), variables.into());
    declaration(
        "SUPERSEDED",
        vec![
            stage("Source", vec![source]),
            stage("Build", vec![package]),
            stage("Approve", vec![action("Ask", "Approval/Manual", 1, &[], &[])]),
            stage("Deploy", vec![action("Fleet", "Deploy/CodeDeploy", 1, &["app"], &[])]),
        ],
    )
}

/// A town with a commit, a server, and a pipeline whose first execution has begun.
pub async fn begin(declaration: PipelineDeclaration) -> (Town, tempfile::TempDir, Life, String) {
    let town = Town::default();
    town.repository.point("main", "c1");
    let folder = tempfile::tempdir().unwrap();
    let life = town.life(folder.path()).await;
    life.create(declaration).await.unwrap();
    let first = life.nth(1).await;
    (town, folder, life, first)
}
