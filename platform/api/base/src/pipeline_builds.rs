//! The port by which a pipeline starts a build with input artifacts of its own. CodeBuild's public
//! `StartBuild` has no members for them; AWS passes them inside. Implemented by `services/codebuild`,
//! called by `services/codepipeline`. Everything else (watching, stopping) goes through the public API:
//! `BatchGetBuilds` and `StopBuild` with the build's id.
//!
//! Action reference: <https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-CodeBuild.html>.

use crate::{ApiError, Call, async_trait};
use serde::{Deserialize, Serialize};

/// What a CodeBuild action of a pipeline asks for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PipelineBuild {
    /// The project's name. Its source (and artifacts, where the action has outputs) are of type
    /// `CODEPIPELINE`, or the start is refused as `InvalidInputException`.
    pub project: String,
    /// The pipeline's name: the build's initiator is `codepipeline/NAME`.
    pub pipeline: String,
    pub execution_id: String,
    pub stage: String,
    pub action: String,
    /// In the action's order. At least one.
    pub inputs: Vec<InputArtifact>,
    pub outputs: Vec<OutputArtifact>,
    /// The name of the input that is the primary source; `None` means the only one.
    pub primary_source: Option<String>,
    /// The commit, or the S3 version, that the primary input was made from: `CODEBUILD_RESOLVED_SOURCE_VERSION`.
    pub source_version: Option<String>,
    pub environment_variables: Vec<EnvironmentVariable>,
    /// The same token gives the same build, however often it is asked.
    pub client_token: String,
}

/// A zip in the pipeline's artifact store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InputArtifact {
    pub name: String,
    pub bucket: String,
    pub key: String,
    pub version: Option<String>,
}

/// Where an output goes: the build stores one zip at exactly this key, and only once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputArtifact {
    pub name: String,
    pub bucket: String,
    pub key: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    pub name: String,
    pub value: String,
    /// `PLAINTEXT`; others are refused by name.
    pub kind: String,
}

#[async_trait]
pub trait PipelineBuilds: Send + Sync {
    /// Starts a build and answers its id (`project:uuid`). Authorizes `codebuild:StartBuild` on the
    /// project for `call`, which is the pipeline's role, exactly as `StartBuild` does. The build reads the
    /// inputs and writes the outputs with the project's service role. With a `BatchGetBuilds` of the id,
    /// `phases`, `exportedEnvironmentVariables` and `logs.deepLink` are there; with a zip of each output
    /// stored at its key before the build's status is `SUCCEEDED`.
    async fn start_for_pipeline(&self, call: &Call, build: PipelineBuild) -> Result<String, ApiError>;
}
