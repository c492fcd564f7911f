//! AWS's documented example, and what a hostile body tries.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::sigv4::{Placement, Presented, Scope, parse_amz_date};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// The request of AWS's example: its seed signature is documented.
fn verified(seed: &str) -> Verified {
    let scope = Scope { date: "20130524".into(), region: "us-east-1".into(), service: "s3".into() };
    Verified {
        key: SigningKey::new(SECRET, &scope),
        presented: Presented {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            scope,
            signed_headers: vec!["host".into()],
            signature: seed.into(),
            amz_date: "20130524T000000Z".into(),
            at: parse_amz_date("20130524T000000Z").unwrap(),
            session_token: None,
            placement: Placement::Header,
        },
    }
}

fn documented() -> (Verified, Vec<u8>) {
    let mut body = Vec::new();
    let chunks = [
        (65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ];
    for (size, signature) in chunks {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'a', size));
        body.extend_from_slice(b"\r\n");
    }
    (verified("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"), body)
}

type Decoded = Result<(Vec<u8>, Vec<(String, String)>), ChunkError>;

fn decode(
    streaming: Streaming,
    verified: &Verified,
    body: &[u8],
    length: Option<u64>,
    step: usize,
) -> Decoded {
    let mut decoder = ChunkDecoder::new(streaming, verified, length);
    let mut out = Vec::new();
    for piece in body.chunks(step) {
        decoder.feed(piece, &mut out)?;
    }
    Ok((out.concat(), decoder.finish()?))
}

#[test]
fn the_documented_example_in_pieces_of_any_size() {
    let (verified, body) = documented();
    for step in [1, 7, 1000, body.len()] {
        let (content, trailers) = decode(Streaming::Signed, &verified, &body, Some(66560), step).unwrap();
        assert_eq!(content, vec![b'a'; 66560]);
        assert!(trailers.is_empty());
    }
}

#[test]
fn a_changed_byte_is_not_given_out() {
    let (verified, mut body) = documented();
    body[1000] = b'b';
    let mut decoder = ChunkDecoder::new(Streaming::Signed, &verified, None);
    let mut out = Vec::new();
    assert_eq!(decoder.feed(&body, &mut out), Err(ChunkError::Signature));
    assert!(out.is_empty());
}

#[test]
fn a_cut_or_lengthened_body_is_refused() {
    let (verified, body) = documented();
    let first_chunks = &body[..body.len() - 90];
    assert_eq!(decode(Streaming::Signed, &verified, first_chunks, None, 999), Err(ChunkError::Incomplete));
    assert_eq!(
        decode(Streaming::Signed, &verified, &body, Some(5), 999),
        Err(ChunkError::Length { expected: 5, found: 65536 })
    );
    assert_eq!(
        decode(Streaming::Signed, &verified, &body, Some(70000), 999),
        Err(ChunkError::Length { expected: 70000, found: 66560 })
    );
    let more = [&body[..], b"x"].concat();
    assert!(matches!(decode(Streaming::Signed, &verified, &more, None, 999), Err(ChunkError::Malformed(_))));
}

#[test]
fn unsigned_chunks_with_a_trailer() {
    let body = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32: DUoRhQ==\r\n\r\n";
    for step in [1, 3, 100] {
        let (content, trailers) =
            decode(Streaming::UnsignedTrailer, &verified(""), body, Some(11), step).unwrap();
        assert_eq!(content, b"hello world");
        assert_eq!(trailers, [("x-amz-checksum-crc32".to_owned(), "DUoRhQ==".to_owned())]);
    }
}

/// AWS's documented trailer example.
#[test]
fn signed_chunks_with_a_signed_trailer() {
    let verified = verified("106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e");
    let trailer = "x-amz-checksum-crc32c:sOO8/Q==\r\n";
    let signature =
        "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n";
    let chunks = [
        (65536, "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2"),
        (1024, "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7"),
        (0, "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992"),
    ];
    let mut body = Vec::new();
    for (size, signature) in chunks {
        body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'a', size));
        if size > 0 {
            body.extend_from_slice(b"\r\n");
        }
    }
    let whole = [&body[..], trailer.as_bytes(), signature.as_bytes()].concat();
    let (content, trailers) = decode(Streaming::SignedTrailer, &verified, &whole, Some(66560), 4096).unwrap();
    assert_eq!(content.len(), 66560);
    assert_eq!(trailers, [("x-amz-checksum-crc32c".to_owned(), "sOO8/Q==".to_owned())]);

    let unsigned = [&body[..], trailer.as_bytes(), b"\r\n"].concat();
    assert_eq!(
        decode(Streaming::SignedTrailer, &verified, &unsigned, None, 4096),
        Err(ChunkError::Signature)
    );
}

#[test]
fn malformed_heads_are_refused() {
    for body in ["xyz\r\n", "5;chunk=1\r\n", "-1\r\n", "5\n", "fffffffffffffffff\r\n"] {
        let result = decode(Streaming::UnsignedTrailer, &verified(""), body.as_bytes(), None, 100);
        assert!(result.is_err(), "{body:?} was taken");
    }
    let long = "a".repeat(MAX_LINE_BYTES + 1);
    assert_eq!(
        decode(Streaming::Signed, &verified(""), long.as_bytes(), None, 512),
        Err(ChunkError::Malformed("a line is too long"))
    );
    let large = format!("{:x};chunk-signature=aa\r\n", MAX_SIGNED_CHUNK_BYTES + 1);
    assert_eq!(
        decode(Streaming::Signed, &verified(""), large.as_bytes(), None, 512),
        Err(ChunkError::TooLarge)
    );
}
