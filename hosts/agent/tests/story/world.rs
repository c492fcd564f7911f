//! One host in a temporary folder, its server, and an agent between them.

use crate::fake::{Completed, Fake};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use towpath_agent::{AgentError, Config, Credentials, Stop};
use towpath_archive::{Content, Entry, Kind, pack};

pub const EVENTS: [&str; 7] = [
    "ApplicationStop",
    "DownloadBundle",
    "BeforeInstall",
    "Install",
    "AfterInstall",
    "ApplicationStart",
    "ValidateService",
];
pub const SECRET: &str = "very-secret-key";

pub struct World {
    pub fake: Fake,
    folder: tempfile::TempDir,
}

/// A running agent, in this process.
pub struct Running {
    pub stop: Arc<Stop>,
    thread: Option<JoinHandle<Result<(), AgentError>>>,
}

impl Running {
    pub fn join(mut self) -> Result<(), AgentError> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub fn end(self) {
        self.stop.request();
        self.join().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.abort();
    }
}

/// A file of a bundle: name, mode, content.
pub type Piece<'a> = (&'a str, u32, &'a str);

impl World {
    pub fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        // Scripts of other users must get through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("host")).unwrap();
        World { fake: Fake::start(), folder }
    }

    pub fn config(&self) -> Config {
        let credentials = Credentials {
            access_key_id: "AKID".into(),
            secret_access_key: SECRET.into(),
            session_token: None,
        };
        Config {
            root_dir: self.root(),
            tags: vec![("role".into(), "web".into())],
            stop_grace: Duration::from_millis(300),
            ..Config::new(format!("http://{}", self.fake.address), "us-east-1", "web-1", credentials)
        }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("agent/deployment-root")
    }

    /// A place on the host that files are deployed to.
    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join("host").join(path)
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| format!("({path}: {error})"))
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    pub fn agent(&self) -> Running {
        self.agent_with(self.config())
    }

    pub fn agent_with(&self, config: Config) -> Running {
        let stop = Stop::new();
        let told = stop.clone();
        let thread = std::thread::spawn(move || towpath_agent::run(config, told));
        Running { stop, thread: Some(thread) }
    }

    fn filled(&self, text: &str) -> Vec<u8> {
        let host = self.at("").display().to_string();
        text.replace("HOST", host.trim_end_matches('/')).into_bytes()
    }

    /// A tar, which keeps modes.
    pub fn tar(&self, pieces: &[Piece]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, mode, text) in pieces {
            let content = self.filled(text);
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_mtime(1);
            match text.strip_prefix("-> ") {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    builder.append_link(&mut header, name, target).unwrap();
                }
                None => {
                    header.set_size(content.len() as u64);
                    builder.append_data(&mut header, name, content.as_slice()).unwrap();
                }
            }
        }
        builder.into_inner().unwrap()
    }

    pub fn packed(&self, kind: Kind, pieces: &[Piece]) -> Vec<u8> {
        let entries = pieces.iter().map(|(name, _, text)| Entry {
            name: (*name).to_owned(),
            content: Content::Bytes(self.filled(text)),
        });
        let path = self.folder.path().join("packed");
        let mut file =
            fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        pack(kind, entries.collect(), &mut file).unwrap();
        fs::read(&path).unwrap()
    }

    /// Makes a deployment known; its events are sent apart.
    pub fn offer_bytes(&self, deployment: &str, kind: Kind, bundle: Vec<u8>, behavior: &str) {
        let spec = json!({
            "ApplicationId": "a", "ApplicationName": "web", "AppSpecFilename": "appspec.yml",
            "DeploymentId": deployment, "DeploymentGroupId": "group-1", "DeploymentGroupName": "prod",
            "DeploymentCreator": "user", "DeploymentType": "IN_PLACE",
            "AgentActionOverrides": { "AgentOverrides": { "FileExistsBehavior": behavior } },
            "AllPossibleLifecycleEvents": ["BeforeBlockTraffic", "AfterBlockTraffic", "ApplicationStop",
                "DownloadBundle", "BeforeInstall", "Install", "AfterInstall", "ApplicationStart",
                "ValidateService", "BeforeAllowTraffic", "AfterAllowTraffic"],
            "Revision": { "RevisionType": "S3", "S3Revision": { "Bucket": "b", "Key": format!("k/{deployment} 1"),
                "BundleType": kind.to_string(), "ETag": "tag-1", "Version": "v1" } },
        });
        self.fake.state(|state| {
            let path = format!("/b/k/{deployment}%201?versionId=v1");
            state.objects.insert(path, ("tag-1".into(), bundle));
            state.specs.insert(format!("000000000000/us-east-1/deployment/{deployment}"), spec);
        });
    }

    pub fn offer(&self, deployment: &str, pieces: &[Piece]) {
        self.offer_bytes(deployment, Kind::Tar, self.tar(pieces), "DISALLOW");
    }

    /// Sends the events one after the other, as far as they succeed.
    pub fn carry_out(&self, deployment: &str) -> Vec<(&'static str, Completed)> {
        let mut results = Vec::new();
        for event in EVENTS {
            let id = self.fake.send(deployment, event);
            let result = self.fake.result(&id);
            let failed = result.status == "Failed";
            results.push((event, result));
            if failed {
                break;
            }
        }
        results
    }

    pub fn deploy(&self, deployment: &str, pieces: &[Piece]) -> Vec<(&'static str, Completed)> {
        self.offer(deployment, pieces);
        self.carry_out(deployment)
    }

    /// A deployment that must succeed.
    pub fn deploy_well(&self, deployment: &str, pieces: &[Piece]) {
        for (event, result) in self.deploy(deployment, pieces) {
            assert_eq!(result.status, "Succeeded", "{event}: {}", result.diagnostics);
        }
    }

    /// A deployment that must fail at an event; gives its diagnostics.
    pub fn deploy_badly(&self, deployment: &str, pieces: &[Piece], event: &str) -> Failed {
        self.offer(deployment, pieces);
        self.fail(deployment, event)
    }

    pub fn fail(&self, deployment: &str, event: &str) -> Failed {
        let results = self.carry_out(deployment);
        let (at, result) = results.last().unwrap();
        assert_eq!((*at, result.status.as_str()), (event, "Failed"), "{results:?}");
        let text = |name: &str| result.diagnostics[name].as_str().unwrap_or_default().to_owned();
        Failed {
            code: result.diagnostics["error_code"].as_i64().unwrap(),
            script: text("script_name"),
            message: text("message"),
            log: text("log"),
        }
    }

    pub fn log(&self, deployment: &str) -> String {
        fs::read_to_string(self.root().join(format!("group-1/{deployment}/logs/scripts.log")))
            .unwrap_or_default()
    }
}

#[derive(Debug)]
pub struct Failed {
    pub code: i64,
    pub script: String,
    pub message: String,
    pub log: String,
}

/// Waits for something on the host.
pub fn until(what: &str, mut wanted: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while !wanted() {
        assert!(std::time::Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}
