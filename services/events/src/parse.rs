//! Reading a pattern out of its JSON. Everything that is not documented is refused by name.

use super::pattern::{Comparison, FieldPattern, Network, ObjectPattern, Pattern, Test, TextTest};
use serde_json::{Map, Value};
use std::net::IpAddr;

type Result<T> = std::result::Result<T, String>;

/// Numbers that may be compared.
const NUMERIC_LIMIT: f64 = 5.0e9;
const MAX_DEPTH: usize = 32;
/// What all `$or` of a pattern may multiply to.
const MAX_COMBINATIONS: usize = 1000;
const MAX_WILDCARDS: usize = 30;
const OPERATORS: [&str; 8] =
    ["exists", "prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr"];

pub(crate) fn pattern(value: &Value) -> Result<Pattern> {
    let Value::Object(map) = value else { return Err("Filter is not an object".into()) };
    if map.is_empty() {
        return Err("Empty objects are not allowed".into());
    }
    let root = object(map, "", 0)?;
    let combinations = combinations(&root);
    if combinations > MAX_COMBINATIONS {
        return Err(format!(
            "The $or conditions give {combinations} combinations; {MAX_COMBINATIONS} are allowed"
        ));
    }
    Ok(Pattern { root })
}

fn combinations(object: &ObjectPattern) -> usize {
    let groups =
        object.any_of.iter().map(|group| group.iter().map(combinations).fold(0, usize::saturating_add));
    let inner = object.fields.iter().map(|(_, field)| match field {
        FieldPattern::Object(inner) => combinations(inner),
        FieldPattern::Leaf(_) => 1,
    });
    groups.chain(inner).fold(1, usize::saturating_mul)
}

fn object(map: &Map<String, Value>, path: &str, depth: usize) -> Result<ObjectPattern> {
    if depth > MAX_DEPTH {
        return Err(format!("{path} is nested deeper than {MAX_DEPTH}"));
    }
    let mut pattern = ObjectPattern::default();
    for (name, value) in map {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match value {
            Value::Array(choices) if name == "$or" && is_or(choices) => {
                let group = choices.iter().filter_map(Value::as_object);
                pattern
                    .any_of
                    .push(group.map(|choice| object(choice, &path, depth + 1)).collect::<Result<_>>()?);
            }
            Value::Array(tests) if tests.is_empty() => {
                return Err(format!("Empty arrays are not allowed: {path}"));
            }
            Value::Array(tests) => {
                let tests = tests.iter().map(|test| leaf(test, &path)).collect::<Result<_>>()?;
                pattern.fields.push((name.clone(), FieldPattern::Leaf(tests)));
            }
            Value::Object(inner) if inner.is_empty() => {
                return Err(format!("Empty objects are not allowed: {path}"));
            }
            Value::Object(inner) => {
                let inner = object(inner, &path, depth + 1)?;
                pattern.fields.push((name.clone(), FieldPattern::Object(inner)));
            }
            _ => return Err(format!("\"{path}\" must be an object or an array")),
        }
    }
    Ok(pattern)
}

/// `$or` is an operator only with two or more objects, none of which has an operator's name for a field;
/// else it is a field like any other.
fn is_or(choices: &[Value]) -> bool {
    let plain = |choice: &Value| {
        choice
            .as_object()
            .is_some_and(|map| !map.is_empty() && !map.keys().any(|name| OPERATORS.contains(&name.as_str())))
    };
    choices.len() >= 2 && choices.iter().all(plain)
}

fn leaf(value: &Value, path: &str) -> Result<Test> {
    let operator = match value {
        Value::Object(operator) => operator,
        Value::Array(_) => return Err(format!("Arrays within arrays are not allowed: {path}")),
        exact => return Ok(Test::Exactly(exact.clone())),
    };
    let (name, operand) = single(operator, path)?;
    match name {
        "exists" => {
            operand.as_bool().map(Test::Exists).ok_or(format!("exists at {path} must be true or false"))
        }
        "numeric" => numeric(operand, path),
        "cidr" => {
            let text = operand.as_str().ok_or(format!("cidr at {path} must be a string"))?;
            network(text).map(Test::Cidr).ok_or(format!("Malformed CIDR at {path}: {text}"))
        }
        "anything-but" => anything_but(operand, path),
        _ => text_test(name, operand, path).map(Test::Text),
    }
}

fn single<'a>(operator: &'a Map<String, Value>, path: &str) -> Result<(&'a str, &'a Value)> {
    let mut entries = operator.iter();
    match (entries.next(), entries.next()) {
        (Some((name, operand)), None) => Ok((name, operand)),
        _ => Err(format!("Exactly one match type is allowed in each object at {path}")),
    }
}

