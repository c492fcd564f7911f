//! The world around the service: a store on disk, a clock that can be moved, roles, objects and agents.

pub use crate::fakes::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use towpath_api::*;
use towpath_api_codedeploy::*;
use towpath_api_codedeploycommand::*;
use towpath_archive::{Content, Entry, Kind, pack};
use towpath_codedeploy::{CodeDeployService, Config};
use towpath_durable::Shutdown;
use towpath_store::{Options, Store};

pub const ACCOUNT: &str = "000000000000";
pub const ROLE: &str = "arn:aws:iam::000000000000:role/CodeDeploy";
pub const EVENTS: [&str; 7] = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
];

pub fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    let entries = entries
        .iter()
        .map(|(name, text)| Entry { name: (*name).into(), content: Content::Bytes(text.as_bytes().to_vec()) })
        .collect();
    let mut file = tempfile::tempfile().unwrap();
    pack(Kind::Zip, entries, &mut file).unwrap();
    let mut bytes = Vec::new();
    use std::io::{Read, Seek};
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

pub struct World {
    pub folder: PathBuf,
    _guard: Option<TempDir>,
    pub clock: Arc<MovableClock>,
    pub identity: Arc<FakeIdentity>,
    pub objects: Arc<FakeObjects>,
    pub store: Store,
    pub service: Arc<CodeDeployService>,
    pub config: Config,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

impl World {
    pub async fn new() -> World {
        World::with(Config { poll_hold_ms: 200, redelivery_ms: 300, ..Config::default() }).await
    }

    pub async fn with(config: Config) -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut world = World::at(path, config, Arc::default(), Arc::default(), Arc::default()).await;
        world._guard = Some(folder);
        for revision in ["v1.zip", "v2.zip"] {
            world.objects.put(revision, zip(&[("appspec.yml", "version: 0.0"), ("file", revision)]));
        }
        world
    }

    async fn at(
        folder: PathBuf,
        config: Config,
        clock: Arc<MovableClock>,
        identity: Arc<FakeIdentity>,
        objects: Arc<FakeObjects>,
    ) -> World {
        let store = Store::open(Options::new(&folder).with_clock(clock.clone())).await.unwrap();
        let service =
            CodeDeployService::new(store.clone(), identity.clone(), objects.clone(), config.clone());
        let shutdown = Shutdown::new();
        let running = tokio::spawn(service.clone().run(shutdown.clone()));
        World { folder, _guard: None, clock, identity, objects, store, service, config, shutdown, running }
    }

    /// The process dies: nothing is finished, nothing is said goodbye to. Then it starts again.
    pub async fn crash(self) -> World {
        self.running.abort();
        let _ = self.running.await;
        drop(self.service);
        self.store.close().await;
        drop(self.store);
        let mut world = World::at(self.folder, self.config, self.clock, self.identity, self.objects).await;
        world._guard = self._guard;
        world
    }

    pub async fn stop(self) {
        self.shutdown.trigger();
        self.running.await.unwrap();
        self.store.close().await;
    }

    /// Registered hosts with the tag role=web, and a group of them.
    pub async fn fleet(&self, hosts: &[&str], config: &str) {
        for host in hosts {
            self.register(host).await;
        }
        self.service
            .create_application(
                &admin(),
                CreateApplicationInput { application_name: Some("shop".into()), ..Default::default() },
            )
            .await
            .unwrap();
        self.service
            .create_deployment_group(
                &admin(),
                CreateDeploymentGroupInput {
                    application_name: Some("shop".into()),
                    deployment_group_name: Some("prod".into()),
                    service_role_arn: Some(ROLE.into()),
                    deployment_config_name: Some(config.into()),
                    on_premises_instance_tag_filters: Some(vec![filter("role", "web")]),
                    auto_rollback_configuration: Some(AutoRollbackConfiguration {
                        enabled: Some(true),
                        events: Some(vec!["DEPLOYMENT_FAILURE".into(), "DEPLOYMENT_STOP_ON_REQUEST".into()]),
                    }),
                    ..Default::default()
                },
            )
            .await
            .unwrap();
    }

    pub async fn register(&self, host: &str) {
        self.service
            .register_on_premises_instance(
                &admin(),
                RegisterOnPremisesInstanceInput {
                    instance_name: Some(host.into()),
                    iam_user_arn: Some(user_arn(host)),
                    ..Default::default()
                },
            )
            .await
            .unwrap();
        self.service
            .add_tags_to_on_premises_instances(
                &admin(),
                AddTagsToOnPremisesInstancesInput {
                    instance_names: Some(vec![host.into()]),
                    tags: Some(vec![Tag { key: Some("role".into()), value: Some("web".into()) }]),
                },
            )
            .await
            .unwrap();
    }

    pub fn request(&self, key: &str) -> CreateDeploymentInput {
        CreateDeploymentInput {
            application_name: Some("shop".into()),
            deployment_group_name: Some("prod".into()),
            revision: Some(s3(key)),
            ..Default::default()
        }
    }

    pub async fn deploy(&self, key: &str) -> String {
        self.deploy_with(self.request(key)).await
    }

    pub async fn deploy_with(&self, input: CreateDeploymentInput) -> String {
        self.service.create_deployment(&admin(), input).await.unwrap().deployment_id.unwrap()
    }

    pub async fn info(&self, id: &str) -> DeploymentInfo {
        let input = GetDeploymentInput { deployment_id: Some(id.into()) };
        self.service.get_deployment(&admin(), input).await.unwrap().deployment_info.unwrap()
    }

