//! What a project may say. Everything that Towpath does not honour is refused by name; what AWS refuses is
//! refused with `InvalidInputException`. Pure.
//!
//! Reference: <https://docs.aws.amazon.com/codebuild/latest/APIReference/API_CreateProject.html>.

use std::collections::BTreeSet;
use towpath_api::ApiError;
use towpath_api_codebuild::errors::invalid_input_exception as invalid;
use towpath_api_codebuild::{
    EnvironmentVariable, LogsConfig, Project, ProjectArtifacts, ProjectEnvironment, ProjectSource, VpcConfig,
};

/// A text that the events of a build tell.
const MAX_TEXT_BYTES: usize = 4 << 10;
/// As JSON, with the buildspec in it.
const MAX_PROJECT_BYTES: usize = 2 << 20;

type Checked = Result<(), ApiError>;

fn refuse(present: bool, what: &str) -> Checked {
    if present { Err(ApiError::not_implemented(what)) } else { Ok(()) }
}

/// A whole project, as created, updated, or as a build's overrides made it.
pub fn project(project: &Project) -> Checked {
    let source = project.source.as_ref().ok_or_else(|| invalid("Project source is required"))?;
    let artifacts = project.artifacts.as_ref().ok_or_else(|| invalid("Project artifacts is required"))?;
    let environment =
        project.environment.as_ref().ok_or_else(|| invalid("Project environment is required"))?;
    self::source(source)?;
    if source.source_identifier.is_some() {
        return Err(invalid("Invalid source: the primary source must not have a sourceIdentifier"));
    }
    self::artifacts(artifacts)?;
    let piped = |kind: &Option<String>| kind.as_deref() == Some("CODEPIPELINE");
    if piped(&source.type_) != piped(&artifacts.type_) {
        return Err(invalid(
            "Invalid artifacts: artifacts type CODEPIPELINE goes with source type CODEPIPELINE, and only with it",
        ));
    }
    self::environment(environment)?;
    secondary(project)?;
    logs(project.logs_config.as_ref())?;
    sizes(project)?;
    unsupported(project)
}

/// What each build's document and events repeat is bounded, for they are.
fn sizes(project: &Project) -> Checked {
    let source = project.source.as_ref();
    let artifacts = project.artifacts.as_ref();
    let logs = project.logs_config.as_ref().and_then(|logs| logs.cloud_watch_logs.as_ref());
    let texts = [
        ("sourceVersion", project.source_version.as_ref()),
        ("source location", source.and_then(|source| source.location.as_ref())),
        ("artifacts location", artifacts.and_then(|artifacts| artifacts.location.as_ref())),
        ("artifacts path", artifacts.and_then(|artifacts| artifacts.path.as_ref())),
        ("artifacts name", artifacts.and_then(|artifacts| artifacts.name.as_ref())),
        ("image", project.environment.as_ref().and_then(|environment| environment.image.as_ref())),
        ("groupName", logs.and_then(|logs| logs.group_name.as_ref())),
        ("streamName", logs.and_then(|logs| logs.stream_name.as_ref())),
    ];
    for (what, text) in texts {
        if text.is_some_and(|text| text.len() > MAX_TEXT_BYTES) {
            return Err(invalid(format!("Invalid {what}: longer than {MAX_TEXT_BYTES} bytes")));
        }
    }
    let size = serde_json::to_vec(project).map_err(ApiError::internal)?.len();
    if size > MAX_PROJECT_BYTES {
        return Err(invalid(format!("Invalid project: {size} bytes, {MAX_PROJECT_BYTES} allowed")));
    }
    Ok(())
}

