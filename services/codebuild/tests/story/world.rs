//! A CodeBuild of a test's own, and the words in which the stories are told.

use super::fakes::*;
use super::sandbox::Folders;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use towpath_api::{Call, Caller, Clock, SystemClock, Timestamp};
use towpath_api_codebuild::*;
use towpath_codebuild::sandbox::Sandboxes;
use towpath_codebuild::{CodeBuildService, Config, Handles, remote};
use towpath_durable::Shutdown;
use towpath_store::{Options, Store};
use towpath_wire::{Authenticator, Server};

pub const ACCOUNT: &str = "000000000000";
pub const REGION: &str = "us-east-1";
pub const ROLE: &str = "arn:aws:iam::000000000000:role/build";

pub fn call_of(caller: Caller, denials: Arc<Denials>) -> Call {
    Call {
        request_id: "request".into(),
        account: ACCOUNT.into(),
        region: REGION.into(),
        at: Timestamp::EPOCH,
        caller,
        source_ip: None,
        secure: false,
        gate: Arc::new(FakeGate(denials)),
    }
}

/// A clock that moves with the machine's and can be moved on.
#[derive(Default)]
pub struct Clockwork(AtomicI64);

impl Clockwork {
    pub fn advance(&self, millis: i64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for Clockwork {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus_millis(self.0.load(Ordering::SeqCst))
    }
}

pub struct World {
    pub folder: tempfile::TempDir,
    pub clock: Arc<Clockwork>,
    pub store: Store,
    pub identity: Arc<FakeIdentity>,
    pub objects: Arc<FakeObjects>,
    pub sources: Arc<FakeSources>,
    pub logs: Arc<FakeLogs>,
    pub sandboxes: Arc<Folders>,
    pub service: Arc<CodeBuildService>,
    pub denials: Arc<Denials>,
    pub call: Call,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<()>,
}

impl World {
    pub async fn new() -> World {
        World::with(tempfile::tempdir().unwrap(), None, "127.0.0.1:4566".parse().unwrap()).await
    }

    /// A server that leaves its builds to workers.
    pub async fn without_slots() -> World {
        let endpoint = "127.0.0.1:4566".parse().unwrap();
        let fresh = tempfile::tempdir().unwrap();
        let fakes = (Default::default(), Default::default(), Default::default());
        World::on(fresh, fakes, (None, endpoint), 0).await
    }

    /// The server's door for workers, on a port of its own; where it is.
    pub async fn open_door(&self) -> String {
        let clock = Arc::new(towpath_api::SystemClock);
        let authenticator = Authenticator::new(self.identity.clone(), clock, ACCOUNT, REGION);
        let shutdown = self.shutdown.clone();
        let door = self.service.work_door(shutdown.clone());
        let server = Arc::new(Server::builder(authenticator).mount(remote::PREFIX, door).build());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { server.serve(listener, async move { shutdown.wait().await }).await });
        format!("http://{address}")
    }

    /// With sandboxes of the test's choice.
    pub async fn with(
        folder: tempfile::TempDir,
        runner: Option<Arc<dyn Sandboxes>>,
        endpoint: SocketAddr,
    ) -> World {
        let fakes = (Default::default(), Default::default(), Default::default());
        World::on(folder, fakes, (runner, endpoint), 4).await
    }

