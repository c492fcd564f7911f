//! The static model: what the wire layer knows of a service.

use super::shapes::{Model, target};
use super::types::error_facts;
use serde_json::Value;
use std::fmt::Write;

pub fn render(model: &Model) -> Result<String, String> {
    let metadata = model.metadata;
    let text = |key: &str| metadata[key].as_str();
    let endpoint_prefix = text("endpointPrefix").unwrap_or(model.name);
    let mut out = format!(
        "//! The service's model as static data.\n\n\
         use towpath_api::model::*;\n\n\
         pub static MODEL: Service = Service {{\n\
         name: {:?},\nsigning_name: {:?},\nendpoint_prefix: {endpoint_prefix:?},\nservice_id: {:?},\n\
         api_version: {:?},\ntarget_prefix: {:?},\nxml_namespace: {:?},\nprotocols: &[{}],\n\
         query_compatible: {},\noperations: OPERATIONS,\nrefused: &{:?},\nshapes: SHAPES,\n}};\n\n",
        model.name,
        text("signingName").unwrap_or(endpoint_prefix),
        text("serviceId").unwrap_or(model.name),
        text("apiVersion").unwrap_or_default(),
        text("targetPrefix"),
        text("xmlNamespace"),
        protocols(metadata)?,
        metadata.get("awsQueryCompatible").is_some(),
        model.refused,
    );
    out += "#[rustfmt::skip]\nstatic OPERATIONS: &[Operation] = &[\n";
    for (name, definition) in &model.operations {
        out += &operation(model, name, definition);
    }
    out += "];\n\n#[rustfmt::skip]\nstatic SHAPES: &[Shape] = &[\n";
    for name in &model.reached {
        let _ = writeln!(out, "Shape {{ name: {name:?}, kind: {} }},", kind(model, name)?);
    }
    Ok(out + "];\n")
}

fn protocols(metadata: &Value) -> Result<String, String> {
    let listed: Vec<&str> = match metadata["protocols"].as_array() {
        Some(list) => list.iter().filter_map(Value::as_str).collect(),
        None => metadata["protocol"].as_str().into_iter().collect(),
    };
    let names: Result<Vec<&str>, String> = listed
        .into_iter()
        .map(|protocol| {
            Ok(match protocol {
                "json" if metadata["jsonVersion"] == "1.0" => "Protocol::AwsJson10",
                "json" => "Protocol::AwsJson11",
                "query" => "Protocol::AwsQuery",
                "rest-json" => "Protocol::RestJson1",
                "rest-xml" => "Protocol::RestXml",
                "smithy-rpc-v2-cbor" => "Protocol::RpcV2Cbor",
                other => return Err(format!("unknown protocol {other}")),
            })
        })
        .collect();
    Ok(names?.join(", "))
}

fn operation(model: &Model, name: &str, definition: &Value) -> String {
    let id = |side: &str| {
        let shape = target(&definition[side]);
        if shape.is_empty() { "None".into() } else { format!("Some({})", model.id(shape)) }
    };
    let errors: Vec<String> = definition["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| model.id(target(error)).to_string())
        .collect();
    let compression: Vec<&str> = definition["requestcompression"]["encodings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    format!(
        "Operation {{ name: {name:?}, http_method: {:?}, http_uri: {:?}, http_status: {}, input: {}, \
         output: {}, result_wrapper: {:?}, errors: &[{}], request_compression: &{compression:?} }},\n",
        definition["http"]["method"].as_str().unwrap_or("POST"),
        definition["http"]["requestUri"].as_str().unwrap_or("/"),
        definition["http"]["responseCode"].as_u64().unwrap_or(200),
        id("input"),
        id("output"),
        definition["output"]["resultWrapper"].as_str(),
        errors.join(", "),
    )
}

fn kind(model: &Model, name: &str) -> Result<String, String> {
    let shape = model.shape(name);
    let limit = |key: &str| match shape[key].as_f64() {
        Some(value) => format!("Some({})", value as i64),
        None => "None".into(),
    };
    let (min, max) = (limit("min"), limit("max"));
    let flattened = shape["flattened"] == true;
    Ok(match shape["type"].as_str().unwrap_or_default() {
        "structure" => structure(model, name),
        "list" => format!(
            "Kind::List {{ member: {}, item_name: {:?}, flattened: {flattened}, min: {min}, max: {max} }}",
            model.id(target(&shape["member"])),
            shape["member"]["locationName"].as_str().unwrap_or("member"),
        ),
        "map" => format!(
            "Kind::Map {{ key: {}, value: {}, key_name: {:?}, value_name: {:?}, flattened: {flattened}, \
             min: {min}, max: {max} }}",
            model.id(target(&shape["key"])),
            model.id(target(&shape["value"])),
            shape["key"]["locationName"].as_str().unwrap_or("key"),
            shape["value"]["locationName"].as_str().unwrap_or("value"),
        ),
        "string" | "character" => {
            let values: Vec<&str> =
                shape["enum"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!(
                "Kind::String {{ min: {min}, max: {max}, pattern: {:?}, values: &{values:?}, sensitive: {} }}",
                shape["pattern"].as_str(),
                shape["sensitive"] == true,
            )
        }
        "integer" => format!("Kind::Integer {{ min: {min}, max: {max} }}"),
        "long" => format!("Kind::Long {{ min: {min}, max: {max} }}"),
        "float" => "Kind::Float".into(),
        "double" => "Kind::Double".into(),
        "boolean" => "Kind::Boolean".into(),
        "blob" => format!("Kind::Blob {{ min: {min}, max: {max} }}"),
        "timestamp" => format!("Kind::Timestamp {{ format: {} }}", time_format(shape)),
        other => return Err(format!("shape {name} has the unknown type {other:?}")),
    })
}

fn structure(model: &Model, name: &str) -> String {
    let shape = model.shape(name);
    let required: Vec<&str> =
        shape["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut members = String::new();
    for (member, reference) in model.members(name) {
        let location = match reference["location"].as_str() {
            Some("header") => "Header",
            Some("headers") => "Headers",
            Some("querystring") => "Query",
            Some("uri") => "Uri",
            Some("statusCode") => "StatusCode",
            _ => "Body",
        };
        let _ = write!(
            members,
            "Member {{ name: {member:?}, shape: {}, required: {}, location: Location::{location}, \
             location_name: {:?}, flattened: {}, xml_attribute: {}, idempotency_token: {}, time_format: {} }}, ",
            model.id(target(reference)),
            required.contains(&member),
            reference["locationName"].as_str().filter(|wire| *wire != member),
            reference["flattened"] == true,
            reference["xmlAttribute"] == true,
            reference["idempotencyToken"] == true,
            time_format(reference),
        );
    }
    let error = if model.is_error(name) {
        let (code, status, sender) = error_facts(model, name);
        format!("Some(ErrorTrait {{ code: {code:?}, status: {status}, sender_fault: {sender} }})")
    } else {
        "None".into()
    };
    format!(
        "Kind::Structure {{ members: &[{members}], payload: {:?}, error: {error}, union: {} }}",
        shape["payload"].as_str(),
        shape["union"] == true,
    )
}

fn time_format(value: &Value) -> &'static str {
    match value["timestampFormat"].as_str() {
        Some("iso8601") => "Some(TimeFormat::Iso8601)",
        Some("rfc822") => "Some(TimeFormat::Rfc822)",
        Some("unixTimestamp") => "Some(TimeFormat::Epoch)",
        _ => "None",
    }
}