fn unsupported(project: &Project) -> Checked {
    let cache = project.cache.as_ref().and_then(|cache| cache.type_.as_deref()).unwrap_or("NO_CACHE");
    refuse(cache != "NO_CACHE", "a project's cache")?;
    let vpc = |vpc: &VpcConfig| {
        vpc.vpc_id.is_some()
            || vpc.subnets.as_ref().is_some_and(|subnets| !subnets.is_empty())
            || vpc.security_group_ids.as_ref().is_some_and(|groups| !groups.is_empty())
    };
    refuse(project.vpc_config.as_ref().is_some_and(vpc), "vpcConfig of a build project")?;
    let locations = project.file_system_locations.as_ref();
    refuse(
        locations.is_some_and(|locations| !locations.is_empty()),
        "fileSystemLocations of a build project",
    )?;
    refuse(project.build_batch_config.is_some(), "buildBatchConfig: batch builds")?;
    let badge = project.badge.as_ref().and_then(|badge| badge.badge_enabled).unwrap_or(false);
    refuse(badge, "build badges")?;
    refuse(project.auto_retry_limit.unwrap_or(0) > 0, "autoRetryLimit of a build project")?;
    let key = project.encryption_key.as_deref().unwrap_or("alias/aws/s3");
    refuse(!key.ends_with("alias/aws/s3"), "encryption with a KMS key of your own")
}

pub fn source(source: &ProjectSource) -> Checked {
    let kind = source.type_.as_deref().unwrap_or("");
    let location = source.location.as_deref().unwrap_or("");
    match kind {
        "CODECOMMIT" => {
            if repository_name(location).is_none() {
                return Err(invalid(format!(
                    "Invalid project source: location must be a valid AWS CodeCommit repository clone URL: {location}"
                )));
            }
        }
        "S3" => {
            if !location.contains('/') {
                return Err(invalid("Invalid project source: location must be of the form bucket/path"));
            }
        }
        "CODEPIPELINE" | "NO_SOURCE" => {
            if !location.is_empty() {
                return Err(invalid(format!(
                    "Invalid project source: location must be empty for source type {kind}"
                )));
            }
            if kind == "NO_SOURCE" && source.buildspec.as_deref().unwrap_or("").trim().is_empty() {
                return Err(invalid("Invalid project source: source type NO_SOURCE needs a buildspec"));
            }
        }
        other => {
            return Err(ApiError::not_implemented(format!("the source type {other} of a build project")));
        }
    }
    refuse(source.auth.is_some(), "auth of a build project's source")?;
    refuse(source.insecure_ssl.unwrap_or(false), "insecureSsl of a build project's source")?;
    refuse(source.report_build_status.unwrap_or(false), "reportBuildStatus of a build project's source")?;
    refuse(source.build_status_config.is_some(), "buildStatusConfig of a build project's source")?;
    let submodules = source.git_submodules_config.as_ref().and_then(|config| config.fetch_submodules);
    refuse(submodules.unwrap_or(false), "gitSubmodulesConfig: fetching submodules")
}

pub fn artifacts(artifacts: &ProjectArtifacts) -> Checked {
    let kind = artifacts.type_.as_deref().unwrap_or("");
    refuse(artifacts.bucket_owner_access.is_some(), "bucketOwnerAccess of a build's artifacts")?;
    match kind {
        "S3" => {
            let bucket = artifacts.location.as_deref().unwrap_or("");
            if bucket.is_empty() {
                return Err(invalid(
                    "Invalid artifacts: location (the bucket's name) is required for type S3",
                ));
            }
            let parts = [artifacts.path.as_deref(), artifacts.name.as_deref()];
            if parts.iter().flatten().any(|part| part.split('/').any(|piece| piece == "..")) {
                return Err(invalid("Invalid artifacts: path and name must not contain '..'"));
            }
            Ok(())
        }
        "CODEPIPELINE" => Ok(()),
        "NO_ARTIFACTS" if artifacts.location.as_deref().unwrap_or("").is_empty() => Ok(()),
        "NO_ARTIFACTS" => Err(invalid("Invalid artifacts: location must be empty for type NO_ARTIFACTS")),
        other => Err(invalid(format!("Invalid artifacts type: {other}"))),
    }
}

