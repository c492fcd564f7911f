//! The canonical request: the one text that signer and verifier must agree on.

use crate::uri;
use http::HeaderMap;
use http::request::Parts;

/// How a path becomes canonical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStyle {
    /// S3: encoded once, nothing normalized; a key may hold `..` and `//`.
    S3,
    /// Everyone else: normalized, and the path of the wire is encoded once more (`%3A` becomes `%253A`).
    Normalized,
}

/// Removes `.`, `..` and empty segments; keeps a trailing slash.
fn normalize(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let trailing = path.ends_with('/') && !kept.is_empty();
    format!("/{}{}", kept.join("/"), if trailing { "/" } else { "" })
}

fn canonical_path(path: &str, style: PathStyle) -> String {
    let mut out = String::with_capacity(path.len() + 16);
    match style {
        PathStyle::S3 => uri::encode_into(&mut out, &uri::decode_bytes(path, false), Some(b'/')),
        PathStyle::Normalized => uri::encode_into(&mut out, normalize(path).as_bytes(), Some(b'/')),
    }
    if out.is_empty() {
        out.push('/');
    }
    out
}

/// Decodes and encodes every name and value anew, and sorts; leaves out `except`.
pub(super) fn canonical_query(query: Option<&str>, except: Option<&str>) -> String {
    let encode = |text: &str| {
        let mut out = String::with_capacity(text.len());
        uri::encode_into(&mut out, &uri::decode_bytes(text, false), None);
        out
    };
    let mut pairs: Vec<(String, String)> = uri::raw_pairs(query.unwrap_or_default())
        .map(|(name, value)| (encode(name), encode(value)))
        .filter(|(name, _)| Some(name.as_str()) != except)
        .collect();
    pairs.sort_unstable();
    let mut out = String::new();
    for (name, value) in &pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
    out
}

/// One header's values: each trimmed, inner runs of spaces made one, joined by commas.
fn canonical_header(out: &mut String, headers: &HeaderMap, name: &str) {
    out.push_str(name);
    out.push(':');
    for (index, value) in headers.get_all(name).iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        for (index, word) in value.split([' ', '\t']).filter(|word| !word.is_empty()).enumerate() {
            if index > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    out.push('\n');
}

/// `signed_headers` must be lower-case; they are put in order here. `except_query` is the parameter that
/// holds the signature itself.
pub fn canonical_request(
    parts: &Parts,
    style: PathStyle,
    signed_headers: &[String],
    except_query: Option<&str>,
    payload_hash: &str,
) -> String {
    let mut names: Vec<&str> = signed_headers.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let mut out = String::with_capacity(512);
    out.push_str(parts.method.as_str());
    out.push('\n');
    out.push_str(&canonical_path(parts.uri.path(), style));
    out.push('\n');
    out.push_str(&canonical_query(parts.uri.query(), except_query));
    out.push('\n');
    for name in &names {
        canonical_header(&mut out, &parts.headers, name);
    }
    out.push('\n');
    out.push_str(&names.join(";"));
    out.push('\n');
    out.push_str(payload_hash);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(canonical_path("/a/./b/../c//d/", PathStyle::Normalized), "/a/c/d/");
        assert_eq!(canonical_path("/a%3Ab", PathStyle::Normalized), "/a%253Ab");
        assert_eq!(canonical_path("/a%3ab/..//x", PathStyle::S3), "/a%3Ab/..//x");
        assert_eq!(canonical_path("/..", PathStyle::Normalized), "/");
    }

    #[test]
    fn queries_are_sorted_and_encoded_anew() {
        assert_eq!(canonical_query(Some("b=2&a=%7e&a=1&c"), None), "a=1&a=~&b=2&c=");
        assert_eq!(canonical_query(Some("a=1&X-Amz-Signature=z"), Some("X-Amz-Signature")), "a=1");
    }

    #[test]
    fn header_values_lose_needless_spaces() {
        let mut headers = HeaderMap::new();
        headers.append("my-header", http::HeaderValue::from_static("  a   b  c "));
        headers.append("my-header", http::HeaderValue::from_static("d"));
        let mut out = String::new();
        canonical_header(&mut out, &headers, "my-header");
        assert_eq!(out, "my-header:a b c,d\n");
    }
}
