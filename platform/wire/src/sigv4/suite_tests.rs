//! The whole of AWS's SigV4 test suites, the older and the newer one: requests that AWS's signers signed, which are
//! what we verify.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
#![allow(clippy::unwrap_used)]

use super::*;
use http::request::Parts;

const SUITE: &str = include_str!("../../tests/data/aws-sig-v4-test-suite.txt");
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// Its token is put in after signing; we want every `x-amz-` header signed, as AWS's services say that they do.
const UNSIGNED_TOKEN: &str = "post-sts-header-after";

/// A target has no space as such on the wire. The suite encodes its own once, as S3 does what comes encoded.
const SPACE: &str = "get-space";

/// The newer suite: also signed in the query, also without normalizing paths.
const SIGNING_SUITE: &str = include_str!("../../tests/data/aws-signing-test-suite.txt");
/// Two of its cases are signed with a key of their own.
const OTHER_KEYS: &[(&str, &str)] = &[("ANOTREAL", "notrealrnrELgWzOk3IfjzDKtFBhDby")];

const SESSIONS: &[&str] = &["get-vanilla-with-session-token", "post-sts-header-before"];

/// HTTP knows no folded lines any more (RFC 9112, 5.2).
#[derive(Clone, Copy, PartialEq)]
enum Folded {
    /// What they say is several values of one header.
    Values,
    /// They go on with the value, after a space.
    Spaces,
}

fn read(request: &str, folded: Folded) -> (Parts, &str) {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
    let target = rest.strip_suffix(" HTTP/1.1").unwrap_or(rest).replace(' ', "%20");
    let mut builder = http::Request::builder().method(method).uri(target);
    let mut headers: Vec<(&str, String)> = Vec::new();
    for line in lines {
        let last = headers.last_mut().filter(|_| line.starts_with(' '));
        match (last, folded) {
            (Some((_, value)), Folded::Spaces) => *value += line,
            (Some((name, _)), Folded::Values) => {
                let again = (*name, line.trim().to_owned());
                headers.push(again);
            }
            (None, _) => {
                let (name, value) = line.split_once(':').unwrap();
                headers.push((name, value.trim().to_owned()));
            }
        }
    }
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    (builder.body(()).unwrap().into_parts().0, body)
}

fn check(name: &str, parts: &Parts, body: &str) -> Result<Verified, SignatureError> {
    let style = if name == SPACE { PathStyle::S3 } else { PathStyle::Normalized };
    verify(parts, parse(parts)?, SECRET, style, &sha256_hex(body.as_bytes()))
}

#[test]
fn every_request_of_the_suite() {
    let mut seen = 0;
    for case in SUITE.split("==== ").skip(1) {
        let (name, request) = case.split_once('\n').unwrap();
        let (parts, body) = read(request.trim_end_matches('\n'), Folded::Values);
        match check(name, &parts, body) {
            Ok(_) => assert!(check(name, &parts, "other").is_err(), "{name}: the body is signed"),
            Err(error) if name == UNSIGNED_TOKEN => assert_eq!(
                error.to_string(),
                "'x-amz-security-token' must be a 'SignedHeader' in the AWS Authorization."
            ),
            Err(error) => panic!("{name}: {error}"),
        }
        let signed = parts.headers["authorization"].to_str().unwrap();
        let forged = signed.replacen("Signature=", "Signature=0", 1);
        let mut other = parts.clone();
        other.headers.insert("authorization", forged[..signed.len()].parse().unwrap());
        assert!(check(name, &other, body).is_err(), "{name}: the signature counts");
        seen += 1;
    }
    assert_eq!(seen, 31);
}

/// The same request with another signature.
fn forged(parts: &Parts) -> Parts {
    let mut other = parts.clone();
    let flip = |text: &str| {
        let (before, rest) = text.split_once("Signature=").unwrap();
        let digit = if rest.starts_with('0') { '1' } else { '0' };
        format!("{before}Signature={digit}{}", &rest[1..])
    };
    match parts.headers.get("authorization") {
        Some(value) => {
            let value = flip(value.to_str().unwrap());
            other.headers.insert("authorization", value.parse().unwrap());
        }
        None => other.uri = flip(&parts.uri.to_string()).parse().unwrap(),
    }
    other
}

#[test]
fn every_request_of_the_newer_suite() {
    let mut seen = [0, 0];
    for case in SIGNING_SUITE.split("==== ").skip(1) {
        let (title, request) = case.split_once('\n').unwrap();
        let [name, place, paths] = title.split(' ').collect::<Vec<_>>()[..] else { panic!("{title}") };
        let (parts, body) = read(request.trim_end_matches('\n'), Folded::Spaces);
        let space = name.starts_with(SPACE);
        let style = if paths == "normalized" && !space { PathStyle::Normalized } else { PathStyle::S3 };
        let check = |parts: &Parts, body: &str| {
            let presented = parse(parts)?;
            let other = OTHER_KEYS.iter().find(|(id, _)| *id == presented.access_key_id);
            let secret = other.map_or(SECRET, |(_, secret)| secret);
            verify(parts, presented, secret, style, &sha256_hex(body.as_bytes()))
        };
        assert_eq!(parts.headers.contains_key("authorization"), place == "header", "{title}");
        seen[usize::from(place == "query")] += 1;
        let outcome = check(&parts, body);
        if name == UNSIGNED_TOKEN {
            // A query is signed whole, so there it makes the signature another one.
            match outcome.err() {
                Some(SignatureError::Invalid(_)) => assert_eq!(place, "header"),
                Some(SignatureError::Mismatch { .. }) => assert_eq!(place, "query"),
                other => panic!("{title}: {other:?}"),
            }
            continue;
        }
        let verified = outcome.unwrap_or_else(|error| panic!("{title}: {error}"));
        let in_query = matches!(verified.presented.placement, Placement::Query { expires_s: Some(3600) });
        assert_eq!(in_query, place == "query", "{title}");
        assert_eq!(verified.presented.session_token.is_some(), SESSIONS.contains(&name), "{title}");
        assert!(check(&parts, "other").is_err(), "{title}: the body is signed");
        let error = check(&forged(&parts), body).err();
        assert!(matches!(error, Some(SignatureError::Mismatch { .. })), "{title}: the signature counts");
    }
    assert_eq!(seen, [40, 38], "in the header, in the query");
}
