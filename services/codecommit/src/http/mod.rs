//! Git over HTTP: `/v1/repos/NAME/info/refs`, `…/git-upload-pack`, `…/git-receive-pack`.
//!
//! Purpose: authenticate and authorize a git client, then put the request's body into a `git` process
//! and its output into the response, piece by piece: no pack is ever whole in memory.
//! State: none. Crash: the client sees the connection end, and repeats.
//!
//! Protocol: <https://git-scm.com/docs/gitprotocol-http>, <https://git-scm.com/docs/gitprotocol-v2>.

mod auth;
mod body;
pub(crate) mod fetch;
mod push;

use crate::error::Error;
use crate::git::GitError;
use crate::service::{CodeCommitService, authorize};
use crate::store;
use ::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use body::BodyReader;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use std::sync::Arc;
use towpath_api::{ApiError, async_trait};
use towpath_wire::{BoxError, Handler};

pub type GitResponse = towpath_wire::Response;

/// What every path of this handler begins with.
pub const PREFIX: &str = "/v1/repos/";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    UploadPack,
    ReceivePack,
}

impl Service {
    fn parse(name: &str) -> Option<Service> {
        match name {
            "git-upload-pack" => Some(Service::UploadPack),
            "git-receive-pack" => Some(Service::ReceivePack),
            _ => None,
        }
    }

    /// Without `git-`.
    fn name(self) -> &'static str {
        match self {
            Service::UploadPack => "upload-pack",
            Service::ReceivePack => "receive-pack",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Service::UploadPack => "codecommit:GitPull",
            Service::ReceivePack => "codecommit:GitPush",
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Advertise,
    Exchange,
}

#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    repository: &'a str,
    service: Service,
    step: Step,
}

/// What a request is answered with when it fails. The text goes onto the user's terminal: git shows
/// plain text behind `remote:`.
struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into() }
    }

    fn into_response(self) -> GitResponse {
        let text = format!("{}\n", self.message);
        let mut response =
            Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"Towpath CodeCommit\""),
            );
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        ApiError::from(error).into()
    }
}

impl From<GitError> for Refusal {
    fn from(error: GitError) -> Refusal {
        Error::from(error).into()
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Refusal {
        if let Some(cause) = &error.cause {
            tracing::error!(%cause, "a git request failed");
        }
        let status = match error.code.as_ref() {
            "RepositoryDoesNotExistException" | "InvalidRepositoryNameException" => StatusCode::NOT_FOUND,
            "RepositoryNameRequiredException" => StatusCode::NOT_FOUND,
            _ => StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        };
        Refusal::new(status, error.message)
    }
}

/// The handler that the server calls for everything below [`PREFIX`].
pub struct GitHandler(Arc<CodeCommitService>);

#[async_trait]
impl Handler for GitHandler {
    async fn handle(&self, request: towpath_wire::Request) -> towpath_wire::Response {
        self.0.serve_git(request).await
    }
}

impl CodeCommitService {
    pub fn handler(self: &Arc<Self>) -> GitHandler {
        GitHandler(self.clone())
    }

    /// Answers one git request. Its extensions may carry who is at the other end.
    pub async fn serve_git<B>(self: &Arc<Self>, request: Request<B>) -> GitResponse
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let mut response = match self.answer(request).await {
            Ok(response) => response,
            Err(refusal) => refusal.into_response(),
        };
        let headers = response.headers_mut();
        let stale = "no-cache, max-age=0, must-revalidate";
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(stale));
        headers.insert(header::EXPIRES, HeaderValue::from_static("Fri, 01 Jan 1980 00:00:00 GMT"));
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
        response
    }

    async fn answer<B>(self: &Arc<Self>, request: Request<B>) -> Result<GitResponse, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let call = self.authenticate(&head).await?;
        let target = target(&head)?;
        let found = store::by_name(&self.store, &call.account, &call.region, target.repository)
            .await
            .map_err(Error::from)?;
        authorize(&call, target.service.action(), target.repository, found.as_deref(), &[])?;
        let repository = found
            .map(towpath_store::Versioned::into_doc)
            .ok_or_else(|| Error::RepositoryDoesNotExist(target.repository.to_owned()))?;
        let protocol = protocol(&head);
        match (target.step, target.service) {
            (Step::Advertise, service) => self.advertise(&repository, service, protocol.as_deref()).await,
            (Step::Exchange, service) => {
                expect_content_type(&head, service)?;
                let limit_bytes = match service {
                    Service::UploadPack => fetch::MAX_REQUEST_BYTES,
                    Service::ReceivePack => self.git.limits.push_bytes,
                };
                let body = BodyReader::new(body, &head.headers, limit_bytes)?;
                match service {
                    Service::UploadPack => self.fetch(&repository, protocol.as_deref(), body).await,
                    Service::ReceivePack => self.push(call, repository, body).await,
                }
            }
        }
    }
}

