//! Variables, namespaces, references and triggers.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html>,
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html>

use super::{GitTrigger, Kind, Patterns, Provider, PushFilter, Stage, Structure, Variable};
use crate::triggers::filters;
use crate::variables::{Reference, references};
use std::collections::{BTreeMap, BTreeSet};
use towpath_api::ApiError;
use towpath_api_codepipeline::errors::{
    invalid_action_declaration_exception as invalid_action, invalid_structure_exception as invalid_structure,
};
use towpath_api_codepipeline::{GitPushFilter, PipelineDeclaration};

const RESERVED: [&str; 2] = ["codepipeline", "variables"];

pub(super) fn variables(declaration: &PipelineDeclaration, kind: Kind) -> Result<Vec<Variable>, ApiError> {
    let declared = declaration.variables.as_deref().unwrap_or_default();
    if kind == Kind::V1 && !declared.is_empty() {
        return Err(invalid_structure("Pipeline variables are only supported for pipelines of type V2"));
    }
    let mut names = BTreeSet::new();
    let mut variables = Vec::with_capacity(declared.len());
    for variable in declared {
        let name = variable.name.clone().unwrap_or_default();
        if !names.insert(name.clone()) {
            return Err(invalid_structure(format!("Pipeline variable '{name}' is declared more than once")));
        }
        variables.push(Variable { name, default: variable.default_value.clone() });
    }
    Ok(variables)
}

pub(super) fn check_namespaces(structure: &Structure) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    for stage in &structure.stages {
        for action in &stage.actions {
            let Some(namespace) = &action.namespace else { continue };
            if RESERVED.contains(&namespace.as_str()) {
                return Err(invalid_action(format!(
                    "Namespace '{namespace}' of action '{}' is reserved. Reserved namespaces: {}",
                    action.name,
                    RESERVED.join(", ")
                )));
            }
            if !seen.insert(namespace) {
                return Err(invalid_action(format!(
                    "Namespaces must be unique across the pipeline definition. The following occur more than once in \
                     the pipeline. StageName=[{}], ActionName=[{}], Namespace=[{namespace}]",
                    stage.name, action.name
                )));
            }
        }
    }
    Ok(())
}

/// Every `#{…}` of a configuration names a variable that exists when the action starts.
pub(super) fn check_references(structure: &Structure) -> Result<(), ApiError> {
    // Where each namespace is made: its stage and run order.
    let mut made: BTreeMap<&str, (usize, u32)> = BTreeMap::new();
    for (at, stage) in structure.stages.iter().enumerate() {
        for action in &stage.actions {
            if let Some(namespace) = &action.namespace {
                made.insert(namespace, (at, action.run_order));
            }
        }
    }
    for (at, stage) in structure.stages.iter().enumerate() {
        for action in &stage.actions {
            for (key, value) in &action.configuration {
                for reference in references(value) {
                    let problem = problem(&reference, structure, &made, (at, action.run_order));
                    if let Some((problem, text)) = problem {
                        return Err(invalid_action(format!(
                            "Valid format for a pipeline execution variable reference is a namespace and a key \
                             separated by a period (.). The following pipeline execution variables are {problem}. \
                             StageName=[{}], ActionName=[{}], ActionConfigurationKey=[{key}], \
                             VariableReferenceText=[{text}]",
                            stage.name, action.name
                        )));
                    }
                }
            }
        }
    }
    Ok(())
}

fn problem(
    reference: &Reference,
    structure: &Structure,
    made: &BTreeMap<&str, (usize, u32)>,
    here: (usize, u32),
) -> Option<(&'static str, String)> {
    const NO_NAMESPACE: &str = "referencing a namespace that does not exist";
    const NO_KEY: &str = "referencing a variable that does not exist";
    const LATER: &str = "referencing a namespace of an action that does not precede the referencing action";
    match reference {
        Reference::Malformed(text) => Some(("not of the valid format", text.clone())),
        Reference::Variable { namespace, key } => {
            let text = format!("{namespace}.{key}");
            match namespace.as_str() {
                "codepipeline" if key == "PipelineExecutionId" => None,
                "codepipeline" => Some((NO_KEY, text)),
                "variables" if structure.variables.iter().any(|variable| variable.name == *key) => None,
                "variables" => Some((NO_KEY, text)),
                other => match made.get(other) {
                    None => Some((NO_NAMESPACE, text)),
                    Some(maker) if *maker >= here => Some((LATER, text)),
                    Some(_) => None,
                },
            }
        }
    }
}

