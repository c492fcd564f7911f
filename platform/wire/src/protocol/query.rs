//! awsQuery: a form in, XML out.
//!
//! <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>

use super::limits::{Budget, MAX_DEPTH, Path};
use super::xml::Writer;
use super::{EncodeError, Encoded, last_wins, malformed, members, scalar};
use crate::uri;
use std::collections::BTreeMap;
use towpath_api::model::{Kind, Member, Operation, Protocol, Service, Shape, ShapeId, TimeFormat};
use towpath_api::{ApiError, Node};

/// A form's parameters as the tree that their dotted names make.
#[derive(Debug, Default)]
pub struct Form {
    value: Option<String>,
    children: BTreeMap<String, Form>,
}

impl Form {
    pub fn value(&self, name: &str) -> Option<&str> {
        self.children.get(name)?.value.as_deref()
    }

    /// Children that are numbers, in order; AWS counts from one and minds no gaps.
    fn indexed(&self) -> Result<Vec<&Form>, String> {
        let mut found = Vec::with_capacity(self.children.len());
        for (name, child) in &self.children {
            match name.parse::<u32>() {
                Ok(0) => return Err("0 is not a valid index".into()),
                Ok(index) => found.push((index, child)),
                Err(_) => return Err("Start of list found where not expected".into()),
            }
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(found.into_iter().map(|(_, child)| child).collect())
    }

    /// The items of a list or the entries of a map, below their element's name unless they are flattened.
    /// `Names=` without items is how clients send an empty list; a value is no list.
    fn items(&self, element: Option<&str>) -> Result<Vec<&Form>, String> {
        if self.value.as_deref().is_some_and(|value| !value.is_empty()) {
            return Err("Unexpected list element termination".into());
        }
        match element {
            None => self.indexed(),
            Some(element) if self.children.keys().all(|name| name == element) => {
                self.children.get(element).map(|form| form.items(None)).unwrap_or_else(|| Ok(Vec::new()))
            }
            Some(_) => Err("Start of list found where not expected".into()),
        }
    }
}

fn error(message: impl Into<String>) -> ApiError {
    malformed(Protocol::AwsQuery, message)
}

/// Reads the URL's query and the body's form into one tree. A parameter may come once.
pub fn parse_form(query: Option<&str>, body: &[u8]) -> Result<Form, ApiError> {
    const MAX_PARAMETERS: usize = 20_000;
    let body = std::str::from_utf8(body).map_err(|_| error("The form is not UTF-8"))?;
    let mut form = Form::default();
    let pairs =
        uri::raw_pairs(query.unwrap_or_default()).chain(uri::raw_pairs(body.trim_end_matches(['\r', '\n'])));
    for (count, (name, value)) in pairs.enumerate() {
        if count >= MAX_PARAMETERS {
            return Err(error(format!("The form has more than {MAX_PARAMETERS} parameters")));
        }
        let (Some(name), Some(value)) = (uri::decode(name, true), uri::decode(value, true)) else {
            return Err(error("A parameter is not UTF-8"));
        };
        let mut at = &mut form;
        for (depth, segment) in name.split('.').enumerate() {
            if depth > MAX_DEPTH {
                return Err(error(format!("A parameter's name has more than {MAX_DEPTH} parts")));
            }
            at = at.children.entry(segment.to_owned()).or_default();
        }
        if at.value.replace(value.into_owned()).is_some() {
            return Err(error(format!("The parameter {name} was given more than once")));
        }
    }
    Ok(form)
}

pub fn decode(service: &'static Service, operation: &Operation, form: Form) -> Result<Node, ApiError> {
    let reader = Reader { service, budget: Budget::default() };
    match operation.input {
        Some(shape) => reader.structure(shape, &form, &Path::ROOT).map_err(error),
        None => Ok(Node::Map(Vec::new())),
    }
}

struct Reader {
    service: &'static Service,
    budget: Budget,
}

impl Reader {
    fn structure(&self, shape: ShapeId, form: &Form, path: &Path) -> Result<Node, String> {
        self.budget.take(path)?;
        if form.value.as_deref().is_some_and(|value| !value.is_empty()) {
            return Err(format!("A structure was expected at '{path}', a value was found"));
        }
        let mut entries = Vec::new();
        for member in members(self.service, shape) {
            if let Some(child) = form.children.get(member.wire_name()) {
                let value = self.member(member, child, &path.member(member.wire_name()))?;
                entries.push((member.name.into(), value));
            }
        }
        Ok(Node::Map(entries))
    }

