//! Bodies of git requests and responses as streams, with a bound on how long either side may be silent.

use super::{BoxError, Refusal};
use ::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_util::stream;
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use std::io::Write;
use std::time::Duration;
use tokio::sync::mpsc;

/// A client that sends nothing for this long has gone.
const IDLE: Duration = Duration::from_secs(120);
/// Pieces of a response on their way to a client.
const QUEUE: usize = 8;
/// What one piece may unpack to, so that a small gzip stream does not fill the memory.
const GZIP_PIECE_BYTES: usize = 16 * 1024;

#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the client went away: {0}")]
    Gone(BoxError),
    #[error("the client sent nothing for {} seconds", IDLE.as_secs())]
    Silent,
    #[error("the body is no valid gzip stream: {0}")]
    Gzip(std::io::Error),
    #[error("the body has more than {0} bytes")]
    TooLarge(u64),
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Refusal {
        let status = match error {
            BodyError::Silent => StatusCode::REQUEST_TIMEOUT,
            BodyError::Gone(_) | BodyError::Gzip(_) => StatusCode::BAD_REQUEST,
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        };
        Refusal::new(status, error.to_string())
    }
}

/// A request's body, unpacked where it is gzipped.
pub(super) struct BodyReader<B> {
    body: B,
    gzip: Option<GzDecoder<Vec<u8>>>,
    /// Compressed bytes that still have to go through the decoder.
    packed: Bytes,
    ended: bool,
    /// Unpacked bytes that may still come.
    room_bytes: u64,
    limit_bytes: u64,
}

impl<B> BodyReader<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    pub fn new(body: B, headers: &HeaderMap, limit_bytes: u64) -> Result<Self, Refusal> {
        let gzip = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => None,
            Some(b"gzip" | b"x-gzip") => Some(GzDecoder::new(Vec::new())),
            Some(_) => {
                let message = "The body's encoding is not supported: only gzip is.";
                return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
            }
        };
        Ok(BodyReader {
            body,
            gzip,
            packed: Bytes::new(),
            ended: false,
            room_bytes: limit_bytes,
            limit_bytes,
        })
    }

    /// The length that the client announced; none for a chunked body.
    pub fn announced_bytes(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let piece = self.piece().await?;
        let size_bytes = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        let room = self.room_bytes.checked_sub(size_bytes);
        self.room_bytes = room.ok_or(BodyError::TooLarge(self.limit_bytes))?;
        Ok(piece)
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if let Some(piece) = self.unpack()? {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            let frame = tokio::time::timeout(IDLE, self.body.frame()).await.map_err(|_| BodyError::Silent)?;
            let Some(frame) = frame else {
                self.ended = true;
                continue;
            };
            let Ok(data) = frame.map_err(|error| BodyError::Gone(error.into()))?.into_data() else {
                continue;
            };
            if self.gzip.is_none() {
                if !data.is_empty() {
                    return Ok(Some(data));
                }
            } else {
                self.packed = data;
            }
        }
    }

    /// Puts a little more through the decoder; `None` when more has to arrive first.
    fn unpack(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(decoder) = &mut self.gzip else { return Ok(None) };
        while !self.packed.is_empty() && decoder.get_ref().is_empty() {
            let part = self.packed.split_to(self.packed.len().min(GZIP_PIECE_BYTES));
            decoder.write_all(&part).map_err(BodyError::Gzip)?;
        }
        if decoder.get_ref().is_empty() && self.ended {
            decoder.try_finish().map_err(BodyError::Gzip)?;
        }
        let piece = std::mem::take(decoder.get_mut());
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }
}

/// The writing end of a response's body. Sending fails once the client has gone.
#[derive(Clone)]
pub(super) struct BodyWriter(mpsc::Sender<Result<Bytes, BoxError>>);

/// A response's body that is written while it is sent.
pub(super) fn channel() -> (BodyWriter, BoxBody<Bytes, BoxError>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let frames = stream::unfold(receiver, |mut receiver: mpsc::Receiver<Result<Bytes, BoxError>>| async {
        let item = receiver.recv().await?;
        Some((item.map(Frame::data), receiver))
    });
    // A boxed stream is `Send`; `BoxBody` also wants `Sync`, which a mutex around it gives.
    (BodyWriter(sender), BodyExt::boxed(StreamBody::new(Box::pin(frames))))
}

impl BodyWriter {
    /// `false` when nobody listens any more.
    pub async fn send(&self, piece: impl Into<Bytes>) -> bool {
        let piece = piece.into();
        piece.is_empty() || matches!(tokio::time::timeout(IDLE, self.0.send(Ok(piece))).await, Ok(Ok(())))
    }

    /// Ends the response as broken, so that the client does not take it for complete.
    pub async fn fail(&self, error: impl Into<BoxError>) {
        let sent = tokio::time::timeout(IDLE, self.0.send(Err(error.into()))).await;
        tracing::debug!(delivered = sent.is_ok(), "a git response was broken off");
    }

    /// Resolves when the client has gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http_body_util::Full;

    async fn read(content: Vec<u8>, encoding: Option<&str>) -> Result<Vec<u8>, BodyError> {
        let mut headers = HeaderMap::new();
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, encoding.parse().unwrap());
        }
        let Ok(mut reader) = BodyReader::new(Full::new(Bytes::from(content)), &headers, 6 << 20) else {
            panic!("the encoding is known")
        };
        let mut all = Vec::new();
        while let Some(piece) = reader.next().await? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn gzip_is_unpacked_piece_by_piece() {
        let content = vec![7u8; 5 << 20];
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&content).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(read(packed.clone(), Some("gzip")).await.unwrap(), content);
        assert_eq!(read(packed.clone(), None).await.unwrap(), packed);
        assert!(matches!(
            read(packed[..packed.len() / 2].to_vec(), Some("gzip")).await,
            Err(BodyError::Gzip(_))
        ));
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        bomb.write_all(&vec![0u8; 7 << 20]).unwrap();
        assert!(matches!(read(bomb.finish().unwrap(), Some("gzip")).await, Err(BodyError::TooLarge(_))));
        assert!(matches!(read(b"nonsense".to_vec(), Some("gzip")).await, Err(BodyError::Gzip(_))));
    }

    #[test]
    fn other_encodings_are_refused() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "br".parse().unwrap());
        assert!(BodyReader::new(Full::new(Bytes::new()), &headers, 1).is_err());
    }
}