    /// Waits for what must happen by itself.
    pub async fn until(&self, id: &str, holds: impl Fn(&DeploymentInfo) -> bool) -> DeploymentInfo {
        for _ in 0..2_000 {
            let info = self.info(id).await;
            if holds(&info) {
                return info;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("deployment {id} did not get there: {:?}", self.info(id).await);
    }

    pub async fn ended(&self, id: &str) -> DeploymentInfo {
        self.until(id, |info| info.complete_time.is_some()).await
    }

    pub async fn started(&self, id: &str) -> DeploymentInfo {
        self.until(id, |info| info.start_time.is_some()).await
    }

    pub async fn target(&self, id: &str, host: &str) -> InstanceTarget {
        let input = GetDeploymentTargetInput { deployment_id: Some(id.into()), target_id: Some(host.into()) };
        let found = self.service.get_deployment_target(&admin(), input).await.unwrap();
        found.deployment_target.unwrap().instance_target.unwrap()
    }

    pub async fn event_states(&self, id: &str, host: &str) -> Vec<String> {
        let events = self.target(id, host).await.lifecycle_events.unwrap();
        events.into_iter().map(|event| event.status.unwrap()).collect()
    }

    pub fn agent(&self, host: &str) -> FakeAgent {
        FakeAgent { host: host.into(), call: agent_call(host), service: self.service.clone() }
    }

    /// `(detail-type without its end, deployment, instance, state)` of every event so far.
    pub async fn notices(&self) -> Vec<(String, String, String)> {
        let events = self.store.events_after(0, 10_000).await.unwrap();
        events
            .into_iter()
            .map(|(_, event)| {
                let text = |name: &str| event.detail[name].as_str().unwrap_or_default().to_owned();
                (text("deploymentId"), text("instanceId"), text("state"))
            })
            .collect()
    }
}

pub fn s3(key: &str) -> RevisionLocation {
    RevisionLocation {
        revision_type: Some("S3".into()),
        s3_location: Some(S3Location {
            bucket: Some("bucket".into()),
            key: Some(key.into()),
            bundle_type: Some("zip".into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub fn filter(key: &str, value: &str) -> TagFilter {
    TagFilter { key: Some(key.into()), value: Some(value.into()), type_: Some("KEY_AND_VALUE".into()) }
}

/// An agent that does what it is told and reports it.
#[derive(Clone)]
pub struct FakeAgent {
    pub host: String,
    pub call: Call,
    pub service: Arc<CodeDeployService>,
}

impl FakeAgent {
    pub async fn try_poll(&self) -> Result<Option<HostCommandInstance>, ApiError> {
        let input = PollHostCommandInput { host_identifier: Some(user_arn(&self.host)) };
        Ok(self.service.poll_host_command(&self.call, input).await?.host_command)
    }

    pub async fn poll(&self) -> Option<HostCommandInstance> {
        self.try_poll().await.unwrap()
    }

    /// Polls, as often as needed, for the next command.
    pub async fn next(&self) -> HostCommandInstance {
        for _ in 0..50 {
            if let Some(command) = self.poll().await {
                return command;
            }
        }
        panic!("no command for {}", self.host);
    }

    pub async fn specification(&self, command: &HostCommandInstance) -> serde_json::Value {
        let input = GetDeploymentSpecificationInput {
            deployment_execution_id: command.deployment_execution_id.clone(),
            host_identifier: Some(user_arn(&self.host)),
        };
        let output = self.service.get_deployment_specification(&self.call, input).await.unwrap();
        assert_eq!(output.deployment_system.as_deref(), Some("CodeDeploy"));
        let envelope = output.deployment_specification.unwrap().variant_envelope.unwrap();
        assert_eq!(envelope.format.as_deref(), Some("TEXT/JSON"));
        serde_json::from_str(&envelope.payload.unwrap()).unwrap()
    }

    pub async fn try_acknowledge(&self, id: &str, noop: bool) -> Result<String, ApiError> {
        let input = PutHostCommandAcknowledgementInput {
            host_command_identifier: Some(id.into()),
            diagnostics: Some(json(format!(r#"{{"IsCommandNoop":{noop}}}"#))),
        };
        Ok(self.service.put_host_command_acknowledgement(&self.call, input).await?.command_status.unwrap())
    }

    pub async fn try_complete(&self, id: &str, succeeded: bool) -> Result<(), ApiError> {
        let (status, payload) = if succeeded {
            ("Succeeded", r#"{"error_code":0,"script_name":"","message":"Succeeded: ","log":""}"#)
        } else {
            (
                "Failed",
                r#"{"error_code":4,"script_name":"check.sh","message":"exit code 1","log":"[stderr]no answer\n"}"#,
            )
        };
        let input = PutHostCommandCompleteInput {
            host_command_identifier: Some(id.into()),
            command_status: Some(status.into()),
            diagnostics: Some(json(payload.into())),
        };
        self.service.put_host_command_complete(&self.call, input).await.map(drop)
    }

    /// Carries one command out; says which deployment's and which event it was.
    pub async fn step(&self, succeed: impl Fn(&str, &str) -> bool) -> (String, String) {
        let command = self.next().await;
        let name = command.command_name.clone().unwrap();
        let id = command.host_command_identifier.clone().unwrap();
        let key =
            self.specification(&command).await["Revision"]["S3Revision"]["Key"].as_str().unwrap().to_owned();
        assert_eq!(self.try_acknowledge(&id, false).await.unwrap(), "InProgress");
        self.try_complete(&id, succeed(&key, &name)).await.unwrap();
        (key, name)
    }

    /// Works for ever, as an agent does.
    pub fn work(self, succeed: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                self.step(&succeed).await;
            }
        })
    }
}

fn json(payload: String) -> Envelope {
    Envelope { format: Some("JSON".into()), payload: Some(payload) }
}

pub fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
    result.expect_err("this must be refused").code.into_owned()
}
