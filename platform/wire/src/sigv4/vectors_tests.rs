//! Published vectors: AWS's SigV4 test suite and S3's documented examples; and what a forger tries.
#![allow(clippy::unwrap_used)]

use super::*;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeo\
    IYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8\
    Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2\
    ICCR/oLxBA==";

fn parts(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

/// A request of the suite, signed as it says.
fn suite(method: &str, uri: &str, extra: &[(&str, &str)], signed: &str, signature: &str) -> Parts {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
         SignedHeaders={signed}, Signature={signature}"
    );
    let mut headers = vec![("Host", "example.amazonaws.com"), ("X-Amz-Date", "20150830T123600Z")];
    headers.extend_from_slice(extra);
    headers.push(("Authorization", &authorization));
    parts(method, uri, &headers)
}

fn check(parts: &Parts, body: &[u8]) -> Result<Verified, SignatureError> {
    verify(parts, parse(parts)?, SECRET, PathStyle::Normalized, &sha256_hex(body))
}

type Vector = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
    &'static [u8],
);

const PLAIN: &str = "host;x-amz-date";
const VANILLA: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
const UNRESERVED: &str = "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=\
    -._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Method, path, headers, signed headers, signature, body.
const VECTORS: &[Vector] = &[
    ("GET", "/", &[], PLAIN, VANILLA, b""),
    ("GET", "/example1/example2/../..", &[], PLAIN, VANILLA, b""),
    (
        "GET",
        "//example//",
        &[],
        PLAIN,
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        b"",
    ),
    (
        "GET",
        "/?Param2=value2&Param1=value1",
        &[],
        PLAIN,
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        b"",
    ),
    (
        "GET",
        "/?Param1=value2&Param1=value1",
        &[],
        PLAIN,
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
        b"",
    ),
    ("GET", UNRESERVED, &[], PLAIN, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197", b""),
    ("GET", "/ሴ", &[], PLAIN, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85", b""),
    (
        "GET",
        "/",
        &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        b"",
    ),
    (
        "GET",
        "/",
        &[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        b"",
    ),
    (
        "POST",
        "/",
        &[("X-Amz-Security-Token", TOKEN)],
        "host;x-amz-date;x-amz-security-token",
        "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        b"",
    ),
    (
        "POST",
        "/",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        b"Param1=value1",
    ),
];

#[test]
fn the_test_suite() {
    for (method, uri, headers, signed, signature, body) in VECTORS {
        let parts = suite(method, uri, headers, signed, signature);
        if let Err(error) = check(&parts, body) {
            panic!("{method} {uri}: {error}");
        }
        assert!(check(&parts, b"other").is_err(), "the body is signed");
    }
}

#[test]
fn s3s_documented_examples() {
    let empty = EMPTY_SHA256;
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
        SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
        Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let get = parts(
        "GET",
        "/test.txt",
        &[
            ("Host", "examplebucket.s3.amazonaws.com"),
            ("Range", "bytes=0-9"),
            ("x-amz-content-sha256", empty),
            ("x-amz-date", "20130524T000000Z"),
            ("Authorization", authorization),
        ],
    );
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    assert!(verify(&get, parse(&get).unwrap(), secret, PathStyle::S3, empty).is_ok());

    let url = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1\
        %2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
        &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let get = parts("GET", url, &[("Host", "examplebucket.s3.amazonaws.com")]);
    let presented = parse(&get).unwrap();
    let start = presented.at;
    assert!(verify(&get, presented.clone(), secret, PathStyle::S3, UNSIGNED_PAYLOAD).is_ok());
    assert_eq!(presented.check_time(start.plus_millis(86_400_000)), Ok(()));
    assert_eq!(presented.check_time(start.plus_millis(86_400_001)), Err(SignatureError::Expired));
    assert!(matches!(presented.check_time(start.plus_millis(-900_001)), Err(SignatureError::Skewed(_))));
}

fn keys<'a>(service: &'a str, token: Option<&'a str>) -> SigningKeys<'a> {
    SigningKeys {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: SECRET,
        session_token: token,
        region: "us-east-1",
        service,
    }
}

fn signed(uri: &str, body: &[u8], token: Option<&str>) -> Parts {
    let uri: Uri = uri.parse().unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/x-amz-json-1.1".parse().unwrap());
    headers.insert("x-amz-target", "A_1.B".parse().unwrap());
    let at = parse_amz_date("20260101T000000Z").unwrap();
    sign_request(&keys("things", token), &Method::POST, &uri, &mut headers, Some(body), at).unwrap();
    let mut parts = parts("POST", uri.path_and_query().unwrap().as_str(), &[]);
    parts.headers = headers;
    parts
}

#[test]
fn what_we_sign_we_verify() {
    let uris = ["http://h:4566/", "http://h/a%3Ab/ü//..?q=%20+&b", "http://h/?X=1&X=0"];
    for (uri, token) in uris.into_iter().flat_map(|uri| [(uri, None), (uri, Some("tok"))]) {
        let parts = signed(uri, b"{}", token);
        let verified = check(&parts, b"{}").unwrap();
        assert_eq!(verified.presented.session_token.as_deref(), token);
        for (name, value) in [("x-amz-target", "A_1.C"), ("host", "evil"), ("x-amz-date", "20260101T000001Z")]
        {
            let mut changed = signed(uri, b"{}", token);
            changed.headers.insert(name, value.parse().unwrap());
            assert!(matches!(check(&changed, b"{}"), Err(SignatureError::Mismatch { .. })), "{name}");
        }
    }
}

#[test]
fn what_we_presign_we_verify() {
    let at = parse_amz_date("20260101T000000Z").unwrap();
    for service in ["s3", "sts"] {
        let uri = "http://h:1/k%20x?Action=A".parse().unwrap();
        let url = presign_url(&keys(service, Some("to/k")), &Method::GET, &uri, 60, at).unwrap();
        let parts = parts("GET", url.path_and_query().unwrap().as_str(), &[("host", "h:1")]);
        let presented = parse(&parts).unwrap();
        assert_eq!(presented.session_token.as_deref(), Some("to/k"));
        let (style, payload) = match service {
            "s3" => (PathStyle::S3, UNSIGNED_PAYLOAD),
            _ => (PathStyle::Normalized, EMPTY_SHA256),
        };
        assert!(verify(&parts, presented.clone(), SECRET, style, payload).is_ok());
        assert!(verify(&parts, presented, "other", style, payload).is_err());
    }
}

#[test]
fn headers_that_must_be_signed() {
    let mut parts = signed("http://h/", b"", None);
    parts.headers.insert("x-amz-extra", "1".parse().unwrap());
    let error = check(&parts, b"").err().unwrap();
    assert_eq!(error.to_string(), "'x-amz-extra' must be a 'SignedHeader' in the AWS Authorization.");

    let vanilla = suite("GET", "/", &[], "x-amz-date", &"0".repeat(64));
    let error = check(&vanilla, b"").err().unwrap();
    assert_eq!(error.to_string(), "'Host' must be a 'SignedHeader' in the AWS Authorization.");
}

#[test]
fn malformed_authorizations() {
    let with = |value: &str| {
        parse(&parts("GET", "/", &[("authorization", value), ("x-amz-date", "20150830T123600Z")]))
    };
    let text = |value: &str| with(value).err().unwrap().to_string();
    assert_eq!(parse(&parts("GET", "/", &[])).err(), Some(SignatureError::Missing));
    assert_eq!(text("Basic abc"), "Unsupported AWS 'algorithm': 'Basic'");
    assert_eq!(
        text("AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, SignedHeaders=host"),
        "Authorization header requires 'Signature' parameter. Authorization=AWS4-HMAC-SHA256 \
         Credential=a/20150830/r/s/aws4_request, SignedHeaders=host"
    );
    assert!(text("AWS4-HMAC-SHA256 Credential").contains("missing equal-sign"));
    let rest = "SignedHeaders=host, Signature=00";
    assert!(text(&format!("AWS4-HMAC-SHA256 Credential=a/b, {rest}")).contains("exactly 5 slash-delimited"));
    assert!(matches!(
        with(&format!("AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws5_request, {rest}")),
        Err(SignatureError::Invalid(_))
    ));
    let both = format!("AWS4-HMAC-SHA256 Credential=a/20150830/r/s/aws4_request, {rest}");
    let twice = parts("GET", "/?X-Amz-Algorithm=x", &[("authorization", &both)]);
    assert!(matches!(parse(&twice), Err(SignatureError::Incomplete(_))));
    let dateless = parts("GET", "/", &[("authorization", &both)]);
    assert!(parse(&dateless).err().unwrap().to_string().contains("'X-Amz-Date' or a 'Date'"));
}

#[test]
fn scope_and_time() {
    let vanilla = suite("GET", "/", &[], "host;x-amz-date", &"0".repeat(64));
    let presented = parse(&vanilla).unwrap();
    let at = presented.at;
    assert_eq!(presented.check_time(at.plus_millis(SKEW_MS)), Ok(()));
    assert_eq!(
        presented.check_time(at.plus_millis(SKEW_MS + 1000)).err().unwrap().to_string(),
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"
    );
    assert_eq!(
        presented.check_time(at.plus_millis(-SKEW_MS - 1000)).err().unwrap().to_string(),
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T122059Z + 15 min.)"
    );
    assert_eq!(presented.check_scope("service", Some("us-east-1")), Ok(()));
    assert_eq!(presented.check_scope("service", None), Ok(()));
    assert!(presented.check_scope("iam", None).is_err());
    assert!(presented.check_scope("service", Some("eu-west-1")).is_err());
    let mut other_day = presented.clone();
    other_day.scope.date = "20150829".into();
    assert!(matches!(other_day.check_time(at), Err(SignatureError::Invalid(_))));
}