fn text_test(name: &str, operand: &Value, path: &str) -> Result<TextTest> {
    let ignore_case = match operand {
        Value::Object(inner) if matches!(name, "prefix" | "suffix") => match single(inner, path)? {
            ("equals-ignore-case", inner) => Some(inner),
            (other, _) => return Err(format!("Unsupported {name} expression at {path}: {other}")),
        },
        _ => None,
    };
    let known = matches!(name, "prefix" | "suffix" | "equals-ignore-case" | "wildcard");
    if !known {
        return Err(format!("Unrecognized match type {name} at {path}"));
    }
    let text = ignore_case
        .unwrap_or(operand)
        .as_str()
        .ok_or(format!("{name} at {path} must be a string"))?
        .to_owned();
    Ok(match (name, ignore_case.is_some()) {
        ("prefix", false) => TextTest::Prefix(text),
        ("prefix", true) => TextTest::PrefixIgnoreCase(text.to_lowercase()),
        ("suffix", false) => TextTest::Suffix(text),
        ("suffix", true) => TextTest::SuffixIgnoreCase(text.to_lowercase()),
        ("equals-ignore-case", _) => TextTest::EqualsIgnoreCase(text.to_lowercase()),
        _ => TextTest::Wildcard(wildcard(&text, path)?),
    })
}

/// Splits at the asterisks. A backslash makes an asterisk or a backslash an ordinary character.
fn wildcard(text: &str, path: &str) -> Result<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let literal = match character {
            '*' if characters.peek() == Some(&'*') => {
                return Err(format!("Consecutive wildcard characters at {path}"));
            }
            '*' => {
                parts.push(String::new());
                continue;
            }
            '\\' => match characters.next() {
                Some(escaped @ ('*' | '\\')) => escaped,
                _ => return Err(format!("Invalid escape character in the wildcard at {path}")),
            },
            other => other,
        };
        if let Some(part) = parts.last_mut() {
            part.push(literal);
        }
    }
    if parts.len() > MAX_WILDCARDS {
        return Err(format!("The wildcard at {path} is too complex: {MAX_WILDCARDS} asterisks are allowed"));
    }
    Ok(parts)
}

fn anything_but(operand: &Value, path: &str) -> Result<Test> {
    match operand {
        Value::String(_) | Value::Number(_) => Ok(Test::NotExactly(vec![operand.clone()])),
        Value::Array(values) => {
            let texts = values.iter().all(Value::is_string);
            if values.is_empty() || !(texts || values.iter().all(Value::is_number)) {
                return Err(format!(
                    "Inside anything-but list, either all values are numbers or strings: {path}"
                ));
            }
            Ok(Test::NotExactly(values.clone()))
        }
        Value::Object(inner) => {
            let (name, operand) = single(inner, path)?;
            let operands = match operand {
                Value::Array(values) if values.is_empty() => {
                    return Err(format!("Empty arrays are not allowed: {path}"));
                }
                Value::Array(values) => values.iter().collect(),
                one => vec![one],
            };
            let tests = operands.into_iter().map(|operand| text_test(name, operand, path));
            tests.collect::<Result<_>>().map(Test::NotText)
        }
        _ => Err(format!("anything-but at {path} must be a string, a number, a list or one match type")),
    }
}

/// One comparison, or a range: a lower bound followed by an upper one.
fn numeric(operand: &Value, path: &str) -> Result<Test> {
    let malformed = || format!("Value of numeric at {path} must be an array of comparisons and numbers");
    let items = operand.as_array().ok_or_else(malformed)?;
    let mut comparisons = Vec::new();
    for pair in items.chunks(2) {
        let [Value::String(operator), Value::Number(number)] = pair else { return Err(malformed()) };
        let comparison = match operator.as_str() {
            "=" => Comparison::Equal,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            other => return Err(format!("Unrecognized numeric range operator at {path}: {other}")),
        };
        let number = number.as_f64().filter(|number| number.abs() <= NUMERIC_LIMIT);
        comparisons.push((
            comparison,
            number.ok_or(format!("Numbers at {path} must be within ±{NUMERIC_LIMIT:e}"))?,
        ));
    }
    let lower = |comparison| matches!(comparison, Comparison::Greater | Comparison::GreaterOrEqual);
    let upper = |comparison| matches!(comparison, Comparison::Less | Comparison::LessOrEqual);
    match comparisons.as_slice() {
        [_] => Ok(Test::Numeric(comparisons)),
        [(first, bottom), (second, top)] if lower(*first) && upper(*second) => {
            if bottom < top {
                Ok(Test::Numeric(comparisons))
            } else {
                Err(format!("Bottom must be less than top at {path}"))
            }
        }
        _ => Err(malformed()),
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
        None => (text, None),
    };
    match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(address) => {
            let length = length.unwrap_or(32);
            let mask = if length == 0 { 0 } else { u32::MAX.checked_shl(32_u32.checked_sub(length)?)? };
            Some(Network::V4 { bits: address.to_bits() & mask, mask })
        }
        IpAddr::V6(address) => {
            let length = length.unwrap_or(128);
            let mask = if length == 0 { 0 } else { u128::MAX.checked_shl(128_u32.checked_sub(length)?)? };
            Some(Network::V6 { bits: address.to_bits() & mask, mask })
        }
    }
}
