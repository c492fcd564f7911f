//! The whole of AWS's SigV4 test suite: requests that it signed, which are what we verify.
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

fn read(request: &str) -> (Parts, &str) {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
    let target = rest.strip_suffix(" HTTP/1.1").unwrap().replace(' ', "%20");
    let mut builder = http::Request::builder().method(method).uri(target);
    let mut last = "";
    for line in lines {
        // HTTP knows no folded lines any more (RFC 9112, 5.2): what they say is several values of one header.
        let (name, value) = if line.starts_with(' ') { (last, line) } else { line.split_once(':').unwrap() };
        builder = builder.header(name, value.trim());
        last = name;
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
        let (parts, body) = read(request.trim_end_matches('\n'));
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