    async fn on(
        folder: tempfile::TempDir,
        (objects, sources, logs): (Arc<FakeObjects>, Arc<FakeSources>, Arc<FakeLogs>),
        (runner, endpoint): (Option<Arc<dyn Sandboxes>>, SocketAddr),
        workers: usize,
    ) -> World {
        let clock = Arc::new(Clockwork::default());
        let store =
            Store::open(Options::new(folder.path().join("store")).with_clock(clock.clone())).await.unwrap();
        let identity = Arc::new(FakeIdentity::default());
        let sandboxes = Folders::new(folder.path().join("inside"));
        let config = Config {
            data_dir: folder.path().join("codebuild"),
            workers,
            endpoint: Some(endpoint),
            public_url: None,
            keep_history_days: 365,
            bounds: towpath_codebuild::Bounds { disk_bytes: 1 << 30, log_bytes: 4 << 20 },
        };
        let handles = Handles {
            identity: identity.clone(),
            objects: objects.clone(),
            sources: sources.clone(),
            logs: logs.clone(),
            log_batches: logs.clone(),
            runner: runner.unwrap_or_else(|| sandboxes.clone()),
        };
        let service = CodeBuildService::new(config, store.clone(), handles);
        let shutdown = Shutdown::new();
        let running = tokio::spawn(service.clone().run(shutdown.clone()));
        let denials = Arc::new(Denials::default());
        let caller = Caller::User {
            arn: "arn:aws:iam::000000000000:user/ada".into(),
            name: "ada".into(),
            id: "AIDA".into(),
        };
        let call = call_of(caller, denials.clone());
        World {
            folder,
            clock,
            store,
            identity,
            objects,
            sources,
            logs,
            sandboxes,
            service,
            denials,
            call,
            shutdown,
            running,
        }
    }

    /// As kill -9 does it: everything that runs is gone between two instructions; a new server starts on the
    /// same disk.
    pub async fn crash(self) -> World {
        let World { folder, store, objects, sources, logs, service, running, .. } = self;
        running.abort();
        let _ = running.await;
        drop(service);
        store.close().await;
        drop(store);
        let endpoint = "127.0.0.1:4566".parse().unwrap();
        World::on(folder, (objects, sources, logs), (None, endpoint), 4).await
    }

    pub async fn stop_server(&self) {
        self.shutdown.trigger();
    }

    /// A project without a source, with this buildspec; `change` makes it another one.
    pub async fn project(&self, buildspec: &str, change: impl FnOnce(&mut CreateProjectInput)) {
        let mut input = project(buildspec);
        change(&mut input);
        self.service.create_project(&self.call, input).await.unwrap();
    }

    pub async fn start(&self, change: impl FnOnce(&mut StartBuildInput)) -> String {
        let mut input = StartBuildInput { project_name: Some("app".into()), ..StartBuildInput::default() };
        change(&mut input);
        self.service.start_build(&self.call, input).await.unwrap().build.unwrap().id.unwrap()
    }

    pub async fn get(&self, id: &str) -> Build {
        let input = BatchGetBuildsInput { ids: Some(vec![id.to_owned()]) };
        let output = self.service.batch_get_builds(&self.call, input).await.unwrap();
        output.builds.unwrap().pop().unwrap()
    }

    /// The build once `done` holds.
    pub async fn until(&self, id: &str, done: impl Fn(&Build) -> bool) -> Build {
        let mut changed = self.store.committed();
        tokio::time::timeout(Duration::from_secs(60), async {
            loop {
                let build = self.get(id).await;
                if done(&build) {
                    return build;
                }
                changed.changed().await.unwrap();
            }
        })
        .await
        .unwrap_or_else(|_| panic!("the build did not get there: {:#?}", self.log(id)))
    }

    pub async fn finished(&self, id: &str) -> Build {
        self.until(id, |build| build.build_complete == Some(true)).await
    }

    /// Creates, starts, waits.
    pub async fn build(&self, buildspec: &str) -> Build {
        self.project(buildspec, |_| {}).await;
        let id = self.start(|_| {}).await;
        self.finished(&id).await
    }

