//! Variable references: `#{namespace.key}` in an action's configuration, resolved when it starts.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/reference-variables.html>

use crate::state::Execution;
use std::collections::BTreeMap;

/// All resolved values of one action together.
pub const MAX_RESOLVED_BYTES: usize = 100 << 10;
/// All output variables of one action together.
pub const MAX_OUTPUT_BYTES: usize = 122_880;

/// All output variables of one execution together: they are kept in its document.
pub const MAX_EXECUTION_OUTPUT_BYTES: usize = 2 << 20;

/// The size of variables as the limits count it.
pub fn size(variables: &BTreeMap<String, String>) -> usize {
    variables.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    Variable {
        namespace: String,
        key: String,
    },
    /// The text between the braces, which is no `namespace.key`.
    Malformed(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    #[error(
        "The variable '{text}' in configuration '{key}' cannot be resolved: the action that makes it has not made it"
    )]
    Unresolved { key: String, text: String },
    #[error(
        "The configuration is {size} bytes long with its variables resolved; at most {MAX_RESOLVED_BYTES} are allowed"
    )]
    TooLarge { size: usize },
}

pub fn has_reference(value: &str) -> bool {
    !references(value).is_empty()
}

/// Every reference in a value, from left to right. An unclosed `#{` is text.
pub fn references(value: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    walk(value, |_| (), |reference| found.push(reference));
    found
}

fn walk(value: &str, mut text: impl FnMut(&str), mut reference: impl FnMut(Reference)) {
    let mut rest = value;
    while let Some(start) = rest.find("#{") {
        let Some(length) = rest[start + 2..].find('}') else { break };
        text(&rest[..start]);
        let inside = &rest[start + 2..start + 2 + length];
        reference(read(inside));
        rest = &rest[start + 3 + length..];
    }
    text(rest);
}

fn read(inside: &str) -> Reference {
    let valid = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@-_".contains(&byte))
    };
    match inside.split_once('.') {
        Some((namespace, key)) if valid(namespace) && valid(key) => {
            Reference::Variable { namespace: namespace.to_owned(), key: key.to_owned() }
        }
        _ => Reference::Malformed(inside.to_owned()),
    }
}

/// The configuration with every variable's value in its place. Values are put in once and never read
/// for references again: a commit message that holds `#{…}` stays what it is. Inside a JSON string
/// (CodeBuild's EnvironmentVariables) values are escaped, so that no commit message can end the string.
pub fn resolve(
    configuration: &BTreeMap<String, String>,
    execution: &Execution,
) -> Result<BTreeMap<String, String>, ResolveError> {
    let mut resolved = BTreeMap::new();
    let mut size = 0;
    for (key, value) in configuration {
        let json = key == "EnvironmentVariables";
        let value = substitute(key, value, execution, json)?;
        size += key.len() + value.len();
        resolved.insert(key.clone(), value);
    }
    if size > MAX_RESOLVED_BYTES { Err(ResolveError::TooLarge { size }) } else { Ok(resolved) }
}

fn substitute(key: &str, value: &str, execution: &Execution, json: bool) -> Result<String, ResolveError> {
    let output = std::cell::RefCell::new(String::with_capacity(value.len()));
    let mut problem = None;
    walk(
        value,
        |text| output.borrow_mut().push_str(text),
        |reference| {
            let (text, found) = match reference {
                Reference::Malformed(text) => (text, None),
                Reference::Variable { namespace, key } => {
                    let found = lookup(&namespace, &key, execution);
                    (format!("{namespace}.{key}"), found)
                }
            };
            match found {
                Some(found) if json => output.borrow_mut().push_str(&escape(&found)),
                Some(found) => output.borrow_mut().push_str(&found),
                None => {
                    problem.get_or_insert(ResolveError::Unresolved { key: key.to_owned(), text });
                }
            }
        },
    );
    match problem {
        Some(problem) => Err(problem),
        None => Ok(output.into_inner()),
    }
}

fn lookup(namespace: &str, key: &str, execution: &Execution) -> Option<String> {
    match (namespace, key) {
        ("codepipeline", "PipelineExecutionId") => Some(execution.id.clone()),
        ("variables", key) => execution.variables.get(key).cloned(),
        (namespace, key) => execution.outputs.get(namespace)?.get(key).cloned(),
    }
}

fn escape(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn references_are_found_and_malformed_ones_told() {
        assert_eq!(
            references("a #{b.c} #{x} #{unclosed"),
            [
                Reference::Variable { namespace: "b".into(), key: "c".into() },
                Reference::Malformed("x".into())
            ]
        );
        assert!(!has_reference("#comment {}"));
    }

    #[test]
    fn a_value_is_put_in_once_and_escaped_inside_json() {
        let mut execution = crate::state::sample::execution("e1");
        execution.variables.insert("v".into(), "#{codepipeline.PipelineExecutionId}".into());
        execution.outputs.insert("S".into(), BTreeMap::from([("M".into(), "say \"hi\"\n".into())]));
        let configuration = BTreeMap::from([
            ("A".to_owned(), "#{variables.v}!".to_owned()),
            ("EnvironmentVariables".to_owned(), r##"[{"value":"#{S.M}"}]"##.to_owned()),
            ("Id".to_owned(), "#{codepipeline.PipelineExecutionId}".to_owned()),
        ]);
        let resolved = resolve(&configuration, &execution).unwrap();
        assert_eq!(resolved["A"], "#{codepipeline.PipelineExecutionId}!");
        assert_eq!(resolved["EnvironmentVariables"], r#"[{"value":"say \"hi\"\n"}]"#);
        assert_eq!(resolved["Id"], "e1");
    }

    #[test]
    fn what_was_never_made_is_an_error() {
        let configuration = BTreeMap::from([("A".to_owned(), "#{Nope.x}".to_owned())]);
        let error = resolve(&configuration, &crate::state::sample::execution("e1")).unwrap_err();
        assert!(error.to_string().contains("'Nope.x'"), "{error}");
    }
}
