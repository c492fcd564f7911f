//! The deployment specification: what a deployment is, as the server tells an agent. It comes over the
//! network, so ids that become folder names are checked.

use crate::appspec::FileExists;
use serde::Deserialize;
use towpath_archive::Kind;

/// Where a revision is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Revision {
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
    pub etag: Option<String>,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub application_name: String,
    pub deployment_id: String,
    pub group_id: String,
    pub group_name: String,
    pub appspec_filename: String,
    pub file_exists_behavior: FileExists,
    /// Every event that hooks may name; `None` when the server does not say.
    pub possible_events: Option<Vec<String>>,
    pub revision: S3Revision,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    application_name: String,
    deployment_id: String,
    deployment_group_id: String,
    deployment_group_name: String,
    app_spec_filename: Option<String>,
    deployment_type: Option<String>,
    agent_action_overrides: Option<RawOverrides>,
    all_possible_lifecycle_events: Option<Vec<String>>,
    revision: RawRevision,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawOverrides {
    agent_overrides: Option<RawOverride>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawOverride {
    file_exists_behavior: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawRevision {
    revision_type: String,
    s3_revision: Option<RawS3>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawS3 {
    bucket: String,
    key: String,
    bundle_type: Option<String>,
    version: Option<String>,
    #[serde(rename = "ETag")]
    etag: Option<String>,
}

/// One folder's name, whatever the file system.
fn checked_id(what: &str, id: String) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.len() > 100 || !id.bytes().all(plain) {
        return Err(format!("the deployment specification's {what} {id:?} is not valid"));
    }
    Ok(id)
}

impl Spec {
    pub fn parse(text: &str) -> Result<Spec, String> {
        let raw: Raw = serde_json::from_str(text)
            .map_err(|error| format!("the deployment specification cannot be read: {error}"))?;
        if let Some(kind) = raw.deployment_type.filter(|kind| kind != "IN_PLACE") {
            return Err(format!("this agent carries out IN_PLACE deployments only, not {kind}"));
        }
        let appspec_filename = raw.app_spec_filename.unwrap_or_else(|| "appspec.yml".into());
        towpath_archive::check_relative(std::path::Path::new(&appspec_filename))
            .map_err(|error| error.to_string())?;
        let overridden = raw.agent_action_overrides.and_then(|all| all.agent_overrides?.file_exists_behavior);
        let file_exists_behavior = match overridden {
            None => FileExists::Disallow,
            Some(text) => FileExists::parse(&text)
                .ok_or_else(|| format!("the file exists behavior {text:?} is not known"))?,
        };
        Ok(Spec {
            application_name: raw.application_name,
            deployment_id: checked_id("DeploymentId", raw.deployment_id)?,
            group_id: checked_id("DeploymentGroupId", raw.deployment_group_id)?,
            group_name: raw.deployment_group_name,
            appspec_filename,
            file_exists_behavior,
            possible_events: raw.all_possible_lifecycle_events,
            revision: revision(raw.revision)?,
        })
    }
}

fn revision(raw: RawRevision) -> Result<S3Revision, String> {
    let s3 = match (raw.revision_type.as_str(), raw.s3_revision) {
        ("S3", Some(s3)) => s3,
        (other, _) => return Err(format!("this agent fetches revisions from S3 only, not {other:?}")),
    };
    let kind = match s3.bundle_type.as_deref() {
        Some("zip") => Kind::Zip,
        Some("tgz") => Kind::Tgz,
        Some("tar") | None => Kind::Tar,
        Some(other) => return Err(format!("this agent unpacks zip, tar and tgz bundles, not {other:?}")),
    };
    Ok(S3Revision { bucket: s3.bucket, key: s3.key, version: s3.version, etag: s3.etag, kind })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(id: &str, kind: &str) -> String {
        format!(
            r#"{{"ApplicationName":"web","DeploymentId":"{id}","DeploymentGroupId":"g-1","DeploymentGroupName":"prod",
            "AgentActionOverrides":{{"AgentOverrides":{{"FileExistsBehavior":"RETAIN"}}}},
            "Revision":{{"RevisionType":"S3","S3Revision":{{"Bucket":"b","Key":"k","BundleType":"{kind}","ETag":"e"}}}}}}"#
        )
    }

    #[test]
    fn a_specification_is_read() {
        let spec = Spec::parse(&text("d-1", "tgz")).unwrap();
        assert_eq!((spec.revision.kind, spec.file_exists_behavior), (Kind::Tgz, FileExists::Retain));
        assert_eq!(spec.revision.etag.as_deref(), Some("e"));
    }

    #[test]
    fn ids_cannot_be_paths() {
        for id in ["..", "a/b", "", "a b", "d-1\\u0000"] {
            assert!(Spec::parse(&text(id, "zip")).is_err(), "{id}");
        }
        assert!(Spec::parse(&text("d-1", "JSON")).unwrap_err().contains("zip, tar and tgz"));
        assert!(Spec::parse("{}").is_err());
    }
}
