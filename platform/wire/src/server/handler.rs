//! What the server hands to the code that answers whole HTTP requests by itself: S3, Git, the console
//! and Towpath's own `/_towpath/` paths.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use std::net::SocketAddr;
use towpath_api::{ApiError, async_trait};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Body = BoxBody<Bytes, BoxError>;
/// Its extensions carry [`Peer`] and [`RequestId`].
pub type Request = http::Request<hyper::body::Incoming>;
pub type Response = http::Response<Body>;

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// Whether the connection is TLS.
    pub secure: bool,
}

/// The id under which a request is logged. The server adds it as `x-amzn-requestid` to any answer that
/// has no request id of its own.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Answers whole requests. It authenticates them itself: the server has not.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    async fn handle(&self, request: Request) -> Response;
}

#[async_trait]
impl<F, A> Handler for F
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    async fn handle(&self, request: Request) -> Response {
        self(request).await
    }
}

/// A body that is in memory already.
pub fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

/// A whole answer with a content type.
pub fn answer(status: StatusCode, content_type: &'static str, content: impl Into<Bytes>) -> Response {
    let mut response = http::Response::new(full(content));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// An error as Towpath's own JSON paths give it: `{"__type": code, "message": …}`.
pub fn json_error(error: &ApiError) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content = serde_json::json!({ "__type": error.code, "message": error.message }).to_string();
    answer(status, "application/json", content)
}
