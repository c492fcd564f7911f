//! Heads of requests: signatures of every form, chunked bodies, routing.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request};
use towpath_api::Timestamp;
use towpath_wire::route::Router;
use towpath_wire::sigv4::chunked::{ChunkDecoder, ChunkError, Streaming};
use towpath_wire::sigv4::git::GitPassword;
use towpath_wire::sigv4::{
    EMPTY_SHA256, PathStyle, Placement, Presented, Scope, SigningKey, SigningKeys, Verified, parse,
    sign_request, v2, verify,
};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Twelve o'clock of the day on which the corpus's signatures were made.
fn now() -> Timestamp {
    Timestamp::from_millis(1_795_262_400_000)
}

/// A request's head, as lines, and what follows the first empty one.
pub fn head(data: &[u8]) -> Option<(Parts, &[u8])> {
    let end = data.windows(2).position(|two| two == b"\n\n").unwrap_or(data.len());
    let body = data.get(end + 2..).unwrap_or_default();
    let mut lines = data[..end].split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, uri) = first.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(uri);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
    }
    Some((request.body(()).ok()?.into_parts().0, body))
}

pub fn sigv4(data: &[u8]) {
    let Some((parts, body)) = head(data) else { return };
    if let Ok(presented) = parse(&parts) {
        let _ = presented.check_time(now());
        let _ = presented.check_scope("iam", Some("us-east-1"));
        let _ = presented.check_signed_headers(&parts);
        let _ = verify(&parts, presented.clone(), SECRET, PathStyle::Normalized, EMPTY_SHA256);
        let _ = verify(&parts, presented, SECRET, PathStyle::S3, EMPTY_SHA256);
    }
    if let Some(presented) = v2::parse(&parts) {
        let _ = v2::verify(&parts, &presented, SECRET, None, now());
        let _ = v2::verify(&parts, &presented, SECRET, Some("bucket"), now());
    }
    if let Ok(password) = std::str::from_utf8(body)
        && let Some(password) = GitPassword::parse(password)
    {
        let _ = password.verify(SECRET, "us-east-1", &["host"], &["/v1/repos/a"], now());
    }
    signs_and_verifies(parts, body);
}

/// Whatever the head holds: what our own client signs, the server finds right.
fn signs_and_verifies(mut parts: Parts, body: &[u8]) {
    let mut headers: HeaderMap = std::mem::take(&mut parts.headers);
    for name in ["date", "authorization", "x-amz-date", "x-amz-security-token", "host"] {
        headers.remove(name);
    }
    if headers.keys().count() > 100 || towpath_wire::uri::has_query(parts.uri.query(), "X-Amz-Credential") {
        return;
    }
    if towpath_wire::uri::has_query(parts.uri.query(), "X-Amz-Algorithm") {
        return;
    }
    let keys = SigningKeys {
        access_key_id: "AKIDEXAMPLE",
        secret_access_key: SECRET,
        session_token: None,
        region: "us-east-1",
        service: "iam",
    };
    if sign_request(&keys, &parts.method, &parts.uri, &mut headers, Some(body), now()).is_err() {
        return;
    }
    let hash = headers["x-amz-content-sha256"].to_str().expect("a hash is text").to_owned();
    parts.headers = headers;
    let presented = parse(&parts).expect("a signed request carries a signature");
    presented.check_time(now()).expect("it was signed just now");
    let verified = verify(&parts, presented, SECRET, PathStyle::Normalized, &hash);
    assert!(verified.is_ok(), "what was signed is not verified");
}

fn verified() -> Verified {
    let scope = Scope { date: "20261121".into(), region: "us-east-1".into(), service: "s3".into() };
    Verified {
        key: SigningKey::new(SECRET, &scope),
        presented: Presented {
            access_key_id: "AKIDEXAMPLE".into(),
            scope,
            signed_headers: vec!["host".into()],
            signature: "0".repeat(64),
            amz_date: "20261121T120000Z".into(),
            at: now(),
            session_token: None,
            placement: Placement::Header,
        },
    }
}

type Decoded = Result<(Vec<u8>, Vec<(String, String)>), ChunkError>;

fn decode(streaming: Streaming, length: Option<u64>, body: &[u8], piece: usize) -> Decoded {
    let mut decoder = ChunkDecoder::new(streaming, &verified(), length);
    let mut out: Vec<Bytes> = Vec::new();
    for piece in body.chunks(piece.max(1)) {
        decoder.feed(piece, &mut out)?;
    }
    Ok((out.concat(), decoder.finish()?))
}

/// However a body is cut on its way, it decodes to the same, and never to more than it is.
pub fn chunked(data: &[u8]) {
    let [kind, piece, body @ ..] = data else { return };
    let streaming = match kind % 3 {
        0 => Streaming::Signed,
        1 => Streaming::SignedTrailer,
        _ => Streaming::UnsignedTrailer,
    };
    let length = (kind & 0x80 != 0).then_some(u64::from(kind & 0x3f));
    let whole = decode(streaming, length, body, body.len());
    let cut = decode(streaming, length, body, usize::from(*piece));
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => {
            assert!(whole.0.len() <= body.len());
            assert_eq!(whole, cut, "the cut decides");
        }
        (Err(_), Err(_)) => {}
        (whole, cut) => panic!("the cut decides: {whole:?}, {cut:?}"),
    }
}

pub fn route(data: &[u8]) {
    let Some((parts, body)) = head(data) else { return };
    let _ = Router::new(Vec::new()).route(&parts, ["/v1/repos/", "/_towpath/"].into_iter());
    let _ = towpath_wire::server::body::gunzip(body, 1 << 16).map(|bytes| assert!(bytes.len() <= 1 << 16));
}
