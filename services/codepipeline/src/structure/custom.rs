//! Custom action types: the declarations with which job workers bring their own actions.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/actions-create-custom-action.html>

use super::providers::Rules;
use serde::{Deserialize, Serialize};
use towpath_api_codepipeline::ActionType;

/// A custom action type as its creator declared it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CustomType {
    pub declared: ActionType,
}

impl CustomType {
    pub fn is(&self, category: &str, provider: &str, version: &str) -> bool {
        let Some(id) = &self.declared.id else { return false };
        id.category.as_deref() == Some(category)
            && id.provider.as_deref() == Some(provider)
            && id.version.as_deref() == Some(version)
    }

    pub fn rules(&self) -> Rules {
        let count = |count: Option<i64>, default: usize| count.map_or(default, |count| count.max(0) as usize);
        let range = |details: &Option<towpath_api_codepipeline::ArtifactDetails>| {
            let details = details.clone().unwrap_or_default();
            (count(details.minimum_count, 0), count(details.maximum_count, 5))
        };
        let properties = self.declared.action_configuration_properties.iter().flatten();
        let (required, optional): (Vec<_>, Vec<_>) =
            properties.partition(|property| property.required == Some(true));
        let names = |properties: Vec<&towpath_api_codepipeline::ActionConfigurationProperty>| {
            properties.into_iter().filter_map(|property| property.name.clone()).collect()
        };
        Rules {
            inputs: range(&self.declared.input_artifact_details),
            outputs: range(&self.declared.output_artifact_details),
            required: names(required),
            optional: names(optional),
            refused: Vec::new(),
        }
    }

    /// The property by which workers choose jobs.
    pub fn queryable(&self) -> Option<&str> {
        self.declared
            .action_configuration_properties
            .iter()
            .flatten()
            .find(|property| property.queryable == Some(true))
            .and_then(|property| property.name.as_deref())
    }
}
