//! Every service with the handles that it needs. A service knows the others by their public traits.

use super::again::Again;
use super::internal::Internal;
use super::listeners::Listeners;
use super::nodes::Nodes;
use super::{Cluster, StartError, part};
use crate::client::identity_dir;
use crate::config::Config;
use crate::tls;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use towpath_codebuild::{CodeBuildService, remote};
use towpath_codecommit::CodeCommitService;
use towpath_codedeploy::CodeDeployService;
use towpath_codepipeline::Pipelines;
use towpath_durable::Shutdown;
use towpath_events::Events;
use towpath_iam::IdentityService;
use towpath_logs::LogsService;
use towpath_runner::Runner;
use towpath_s3::S3;
use towpath_store::blobs::Blobs;
use towpath_store::{Options, Store};
use towpath_wire::server::Server;
use towpath_wire::server::auth::Authenticator;

pub struct Services {
    iam: Arc<IdentityService>,
    s3: Arc<S3>,
    events: Arc<Events>,
    logs: Arc<LogsService>,
    codecommit: Arc<CodeCommitService>,
    codebuild: Arc<CodeBuildService>,
    codedeploy: Arc<CodeDeployService>,
    codepipeline: Arc<Pipelines>,
    nodes: Arc<Nodes>,
}

/// What every service stands on.
struct Ground {
    store: Store,
    iam: Arc<IdentityService>,
    blobs: Blobs,
    nodes: Arc<Nodes>,
}

impl Ground {
    /// Everything in the data folder.
    async fn alone(config: &Config, data: &Path) -> Result<Ground, StartError> {
        let store = Store::open(Options::new(data.join("store"))).await.map_err(part("the store"))?;
        let iam = IdentityService::open(iam_config(config, data), store.clone()).map_err(part("IAM"))?;
        let blobs = Blobs::open(data.join("objects")).await.map_err(part("S3"))?;
        let nodes = Arc::new(Nodes::alone(store.clone()));
        Ok(Ground { store, iam, blobs, nodes })
    }

    /// What the nodes share. Joining comes before anything else is read: a node that does not belong must
    /// not touch what the others have.
    async fn shared(
        config: &Config,
        cluster: &Cluster,
        data: &Path,
        public_url: &str,
    ) -> Result<Ground, StartError> {
        let database = Options::database(cluster.database.0.clone());
        let store = Store::open(database).await.map_err(part("the database"))?;
        let iam = IdentityService::join(iam_config(config, data), &cluster.key, store.clone()).await;
        let iam = iam.map_err(part("IAM"))?;
        let owner = iam.cluster_id().unwrap_or_default();
        let blobs =
            Blobs::connect(&cluster.objects, data.join("objects"), owner).await.map_err(part("S3"))?;
        let nodes = Arc::new(Nodes::new(store.clone(), &cluster.name, public_url));
        Ok(Ground { store, iam, blobs, nodes })
    }
}

impl Services {
    pub async fn open(
        config: &Config,
        cluster: Option<&Cluster>,
        data: &Path,
        (public_url, listeners): (&str, &Listeners),
    ) -> Result<Services, StartError> {
        let Ground { store, iam, blobs, nodes } = match cluster {
            None => Ground::alone(config, data).await?,
            Some(cluster) => Ground::shared(config, cluster, data, public_url).await?,
        };
        let shared = cluster.map(|_| blobs.clone());
        let s3 = S3::new(store.clone(), blobs, iam.clone(), s3_config(config, public_url));
        let events = Events::new(towpath_events::Config::default(), store.clone());
        let logs = LogsService::new(towpath_logs::Config::default(), store.clone());
        let git = towpath_codecommit::Config::new(data.join("codecommit"), public_url, &config.region);
        let codecommit = match shared {
            Some(blobs) => CodeCommitService::join(git, store.clone(), iam.clone(), &blobs).await,
            None => CodeCommitService::open(git, store.clone(), iam.clone()).await,
        };
        let codecommit = codecommit.map_err(part("CodeCommit"))?;
        let runner = Runner::new(runner_config(config, data)).map_err(part("the sandbox runner"))?;
        let swept = runner.sweep().await.map_err(part("the sandbox runner"))?;
        tracing::debug!(?swept, "removed what an earlier server's sandboxes left");
        let codebuild = CodeBuildService::new(
            codebuild_config(config, data, listeners.relayed_address(), public_url),
            store.clone(),
            towpath_codebuild::Handles {
                identity: iam.clone(),
                objects: s3.clone(),
                sources: codecommit.clone(),
                logs: logs.clone(),
                log_batches: logs.clone(),
                runner: Arc::new(runner),
            },
        );
        let held = s3.clone();
        codebuild.store_under_lease(Box::new(move |lease| Arc::new(held.held(lease.clone()))));
        let codedeploy =
            CodeDeployService::new(store.clone(), iam.clone(), s3.clone(), codedeploy_config(config, data));
        let codepipeline = Pipelines::new(
            store.clone(),
            towpath_codepipeline::Handles {
                identity: iam.clone(),
                sts: iam.clone(),
                objects: s3.clone(),
                sources: codecommit.clone(),
                builds: codebuild.clone(),
                codebuild: codebuild.clone(),
                codedeploy: codedeploy.clone(),
            },
            codepipeline_config(config, data),
        );
        Ok(Services { iam, s3, events, logs, codecommit, codebuild, codedeploy, codepipeline, nodes })
    }

