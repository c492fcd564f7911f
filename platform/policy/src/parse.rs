//! From a document's text to statements that can be asked.

use crate::MAX_DOCUMENT_BYTES;
use crate::arn::ArnTemplate;
use crate::condition::Condition;
use crate::context::Question;
use crate::error::PolicyError;
use crate::json::Json;
use crate::operator::Operator;
use crate::pattern::Pattern;
use crate::principal::{Grant, PrincipalId, Principals};
use crate::validate;
use std::collections::HashSet;

/// What a document is for; each has its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Managed, inline and session policies and boundaries: no principal.
    Identity,
    /// Who may assume a role: principals, no resources, only STS actions.
    Trust,
    /// A bucket's policy and its like: principals and resources.
    Resource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
}

/// A document that was understood whole.
#[derive(Clone, Debug)]
pub struct Policy {
    pub statements: Vec<Statement>,
}

#[derive(Clone, Debug)]
pub struct Statement {
    pub sid: Option<String>,
    pub effect: Effect,
    /// `None` in identity policies.
    pub principals: Option<Principals>,
    actions: Listing<Pattern>,
    /// `None` in trust policies.
    resources: Option<Listing<ResourcePattern>>,
    conditions: Vec<Condition>,
}

/// An element, or its `Not…`.
#[derive(Clone, Debug)]
enum Listing<T> {
    Only(Vec<T>),
    AllBut(Vec<T>),
}

impl<T> Listing<T> {
    fn covers(&self, matches: impl Fn(&T) -> bool) -> bool {
        match self {
            Listing::Only(items) => items.iter().any(matches),
            Listing::AllBut(items) => !items.iter().any(matches),
        }
    }
}

#[derive(Clone, Debug)]
enum ResourcePattern {
    Any,
    Arn(ArnTemplate),
}

impl Statement {
    /// How closely it names the caller, or `None` when it does not apply.
    pub fn applies(&self, question: &Question) -> Option<Grant> {
        let action = question.action.to_lowercase();
        if !self.actions.covers(|pattern| pattern.matches(&action)) {
            return None;
        }
        let on_resource = self.resources.as_ref().is_none_or(|resources| {
            resources.covers(|pattern| match pattern {
                ResourcePattern::Any => true,
                ResourcePattern::Arn(template) => template.matches(question.resource, question),
            })
        });
        if !on_resource {
            return None;
        }
        let grant = match &self.principals {
            Some(principals) => principals.grant(question)?,
            None => Grant::Account,
        };
        self.conditions.iter().all(|condition| condition.holds(question)).then_some(grant)
    }
}

impl Policy {
    pub fn parse(kind: Kind, document: &str) -> Result<Policy, PolicyError> {
        if document.len() > MAX_DOCUMENT_BYTES {
            return syntax(format!("The document is longer than {MAX_DOCUMENT_BYTES} bytes."));
        }
        let root: Json = serde_json::from_str(document).map_err(|error| match kind {
            Kind::Trust => PolicyError::InvalidJson(error.to_string()),
            _ => PolicyError::Syntax(format!("It is not valid JSON: {error}.")),
        })?;
        let (variables, statements) = document_parts(kind, root)?;
        let mut sids = HashSet::new();
        let mut parsed = Vec::with_capacity(statements.len());
        for (index, statement) in statements.into_iter().enumerate() {
            let statement = StatementReader { kind, variables, number: index + 1 }.read(statement)?;
            let unique = match statement.sid.as_deref() {
                Some("") | None => true,
                Some(sid) => sids.insert(sid.to_owned()),
            };
            if !unique {
                return Err(PolicyError::DuplicateSid);
            }
            parsed.push(statement);
        }
        Ok(Policy { statements: parsed })
    }
}

fn syntax<T>(message: String) -> Result<T, PolicyError> {
    Err(PolicyError::Syntax(message))
}

