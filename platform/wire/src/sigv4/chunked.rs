//! `aws-chunked` bodies: an incremental decoder that gives out no byte of a signed chunk before the
//! chunk's signature was found right.
//!
//! Format: <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html> and
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>.

use super::{EMPTY_SHA256, SigningKey, Verified, sha256_hex};
use bytes::{Buf, Bytes, BytesMut};

/// The largest signed chunk that is held back until its signature is checked.
pub const MAX_SIGNED_CHUNK_BYTES: usize = 16 << 20;
/// The longest line of a chunk's head or a trailer.
const MAX_LINE_BYTES: usize = 4096;
const MAX_TRAILERS: usize = 32;

/// The value of `x-amz-content-sha256` that announces such a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streaming {
    Signed,
    SignedTrailer,
    UnsignedTrailer,
}

impl Streaming {
    pub fn parse(content_sha256: &str) -> Option<Self> {
        match content_sha256 {
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Some(Streaming::Signed),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Some(Streaming::SignedTrailer),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Some(Streaming::UnsignedTrailer),
            _ => None,
        }
    }

    fn has_trailer(self) -> bool {
        self != Streaming::Signed
    }

    fn is_signed(self) -> bool {
        self != Streaming::UnsignedTrailer
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("the chunked body is malformed: {0}")]
    Malformed(&'static str),
    #[error("a chunk's signature does not match")]
    Signature,
    #[error("a signed chunk is larger than {MAX_SIGNED_CHUNK_BYTES} bytes")]
    TooLarge,
    #[error("the body ended before its last chunk")]
    Incomplete,
    #[error("the decoded body has {found} bytes, x-amz-decoded-content-length said {expected}")]
    Length { expected: u64, found: u64 },
}

/// The chain of signatures: each chunk signs the one before it.
struct Chain {
    key: SigningKey,
    amz_date: String,
    scope: String,
    previous: String,
}

impl Chain {
    fn check(&mut self, kind: &str, empty_line: bool, hash: &str, signature: &str) -> Result<(), ChunkError> {
        let Chain { amz_date, scope, previous, .. } = self;
        let middle = if empty_line { format!("{EMPTY_SHA256}\n") } else { String::new() };
        let text = format!("AWS4-HMAC-SHA256-{kind}\n{amz_date}\n{scope}\n{previous}\n{middle}{hash}");
        if !self.key.matches(&text, signature) {
            return Err(ChunkError::Signature);
        }
        self.previous = signature.to_owned();
        Ok(())
    }
}

enum State {
    Head,
    /// Within a chunk's data, which is held back when it is signed.
    Data {
        left: usize,
        signature: Option<String>,
    },
    DataEnd,
    Trailer,
    Done,
}

/// Feed it bytes as they come; it gives the content's bytes back.
pub struct ChunkDecoder {
    streaming: Streaming,
    chain: Option<Chain>,
    expected: Option<u64>,
    decoded: u64,
    buffer: BytesMut,
    state: State,
    trailers: Vec<(String, String)>,
    trailer_text: String,
}

impl ChunkDecoder {
    /// `verified` is the request's own signature, the first link of the chain; `decoded_length` is
    /// `x-amz-decoded-content-length`.
    pub fn new(streaming: Streaming, verified: &Verified, decoded_length: Option<u64>) -> Self {
        let chain = streaming.is_signed().then(|| Chain {
            key: verified.key.clone(),
            amz_date: verified.presented.amz_date.clone(),
            scope: verified.presented.scope.to_string(),
            previous: verified.presented.signature.clone(),
        });
        ChunkDecoder {
            streaming,
            chain,
            expected: decoded_length,
            decoded: 0,
            buffer: BytesMut::new(),
            state: State::Head,
            trailers: Vec::new(),
            trailer_text: String::new(),
        }
    }

    /// Takes the next bytes of the body and appends what they decode to.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<Bytes>) -> Result<(), ChunkError> {
        self.buffer.extend_from_slice(input);
        while self.step(out)? {}
        if let Some(expected) = self.expected
            && self.decoded > expected
        {
            return Err(ChunkError::Length { expected, found: self.decoded });
        }
        Ok(())
    }

    /// At the body's end: the trailers, in lower case, without the trailer's signature.
    pub fn finish(self) -> Result<Vec<(String, String)>, ChunkError> {
        if !matches!(self.state, State::Done) {
            return Err(ChunkError::Incomplete);
        }
        match self.expected {
            Some(expected) if expected != self.decoded => {
                Err(ChunkError::Length { expected, found: self.decoded })
            }
            _ => Ok(self.trailers),
        }
    }

