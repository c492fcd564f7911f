//! The structures, their conversions, enum values and error constructors.

use super::names::{constant, snake, type_name};
use super::shapes::{Model, target};
use std::collections::BTreeSet;
use std::fmt::Write;

pub fn render(model: &Model) -> Result<String, String> {
    let mut text = String::new();
    let mut written = Vec::new();
    for (operation, definition) in &model.operations {
        for (side, suffix) in [("input", "Input"), ("output", "Output")] {
            let name = format!("{operation}{suffix}");
            text += &structure(model, &name, target(&definition[side]))?;
            written.push(name);
        }
    }
    for name in model.named_structures() {
        if model.shape(name)["document"] == true || written.contains(&type_name(name)) {
            continue;
        }
        text += &structure(model, &type_name(name), name)?;
        written.push(type_name(name));
    }
    let _ = writeln!(text, "towpath_api::serde_through_node!({});\n", written.join(", "));
    for name in &model.reached {
        text += &values(model, name);
    }
    Ok(imports(&text) + &text)
}

/// The module's head: only what the types below it use.
fn imports(body: &str) -> String {
    let maps = if body.contains("BTreeMap<") { "use std::collections::BTreeMap;\n" } else { "" };
    let mut names = vec!["FromNode", "Node", "NodeError", "IntoNode", "node"];
    for (name, used) in [("Bytes", "Bytes>"), ("Timestamp", "Timestamp>")] {
        if body.contains(used) {
            names.push(name);
        }
    }
    names.sort_unstable();
    format!(
        "//! Types of the service's shapes. Every member is optional: absence must reach the handler.\n\n\
         {maps}use towpath_api::{{{}}};\n\n",
        names.join(", ")
    )
}

/// What a structure makes room for before it is written.
const USUAL_MEMBERS: usize = 12;

/// `shape` is empty where the model has no input or output.
fn structure(model: &Model, name: &str, shape: &str) -> Result<String, String> {
    let mut fields = String::new();
    let mut reads = String::new();
    let mut writes = String::new();
    let members = if shape.is_empty() { Vec::new() } else { model.members(shape) };
    for (member, reference) in &members {
        let field = snake(member);
        let inner = target(reference);
        let mut rust = model.rust_type(inner)?;
        if model.is_structure(inner) && model.needs_box(shape, inner) {
            rust = format!("Box<{rust}>");
        }
        let _ = writeln!(fields, "pub {field}: Option<{rust}>,");
        let _ = writeln!(reads, "{field}: FromNode::from_node(node.take(\"{member}\"))?,");
        let _ = writeln!(writes, "node::put(&mut members, \"{member}\", self.{field});");
    }
    // Most members of a small structure are there, few of a large one.
    let made = match members.len() {
        0 => "Vec::new()".to_owned(),
        count => format!("Vec::with_capacity({})", count.min(USUAL_MEMBERS)),
    };
    let (mutable, members_mutable) = if members.is_empty() { ("", "") } else { ("mut ", "mut ") };
    Ok(format!(
        "#[derive(Clone, Debug, Default, PartialEq)]\npub struct {name} {{\n{fields}}}\n\n\
         impl FromNode for {name} {{\n\
         fn from_node({mutable}node: Node) -> Result<Self, NodeError> {{\n\
         node::expect_structure(&node)?;\nOk({name} {{\n{reads}}})\n}}\n}}\n\n\
         impl IntoNode for {name} {{\n\
         fn into_node(self) -> Node {{\n\
         let {members_mutable}members = {made};\n{writes}Node::Map(members)\n}}\n}}\n\n"
    ))
}

/// A module of constants for an enum.
fn values(model: &Model, name: &str) -> String {
    let shape = model.shape(name);
    let Some(values) = shape["enum"].as_array() else { return String::new() };
    let mut seen = BTreeSet::new();
    let mut text = format!("/// Values of `{name}`.\npub mod {} {{\n", snake(name));
    for value in values.iter().filter_map(|value| value.as_str()) {
        let constant = constant(value);
        if seen.insert(constant.clone()) {
            let _ = writeln!(text, "pub const {constant}: &str = {value:?};");
        }
    }
    text + "}\n\n"
}

pub fn render_errors(model: &Model) -> String {
    let mut text =
        String::from("//! The service's modelled errors.\n\nuse towpath_api::{ApiError, Fault};\n\n");
    for name in model.errors() {
        let (code, status, sender) = error_facts(model, name);
        let fault = if sender { "Client" } else { "Server" };
        let _ = write!(
            text,
            "pub fn {}(message: impl Into<String>) -> ApiError {{\n\
             ApiError::modelled({name:?}, {code:?}, {status}, Fault::{fault}, message)\n}}\n\n",
            snake(name)
        );
    }
    text
}

/// The code, status and blame of an error shape.
pub fn error_facts(model: &Model, name: &str) -> (String, u64, bool) {
    let shape = model.shape(name);
    let server = shape["fault"] == true || shape["error"]["senderFault"] == false;
    let code = shape["error"]["code"].as_str().unwrap_or(name).to_owned();
    let status = shape["error"]["httpStatusCode"].as_u64().unwrap_or(if server { 500 } else { 400 });
    (code, status, !server)
}