/// Whether variables are honoured, and the statements.
fn document_parts(kind: Kind, root: Json) -> Result<(bool, Vec<Json>), PolicyError> {
    let Json::Object(entries) = root else {
        return syntax(format!("A policy is an object, not {}.", root.kind()));
    };
    let mut version = None;
    let mut statements = None;
    for (key, value) in entries {
        match (key.as_str(), value) {
            ("Version", Json::Text(text)) if text == "2008-10-17" || text == "2012-10-17" => {
                version = Some(text)
            }
            ("Version", Json::Text(_)) if kind == Kind::Identity => return Err(PolicyError::Version),
            ("Version", _) => return syntax("Version must be \"2012-10-17\" or \"2008-10-17\".".into()),
            ("Id", Json::Text(_)) => {}
            ("Id", value) => return syntax(format!("Id must be a string, not {}.", value.kind())),
            ("Statement", Json::List(items)) => statements = Some(items),
            ("Statement", item @ Json::Object(_)) => statements = Some(vec![item]),
            ("Statement", value) => {
                return syntax(format!("Statement must be an object or a list, not {}.", value.kind()));
            }
            _ => return syntax(format!("\"{key}\" is not an element of a policy.")),
        }
    }
    let modern = version.as_deref() == Some("2012-10-17");
    match statements {
        None => syntax("Statement is missing.".into()),
        Some(items) if items.is_empty() => syntax("Statement is empty.".into()),
        Some(_) if kind == Kind::Identity && !modern => Err(PolicyError::Version),
        Some(items) => Ok((modern, items)),
    }
}

#[derive(Clone, Copy)]
struct StatementReader {
    kind: Kind,
    variables: bool,
    /// Counted from one, for messages.
    number: usize,
}

#[derive(Default)]
struct Elements {
    sid: Option<String>,
    effect: Option<Effect>,
    principals: Option<Principals>,
    actions: Option<Listing<String>>,
    resources: Option<Listing<String>>,
    conditions: Vec<Condition>,
}

impl StatementReader {
    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T, PolicyError> {
        syntax(format!("In statement {}: {message}", self.number))
    }

    fn read(&self, statement: Json) -> Result<Statement, PolicyError> {
        let Json::Object(entries) = statement else {
            return self.fail(format!("a statement is an object, not {}.", statement.kind()));
        };
        let mut elements = Elements::default();
        for (key, value) in entries {
            self.element(&mut elements, &key, value)?;
        }
        self.finish(elements)
    }

    fn element(&self, elements: &mut Elements, key: &str, value: Json) -> Result<(), PolicyError> {
        match key {
            "Sid" => elements.sid = Some(self.sid(value)?),
            "Effect" => elements.effect = Some(self.effect(value)?),
            "Principal" => {
                let principals = Principals::Listed(self.principals(value)?);
                self.once(&mut elements.principals, principals, "Principal and NotPrincipal")?;
            }
            "NotPrincipal" => {
                let principals = Principals::AllBut(self.principals(value)?);
                self.once(&mut elements.principals, principals, "Principal and NotPrincipal")?;
            }
            "Action" => {
                let actions = Listing::Only(self.texts(key, value)?);
                self.once(&mut elements.actions, actions, "Action and NotAction")?;
            }
            "NotAction" => {
                let actions = Listing::AllBut(self.texts(key, value)?);
                self.once(&mut elements.actions, actions, "Action and NotAction")?;
            }
            "Resource" => {
                let resources = Listing::Only(self.texts(key, value)?);
                self.once(&mut elements.resources, resources, "Resource and NotResource")?;
            }
            "NotResource" => {
                let resources = Listing::AllBut(self.texts(key, value)?);
                self.once(&mut elements.resources, resources, "Resource and NotResource")?;
            }
            "Condition" => elements.conditions = self.conditions(value)?,
            _ => return self.fail(format!("\"{key}\" is not an element of a statement.")),
        }
        Ok(())
    }

    fn once<T>(&self, slot: &mut Option<T>, value: T, names: &str) -> Result<(), PolicyError> {
        match slot.replace(value) {
            Some(_) => self.fail(format!("{names} exclude each other.")),
            None => Ok(()),
        }
    }

    fn sid(&self, value: Json) -> Result<String, PolicyError> {
        match value {
            Json::Text(sid)
                if self.kind == Kind::Resource || sid.bytes().all(|b| b.is_ascii_alphanumeric()) =>
            {
                Ok(sid)
            }
            Json::Text(_) => Err(PolicyError::SidCharacters),
            other => self.fail(format!("Sid must be a string, not {}.", other.kind())),
        }
    }

    fn effect(&self, value: Json) -> Result<Effect, PolicyError> {
        match value {
            Json::Text(text) if text == "Allow" => Ok(Effect::Allow),
            Json::Text(text) if text == "Deny" => Ok(Effect::Deny),
            _ => self.fail("Effect must be \"Allow\" or \"Deny\"."),
        }
    }

    fn texts(&self, key: &str, value: Json) -> Result<Vec<String>, PolicyError> {
        let items = match value {
            Json::Text(text) => return Ok(vec![text]),
            Json::List(items) => items,
            other => return self.fail(format!("{key} must be a string or a list, not {}.", other.kind())),
        };
        let text = |item| match item {
            Json::Text(text) => Ok(text),
            other => self.fail(format!("{key} lists strings, not {}.", other.kind())),
        };
        items.into_iter().map(text).collect()
    }

