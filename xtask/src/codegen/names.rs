//! The model's names as Rust names.

const KEYWORDS: &[&str] = &[
    "as", "async", "await", "box", "break", "const", "continue", "dyn", "else", "enum", "extern", "false",
    "fn", "for", "gen", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "override", "priv",
    "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true", "type", "unsafe", "use",
    "virtual", "where", "while", "yield",
];

/// `cloneUrlHttp` → `clone_url_http`, `SSHPublicKeyId` → `ssh_public_key_id`; a keyword gets a `_`.
pub fn snake(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut text = String::new();
    for (index, &letter) in letters.iter().enumerate() {
        if !letter.is_ascii_alphanumeric() {
            if !text.ends_with('_') && !text.is_empty() {
                text.push('_');
            }
            continue;
        }
        let before = index.checked_sub(1).map(|i| letters[i]);
        let after = letters.get(index + 1);
        let starts_word = letter.is_ascii_uppercase()
            && before.is_some_and(|b| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || b.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase)
            });
        if starts_word && !text.ends_with('_') {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    let text = text.trim_end_matches('_').to_owned();
    if KEYWORDS.contains(&text.as_str()) { text + "_" } else { text }
}

/// A shape's name as a type's: its first letter in upper case.
pub fn type_name(shape: &str) -> String {
    let mut letters = shape.chars();
    letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
}

/// An enum's value as a constant's name: `InProgress` → `IN_PROGRESS`.
pub fn constant(value: &str) -> String {
    let name = snake(value).trim_end_matches('_').to_ascii_uppercase();
    if name.chars().next().is_none_or(|first| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rust() {
        for (name, expected) in [
            ("cloneUrlHttp", "clone_url_http"),
            ("SSHPublicKeyId", "ssh_public_key_id"),
            ("s3Logs", "s3_logs"),
            ("eTag", "e_tag"),
            ("type", "type_"),
            ("ec2TagFilters", "ec2_tag_filters"),
        ] {
            assert_eq!(snake(name), expected);
        }
        assert_eq!(constant("InProgress"), "IN_PROGRESS");
        assert_eq!(constant("FLEET_PERCENT"), "FLEET_PERCENT");
        assert_eq!(constant("5minutes"), "_5MINUTES");
        assert_eq!(type_name("webhook"), "Webhook");
    }
}