pub(super) fn triggers(
    declaration: &PipelineDeclaration,
    kind: Kind,
    stages: &[Stage],
) -> Result<Vec<GitTrigger>, ApiError> {
    let declared = declaration.triggers.as_deref().unwrap_or_default();
    if kind == Kind::V1 && !declared.is_empty() {
        return Err(invalid_structure("Triggers are only supported for pipelines of type V2"));
    }
    let mut seen = BTreeSet::new();
    let mut triggers = Vec::with_capacity(declared.len());
    for trigger in declared {
        let git = trigger.git_configuration.clone().unwrap_or_default();
        let source_action = git.source_action_name.clone().unwrap_or_default();
        let source = stages.first().and_then(|stage| stage.action(&source_action));
        match source.map(|action| action.provider) {
            Some(Provider::CodeCommit) => {}
            Some(_) => {
                return Err(ApiError::not_implemented(format!(
                    "codepipeline git triggers of source action {source_action}, which is no git source"
                )));
            }
            None => {
                return Err(invalid_structure(format!(
                    "Trigger names the source action '{source_action}', which does not exist in the source stage"
                )));
            }
        }
        if !seen.insert(source_action.clone()) {
            return Err(invalid_structure(format!(
                "You can only specify one trigger configuration per source action ('{source_action}')"
            )));
        }
        if git.pull_request.is_some() {
            return Err(ApiError::not_implemented("codepipeline pull request triggers"));
        }
        let push = git.push.as_deref().unwrap_or_default();
        if push.is_empty() {
            return Err(invalid_structure(format!(
                "Trigger of source action '{source_action}' must have a push or a pull request filter"
            )));
        }
        let push = push.iter().map(|filter| push_filter(filter, &source_action)).collect::<Result<_, _>>()?;
        triggers.push(GitTrigger { source_action, push });
    }
    Ok(triggers)
}

fn push_filter(filter: &GitPushFilter, action: &str) -> Result<PushFilter, ApiError> {
    let patterns = |what: &str, includes: &Option<Vec<String>>, excludes: &Option<Vec<String>>| {
        let patterns = Patterns {
            includes: includes.clone().unwrap_or_default(),
            excludes: excludes.clone().unwrap_or_default(),
        };
        if patterns == Patterns::default() {
            return Err(invalid_structure(format!(
                "{what} of the trigger of source action '{action}' must have includes or excludes"
            )));
        }
        for pattern in patterns.includes.iter().chain(&patterns.excludes) {
            filters::compile(pattern).map_err(|error| {
                invalid_structure(format!("The {what} pattern '{pattern}' is not valid: {error}"))
            })?;
        }
        Ok(patterns)
    };
    let tags =
        filter.tags.as_ref().map(|tags| patterns("tags", &tags.includes, &tags.excludes)).transpose()?;
    let branches = filter
        .branches
        .as_ref()
        .map(|branches| patterns("branches", &branches.includes, &branches.excludes))
        .transpose()?;
    let paths = filter
        .file_paths
        .as_ref()
        .map(|paths| patterns("filePaths", &paths.includes, &paths.excludes))
        .transpose()?;
    match (tags, branches, paths) {
        (Some(tags), None, None) => Ok(PushFilter::Tags(tags)),
        (Some(_), _, _) => Err(invalid_structure(format!(
            "A push filter of the trigger of source action '{action}' cannot have tags together with branches or \
             filePaths"
        ))),
        (None, None, None) => Err(invalid_structure(format!(
            "A push filter of the trigger of source action '{action}' must have tags, branches or filePaths"
        ))),
        (None, branches, paths) => Ok(PushFilter::Branches {
            branches: branches.unwrap_or_default(),
            paths: paths.unwrap_or_default(),
        }),
    }
}
