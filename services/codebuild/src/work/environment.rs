//! The variables that a build's commands see. Pure.
//!
//! Names and values: <https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html>.

use super::source::SourcePlan;
use crate::buildspec::Buildspec;
use crate::store::BuildDoc;
use crate::view;
use std::collections::BTreeMap;
use towpath_api::SessionCredentials;

/// The aws CLI's own helper. It needs telling that the host is not Amazon's, and knows that option only for
/// `get`.
const CREDENTIAL_HELPER: &str =
    "!f() { test \"$1\" != get || aws codecommit credential-helper --ignore-host-check get; }; f";

/// How commands reach this server.
pub struct Access<'a> {
    pub url: &'a str,
    /// What clone URLs begin with.
    pub public_urls: &'a [String],
    pub credentials: &'a SessionCredentials,
}

/// What git is told besides its own configuration.
fn git_settings(spec: &Buildspec, access: Option<&Access>) -> Vec<(String, String)> {
    let mut settings = Vec::new();
    if spec.git_credential_helper {
        settings.push(("credential.helper".to_owned(), CREDENTIAL_HELPER.to_owned()));
        settings.push(("credential.UseHttpPath".to_owned(), "true".to_owned()));
    }
    if let Some(Access { url, public_urls, .. }) = access {
        let reached = format!("{url}/");
        let others = public_urls.iter().map(|public| format!("{}/", public.trim_end_matches('/')));
        let others = others.filter(|public| *public != reached);
        settings.extend(others.map(|public| (format!("url.{reached}.insteadOf"), public)));
    }
    settings
}

/// In rising precedence: what Towpath offers, the buildspec, the project under the start's overrides, and
/// the reserved `CODEBUILD_*`.
pub fn variables(
    doc: &BuildDoc,
    spec: &Buildspec,
    sources: &[SourcePlan],
    access: Option<&Access>,
) -> Vec<(String, String)> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), value.to_owned());
    };
    set("AWS_REGION", &doc.region);
    set("AWS_DEFAULT_REGION", &doc.region);
    if let Some(Access { url, credentials, .. }) = access {
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "CODE_COMMIT_ENDPOINT"] {
            set(name, url);
        }
        set("AWS_ACCESS_KEY_ID", &credentials.access_key_id);
        set("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key);
        set("AWS_SESSION_TOKEN", &credentials.session_token);
    }
    let git = git_settings(spec, access);
    if !git.is_empty() {
        set("GIT_CONFIG_COUNT", &git.len().to_string());
    }
    for (number, (name, value)) in git.iter().enumerate() {
        set(&format!("GIT_CONFIG_KEY_{number}"), name);
        set(&format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    for (name, value) in &spec.variables {
        set(name, value);
    }
    let environment = doc.project.environment.clone().unwrap_or_default();
    for variable in environment.environment_variables.iter().flatten() {
        set(variable.name.as_deref().unwrap_or_default(), variable.value.as_deref().unwrap_or_default());
    }
    set("CODEBUILD_BUILD_ARN", &doc.arn());
    set("CODEBUILD_BUILD_ID", &doc.id);
    set("CODEBUILD_BUILD_IMAGE", environment.image.as_deref().unwrap_or_default());
    set("CODEBUILD_BUILD_NUMBER", &doc.number.to_string());
    set("CODEBUILD_CI", "true");
    set("CODEBUILD_INITIATOR", &doc.initiator);
    set("CODEBUILD_KMS_KEY_ID", doc.project.encryption_key.as_deref().unwrap_or_default());
    set("CODEBUILD_PROJECT_ARN", &doc.project_arn());
    set("CODEBUILD_START_TIME", &doc.started_at.as_millis().to_string());
    if let Some((_, stream)) = view::log_stream(doc) {
        set("CODEBUILD_LOG_PATH", &stream);
    }
    if let Some(version) = &doc.resolved_source_version {
        set("CODEBUILD_RESOLVED_SOURCE_VERSION", version);
    }
    for source in sources {
        let suffix = source.identifier.as_ref().map(|id| format!("_{id}")).unwrap_or_default();
        set(&format!("CODEBUILD_SRC_DIR{suffix}"), &source.inside.display().to_string());
        set(&format!("CODEBUILD_SOURCE_REPO_URL{suffix}"), &source.url);
        if let Some(version) = &source.version {
            set(&format!("CODEBUILD_SOURCE_VERSION{suffix}"), version);
        }
    }
    all.into_iter().filter(|(name, _)| !name.is_empty()).collect()
}
