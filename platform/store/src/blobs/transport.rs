//! HTTP for the object store's client: hyper, with TLS by rustls and the machine's certificates.
//!
//! Every wait has an end: for a connection, for an answer, and for the next bytes of a body.

use crate::StoreError;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as Tcp;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use towpath_api::async_trait;

const CONNECT: Duration = Duration::from_secs(10);
/// From the request to the answer's head; a store may take its time to put a large object together.
const ANSWER: Duration = Duration::from_secs(300);
const BETWEEN_BYTES: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(30);
const MAX_IDLE: usize = 32;

#[derive(Clone, Debug)]
pub struct Transport {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
}

impl Transport {
    pub fn new() -> Result<Transport, StoreError> {
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(StoreError::storage)?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(connector);
        Ok(Transport { client })
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = match tokio::time::timeout(ANSWER, self.client.request(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let kind = if error.is_connect() { HttpErrorKind::Connect } else { kind(&error) };
                return Err(HttpError::new(kind, error));
            }
            Err(elapsed) => return Err(HttpError::new(HttpErrorKind::Timeout, elapsed)),
        };
        Ok(answer.map(|body| HttpResponseBody::new(Steady::new(body))))
    }
}

/// What object_store retries depends on it.
fn kind(error: &(dyn Error + 'static)) -> HttpErrorKind {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return HttpErrorKind::Timeout;
            }
            if error.is_closed() || error.is_canceled() || error.is_incomplete_message() {
                return HttpErrorKind::Request;
            }
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::TimedOut => return HttpErrorKind::Timeout,
                io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return HttpErrorKind::Interrupted,
                _ => {}
            }
        }
        next = error.source();
    }
    HttpErrorKind::Unknown
}

/// A body that fails when nothing comes for too long.
struct Steady {
    body: Incoming,
    patience: Pin<Box<Sleep>>,
}

impl Steady {
    fn new(body: Incoming) -> Steady {
        Steady { body, patience: Box::pin(tokio::time::sleep(BETWEEN_BYTES)) }
    }
}

impl Body for Steady {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => {
                this.patience.as_mut().reset(Instant::now() + BETWEEN_BYTES);
                Poll::Ready(frame.map(|frame| frame.map_err(|error| HttpError::new(kind(&error), error))))
            }
            Poll::Pending => match this.patience.as_mut().poll(context) {
                Poll::Ready(()) => {
                    let error = io::Error::from(io::ErrorKind::TimedOut);
                    Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, error))))
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
