//! The models' regular expressions are Java's. They are translated for the `regex` crate, compiled once,
//! and must match the whole text, as Java's `matches` does.
//!
//! Translated: `\w \d \s` are ASCII in Java; a class such as `[\w-_]` holds a literal hyphen; `[` within
//! a class is literal; `.` stops at every line terminator. What no translation covers (look-around) is
//! in [`REPLACED`] by hand, or in nothing: a pattern that is neither is not checked, and a test over all
//! models fails unless it is listed.

use regex::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

/// Patterns with look-around, and what means the same beside the shape's own length limits.
const REPLACED: &[(&str, &str)] = &[
    // IAM's account alias: no two hyphens in a row.
    ("^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$", "[a-z0-9]+(?:-[a-z0-9]+)*"),
];

type Cache = RwLock<HashMap<&'static str, Option<Arc<Regex>>>>;

fn compiled(pattern: &'static str) -> Option<Arc<Regex>> {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let cache = CACHE.get_or_init(Cache::default);
    if let Some(found) = cache.read().unwrap_or_else(|poisoned| poisoned.into_inner()).get(pattern) {
        return found.clone();
    }
    let regex = compile(pattern).map(Arc::new);
    if regex.is_none() {
        tracing::warn!(pattern, "a model's pattern cannot be compiled and is not checked");
    }
    cache.write().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(pattern, regex.clone());
    regex
}

/// Compiles one pattern; `None` when it has no translation.
pub fn compile(pattern: &str) -> Option<Regex> {
    let translated = match REPLACED.iter().find(|(java, _)| *java == pattern) {
        Some((_, replacement)) => (*replacement).to_owned(),
        None => translate(pattern)?,
    };
    RegexBuilder::new(&format!("^(?:{translated})$")).size_limit(32 << 20).build().ok()
}

/// Whether the whole text matches.
pub fn matches(pattern: &'static str, text: &str) -> bool {
    compiled(pattern).is_none_or(|regex| regex.is_match(text))
}

fn translate(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut chars = pattern.chars().peekable();
    let mut class: Option<Class> = None;
    while let Some(character) = chars.next() {
        match (&mut class, character) {
            (None, '\\') => out.push_str(&escape(&mut chars, false)?),
            (None, '.') => out.push_str(r"[^\n\r\x{85}\x{2028}\x{2029}]"),
            (None, '[') => {
                out.push('[');
                if chars.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                class = Some(Class::Start);
            }
            (None, other) => out.push(other),
            (Some(Class::Start), ']') => {
                out.push_str(r"\]");
                class = Some(Class::After { was_set: false });
            }
            (Some(_), ']') => {
                out.push(']');
                class = None;
            }
            (Some(state), '\\') => {
                let set = matches!(chars.peek(), Some('w' | 'W' | 'd' | 'D' | 's' | 'S' | 'p' | 'P'));
                out.push_str(&escape(&mut chars, true)?);
                *state = Class::After { was_set: set };
            }
            (Some(state), '-') => {
                // A hyphen is a range only between two single characters.
                let literal = match (&state, chars.peek()) {
                    (Class::Start | Class::After { was_set: true }, _) | (_, Some(']') | None) => true,
                    (_, Some('\\')) => {
                        let mut ahead = chars.clone();
                        ahead.next();
                        matches!(ahead.peek(), Some('w' | 'W' | 'd' | 'D' | 's' | 'S' | 'p' | 'P'))
                    }
                    _ => false,
                };
                out.push_str(if literal { r"\-" } else { "-" });
                *state = Class::After { was_set: literal };
            }
            (Some(state), other) => {
                if matches!(other, '[' | '&' | '~' | '^') {
                    out.push('\\');
                }
                out.push(other);
                *state = Class::After { was_set: false };
            }
        }
    }
    class.is_none().then_some(out)
}

/// Where we are within a character class.
enum Class {
    Start,
    /// After an item; nothing can range from a set such as `\w`.
    After {
        was_set: bool,
    },
}

/// One escape, after its backslash.
fn escape(chars: &mut std::iter::Peekable<std::str::Chars>, in_class: bool) -> Option<String> {
    let set = |negated: bool, items: &str| match (in_class, negated) {
        (true, false) => items.to_owned(),
        (_, true) => format!("[^{items}]"),
        (false, false) => format!("[{items}]"),
    };
    Some(match chars.next()? {
        'w' => set(false, "0-9A-Za-z_"),
        'W' => set(true, "0-9A-Za-z_"),
        'd' => set(false, "0-9"),
        'D' => set(true, "0-9"),
        's' => set(false, r"\t\n\x0B\f\r "),
        'S' => set(true, r"\t\n\x0B\f\r "),
        // `\u002F` has four digits in both; a lone surrogate is no character of a Rust string.
        'u' => {
            let digits: String = (0..4).map_while(|_| chars.next()).collect();
            format!("\\u{digits}")
        }
        other if other.is_ascii_alphanumeric() => format!("\\{other}"),
        other => {
            if other.is_ascii_punctuation() {
                format!("\\{other}")
            } else {
                other.to_string()
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &'static str, text: &str) -> bool {
        matches(pattern, text)
    }

    #[test]
    fn java_classes_are_ascii() {
        assert!(is_match(r"[\w+=,.@-]+", "user.name@x"));
        assert!(!is_match(r"[\w+=,.@-]+", "müller"));
        assert!(!is_match(r"\d{12}", "١٢٣٤٥٦٧٨٩٠١٢"));
        assert!(is_match(r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*", "Überschrift 1"));
    }

    #[test]
    fn the_whole_text_must_match() {
        assert!(!is_match("[a-z]+", "abc1"));
        assert!(!is_match("AWS|ThirdParty", "AWSx"));
        assert!(!is_match("^[a-z]+$", "abc\n"));
        assert!(!is_match(".*", "a\nb"));
        assert!(is_match(r"[\s\S]*", "a\nb"));
    }

    #[test]
    fn odd_classes() {
        assert!(is_match(r"[\w-_]*", "a-b_c"));
        assert!(is_match(r"[A-Za-z0-9@\-_]+", "a-@"));
        assert!(is_match(r"[^:*$]*", "a[b"));
        assert!(!is_match(r"[^:*$]*", "a$b"));
        assert!(is_match(r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)", "/a/b/"));
        assert!(!is_match(r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)", "a"));
    }

    #[test]
    fn replaced_patterns_mean_the_same() {
        const ALIAS: &str = "^[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]$";
        assert!(is_match(ALIAS, "my-team-1"));
        for bad in ["my--team", "-team", "team-", "Team"] {
            assert!(!is_match(ALIAS, bad), "{bad}");
        }
    }
}
