//! Percent-encoding as SigV4 and AWS's query strings want it: only `A-Z a-z 0-9 - . _ ~` stay.

use std::borrow::Cow;

const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";

fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Appends `bytes` percent-encoded; `keep` is one more byte that stays (`/` in a path).
pub fn encode_into(out: &mut String, bytes: &[u8], keep: Option<u8>) {
    for &byte in bytes {
        if unreserved(byte) || Some(byte) == keep {
            out.push(byte as char);
        } else {
            out.push('%');
            out.push(UPPER_HEX[(byte >> 4) as usize] as char);
            out.push(UPPER_HEX[(byte & 15) as usize] as char);
        }
    }
}

pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, text.as_bytes(), None);
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Percent-decodes bytes. A `%` that starts no escape stays as it is, as every AWS client's own parser
/// has it.
pub fn decode_bytes(text: &str, plus_is_space: bool) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| *byte == b'%' || plus_is_space && *byte == b'+') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| Some(hex_digit(*bytes.get(at + 1)?)? << 4 | hex_digit(*bytes.get(at + 2)?)?))
            .flatten();
        match escape {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if plus_is_space && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// Percent-decodes text; `None` when the result is no UTF-8.
pub fn decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    match decode_bytes(text, plus_is_space) {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

/// The `name=value` pairs of a query string, still encoded.
pub fn raw_pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The first value of a query parameter, decoded.
pub fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    raw_pairs(query?)
        .find(|(key, _)| decode(key, true).as_deref() == Some(name))
        .and_then(|(_, value)| decode(value, true))
}

pub fn has_query(query: Option<&str>, name: &str) -> bool {
    query.is_some_and(|query| raw_pairs(query).any(|(key, _)| decode(key, true).as_deref() == Some(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_all_but_the_unreserved() {
        assert_eq!(encode("a b/c:ü~"), "a%20b%2Fc%3A%C3%BC~");
    }

    #[test]
    fn decodes_and_keeps_broken_escapes() {
        assert_eq!(decode("a%20b%2", false).as_deref(), Some("a b%2"));
        assert_eq!(decode("a+b", true).as_deref(), Some("a b"));
        assert_eq!(decode("a+b", false).as_deref(), Some("a+b"));
        assert_eq!(decode("%ff", false), None);
    }

    #[test]
    fn finds_query_values() {
        let query = Some("x=1&Action=Get%20It&uploads");
        assert_eq!(query_value(query, "Action").as_deref(), Some("Get It"));
        assert!(has_query(query, "uploads"));
        assert!(!has_query(query, "upload"));
    }
}
