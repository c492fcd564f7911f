//! Which tests call an operation: found in the tests' own text, so that the list cannot be typed wrong.
//!
//! The scenario table (`tests/sdk/table`) drives an operation through every client; a test function of the
//! stories, conformance and fault suites, or of a service's own suite, calls it by its name. What only looks at
//! refusals (denials, probes) proves nothing.

use crate::codegen::snake;
use crate::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// As many as a reader wants to see.
const SHOWN: usize = 2;
const SUITES: [&str; 4] = ["tests/stories", "tests/conformance", "tests/faults", "services"];
const NO_PROOF: [&str; 2] = ["denials", "prober"];

/// What was found in all tests.
pub struct Proofs {
    /// (service of the table's file or of its `by`, operation); `{…}` in a name stands for any word.
    scenarios: BTreeSet<(String, String)>,
    /// Method name to `file::test`, in the order of the files.
    tests: BTreeMap<String, Vec<String>>,
}

impl Proofs {
    pub fn find() -> io::Result<Proofs> {
        let mut found = Proofs { scenarios: BTreeSet::new(), tests: BTreeMap::new() };
        for path in files(&root().join("tests/sdk/table"))? {
            let service = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            found.read_table(&service, &fs::read_to_string(&path)?);
        }
        for suite in SUITES {
            for path in files(&root().join(suite))? {
                let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
                let is_rust = shown.ends_with(".rs");
                if NO_PROOF.iter().any(|word| shown.contains(word)) || is_rust && !shown.contains("/tests/") {
                    continue;
                }
                found.read_tests(&shown, &fs::read_to_string(&path)?, is_rust);
            }
        }
        Ok(found)
    }

    /// Whatever proves an operation, at most a few; nothing when no test calls it.
    pub fn of(&self, service: &str, operation: &str) -> Vec<String> {
        let mut proofs = Vec::new();
        if self.scenarios.iter().any(|(by, name)| by == service && names(name, operation)) {
            proofs.push(format!("`tests/sdk/table/{service}.py`"));
        }
        let called = self.tests.get(&snake(operation)).into_iter().flatten();
        let foreign = |test: &&String| {
            test.starts_with("services/") && !test.starts_with(&format!("services/{service}/"))
        };
        proofs.extend(called.filter(|test| !foreign(test)).take(SHOWN).map(|test| format!("`{test}`")));
        proofs
    }

    fn read_table(&mut self, file: &str, text: &str) {
        for (at, _) in text.match_indices("step(") {
            let statement = &text[at + 5..];
            let statement = &statement[..statement_end(statement)];
            let by = statement.split("by=\"").nth(1).and_then(|by| by.split('"').next()).unwrap_or(file);
            let literal = statement.trim_start_matches('f').strip_prefix('"');
            // A step in a loop over operations names a variable: the names are in the line that it loops over.
            let operations: Vec<&str> = match literal {
                Some(rest) => rest.split('"').next().into_iter().collect(),
                None => loop_before(&text[..at]).split('"').collect(),
            };
            if !statement.contains("refused=") {
                self.scenarios.extend(operations.into_iter().map(|name| (by.to_owned(), name.to_owned())));
            }
        }
    }

    fn read_tests(&mut self, file: &str, text: &str, is_rust: bool) {
        let mut current: Option<String> = None;
        let mut is_marked = false;
        for line in text.lines() {
            let words = line.trim_start();
            if is_rust {
                is_marked |= words.starts_with("#[tokio::test") || words == "#[test]";
                if let Some(name) = function(words, "fn ") {
                    current = is_marked.then_some(name);
                    is_marked = false;
                }
            } else if let Some(name) = function(line, "def ") {
                current = name.starts_with("test_").then_some(name);
            }
            let Some(test) = &current else { continue };
            for (method, paged) in calls(words) {
                if paged || words.contains(&format!(".{method}(")) {
                    let named = format!("{file}::{test}");
                    let known = self.tests.entry(method).or_default();
                    if known.last() != Some(&named) {
                        known.push(named);
                    }
                }
            }
        }
    }
}

/// The text from the last `for` on.
fn loop_before(text: &str) -> &str {
    text.rfind("\n").map_or("", |line| text[..line].rfind("for ").map_or("", |at| &text[at..]))
}

/// Whether a scenario's name is the operation's.
fn names(scenario: &str, operation: &str) -> bool {
    match (scenario.split_once('{'), scenario.split_once('}')) {
        (Some((start, _)), Some((_, end))) => {
            operation.len() > start.len() + end.len()
                && operation.starts_with(start)
                && operation.ends_with(end)
        }
        _ => scenario == operation,
    }
}

/// Where a call's closing parenthesis is.
fn statement_end(text: &str) -> usize {
    let mut depth = 1;
    for (at, character) in text.char_indices() {
        match character {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// The name of the function that a line begins.
fn function(line: &str, keyword: &str) -> Option<String> {
    let bare = line.trim_start_matches("pub ").trim_start_matches("async ");
    let name: String =
        bare.strip_prefix(keyword)?.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The methods that a line calls, and the operations that it pages or waits through.
fn calls(line: &str) -> Vec<(String, bool)> {
    let name = |text: &str| -> String {
        text.chars().take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_').collect()
    };
    let direct = line.match_indices('.').map(|(at, _)| (name(&line[at + 1..]), false));
    let paged =
        line.match_indices("get_paginator(\"").map(|(at, found)| (name(&line[at + found.len()..]), true));
    direct.chain(paged).filter(|(method, _)| method.contains('_')).collect()
}

/// Sources below a folder, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|kind| kind == "py" || kind == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_found_in_the_test_that_makes_them() {
        let mut found = Proofs { scenarios: BTreeSet::new(), tests: BTreeMap::new() };
        let python = "def helper(a):\n    a.get_role()\n\ndef test_x(a):\n    a.list_roles()\n    a.get_paginator(\"list_users\")\n";
        found.read_tests("t.py", python, false);
        assert_eq!(found.of("iam", "ListRoles"), ["`t.py::test_x`"]);
        assert_eq!(found.of("iam", "ListUsers"), ["`t.py::test_x`"]);
        assert!(found.of("iam", "GetRole").is_empty(), "a helper is no test");
        found.read_table("s3", "step(\"PutObject\", {\"a\": (1)})\nstep(\"CreateUser\", by=\"iam\")\nstep(\"GetObject\", refused=\"X\")\n");
        assert_eq!(found.of("s3", "PutObject"), ["`tests/sdk/table/s3.py`"]);
        assert_eq!(found.of("iam", "CreateUser").len(), 1);
        assert!(found.of("s3", "GetObject").is_empty(), "a refusal is no proof");
        found.read_table("iam", "for kind in KINDS:\n    step(f\"Tag{kind}\")\nfor name in (\"GetUser\", \"GetRole\"):\n    step(name)\n");
        assert!(["TagUser", "GetUser", "GetRole"].iter().all(|name| found.of("iam", name).len() == 1));
    }
}
