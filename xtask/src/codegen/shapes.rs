//! A model narrowed to what its manifest entry reaches.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// One service's model and the part of it that is generated.
pub struct Model<'a> {
    pub name: &'a str,
    pub metadata: &'a Value,
    pub operations: BTreeMap<&'a str, &'a Value>,
    pub refused: Vec<&'a str>,
    all: &'a serde_json::Map<String, Value>,
    /// Names of every shape that the operations reach, in order: the index is the shape's id.
    pub reached: Vec<&'a str>,
}

impl<'a> Model<'a> {
    pub fn new(name: &'a str, model: &'a Value, wanted: &'a [String]) -> Result<Self, String> {
        let all = model["shapes"].as_object().ok_or("a model without shapes")?;
        let defined = model["operations"].as_object().ok_or("a model without operations")?;
        let mut operations = BTreeMap::new();
        for operation in wanted {
            let (key, value) = defined
                .get_key_value(operation)
                .ok_or_else(|| format!("the manifest names {name}:{operation}, which the model has not"))?;
            operations.insert(key.as_str(), value);
        }
        let refused =
            defined.keys().map(String::as_str).filter(|key| !operations.contains_key(key)).collect();
        let mut reached = BTreeSet::new();
        for operation in operations.values() {
            let errors = operation["errors"].as_array().into_iter().flatten();
            for reference in [&operation["input"], &operation["output"]].into_iter().chain(errors) {
                if let Some(shape) = reference["shape"].as_str() {
                    reach(all, shape, &mut reached)?;
                }
            }
        }
        let reached = reached.into_iter().collect();
        Ok(Model { name, metadata: &model["metadata"], operations, refused, all, reached })
    }

    pub fn shape(&self, name: &str) -> &'a Value {
        &self.all[name]
    }

    pub fn id(&self, name: &str) -> usize {
        self.reached.iter().position(|shape| *shape == name).unwrap_or_default()
    }

    pub fn is_structure(&self, name: &str) -> bool {
        self.shape(name)["type"] == "structure"
    }

    pub fn is_error(&self, name: &str) -> bool {
        self.shape(name)["exception"] == true
    }

    pub fn members(&self, name: &str) -> Vec<(&'a str, &'a Value)> {
        let members = self.shape(name)["members"].as_object();
        members.into_iter().flatten().map(|(key, value)| (key.as_str(), value)).collect()
    }

    /// The Rust type of a shape, as a member has it.
    pub fn rust_type(&self, name: &str) -> Result<String, String> {
        let shape = self.shape(name);
        Ok(match shape["type"].as_str().unwrap_or_default() {
            "string" | "character" => "String".into(),
            "integer" | "long" => "i64".into(),
            "float" | "double" => "f64".into(),
            "boolean" => "bool".into(),
            "blob" => "Bytes".into(),
            "timestamp" => "Timestamp".into(),
            "list" => format!("Vec<{}>", self.rust_type(target(&shape["member"]))?),
            "map" => format!("BTreeMap<String, {}>", self.rust_type(target(&shape["value"]))?),
            "structure" if shape["document"] == true => "Node".into(),
            "structure" => super::names::type_name(name),
            other => return Err(format!("{}: shape {name} has the unknown type {other:?}", self.name)),
        })
    }

    /// Whether a value of structure `from` can contain another `from` through structures alone, so
    /// that the member that leads to `to` needs a box.
    pub fn needs_box(&self, from: &str, to: &str) -> bool {
        let mut seen = BTreeSet::new();
        let mut pending = vec![to];
        while let Some(name) = pending.pop() {
            if name == from {
                return true;
            }
            if self.is_structure(name) && seen.insert(name) {
                pending.extend(self.members(name).into_iter().map(|(_, member)| target(member)));
            }
        }
        false
    }

    /// The structures that types refer to by name: all but operations' own inputs and outputs, and errors.
    pub fn named_structures(&self) -> BTreeSet<&'a str> {
        let mut named = BTreeSet::new();
        for name in &self.reached {
            let shape = self.shape(name);
            let inner: Vec<&Value> = match shape["type"].as_str() {
                Some("list") => vec![&shape["member"]],
                Some("map") => vec![&shape["value"]],
                _ => self.members(name).into_iter().map(|(_, member)| member).collect(),
            };
            for reference in inner {
                let inner = self.all.get_key_value(target(reference)).map(|(key, _)| key.as_str());
                named.extend(inner.filter(|inner| self.is_structure(inner)));
            }
        }
        named
    }

    /// The error shapes of all operations.
    pub fn errors(&self) -> Vec<&'a str> {
        self.reached.iter().copied().filter(|name| self.is_error(name)).collect()
    }
}

/// The shape that a reference names.
pub fn target(reference: &Value) -> &str {
    reference["shape"].as_str().unwrap_or_default()
}

fn reach<'a>(
    all: &'a serde_json::Map<String, Value>,
    name: &str,
    reached: &mut BTreeSet<&'a str>,
) -> Result<(), String> {
    let (key, shape) = all.get_key_value(name).ok_or_else(|| format!("no shape {name}"))?;
    if !reached.insert(key.as_str()) {
        return Ok(());
    }
    let members = shape["members"].as_object().into_iter().flat_map(|members| members.values());
    for reference in members.chain([&shape["member"], &shape["key"], &shape["value"]]) {
        if let Some(inner) = reference["shape"].as_str() {
            reach(all, inner, reached)?;
        }
    }
    Ok(())
}