    /// Waits until no build's folder is on the disk.
    pub async fn nothing_left(&self) {
        let builds = self.folder.path().join("codebuild/builds");
        tokio::time::timeout(Duration::from_secs(10), async {
            while std::fs::read_dir(&builds).unwrap().count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("nothing stays on the disk");
    }

    pub fn log(&self, id: &str) -> Vec<String> {
        self.logs.lines(id.rsplit(':').next().unwrap())
    }

    /// What commands printed: the log without CodeBuild's own lines.
    pub fn printed(&self, build: &Build) -> Vec<String> {
        let lines = self.log(build.id.as_deref().unwrap());
        lines.into_iter().filter(|line| !line.starts_with("[Container]")).collect()
    }

    /// Waits until the log holds a line.
    pub async fn logged(&self, id: &str, text: &str) {
        tokio::time::timeout(Duration::from_secs(30), async {
            while !self.log(id).iter().any(|line| line.contains(text)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no {text:?} in {:#?}", self.log(id)));
    }
}

pub fn project(buildspec: &str) -> CreateProjectInput {
    CreateProjectInput {
        name: Some("app".into()),
        service_role: Some(ROLE.into()),
        source: Some(ProjectSource {
            type_: Some("NO_SOURCE".into()),
            buildspec: Some(buildspec.into()),
            ..ProjectSource::default()
        }),
        artifacts: Some(ProjectArtifacts {
            type_: Some("NO_ARTIFACTS".into()),
            ..ProjectArtifacts::default()
        }),
        environment: Some(ProjectEnvironment {
            type_: Some("LINUX_CONTAINER".into()),
            image: Some("aws/codebuild/standard:7.0".into()),
            compute_type: Some("BUILD_GENERAL1_SMALL".into()),
            ..ProjectEnvironment::default()
        }),
        ..CreateProjectInput::default()
    }
}

pub fn s3_artifacts(change: impl FnOnce(&mut ProjectArtifacts)) -> ProjectArtifacts {
    let mut artifacts = ProjectArtifacts {
        type_: Some("S3".into()),
        location: Some("out".into()),
        packaging: Some("ZIP".into()),
        ..ProjectArtifacts::default()
    };
    change(&mut artifacts);
    artifacts
}

/// `INSTALL:SUCCEEDED BUILD:FAILED …`, from PROVISIONING on.
pub fn phases(build: &Build) -> String {
    let phases = build.phases.as_ref().unwrap().iter().skip(3);
    let show = |phase: &BuildPhase| {
        let status = phase.phase_status.as_ref().map(|status| format!(":{status}")).unwrap_or_default();
        format!("{}{status}", phase.phase_type.as_ref().unwrap())
    };
    phases.map(show).collect::<Vec<_>>().join(" ")
}

/// The context of a phase: `CODE: message`.
pub fn context(build: &Build, kind: &str) -> String {
    let phases = build.phases.as_ref().unwrap();
    let phase = phases.iter().find(|phase| phase.phase_type.as_deref() == Some(kind)).unwrap();
    let context = &phase.contexts.as_ref().unwrap()[0];
    format!("{}: {}", context.status_code.as_ref().unwrap(), context.message.as_ref().unwrap())
}

pub fn spec(build_commands: &[&str]) -> String {
    let commands: String = build_commands
        .iter()
        .map(|command| format!("      - {}\n", serde_json::to_string(command).unwrap()))
        .collect();
    format!("version: 0.2\nphases:\n  build:\n    commands:\n{commands}")
}

/// A zip of named texts.
pub fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    use std::io::{Read, Seek};
    let entries = entries.iter().map(|(name, text)| towpath_archive::Entry {
        name: (*name).to_owned(),
        content: towpath_archive::Content::Bytes(text.as_bytes().to_vec()),
    });
    let mut file = tempfile::tempfile().unwrap();
    towpath_archive::pack(towpath_archive::Kind::Zip, entries.collect(), &mut file).unwrap();
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Name and text of every file in a zip.
pub fn unzip(bytes: &[u8]) -> Vec<(String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.zip");
    std::fs::write(&path, bytes).unwrap();
    let target = folder.path().join("files");
    std::fs::create_dir(&target).unwrap();
    let root = towpath_archive::Root::open(&target).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    towpath_archive::unpack(file, None, &root, &Default::default()).unwrap();
    let found = root.walk(std::path::Path::new(""), &Default::default()).unwrap();
    let files =
        found.into_iter().filter(|found| matches!(found.kind, towpath_archive::FoundKind::File { .. }));
    files
        .map(|found| {
            let text = std::fs::read_to_string(target.join(&found.path)).unwrap();
            (found.path.to_string_lossy().into_owned(), text)
        })
        .collect()
}
