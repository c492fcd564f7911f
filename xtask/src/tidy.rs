//! House rules that no linter has: sizes of files and functions, and words that must not be there.

use crate::{TaskResult, root};
use std::path::Path;
use std::process::Command;

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

/// What must not be in product code, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!(", "refuse by name with ApiError::not_implemented, or build it"),
    ("unimplemented!(", "refuse by name with ApiError::not_implemented, or build it"),
    ("dbg!(", "use tracing"),
    (concat!("FIX", "ME"), "mend it, or say in a comment what holds and why"),
    (concat!("XX", "X"), "mend it, or say in a comment what holds and why"),
    (concat!("#[igno", "re"), "a test runs or does not exist"),
    ("SystemTime::now()", "take the time from a Clock"),
];

pub fn run() -> TaskResult {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output()?;
    let files = String::from_utf8(listed.stdout)?;
    let mut problems = Vec::new();
    for file in files.split('\0').filter(|file| is_ours(file)) {
        // A file that git still lists may be gone from the work tree.
        let Ok(text) = std::fs::read_to_string(root().join(file)) else { continue };
        check(file, &text, &mut problems);
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(format!("{} house rules broken:\n{}", problems.len(), problems.join("\n")).into())
}

fn is_ours(file: &str) -> bool {
    let known = Path::new(file).extension().is_some_and(|kind| kind == "rs" || kind == "py");
    known && !file.starts_with("platform/api/gen/")
}

fn check(file: &str, text: &str, problems: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() > MAX_FILE_LINES {
        problems.push(format!(
            "{file}: {} lines; split it by what it does (at most {MAX_FILE_LINES})",
            lines.len()
        ));
    }
    if !file.ends_with(".rs") {
        return;
    }
    for (number, length) in long_functions(&lines) {
        problems
            .push(format!("{file}:{number}: a function of {length} lines (at most {MAX_FUNCTION_LINES})"));
    }
    let product = !file.contains("/tests/") && !file.contains("/examples/") && file != "xtask/src/tidy.rs";
    let is_clock = file.ends_with("platform/api/base/src/time.rs")
        || file.starts_with("xtask/")
        || file.starts_with("hosts/");
    for (number, line) in lines.iter().enumerate().filter(|_| product) {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        for (word, instead) in BANNED {
            if line.contains(word) && !(is_clock && word.starts_with("SystemTime")) {
                problems.push(format!("{file}:{}: {word}: {instead}", number + 1));
            }
        }
    }
}

/// Functions as rustfmt lays them out: from the `fn` line to the brace at the same indentation.
fn long_functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let body = line.trim_start();
        let indentation = line.len() - body.len();
        let head = body.split("fn ").next().unwrap_or_default();
        let is_function = body.contains("fn ")
            && head.split_whitespace().all(|word| {
                matches!(word, "async" | "const" | "unsafe" | "extern")
                    || word.starts_with("pub")
                    || word.starts_with('"')
                    || word.ends_with(')')
            });
        if !is_function || body.ends_with(';') || body.ends_with('}') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indentation));
        let length = lines[start..].iter().position(|line| *line == close);
        if let Some(length) = length.filter(|length| length + 1 > MAX_FUNCTION_LINES) {
            long.push((start + 1, length + 1));
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_functions_are_found() {
        let mut source = vec!["    pub async fn long(", "        a: u8,", "    ) {"];
        source.extend(std::iter::repeat_n("        work();", 80));
        source.push("    }");
        assert_eq!(long_functions(&source), [(1, 84)]);
        assert!(long_functions(&["fn short() {", "}"]).is_empty());
    }

    #[test]
    fn banned_words_are_named_with_what_to_do() {
        let mut problems = Vec::new();
        check("services/a/src/lib.rs", "fn a() {\n    todo!()\n}\n", &mut problems);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("services/a/src/lib.rs:2"), "{problems:?}");
    }
}