    fn member(&self, member: &Member, form: &Form, path: &Path) -> Result<Node, String> {
        self.value(member.shape, member.flattened, member.time_format, form, path)
    }

    fn value(
        &self,
        id: ShapeId,
        member_flattened: bool,
        format: Option<TimeFormat>,
        form: &Form,
        path: &Path,
    ) -> Result<Node, String> {
        let shape = self.service.shape(id);
        match shape.kind {
            Kind::Structure { .. } => self.structure(id, form, path),
            Kind::List { member, item_name, flattened, .. } => {
                let element = (!flattened && !member_flattened).then_some(item_name);
                self.list(member, form.items(element)?, path)
            }
            Kind::Map { value, key_name, value_name, flattened, .. } => {
                let element = (!flattened && !member_flattened).then_some("entry");
                self.map(value, (key_name, value_name), form.items(element)?, path)
            }
            _ => self.scalar(shape, format, form, path),
        }
    }

    fn list(&self, member: ShapeId, forms: Vec<&Form>, path: &Path) -> Result<Node, String> {
        self.budget.take(path)?;
        let mut items = Vec::new();
        for child in forms {
            items.push(self.value(member, false, None, child, &path.index(items.len()))?);
        }
        Ok(Node::List(items))
    }

    fn map(
        &self,
        value: ShapeId,
        (key_name, value_name): (&str, &str),
        forms: Vec<&Form>,
        path: &Path,
    ) -> Result<Node, String> {
        self.budget.take(path)?;
        let mut entries = Vec::new();
        for child in forms {
            let Some(key) = child.value(key_name) else {
                return Err(format!("The map '{path}' has an entry without a {key_name}"));
            };
            let path = path.member(key);
            if let Some(child) = child.children.get(value_name) {
                entries.push((key.to_owned().into(), self.value(value, false, None, child, &path)?));
            }
        }
        Ok(Node::Map(last_wins(entries)))
    }

    fn scalar(
        &self,
        shape: &Shape,
        format: Option<TimeFormat>,
        form: &Form,
        path: &Path,
    ) -> Result<Node, String> {
        self.budget.take(path)?;
        let Some(text) = form.value.as_ref().filter(|_| form.children.is_empty()) else {
            return Err(format!("A {} was expected at '{path}', a structure was found", shape.name));
        };
        let format = scalar::time_format(format, shape, TimeFormat::Iso8601);
        scalar::parse(text, shape, format).map_err(|message| format!("{message} at '{path}'"))
    }
}

/// `<OpResponse><OpResult>…</OpResult><ResponseMetadata>…</ResponseMetadata></OpResponse>`.
pub fn encode(
    service: &'static Service,
    operation: &Operation,
    output: &Node,
    request_id: &str,
) -> Result<Encoded, EncodeError> {
    let mut writer = Writer::new(service);
    let root = format!("{}Response", operation.name);
    writer.open_with_namespace(&root, service.xml_namespace);
    if let Some(shape) = operation.output {
        match operation.result_wrapper {
            Some(wrapper) => {
                writer.open(wrapper);
                writer.members(shape, output)?;
                writer.close(wrapper);
            }
            None => writer.members(shape, output)?,
        }
    }
    writer.open("ResponseMetadata");
    writer.text_element("RequestId", request_id);
    writer.close("ResponseMetadata");
    writer.close(&root);
    Ok(Encoded::new(200, Some("text/xml"), writer.finish()))
}
