//! Builds of a server without slots, run by workers over real sockets.

use super::fakes::COMMIT;
use super::sandbox::Folders;
use super::world::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;
use towpath_api_codebuild::*;
use towpath_codebuild::remote::worker;
use towpath_durable::Shutdown;

async fn token(world: &World) -> String {
    let made = world.service.make_worker_token("a test's", "arn:aws:iam::0:root", 1).await.unwrap();
    made["token"].as_str().unwrap().to_owned()
}

struct Worker {
    sandboxes: Arc<Folders>,
    data_dir: PathBuf,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), worker::WorkerError>>,
}

impl Worker {
    async fn start(world: &World, endpoint: &str, name: &str) -> Worker {
        Worker::with_token(world, endpoint, name, token(world).await)
    }

    fn with_token(world: &World, endpoint: &str, name: &str, token: String) -> Worker {
        let data_dir = world.folder.path().join(name);
        let sandboxes = Folders::new(data_dir.join("inside"));
        let config = worker::Config {
            endpoints: vec![endpoint.to_owned()],
            tunnel: None,
            chosen: Arc::default(),
            token,
            tls: None,
            name: name.to_owned(),
            slots: 2,
            data_dir: data_dir.clone(),
            sandboxes: sandboxes.clone(),
        };
        let shutdown = Shutdown::new();
        let running = tokio::spawn(worker::run(config, shutdown.clone()));
        Worker { sandboxes, data_dir, shutdown, running }
    }

    async fn until_idle(&self) {
        let builds = self.data_dir.join("builds");
        tokio::time::timeout(Duration::from_secs(30), async {
            while self.sandboxes.alive.load(Ordering::SeqCst) > 0
                || std::fs::read_dir(&builds).unwrap().count() > 0
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("nothing stays on the worker");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_runs_a_build_and_its_server_stores_what_it_left() {
    let world = World::without_slots().await;
    let endpoint = world.open_door().await;
    let worker = Worker::start(&world, &endpoint, "one").await;
    world.sources.repositories.lock().unwrap().insert(
        "repo".into(),
        [("word".to_owned(), "from the source\n".to_owned()), ("deep/file".to_owned(), "deep".to_owned())]
            .into(),
    );
    let text = format!(
        "{}artifacts:\n  files: ['out', 'deep/*']\nenv:\n  exported-variables: [WORD]\n",
        spec(&["cat word", "export WORD=told", "cp word out", "echo $AWS_SECRET_ACCESS_KEY"])
    );
    world
        .project(&text, |input| {
            let source = input.source.as_mut().unwrap();
            source.type_ = Some("CODECOMMIT".into());
            source.location = Some("https://host/v1/repos/repo".into());
            input.artifacts = Some(s3_artifacts(|_| {}));
        })
        .await;
    let id = world.start(|input| input.source_version = Some("main".into())).await;
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"), "{:#?}", world.log(&id));
    assert_eq!(build.resolved_source_version.as_deref(), Some(COMMIT));
    let printed = world.printed(&build);
    assert!(
        printed.contains(&"from the source".to_owned()) && printed.contains(&"***".to_owned()),
        "{printed:?}"
    );
    let stored = world.objects.get("out", "app").unwrap();
    let files = unzip(&stored);
    assert!(files.contains(&("out".into(), "from the source\n".into())), "{files:?}");
    assert!(files.contains(&("deep/file".into(), "deep".into())), "{files:?}");
    assert_eq!(world.objects.puts.lock().unwrap().len(), 1);
    assert_eq!(world.sandboxes.started.load(Ordering::SeqCst), 0, "nothing ran on the server");
    worker.until_idle().await;
    world.nothing_left().await;
    worker.shutdown.trigger();
    worker.running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_build_ends_on_its_worker_within_a_second() {
    let world = World::without_slots().await;
    let endpoint = world.open_door().await;
    let worker = Worker::start(&world, &endpoint, "one").await;
    world.project(&spec(&["echo waiting; sleep 600"]), |_| {}).await;
    let id = world.start(|_| {}).await;
    world.logged(&id, "waiting").await;
    world.service.stop_build(&world.call, StopBuildInput { id: Some(id.clone()) }).await.unwrap();
    worker.until_idle().await;
    assert_eq!(world.get(&id).await.build_status.as_deref(), Some("STOPPED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_gives_its_build_to_another() {
    let world = World::without_slots().await;
    let endpoint = world.open_door().await;
    let first = Worker::start(&world, &endpoint, "one").await;
    let marker = world.folder.path().join("first");
    let command = format!("if mkdir {}; then echo waiting; sleep 600; fi; echo through", marker.display());
    world.project(&spec(&[&command]), |_| {}).await;
    let id = world.start(|_| {}).await;
    world.logged(&id, "waiting").await;
    first.shutdown.trigger();
    let second = Worker::start(&world, &endpoint, "two").await;
    let build = world.finished(&id).await;
    assert_eq!(build.build_status.as_deref(), Some("SUCCEEDED"), "{:#?}", world.log(&id));
    first.running.await.unwrap().unwrap();
    assert_eq!(first.sandboxes.alive.load(Ordering::SeqCst), 0);
    second.until_idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_fails_the_build_as_on_a_server() {
    let world = World::without_slots().await;
    let endpoint = world.open_door().await;
    let _worker = Worker::start(&world, &endpoint, "one").await;
    world.identity.role.deny("logs:CreateLogStream");
    world.project(&spec(&["true"]), |_| {}).await;
    let id = world.start(|_| {}).await;
    let build = world.finished(&id).await;
    assert_eq!(phases(&build), "FINALIZING:SUCCEEDED COMPLETED");
    assert!(context(&build, "PROVISIONING").starts_with("ACCESS_DENIED: Service role"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_that_counts_a_worker_ends() {
    let world = World::without_slots().await;
    let endpoint = world.open_door().await;
    let token = token(&world).await;
    let flipped = if token.ends_with('a') { 'b' } else { 'a' };
    let forged = format!("{}{flipped}", &token[..token.len() - 1]);
    let worker = Worker::with_token(&world, &endpoint, "liar", forged);
    assert!(matches!(worker.running.await.unwrap(), Err(worker::WorkerError::Token(_))));
}

/// The answer to a batch of the log is lost after the batch was stored: it is sent again, and not stored again.
#[tokio::test(flavor = "multi_thread")]
async fn lines_whose_answer_was_lost_are_logged_once() {
    for (world, remote) in [(World::new().await, false), (World::without_slots().await, true)] {
        let endpoint = world.open_door().await;
        let worker = if remote { Some(Worker::start(&world, &endpoint, "one").await) } else { None };
        *world.logs.lost_answers.lock().unwrap() = 3;
        world.project(&spec(&["echo said once"]), |_| {}).await;
        let id = world.start(|_| {}).await;
        let build = world.finished(&id).await;
        assert_eq!(*world.logs.lost_answers.lock().unwrap(), 0);
        assert_eq!(world.printed(&build), ["said once"], "on a worker: {remote}");
        let own: Vec<_> = world.log(&id).into_iter().filter(|line| line.contains("Running on")).collect();
        assert_eq!(own.len(), 1, "{own:?}");
        if let Some(worker) = worker {
            worker.until_idle().await;
        }
    }
}
