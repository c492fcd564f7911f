//! The job of a deployment: a new one is planned, a stopping one takes its open commands back.
//!
//! Planning reads the revision as the group's service role, before any host is touched: is it there, is it
//! the object that was named, can the bundle be unpacked, has it an AppSpec file. A service role that may
//! not read S3 is no error (AWS's own policy for that role, AWSCodeDeployRole, grants no S3 access): then the
//! agents, which read with their own credentials, find out.

use super::engine::{Change, MAX_ROUNDS};
use crate::error::WorkError;
use crate::state::deployment::{Event, Failure, Phase, advance};
use crate::state::fleet::Fleet;
use crate::state::host::Host;
use crate::store::{Deployment, Group, HostRevision, Instance, Plan, Target, revision_identity};
use crate::{AppSpecCheck, CodeDeployService, SERVICE};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use towpath_api::{ApiError, Call, Fault, ObjectInfo, Timestamp};
use towpath_api_codedeploy::{RevisionLocation, S3Location};
use towpath_archive::{Follow, Kind, Limits, Root, unpack};
use towpath_durable::Retry;
use towpath_store::{Order, Txn, key};

/// AWS's quota for one deployment.
const MAX_HOSTS: usize = 1_000;
const PAGE: usize = 1_000;
const MAX_APPSPEC_BYTES: u64 = 1 << 20;
const APPSPEC_NAMES: [&str; 2] = ["appspec.yml", "appspec.yaml"];
const BUNDLE_LIMITS: Limits =
    Limits { max_entries: 100_000, max_bytes: 2 << 30, max_ratio: 250, max_path_bytes: 4095, max_depth: 128 };

/// The revision cannot be deployed, or could not be looked at.
enum Finding {
    Exact(Box<RevisionLocation>),
    /// The service role may not read it.
    Unseen,
    Refused(Failure),
}

impl CodeDeployService {
    pub(crate) async fn reconcile(&self, deployment_id: &str) -> Result<Txn, Retry> {
        let Some(deployment) = self.store.get::<Deployment>(&key(&[deployment_id])).await? else {
            return Ok(Txn::new());
        };
        match deployment.progress.phase {
            Phase::Created => self.plan(deployment.into_doc()).await?,
            Phase::Stopping { .. } => self.take_all_back(deployment_id).await?,
            Phase::InProgress { .. } | Phase::Ended { .. } => {}
        }
        Ok(Txn::new())
    }

