//! The flow of artifacts: every name is made once, and used only by actions that run after its maker.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/welcome-introducing-artifacts.html>

use super::{Provider, Structure};
use std::collections::{BTreeMap, BTreeSet};
use towpath_api::ApiError;
use towpath_api_codepipeline::errors::invalid_action_declaration_exception as invalid_action;

pub(super) fn check(structure: &Structure) -> Result<(), ApiError> {
    let mut made = BTreeSet::new();
    let mut clones = BTreeSet::new();
    for stage in &structure.stages {
        let mut by_order: BTreeMap<u32, Vec<&super::Action>> = BTreeMap::new();
        stage.actions.iter().for_each(|action| by_order.entry(action.run_order).or_default().push(action));
        for actions in by_order.values() {
            // Those of one run order run side by side: none may use what another makes.
            for action in actions {
                check_inputs(action, &made)?;
                check_clones(action, &clones)?;
            }
            for action in actions {
                for name in &action.outputs {
                    if !made.insert(name.as_str()) {
                        return Err(invalid_action(format!(
                            "Output Artifact Bundle name must be unique within the pipeline. {name} has been used \
                             more than once."
                        )));
                    }
                }
                if action.configuration.get("OutputArtifactFormat").map(String::as_str)
                    == Some("CODEBUILD_CLONE_REF")
                {
                    clones.extend(action.outputs.iter().map(String::as_str));
                }
            }
        }
    }
    Ok(())
}

fn check_inputs(action: &super::Action, made: &BTreeSet<&str>) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    for name in &action.inputs {
        if !made.contains(name.as_str()) {
            return Err(invalid_action(format!(
                "Input Artifact Bundle {name} in action {} is not declared as Output Artifact Bundle in any of the \
                 preceding actions",
                action.name
            )));
        }
        if !seen.insert(name) {
            return Err(invalid_action(format!(
                "Input Artifact Bundle {name} is declared more than once in action {}",
                action.name
            )));
        }
    }
    Ok(())
}

/// A full clone is handed on as a reference that only builds understand.
fn check_clones(action: &super::Action, clones: &BTreeSet<&str>) -> Result<(), ApiError> {
    match action.inputs.iter().find(|name| clones.contains(name.as_str())) {
        Some(name) if action.provider != Provider::CodeBuild => Err(invalid_action(format!(
            "Action {} cannot use artifact {name}: the output artifact format CODEBUILD_CLONE_REF can only be used \
             by CodeBuild actions",
            action.name
        ))),
        _ => Ok(()),
    }
}