/// Names that mean "CodeBuild's own image": they run in the sandbox, on the host's own root.
pub fn is_standard_image(image: &str) -> bool {
    let families = [
        "standard:",
        "amazonlinux2-x86_64-standard:",
        "amazonlinux-x86_64-standard:",
        "amazonlinux2-aarch64-standard:",
        "amazonlinux-aarch64-standard:",
        "ubuntu-standard:",
    ];
    image.strip_prefix("aws/codebuild/").is_some_and(|rest| {
        families.iter().any(|family| rest.strip_prefix(family).is_some_and(|tag| !tag.is_empty()))
    })
}

pub fn environment(environment: &ProjectEnvironment) -> Checked {
    let kind = environment.type_.as_deref().unwrap_or("");
    let arm = cfg!(target_arch = "aarch64");
    let known = kind == "LINUX_CONTAINER" || (kind == "ARM_CONTAINER" && arm);
    refuse(!known, &format!("the environment type {kind}"))?;
    let image = environment.image.as_deref().unwrap_or("");
    if !is_standard_image(image) {
        return Err(ApiError::not_implemented(format!(
            "the build image {image}; aws/codebuild/standard:7.0 and its like run in the host's sandbox"
        )));
    }
    let compute = environment.compute_type.as_deref().unwrap_or("");
    refuse(compute_limits(compute).is_none(), &format!("the compute type {compute}"))?;
    refuse(environment.privileged_mode.unwrap_or(false), "privilegedMode of a build's environment")?;
    refuse(environment.certificate.is_some(), "certificate of a build's environment")?;
    refuse(environment.registry_credential.is_some(), "registryCredential of a build's environment")?;
    let fleet = environment.fleet.as_ref().is_some_and(|fleet| fleet.fleet_arn.is_some());
    refuse(fleet, "fleets")?;
    refuse(environment.docker_server.is_some(), "dockerServer of a build's environment")?;
    refuse(environment.compute_configuration.is_some(), "computeConfiguration of a build's environment")?;
    refuse(environment.host_kernel.is_some(), "hostKernel of a build's environment")?;
    let pull = environment.image_pull_credentials_type.as_deref().unwrap_or("CODEBUILD");
    refuse(pull != "CODEBUILD", &format!("imagePullCredentialsType {pull}"))?;
    variables(environment.environment_variables.as_deref().unwrap_or_default())
}

/// Linux takes no environment in which one text is larger.
const MAX_VARIABLES_BYTES: usize = 128 << 10;

pub fn variables(variables: &[EnvironmentVariable]) -> Checked {
    let mut names = BTreeSet::new();
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let bytes: usize =
        variables.iter().map(|variable| length(&variable.name) + length(&variable.value)).sum();
    if bytes > MAX_VARIABLES_BYTES {
        let message = format!("Invalid environment variables: {bytes} bytes, {MAX_VARIABLES_BYTES} allowed");
        return Err(invalid(message));
    }
    for variable in variables {
        let name = variable.name.as_deref().unwrap_or("");
        let kind = variable.type_.as_deref().unwrap_or("PLAINTEXT");
        refuse(kind != "PLAINTEXT", &format!("environment variables of type {kind}"))?;
        if name.contains(['=', '\0']) || variable.value.as_deref().unwrap_or("").contains('\0') {
            return Err(invalid("Invalid environment variable: '=' in a name, or a zero byte"));
        }
        if name.starts_with("CODEBUILD_") {
            return Err(invalid(format!(
                "Invalid environment variable name {name}: names that start with CODEBUILD_ are reserved"
            )));
        }
        if !names.insert(name) {
            return Err(invalid(format!("Duplicate environment variable name: {name}")));
        }
    }
    Ok(())
}

fn secondary(project: &Project) -> Checked {
    let sources = project.secondary_sources.as_deref().unwrap_or_default();
    let mut identifiers = BTreeSet::new();
    for source in sources {
        self::source(source)?;
        let identifier = identifier(source.source_identifier.as_deref(), "source")?;
        if !identifiers.insert(identifier) {
            return Err(invalid(format!("Duplicate sourceIdentifier: {identifier}")));
        }
    }
    for version in project.secondary_source_versions.as_deref().unwrap_or_default() {
        let identifier = version.source_identifier.as_deref().unwrap_or("");
        if !identifiers.contains(identifier) {
            return Err(invalid(format!("secondarySourceVersions names no secondary source: {identifier}")));
        }
    }
    let mut identifiers = BTreeSet::new();
    for artifacts in project.secondary_artifacts.as_deref().unwrap_or_default() {
        self::artifacts(artifacts)?;
        let identifier = identifier(artifacts.artifact_identifier.as_deref(), "artifact")?;
        if !identifiers.insert(identifier) {
            return Err(invalid(format!("Duplicate artifactIdentifier: {identifier}")));
        }
    }
    Ok(())
}

