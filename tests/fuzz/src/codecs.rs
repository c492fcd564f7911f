//! Bodies of every protocol: decode, validate, encode, decode again: the same value.

use std::fmt::Debug;
use towpath_api::model::{Operation, Protocol, Service, ShapeId};
use towpath_api::{FromNode, IntoNode, Node};
use towpath_wire::protocol::{Context, cbor as cbor_codec, decode_input, encode_output, json as json_codec};
use towpath_wire::protocol::{query as query_codec, rest as rest_codec};
use towpath_wire::validate::check;

use crate::requests::head;

/// A small model with every kind of shape.
#[path = "../../../platform/wire/src/test_model.rs"]
#[allow(dead_code)]
mod test_model;
use test_model::{SERVICE, THING, echo};

/// By what it shows, for a NaN is not equal to itself.
fn same(one: &impl Debug, other: &impl Debug, what: &str) {
    assert_eq!(format!("{one:?}"), format!("{other:?}"), "{what}");
}

/// A value that was decoded can be encoded by both body codecs, and comes back as it was.
fn travels(service: &'static Service, shape: ShapeId, node: &Node) {
    let bytes = json_codec::encode(service, shape, node).expect("what was decoded fits its model");
    let back = json_codec::decode(service, shape, &bytes).expect("what was encoded can be decoded");
    same(&back, node, "JSON");
    let bytes = cbor_codec::encode(service, shape, node).expect("what was decoded fits its model");
    let back = cbor_codec::decode(service, shape, &bytes).expect("what was encoded can be decoded");
    same(&back, node, "CBOR");
}

pub fn json(data: &[u8]) {
    if let Ok(node) = json_codec::decode(&SERVICE, THING, data) {
        let _ = check(&SERVICE, echo(), &node);
        travels(&SERVICE, THING, &node);
    }
}

pub fn cbor(data: &[u8]) {
    if let Ok(node) = cbor_codec::decode(&SERVICE, THING, data) {
        let _ = check(&SERVICE, echo(), &node);
        travels(&SERVICE, THING, &node);
    }
}

pub fn query(data: &[u8]) {
    let read = |service, operation| {
        let form = query_codec::parse_form(None, data).ok()?;
        query_codec::decode(service, operation, form).ok()
    };
    if let Some(node) = read(&SERVICE, echo()) {
        travels(&SERVICE, THING, &node);
        let answered = encode_output(&context(Protocol::AwsQuery), echo(), &node);
        let answer = answered.expect("what was decoded fits its model");
        towpath_wire::protocol::xml::parse(&answer.body).expect("an answer is XML");
    }
    let create = operation(&towpath_api_iam::MODEL, "CreateRole");
    if let Some(node) = read(&towpath_api_iam::MODEL, create) {
        let _ = check(&towpath_api_iam::MODEL, create, &node);
    }
}

/// A whole request: its head's lines, an empty line, its body.
pub fn rest(data: &[u8]) {
    let _ = towpath_wire::protocol::xml::parse(data);
    let Some((parts, body)) = head(data) else { return };
    let Some((operation, labels)) = rest_codec::find_operation(&SERVICE, &parts) else { return };
    for protocol in [Protocol::RestJson1, Protocol::RestXml] {
        let decoded = decode_input(protocol, &SERVICE, operation, &parts, &labels, body);
        if let Ok(node) = decoded {
            let _ = check(&SERVICE, operation, &node);
        }
    }
}

/// Through the generated types: whatever they drop or change, a second way through changes nothing.
pub fn typed(data: &[u8]) {
    through::<towpath_api_codepipeline::CreatePipelineInput>(
        &towpath_api_codepipeline::MODEL,
        "CreatePipeline",
        data,
    );
    through::<towpath_api_iam::CreateRoleInput>(&towpath_api_iam::MODEL, "CreateRole", data);
}

fn through<T: FromNode + IntoNode>(service: &'static Service, name: &str, data: &[u8]) {
    let operation = operation(service, name);
    let shape = operation.input.expect("the operation has an input");
    let decoded = [json_codec::decode(service, shape, data), cbor_codec::decode(service, shape, data)];
    for node in decoded.into_iter().flatten() {
        let _ = check(service, operation, &node);
        let Ok(typed) = T::from_node(node) else { continue };
        let node = typed.into_node();
        travels(service, shape, &node);
        let again = T::from_node(node.clone()).expect("a value of the type is one of its shape").into_node();
        same(&again, &node, name);
    }
}

fn operation(service: &'static Service, name: &str) -> &'static Operation {
    service.operations.iter().find(|operation| operation.name == name).expect("the model has the operation")
}

fn context(protocol: Protocol) -> Context<'static> {
    Context { protocol, service: Some(&SERVICE), operation: Some(echo()), request_id: "id" }
}
