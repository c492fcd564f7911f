//! Reading bodies: bounded in size and time, and gunzipped no further than the same bound.

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::io::Read;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("Request size exceeded {limit_bytes} bytes")]
    TooLarge { limit_bytes: usize },
    #[error("The body did not arrive in time.")]
    Timeout,
    #[error("The body could not be read: {0}")]
    Broken(hyper::Error),
    #[error("The body is not valid gzip.")]
    Gzip,
}

impl BodyError {
    pub fn to_api_error(&self) -> towpath_api::ApiError {
        let (code, status) = match self {
            BodyError::TooLarge { .. } => ("RequestEntityTooLargeException", 413),
            BodyError::Timeout => ("RequestTimeoutException", 408),
            BodyError::Broken(_) => ("IncompleteBody", 400),
            BodyError::Gzip => ("SerializationException", 400),
        };
        towpath_api::ApiError::client(code, self.to_string()).with_status(status)
    }
}

/// Reads a whole body, refusing early what its length already shows to be too large.
pub async fn read(mut body: Incoming, limit_bytes: usize, longest: Duration) -> Result<Bytes, BodyError> {
    let hint = body.size_hint();
    if hint.lower() > limit_bytes as u64 {
        return Err(BodyError::TooLarge { limit_bytes });
    }
    let collect = async {
        let mut first: Option<Bytes> = None;
        let mut rest = BytesMut::new();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else { continue };
            size += data.len();
            if size > limit_bytes {
                return Err(BodyError::TooLarge { limit_bytes });
            }
            match (&first, rest.is_empty()) {
                // Most bodies are one frame, which then is not copied.
                (None, true) => first = Some(data),
                (Some(_), _) => {
                    rest.reserve(hint.exact().unwrap_or(0) as usize);
                    rest.extend_from_slice(&first.take().unwrap_or_default());
                    rest.extend_from_slice(&data);
                }
                (None, false) => rest.extend_from_slice(&data),
            }
        }
        Ok(first.unwrap_or_else(|| rest.freeze()))
    };
    tokio::time::timeout(longest, collect).await.map_err(|_| BodyError::Timeout)?
}

/// Takes what a client is still sending, so that it reads the answer instead of a broken pipe. Gives up
/// after a little: a large body is cut off with the connection.
pub async fn discard(body: Incoming) {
    const LIMIT_BYTES: usize = 256 << 10;
    let _ = read(body, LIMIT_BYTES, Duration::from_secs(2)).await;
}

pub fn gunzip(compressed: &[u8], limit_bytes: usize) -> Result<Bytes, BodyError> {
    let mut content = Vec::new();
    let mut reader = MultiGzDecoder::new(compressed).take(limit_bytes as u64 + 1);
    reader.read_to_end(&mut content).map_err(|_| BodyError::Gzip)?;
    if content.len() > limit_bytes {
        return Err(BodyError::TooLarge { limit_bytes });
    }
    Ok(content.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn inflation_is_bounded() {
        let bomb = gzip(&vec![0; 5 << 20]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(gunzip(&bomb, 1 << 20), Err(BodyError::TooLarge { .. })));
        assert_eq!(gunzip(&gzip(b"hello"), 5).unwrap(), "hello");
    }

    #[test]
    fn what_is_no_gzip_is_refused() {
        assert!(matches!(gunzip(b"{}", 100), Err(BodyError::Gzip)));
        assert!(matches!(gunzip(&gzip(b"hello")[..10], 100), Err(BodyError::Gzip)));
    }
}
