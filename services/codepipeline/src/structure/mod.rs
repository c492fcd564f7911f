//! A pipeline's structure: parsed once from the declaration that a client sends, and from then on
//! known to be sound. [`parse`] refuses what AWS refuses, with its codes and, where they are known, its
//! messages; what Towpath does not do is refused by its name.
//!
//! Owns no state. Pages:
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-pipeline-structure.html>,
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html>.

mod actions;
mod artifacts;
pub mod custom;
mod patterns;
mod pipeline;
pub mod providers;
mod settings;
#[cfg(test)]
mod tests;

pub use custom::CustomType;
pub use patterns::{Patterns, PushFilter};
pub use providers::Provider;

use crate::state::RetryMode;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use towpath_api::ApiError;
use towpath_api_codepipeline::{ActionTypeId, PipelineDeclaration};

pub const MAX_STAGES: usize = 50;
pub const MIN_STAGES: usize = 2;
pub const MAX_ACTIONS_PER_STAGE: usize = 50;
pub const MAX_ACTIONS: usize = 500;

/// A sound structure.
#[derive(Clone, Debug, PartialEq)]
pub struct Structure {
    pub name: String,
    pub role_arn: String,
    /// The artifact bucket.
    pub bucket: String,
    pub kind: Kind,
    pub mode: Mode,
    pub stages: Vec<Stage>,
    pub variables: Vec<Variable>,
    pub triggers: Vec<GitTrigger>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    V1,
    V2,
}

/// How executions of one pipeline get along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    #[default]
    Superseded,
    Queued,
    Parallel,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    pub name: String,
    pub actions: Vec<Action>,
    pub on_failure: Option<OnFailure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    Retry(RetryMode),
    Rollback,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    pub name: String,
    pub type_id: ActionTypeId,
    pub provider: Provider,
    pub run_order: u32,
    pub configuration: BTreeMap<String, String>,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub role_arn: Option<String>,
    pub region: Option<String>,
    pub namespace: Option<String>,
    pub timeout_minutes: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub default: Option<String>,
}

/// A V2 git trigger: any of the filters starts the pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitTrigger {
    pub source_action: String,
    pub push: Vec<PushFilter>,
}

/// What a declaration is judged against.
pub struct Context<'a> {
    pub region: &'a str,
    /// The custom action types of the account that the declaration may name.
    pub custom: &'a [CustomType],
}

impl Structure {
    pub fn stage(&self, name: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The stage and all that follow it; empty where there is no such stage.
    pub fn from(&self, name: &str) -> &[Stage] {
        match self.stages.iter().position(|stage| stage.name == name) {
            Some(at) => &self.stages[at..],
            None => &[],
        }
    }

    /// The stage's position, from 0.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name == name)
    }

    pub fn sources(&self) -> &[Action] {
        self.stages.first().map(|stage| stage.actions.as_slice()).unwrap_or_default()
    }
}

impl Stage {
    pub fn action(&self, name: &str) -> Option<&Action> {
        self.actions.iter().find(|action| action.name == name)
    }
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Superseded => "SUPERSEDED",
            Mode::Queued => "QUEUED",
            Mode::Parallel => "PARALLEL",
        }
    }
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::V1 => "V1",
            Kind::V2 => "V2",
        }
    }
}

/// Reads a declaration, or says what is wrong with it.
pub fn parse(declaration: &PipelineDeclaration, context: &Context) -> Result<Structure, ApiError> {
    let structure = pipeline::read(declaration, context)?;
    artifacts::check(&structure)?;
    settings::check_namespaces(&structure)?;
    settings::check_references(&structure)?;
    Ok(structure)
}