fn target(head: &::http::request::Parts) -> Result<Target<'_>, Refusal> {
    let unknown = || {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "There is nothing at this address. A repository is at /v1/repos/NAME.",
        )
    };
    let path = head.uri.path().strip_prefix(PREFIX).ok_or_else(unknown)?;
    let (repository, rest) = path.split_once('/').ok_or_else(unknown)?;
    if !crate::names::is_repository_name(repository) {
        return Err(unknown());
    }
    if rest == "info/refs" {
        if head.method != Method::GET {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "This address is read with GET."));
        }
        let query = head.uri.query().unwrap_or_default();
        let service = query.split('&').find_map(|pair| Service::parse(pair.strip_prefix("service=")?));
        let dumb = || {
            Refusal::new(
                StatusCode::FORBIDDEN,
                "Please upgrade your git client: only the smart protocol is served.",
            )
        };
        return Ok(Target { repository, service: service.ok_or_else(dumb)?, step: Step::Advertise });
    }
    let service = Service::parse(rest).ok_or_else(unknown)?;
    if head.method != Method::POST {
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "This address takes POST."));
    }
    Ok(Target { repository, service, step: Step::Exchange })
}

fn expect_content_type(head: &::http::request::Parts, service: Service) -> Result<(), Refusal> {
    let expected = format!("application/x-git-{}-request", service.name());
    let found =
        head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if found == expected {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("The content type must be {expected}.")))
}

/// The `Git-Protocol` header, where it is what git sends.
fn protocol(head: &::http::request::Parts) -> Option<String> {
    let value = head.headers.get("git-protocol")?.to_str().ok()?;
    let plain = value.len() <= 100
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=:._-".contains(&byte));
    plain.then(|| value.to_owned())
}

/// A streaming answer of one of git's own types.
fn git_response(content_type: String, body: BoxBody<Bytes, BoxError>) -> Result<GitResponse, Refusal> {
    Response::builder()
        .header(header::CONTENT_TYPE, content_type)
        .body(body)
        .map_err(|error| Error::from(GitError::unreadable(error)).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(method: Method, uri: &str) -> Result<(String, Service, Step), StatusCode> {
        let (head, ()) = Request::builder().method(method).uri(uri).body(()).unwrap().into_parts();
        let found = target(&head).map_err(|refusal| refusal.status)?;
        Ok((found.repository.to_owned(), found.service, found.step))
    }

    #[test]
    fn addresses() {
        let name = "demo".to_owned();
        assert_eq!(
            parse(Method::GET, "/v1/repos/demo/info/refs?service=git-upload-pack"),
            Ok((name.clone(), Service::UploadPack, Step::Advertise))
        );
        assert_eq!(
            parse(Method::POST, "/v1/repos/demo/git-receive-pack"),
            Ok((name, Service::ReceivePack, Step::Exchange))
        );
        for (method, uri, status) in [
            (Method::GET, "/v1/repos/demo/info/refs", 403),
            (Method::GET, "/v1/repos/demo/info/refs?service=git-shell", 403),
            (Method::POST, "/v1/repos/demo/info/refs?service=git-upload-pack", 405),
            (Method::GET, "/v1/repos/demo/git-upload-pack", 405),
            (Method::GET, "/v1/repos/demo/objects/info/packs", 404),
            (Method::GET, "/v1/repos/../x/info/refs?service=git-upload-pack", 404),
            (Method::GET, "/v1/repos/%2e%2e/info/refs?service=git-upload-pack", 404),
            (Method::GET, "/v1/repos//info/refs?service=git-upload-pack", 404),
            (Method::GET, "/elsewhere", 404),
        ] {
            assert_eq!(parse(method, uri).unwrap_err().as_u16(), status, "{uri}");
        }
    }
}
