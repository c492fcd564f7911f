//! The one error type that crosses a service's border.

use crate::{Name, Node};
use std::borrow::Cow;
use std::fmt;

/// Who is to blame: decides between 4xx and 5xx, and between `Sender` and `Receiver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Client,
    Server,
}

/// An error as a client of AWS sees it. Domain errors are enums of their own and become this once, at
/// the service's `api/`. Modelled errors come from the generated `errors` modules.
#[derive(Debug)]
pub struct ApiError {
    /// The code on the wire (`EntityAlreadyExists`).
    pub code: Cow<'static, str>,
    /// The model's shape (`EntityAlreadyExistsException`), the same as `code` unless the model says so.
    pub shape: Cow<'static, str>,
    pub message: String,
    pub status: u16,
    pub fault: Fault,
    /// Members of the error's shape besides the message.
    pub members: Vec<(Name, Node)>,
    /// What went wrong inside: logged once at the edge, never sent.
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ApiError {
    /// A client's mistake with status 400.
    pub fn client(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let code = code.into();
        ApiError {
            shape: code.clone(),
            code,
            message: message.into(),
            status: 400,
            fault: Fault::Client,
            members: Vec::new(),
            cause: None,
        }
    }

    /// A modelled error. The generated constructors call this.
    pub fn modelled(
        shape: &'static str,
        code: &'static str,
        status: u16,
        fault: Fault,
        message: impl Into<String>,
    ) -> Self {
        ApiError {
            code: Cow::Borrowed(code),
            shape: Cow::Borrowed(shape),
            message: message.into(),
            status,
            fault,
            members: Vec::new(),
            cause: None,
        }
    }

    /// AWS's common `ValidationException`.
    pub fn validation(message: impl Into<String>) -> Self {
        ApiError::client("ValidationException", message)
    }

    /// A denial by policy. The wire layer gives it the protocol's own code.
    pub fn access_denied(message: impl Into<String>) -> Self {
        ApiError { status: 403, ..ApiError::client("AccessDeniedException", message) }
    }

    /// Our own failure. The client is told that it is ours and nothing more; the cause is logged.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        ApiError {
            status: 500,
            fault: Fault::Server,
            cause: Some(cause.into()),
            ..ApiError::client(
                "InternalFailure",
                "The request failed because of an internal error; the server's log has the cause under this request's id.",
            )
        }
    }

    /// What Towpath does not do is refused by name: `what` is `service:Operation`, or an option.
    pub fn not_implemented(what: impl fmt::Display) -> Self {
        ApiError {
            status: 501,
            fault: Fault::Server,
            ..ApiError::client(
                "NotImplemented",
                format!("Towpath does not implement {what}. docs/coverage.md lists what it does."),
            )
        }
    }

    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub fn with_member(mut self, name: &str, value: Node) -> Self {
        self.members.push((name.to_owned().into(), value));
        self
    }

    pub fn with_cause(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