    pub fn root_key(&self) -> String {
        self.iam.root_credentials().access_key_id.clone()
    }

    /// The word on whether this node can go on.
    pub fn nodes(&self) -> Arc<Nodes> {
        self.nodes.clone()
    }

    /// Starts everybody's background work: recovery first, then workers and subscribers.
    pub fn run(&self, tasks: &mut JoinSet<()>, shutdown: &Shutdown) {
        tasks.spawn(self.nodes.clone().run(shutdown.clone()));
        tasks.spawn(self.iam.clone().run(shutdown.clone()));
        tasks.spawn(self.s3.clone().run(shutdown.clone()));
        tasks.spawn(self.events.clone().run(shutdown.clone()));
        tasks.spawn(self.logs.clone().run(shutdown.clone()));
        tasks.spawn(self.codecommit.clone().run(shutdown.clone()));
        tasks.spawn(self.codebuild.clone().run(shutdown.clone()));
        tasks.spawn(self.codedeploy.clone().run(shutdown.clone()));
        tasks.spawn(self.codepipeline.clone().run(shutdown.clone()));
    }

    /// All services behind one port.
    pub fn serve(&self, config: &Config, shutdown: &Shutdown) -> Server {
        let clock = Arc::new(towpath_api::SystemClock);
        let authenticator = Authenticator::new(self.iam.clone(), clock, &config.account, &config.region);
        let internal = Internal {
            authenticator: authenticator.clone(),
            events: self.events.clone(),
            nodes: self.nodes.clone(),
        };
        let workers = self.codebuild.admin_door(authenticator.clone());
        Server::builder(authenticator)
            .service(Again::of(towpath_api_iam::Server(self.iam.clone())))
            .service(Again::of(towpath_api_sts::Server(self.iam.clone())))
            .service(Again::of(towpath_api_logs::Server(self.logs.clone())))
            .service(Again::of(towpath_api_codecommit::Server(self.codecommit.clone())))
            .service(Again::of(towpath_api_codebuild::Server(self.codebuild.clone())))
            .service(Again::of(towpath_api_codepipeline::Server(self.codepipeline.clone())))
            .service(Again::of(towpath_api_codedeploy::Server(self.codedeploy.clone())))
            .service(Again::of(towpath_api_codedeploycommand::Server(self.codedeploy.clone())))
            .fallback_s3(self.s3.handler())
            .mount("/_towpath/", internal)
            .waits("PollHostCommand")
            .max_connections(super::descriptors::make_room())
            .mount(remote::PREFIX, self.codebuild.work_door(shutdown.clone()))
            .mount(remote::ADMIN_PREFIX, workers)
            .mount(towpath_codecommit::PREFIX, self.codecommit.handler())
            .build()
    }
}

fn iam_config(config: &Config, data: &Path) -> towpath_iam::Config {
    towpath_iam::Config {
        account: config.account.clone(),
        region: config.region.clone(),
        root: config.root.clone().map(|keys| (keys.access_key_id, keys.secret_access_key)),
        data_dir: identity_dir(data),
    }
}

fn s3_config(config: &Config, public_url: &str) -> towpath_s3::Config {
    towpath_s3::Config {
        account: config.account.clone(),
        region: config.region.clone(),
        domains: ["localhost".to_owned()].into_iter().chain(tls::host_of(public_url)).collect(),
    }
}

fn codedeploy_config(config: &Config, data: &Path) -> towpath_codedeploy::Config {
    towpath_codedeploy::Config {
        keep_history_days: config.keep_history_days,
        scratch: Some(data.join("scratch/codedeploy")),
        appspec_check: Some(towpath_codedeploy::AppSpecCheck(Arc::new(check_appspec))),
        ..Default::default()
    }
}

fn codepipeline_config(config: &Config, data: &Path) -> towpath_codepipeline::Config {
    let scratch = data.join("scratch/codepipeline");
    let keep_history_days = config.keep_history_days;
    towpath_codepipeline::Config { keep_history_days, ..towpath_codepipeline::Config::new(scratch) }
}

fn runner_config(config: &Config, data: &Path) -> towpath_runner::Config {
    let mut runner = towpath_runner::Config::from_env(data.join("sandboxes"));
    runner.passthrough_env.clone_from(&config.pass_env);
    runner.extra_folders.clone_from(&config.pass_folder);
    if let Some(range) = config.sandbox_network {
        runner.network = towpath_runner::NetworkConfig { range };
    }
    runner
}

fn codebuild_config(
    config: &Config,
    data: &Path,
    address: SocketAddr,
    public_url: &str,
) -> towpath_codebuild::Config {
    towpath_codebuild::Config {
        data_dir: data.join("codebuild"),
        workers: config.build_slots,
        endpoint: Some(address),
        public_url: Some(public_url.to_owned()),
        keep_history_days: config.keep_history_days,
        bounds: config.build_bounds,
    }
}

/// A revision is read as the agent will read it, before a host is touched.
fn check_appspec(text: &str) -> Result<(), String> {
    towpath_agent::appspec::parse(text).map(drop).map_err(|error| error.to_string())
}