    /// One step; `false` when more bytes are needed.
    fn step(&mut self, out: &mut Vec<Bytes>) -> Result<bool, ChunkError> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Head => match self.line()? {
                None => self.wait(State::Head),
                Some(line) => self.head(&line),
            },
            State::Data { left, signature } => self.data(left, signature, out),
            State::DataEnd => match self.line()? {
                None => self.wait(State::DataEnd),
                Some(line) if line.is_empty() => {
                    self.state = State::Head;
                    Ok(true)
                }
                Some(_) => Err(ChunkError::Malformed("a chunk's data is longer than its size")),
            },
            State::Trailer => match self.line()? {
                None => self.wait(State::Trailer),
                Some(line) => self.trailer(&line),
            },
            State::Done if self.buffer.is_empty() => Ok(false),
            State::Done => Err(ChunkError::Malformed("bytes follow the last chunk")),
        }
    }

    fn wait(&mut self, state: State) -> Result<bool, ChunkError> {
        self.state = state;
        Ok(false)
    }

    /// The next line without its CRLF.
    fn line(&mut self) -> Result<Option<String>, ChunkError> {
        let Some(end) = self.buffer.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') else {
            return if self.buffer.len() >= MAX_LINE_BYTES {
                Err(ChunkError::Malformed("a line is too long"))
            } else {
                Ok(None)
            };
        };
        let line = self.buffer.split_to(end + 1);
        let Some(line) = line[..end].strip_suffix(b"\r") else {
            return Err(ChunkError::Malformed("a line does not end in CRLF"));
        };
        String::from_utf8(line.to_vec()).map(Some).map_err(|_| ChunkError::Malformed("a line is not UTF-8"))
    }

    fn head(&mut self, line: &str) -> Result<bool, ChunkError> {
        let (size, extensions) = line.split_once(';').unwrap_or((line, ""));
        let hex = !size.is_empty() && size.len() <= 15 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = hex
            .then(|| usize::from_str_radix(size, 16).ok())
            .flatten()
            .ok_or(ChunkError::Malformed("a chunk's size is not hexadecimal"))?;
        let signature = extensions.strip_prefix("chunk-signature=").map(str::to_owned);
        match (&self.chain, &signature) {
            (Some(_), None) => return Err(ChunkError::Malformed("a chunk has no signature")),
            (Some(_), _) if size > MAX_SIGNED_CHUNK_BYTES => return Err(ChunkError::TooLarge),
            _ => {}
        }
        if size > 0 {
            self.state = State::Data { left: size, signature };
            return Ok(true);
        }
        if let (Some(chain), Some(signature)) = (&mut self.chain, &signature) {
            chain.check("PAYLOAD", true, EMPTY_SHA256, signature)?;
        }
        self.state = State::Trailer;
        Ok(true)
    }

    fn data(
        &mut self,
        left: usize,
        signature: Option<String>,
        out: &mut Vec<Bytes>,
    ) -> Result<bool, ChunkError> {
        let available = self.buffer.len().min(left);
        if let Some(chain) = &mut self.chain {
            if available < left {
                return self.wait(State::Data { left, signature });
            }
            let hash = sha256_hex(&self.buffer[..left]);
            chain.check("PAYLOAD", true, &hash, signature.as_deref().unwrap_or_default())?;
        } else if available == 0 {
            return self.wait(State::Data { left, signature });
        }
        out.push(self.buffer.copy_to_bytes(available));
        self.decoded += available as u64;
        self.state = if available == left {
            State::DataEnd
        } else {
            State::Data { left: left - available, signature }
        };
        Ok(true)
    }

    fn trailer(&mut self, line: &str) -> Result<bool, ChunkError> {
        if line.is_empty() {
            // A right signature empties the text: what is still here was never signed.
            let unsigned = self.chain.is_some() && !self.trailer_text.is_empty();
            return if unsigned { Err(ChunkError::Signature) } else { Ok(true) };
        }
        let Some((name, value)) = line.split_once(':') else {
            return Err(ChunkError::Malformed("a trailer has no colon"));
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if !self.streaming.has_trailer() {
            return Err(ChunkError::Malformed("a trailer was not announced"));
        }
        if self.trailers.len() >= MAX_TRAILERS {
            return Err(ChunkError::Malformed("too many trailers"));
        }
        if name == "x-amz-trailer-signature" {
            if let Some(chain) = &mut self.chain {
                let hash = sha256_hex(std::mem::take(&mut self.trailer_text).as_bytes());
                chain.check("TRAILER", false, &hash, value)?;
            }
        } else {
            self.trailer_text.push_str(&format!("{name}:{value}\n"));
            self.trailers.push((name, value.to_owned()));
        }
        self.state = State::Trailer;
        Ok(true)
    }
}

#[cfg(test)]
#[path = "chunked_tests.rs"]
mod tests;