    fn principals(&self, value: Json) -> Result<Vec<PrincipalId>, PolicyError> {
        let entries = match value {
            Json::Text(text) if text == "*" => return Ok(vec![PrincipalId::Everyone]),
            Json::Object(entries) => entries,
            _ => return self.fail("Principal must be \"*\" or an object such as {\"AWS\": \"…\"}."),
        };
        let mut ids = Vec::new();
        for (kind, value) in entries {
            for text in self.texts(&kind, value)? {
                ids.push(PrincipalId::parse(&kind, &text)?);
            }
        }
        if ids.is_empty() { Err(PolicyError::PrincipalMissing) } else { Ok(ids) }
    }

    fn conditions(&self, value: Json) -> Result<Vec<Condition>, PolicyError> {
        let Json::Object(blocks) = value else {
            return self.fail(format!("Condition must be an object, not {}.", value.kind()));
        };
        let mut conditions = Vec::new();
        for (name, block) in blocks {
            let operator = Operator::parse(&name).ok_or_else(|| PolicyError::ConditionType(name.clone()))?;
            let Json::Object(keys) = block else {
                return self.fail(format!("{name} must be an object, not {}.", block.kind()));
            };
            for (key, value) in keys {
                validate::condition_key(&key)?;
                let values = self.condition_values(&key, value)?;
                conditions.push(Condition::new(operator, &key, &values, self.variables)?);
            }
        }
        Ok(conditions)
    }

    fn condition_values(&self, key: &str, value: Json) -> Result<Vec<String>, PolicyError> {
        let items = match value {
            Json::List(items) => items,
            single => vec![single],
        };
        let text = |item| match item {
            Json::Text(text) | Json::Number(text) => Ok(text),
            Json::Bool(value) => Ok(value.to_string()),
            other => self.fail(format!("a value of {key} must be a string, not {}.", other.kind())),
        };
        items.into_iter().map(text).collect()
    }

    fn finish(&self, elements: Elements) -> Result<Statement, PolicyError> {
        let Elements { sid, effect, principals, actions, resources, conditions } = elements;
        let Some(effect) = effect else { return self.fail("Effect is missing.") };
        let principals = match (self.kind, principals) {
            (Kind::Identity, Some(_)) => return Err(PolicyError::PrincipalNotAllowed),
            (Kind::Trust | Kind::Resource, None) => return Err(PolicyError::PrincipalMissing),
            (_, principals) => principals,
        };
        let resources = match (self.kind, resources) {
            (Kind::Trust, Some(_)) => return Err(PolicyError::ProhibitedField("Resource")),
            (Kind::Trust, None) => None,
            (_, Some(resources)) => Some(self.resource_patterns(resources)?),
            (_, None) => return Err(PolicyError::NoResources),
        };
        let Some(actions) = actions else { return Err(PolicyError::NoActions) };
        Ok(Statement {
            sid,
            effect,
            principals,
            actions: self.action_patterns(actions)?,
            resources,
            conditions,
        })
    }

    fn action_patterns(&self, actions: Listing<String>) -> Result<Listing<Pattern>, PolicyError> {
        let compile = |texts: Vec<String>| {
            if texts.is_empty() {
                return Err(PolicyError::NoActions);
            }
            let compile_one = |text: &String| {
                validate::action(text)?;
                let lower = text.to_lowercase();
                if self.kind == Kind::Trust && lower != "*" && !lower.starts_with("sts:") {
                    return Err(PolicyError::TrustActions);
                }
                Ok(Pattern::wildcard(&lower))
            };
            texts.iter().map(compile_one).collect()
        };
        match actions {
            Listing::Only(texts) => compile(texts).map(Listing::Only),
            Listing::AllBut(texts) => compile(texts).map(Listing::AllBut),
        }
    }

    fn resource_patterns(&self, resources: Listing<String>) -> Result<Listing<ResourcePattern>, PolicyError> {
        let compile = |texts: Vec<String>| {
            if texts.is_empty() {
                return Err(PolicyError::NoResources);
            }
            let compile_one = |text: &String| {
                validate::resource(text)?;
                Ok(match text.as_str() {
                    "*" => ResourcePattern::Any,
                    arn => ResourcePattern::Arn(ArnTemplate::new(arn, self.variables)),
                })
            };
            texts.iter().map(compile_one).collect()
        };
        match resources {
            Listing::Only(texts) => compile(texts).map(Listing::Only),
            Listing::AllBut(texts) => compile(texts).map(Listing::AllBut),
        }
    }
}