fn identifier<'a>(identifier: Option<&'a str>, of: &str) -> Result<&'a str, ApiError> {
    let good = |text: &&str| {
        (1..128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    identifier.filter(good).ok_or_else(|| {
        invalid(format!("Every secondary {of} needs an {of}Identifier of letters, digits and underscores"))
    })
}

fn logs(config: Option<&LogsConfig>) -> Checked {
    let Some(config) = config else { return Ok(()) };
    if let Some(s3) = &config.s3_logs {
        refuse(s3.bucket_owner_access.is_some(), "bucketOwnerAccess of a build's logs")?;
        if s3.status.as_deref() == Some("ENABLED") && s3.location.as_deref().unwrap_or("").is_empty() {
            return Err(invalid("Invalid logsConfig: s3Logs needs a location"));
        }
    }
    let groups = config.cloud_watch_logs.as_ref().and_then(|logs| logs.group_name.as_deref());
    let streams = config.cloud_watch_logs.as_ref().and_then(|logs| logs.stream_name.as_deref());
    if groups.is_some_and(str::is_empty)
        || streams.is_some_and(|name| name.is_empty() || name.contains([':', '*']))
    {
        return Err(invalid("Invalid logsConfig: groupName and streamName must be valid names"));
    }
    Ok(())
}

/// Memory in bytes and cores of a compute type, as AWS sizes it:
/// <https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-compute-types.html>.
pub fn compute_limits(compute_type: &str) -> Option<(u64, f64)> {
    const GIB: u64 = 1 << 30;
    match compute_type {
        "BUILD_GENERAL1_SMALL" => Some((3 * GIB, 2.0)),
        "BUILD_GENERAL1_MEDIUM" => Some((7 * GIB, 4.0)),
        "BUILD_GENERAL1_LARGE" => Some((15 * GIB, 8.0)),
        "BUILD_GENERAL1_XLARGE" => Some((70 * GIB, 36.0)),
        "BUILD_GENERAL1_2XLARGE" => Some((145 * GIB, 72.0)),
        _ => None,
    }
}

/// The repository's name in a CodeCommit clone URL: `https://HOST/v1/repos/NAME`, `codecommit://NAME`,
/// `codecommit::REGION://NAME`, with a profile or without.
pub fn repository_name(location: &str) -> Option<&str> {
    let name = match location.strip_prefix("codecommit:") {
        Some(rest) => {
            let name = rest.split_once("//")?.1;
            name.rsplit_once('@').map_or(name, |(_, name)| name)
        }
        None => {
            let rest = location.strip_prefix("https://").or_else(|| location.strip_prefix("http://"))?;
            rest.split_once("/v1/repos/")?.1
        }
    };
    let name = name.trim_end_matches('/');
    let name = name.strip_suffix(".git").unwrap_or(name);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (!name.is_empty() && name.len() <= 100 && name.bytes().all(good)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_as_people_name_them() {
        for location in [
            "https://git-codecommit.us-east-1.amazonaws.com/v1/repos/app",
            "http://127.0.0.1:4566/v1/repos/app",
            "codecommit::us-east-1://app",
            "codecommit://profile@app",
            "https://host/v1/repos/app/",
        ] {
            assert_eq!(repository_name(location), Some("app"), "{location}");
        }
        for location in ["", "app", "https://github.com/a/b", "https://h/v1/repos/", "https://h/v1/repos/a/b"]
        {
            assert_eq!(repository_name(location), None, "{location}");
        }
    }
}