    async fn take_all_back(&self, deployment_id: &str) -> Result<(), WorkError> {
        let prefix = key(&[deployment_id, ""]);
        let mut after = None;
        loop {
            let page = self.store.list::<Target>(&prefix, after.as_deref(), PAGE, Order::Ascending).await?;
            for target in &page.items {
                if target.host.command().is_some() {
                    self.take_back(deployment_id, &target.instance).await?;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn plan(&self, deployment: Deployment) -> Result<(), WorkError> {
        let pinned = match self.look_at_revision(&deployment).await? {
            Finding::Exact(location) => Some(*location),
            Finding::Unseen => None,
            Finding::Refused(failure) => {
                self.deployment_event(&deployment.id, Event::Refused(failure)).await?;
                return Ok(());
            }
        };
        let _turn = self.hub.stripe(&deployment.id).lock().await;
        for _ in 0..MAX_ROUNDS {
            let old = self.deployment(&deployment.id).await?;
            if old.progress.phase != Phase::Created {
                return Ok(());
            }
            let mut change = Change::new(self.store.now());
            let mut next = Deployment { pinned: pinned.clone(), ..old.doc.clone() };
            let (mut targets, up_to_date) = self.choose_hosts(&next, change.now).await?;
            let event = if targets.len() > MAX_HOSTS {
                targets.clear();
                Event::Refused(Failure::new(
                    "OVER_MAX_INSTANCES",
                    format!(
                        "The deployment group has more instances than a deployment can have ({MAX_HOSTS})."
                    ),
                ))
            } else {
                Event::Planned(Fleet::new(next.minimum_healthy, targets.len() as u32, up_to_date))
            };
            let (progress, effects) = advance(&old.progress, event, change.now);
            next.progress = progress;
            let instances = targets.iter().map(|target| target.instance.clone()).collect();
            change.txn.create(&Plan { deployment_id: next.id.clone(), instances });
            let next = self.carry_out(&mut change, next, effects, &mut targets).await?;
            for target in &targets {
                change.txn.create(target);
            }
            change.txn.replace(&old, &next);
            if self.commit(change).await? {
                return Ok(());
            }
        }
        Err(WorkError::Contention(deployment.id))
    }

    /// The hosts to deploy to, in order, and how many are left alone because they have the revision. AWS
    /// deploys first to hosts whose revision is unknown, then to those with an old one.
    async fn choose_hosts(
        &self,
        deployment: &Deployment,
        now: Timestamp,
    ) -> Result<(Vec<Target>, u32), WorkError> {
        let Some(group) = self.store.get::<Group>(&deployment.group_key()).await? else {
            return Ok((Vec::new(), 0));
        };
        let wanted = revision_identity(deployment.exact_revision());
        let (mut unknown, mut old, mut current) = (Vec::new(), Vec::new(), Vec::new());
        let mut after = None;
        loop {
            let page = self.store.list::<Instance>("", after.as_deref(), PAGE, Order::Ascending).await?;
            for instance in
                page.items.iter().filter(|i| i.is_registered() && group.selection.matches(&i.tags))
            {
                let known = HostRevision::key_of(&group.id, &instance.name);
                let target = target_of(deployment, instance, now);
                match self.store.get::<HostRevision>(&known).await? {
                    None => unknown.push(target),
                    Some(known) if known.revision == wanted => current.push(target),
                    Some(_) => old.push(target),
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        unknown.append(&mut old);
        if deployment.leaves_current_hosts_alone() {
            return Ok((unknown, current.len() as u32));
        }
        unknown.append(&mut current);
        Ok((unknown, 0))
    }

    async fn look_at_revision(&self, deployment: &Deployment) -> Result<Finding, WorkError> {
        let role = &deployment.service_role_arn;
        let call = match self.identity.service_call(SERVICE, role, &deployment.id).await {
            Ok(call) => call,
            Err(error) if error.fault == Fault::Server => {
                return Err(WorkError::Elsewhere {
                    what: "cannot act as the service role",
                    error: Box::new(error),
                });
            }
            Err(error) => {
                let code =
                    if error.code == "NoSuchEntity" { "IAM_ROLE_MISSING" } else { "IAM_ROLE_PERMISSIONS" };
                let message = format!("CodeDeploy cannot act as the service role {role}: {}", error.message);
                return Ok(Finding::Refused(Failure::new(code, message)));
            }
        };
        let s3 = deployment.revision.s3_location.clone().unwrap_or_default();
        let (bucket, name) = (s3.bucket.clone().unwrap_or_default(), s3.key.clone().unwrap_or_default());
        let info = match self.objects.head(&call, &bucket, &name, s3.version.as_deref()).await {
            Ok(info) => info,
            Err(error) => return unreadable(&s3, error),
        };
        if let Some(expected) =
            s3.e_tag.as_ref().map(|tag| tag.replace('"', "")).filter(|tag| !tag.is_empty())
            && expected != info.etag.replace('"', "")
        {
            return Ok(Finding::Refused(Failure::new(
                "INVALID_REVISION",
                format!(
                    "Expected deployment artifact bundle etag {expected} but {} has {}.",
                    place(&s3),
                    info.etag
                ),
            )));
        }
        if info.size_bytes <= self.config.max_inspected_bytes
            && let Some(failure) = self.inspect(&call, &s3, &info).await?
        {
            return Ok(Finding::Refused(failure));
        }
        let pinned =
            S3Location { version: info.version_id.or(s3.version.clone()), e_tag: Some(info.etag), ..s3 };
        Ok(Finding::Exact(Box::new(RevisionLocation {
            revision_type: Some("S3".into()),
            s3_location: Some(pinned),
            ..RevisionLocation::default()
        })))
    }

    /// Unpacks the bundle into a fresh folder and looks for the AppSpec file.
    async fn inspect(
        &self,
        call: &Call,
        s3: &S3Location,
        info: &ObjectInfo,
    ) -> Result<Option<Failure>, WorkError> {
        let scratch = match &self.config.scratch {
            Some(folder) => {
                std::fs::create_dir_all(folder)?;
                tempfile::tempdir_in(folder)?
            }
            None => tempfile::tempdir()?,
        };
        let bundle = scratch.path().join("bundle");
        let version = info.version_id.as_deref().or(s3.version.as_deref());
        match self.objects.get_to_file(call, &info.bucket, &info.key, version, &bundle).await {
            Ok(_) => {}
            // It may list the object and not read it: then the agents find out.
            Err(error) if is_denied(&error) => return Ok(None),
            Err(error) => {
                return Err(WorkError::Elsewhere {
                    what: "cannot read the revision",
                    error: Box::new(error),
                });
            }
        }
        let (kind, place) = (kind_of(s3), place(s3));
        let check = self.config.appspec_check.clone();
        let examine = move || examine(scratch.path(), kind, &place, check.as_ref());
        Ok(tokio::task::spawn_blocking(examine).await?)
    }
}

fn target_of(deployment: &Deployment, instance: &Instance, now: Timestamp) -> Target {
    Target {
        deployment_id: deployment.id.clone(),
        instance: instance.name.clone(),
        instance_arn: instance.arn.clone(),
        principal_arn: instance.principal.arn().to_owned(),
        host: Host::pending(now),
    }
}

fn kind_of(s3: &S3Location) -> Option<Kind> {
    match s3.bundle_type.as_deref() {
        Some("zip") => Some(Kind::Zip),
        Some("tar") => Some(Kind::Tar),
        Some("tgz") => Some(Kind::Tgz),
        _ => None,
    }
}

fn place(s3: &S3Location) -> String {
    format!("s3://{}/{}", s3.bucket.as_deref().unwrap_or_default(), s3.key.as_deref().unwrap_or_default())
}

fn is_denied(error: &ApiError) -> bool {
    matches!(error.code.as_ref(), "AccessDenied" | "AccessDeniedException" | "Forbidden")
}

fn unreadable(s3: &S3Location, error: ApiError) -> Result<Finding, WorkError> {
    if error.fault == Fault::Server {
        return Err(WorkError::Elsewhere { what: "cannot read the revision", error: Box::new(error) });
    }
    if is_denied(&error) {
        return Ok(Finding::Unseen);
    }
    let version = s3.version.as_ref().map(|version| format!(" (version {version})")).unwrap_or_default();
    Ok(Finding::Refused(Failure::new(
        "REVISION_MISSING",
        format!("The revision {}{version} cannot be found in Amazon S3: {}", place(s3), error.message),
    )))
}

/// Blocking. `folder` holds `bundle`.
fn examine(folder: &Path, kind: Option<Kind>, place: &str, check: Option<&AppSpecCheck>) -> Option<Failure> {
    let refused = |message: String| Some(Failure::new("INVALID_REVISION", message));
    let (name, text) = match read_appspec(folder, kind) {
        Ok(Some(found)) => found,
        Ok(None) => {
            return refused(format!(
                "An AppSpec file is required, but could not be found in the revision {place}: the bundle has no appspec.yml at its top level."
            ));
        }
        Err(reason) => return refused(format!("The revision {place} cannot be unpacked: {reason}")),
    };
    let problem = match String::from_utf8(text) {
        Ok(text) => check.and_then(|check| check.0(&text).err()),
        Err(_) => Some("it is not UTF-8 text".to_owned()),
    };
    problem.and_then(|problem| {
        refused(format!("The AppSpec file {name} of the revision {place} is not valid: {problem}"))
    })
}

type AppSpec = (String, Vec<u8>);

fn read_appspec(folder: &Path, kind: Option<Kind>) -> Result<Option<AppSpec>, String> {
    let content = folder.join("content");
    std::fs::create_dir(&content).map_err(|error| error.to_string())?;
    let bundle = File::open(folder.join("bundle")).map_err(|error| error.to_string())?;
    let root = Root::open(&content).map_err(|error| error.to_string())?;
    unpack(bundle, kind, &root, &BUNDLE_LIMITS).map_err(|error| error.to_string())?;
    let found = find_appspec(&root, Path::new("")).map_err(|error| error.to_string())?;
    if found.is_some() {
        return Ok(found);
    }
    // A folder that is all there is at the top: agents strip it.
    let entries = std::fs::read_dir(&content).map_err(|error| error.to_string())?;
    let names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    match names.as_slice() {
        [only] => find_appspec(&root, Path::new(only)).map_err(|error| error.to_string()),
        _ => Ok(None),
    }
}

fn find_appspec(root: &Root, folder: &Path) -> std::io::Result<Option<AppSpec>> {
    for name in APPSPEC_NAMES {
        let Ok(file) = root.open_file(&folder.join(name), Follow::Beneath) else { continue };
        if !file.metadata()?.is_file() {
            continue;
        }
        let mut text = Vec::new();
        file.take(MAX_APPSPEC_BYTES + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MAX_APPSPEC_BYTES {
            return Err(std::io::Error::other(format!("{name} is longer than {MAX_APPSPEC_BYTES} bytes")));
        }
        return Ok(Some((name.to_owned(), text)));
    }
    Ok(None)
}
