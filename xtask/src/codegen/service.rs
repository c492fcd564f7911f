//! The trait that a service implements, and the dispatcher that the wire layer calls.

use super::names::snake;
use super::shapes::Model;
use std::fmt::Write;

pub fn trait_name(service: &str) -> String {
    match service {
        "codecommit" => "CodeCommit".into(),
        "codebuild" => "CodeBuild".into(),
        "codepipeline" => "CodePipeline".into(),
        "codedeploy" => "CodeDeploy".into(),
        "codedeploycommand" => "CodeDeployCommand".into(),
        other => super::names::type_name(other),
    }
}

pub fn render(model: &Model) -> String {
    let name = trait_name(model.name);
    let mut methods = String::new();
    let mut arms = String::new();
    for operation in model.operations.keys() {
        let method = snake(operation);
        let _ = writeln!(
            methods,
            "async fn {method}(&self, call: &Call, input: {operation}Input) -> Result<{operation}Output, ApiError>;"
        );
        let _ = writeln!(
            arms,
            "{operation:?} => self.0.{method}(call, read(input)?).await.map(|output| output.into_node()),"
        );
    }
    format!(
        "//! The service's operations.\n\n\
         use crate::types::*;\n\
         use std::sync::Arc;\n\
         use towpath_api::{{ApiError, Call, Dispatch, FromNode, IntoNode, Node, async_trait}};\n\n\
         /// The operations of {name} that are implemented, called by the wire layer and, in process, by other services.\n\
         #[async_trait]\npub trait {name}: Send + Sync {{\n{methods}}}\n\n\
         /// Puts an implementation behind the wire layer's door.\n\
         pub struct Server<T: ?Sized>(pub Arc<T>);\n\n\
         #[async_trait]\nimpl<T: {name} + ?Sized> Dispatch for Server<T> {{\n\
         fn model(&self) -> &'static towpath_api::model::Service {{\n&crate::model::MODEL\n}}\n\n\
         async fn dispatch(&self, call: &Call, operation: &str, input: Node) -> Result<Node, ApiError> {{\n\
         match operation {{\n{arms}\
         other => Err(ApiError::not_implemented(format_args!(\"{}:{{other}}\"))),\n}}\n}}\n}}\n\n\
         fn read<T: FromNode>(input: Node) -> Result<T, ApiError> {{\n\
         T::from_node(input).map_err(|error| ApiError::client(\"SerializationException\", error.to_string()))\n}}\n",
        model.name
    )
}

pub fn render_lib(model: &Model) -> String {
    format!(
        "//! {} as AWS models it: types, errors, the trait and the static model.\n\n\
         pub mod errors;\npub mod model;\nmod service;\npub mod types;\n\n\
         pub use model::MODEL;\npub use service::{{Server, {}}};\npub use types::*;\n",
        trait_name(model.name),
        trait_name(model.name),
    )
}
