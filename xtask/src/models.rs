//! Strips botocore's service models to the facts that the generator uses: shapes, constraints, errors,
//! bindings. Prose, examples and endpoint rules stay behind.

use crate::{TaskResult, root};
use flate2::read::GzDecoder;
use serde_json::{Map, Value};
use std::fs;
use std::io::Read;
use std::path::Path;

/// Services whose models come from botocore. The others in `models/` are written by hand, because AWS
/// publishes no client model for them.
const FROM_BOTOCORE: &[&str] =
    &["iam", "sts", "codecommit", "codebuild", "codepipeline", "codedeploy", "logs"];

const KEPT_METADATA: &[&str] = &[
    "apiVersion",
    "awsQueryCompatible",
    "endpointPrefix",
    "jsonVersion",
    "protocol",
    "protocols",
    "serviceId",
    "signingName",
    "targetPrefix",
    "xmlNamespace",
];

const DROPPED_KEYS: &[&str] =
    &["documentation", "deprecated", "deprecatedMessage", "deprecatedSince", "auth", "authtype", "box"];

/// Reads `DIR/botocore/data/<service>/<newest version>/service-2.json.gz` for each service.
pub fn strip_all(folder: &Path) -> TaskResult {
    for service in FROM_BOTOCORE {
        let versions = folder.join("botocore/data").join(service);
        let newest = fs::read_dir(&versions)
            .map_err(|error| format!("{}: {error}", versions.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .max()
            .ok_or_else(|| format!("{} is empty", versions.display()))?;
        let packed = fs::read(newest.join("service-2.json.gz"))?;
        let mut text = String::new();
        GzDecoder::new(packed.as_slice()).read_to_string(&mut text)?;
        let stripped = strip(serde_json::from_str(&text)?);
        let target = root().join("models").join(format!("{service}.json"));
        fs::write(&target, render(&stripped)?)?;
        println!("{}", target.display());
    }
    Ok(())
}

fn strip(mut model: Value) -> Value {
    let mut stripped = Map::new();
    if let Some(metadata) = model["metadata"].as_object_mut() {
        metadata.retain(|key, _| KEPT_METADATA.contains(&key.as_str()));
    }
    for section in ["metadata", "operations", "shapes"] {
        let mut value = model[section].take();
        // Names of shapes and members are data, not keywords: only what lies below them is pruned.
        if section != "metadata" {
            for definition in value.as_object_mut().into_iter().flat_map(|map| map.values_mut()) {
                prune(definition);
            }
        }
        stripped.insert(section.into(), value);
    }
    Value::Object(stripped)
}

fn prune(definition: &mut Value) {
    let Some(map) = definition.as_object_mut() else { return };
    map.retain(|key, _| !DROPPED_KEYS.contains(&key.as_str()));
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("members", Value::Object(members)) => members.values_mut().for_each(prune),
            ("errors", Value::Array(errors)) => errors.iter_mut().for_each(prune),
            ("input" | "output" | "member" | "key" | "value", nested) => prune(nested),
            _ => {}
        }
    }
}

/// One line per operation and per shape: small, and a difference shows what changed.
fn render(model: &Value) -> Result<String, serde_json::Error> {
    let mut text = String::from("{\n");
    text += &format!("\"metadata\": {},\n", serde_json::to_string(&model["metadata"])?);
    for (section, end) in [("operations", ","), ("shapes", "")] {
        text += &format!("\"{section}\": {{\n");
        let lines: Result<Vec<String>, serde_json::Error> = model[section]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| Ok(format!("  \"{name}\": {}", serde_json::to_string(value)?)))
            .collect();
        text += &lines?.join(",\n");
        text += &format!("\n}}{end}\n");
    }
    Ok(text + "}\n")
}
