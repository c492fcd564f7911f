//! Towpath's own paths, below `/_towpath/`: health for whoever watches the server, the record of events for
//! those whom IAM allows `towpath:ListEvents`, and the nodes for `towpath:ListNodes`.

use super::nodes::Nodes;
use http::{Method, StatusCode};
use std::sync::Arc;
use towpath_api::{ApiError, async_trait};
use towpath_events::Events;
use towpath_wire::server::auth::{Authenticator, Payload};
use towpath_wire::server::handler::{Handler, Request, Response, answer, json_error};

const MAX_EVENTS: usize = 500;

pub struct Internal {
    pub authenticator: Authenticator,
    pub events: Arc<Events>,
    pub nodes: Arc<Nodes>,
}

#[async_trait]
impl Handler for Internal {
    async fn handle(&self, request: Request) -> Response {
        let (parts, _) = request.into_parts();
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/_towpath/health") => {
                answer(StatusCode::OK, "application/json", r#"{"status":"ready"}"#)
            }
            (&Method::GET, "/_towpath/events") => rendered(self.list_events(&parts).await),
            (&Method::GET, "/_towpath/nodes") => rendered(self.list_nodes(&parts).await),
            (method, path) => {
                let message = format!("Towpath has no {method} {path}.");
                json_error(&ApiError::client("UnknownOperationException", message).with_status(404))
            }
        }
    }
}

fn rendered(listing: Result<serde_json::Value, ApiError>) -> Response {
    match listing {
        Ok(listing) => answer(StatusCode::OK, "application/json", listing.to_string()),
        Err(error) => {
            if let Some(cause) = &error.cause {
                tracing::error!(%cause, "a listing failed");
            }
            json_error(&error)
        }
    }
}

impl Internal {
    async fn list_nodes(&self, parts: &http::request::Parts) -> Result<serde_json::Value, ApiError> {
        let call = self.authenticator.authenticate(parts, "towpath", Payload::Bytes(b"")).await?;
        self.nodes.list(&call).await
    }

    async fn list_events(&self, parts: &http::request::Parts) -> Result<serde_json::Value, ApiError> {
        let call = self.authenticator.authenticate(parts, "towpath", Payload::Bytes(b"")).await?;
        let parameter = |name: &str| {
            let pairs =
                parts.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
        };
        let after = match parameter("after") {
            None => 0,
            Some(text) => text.parse().map_err(|_| ApiError::validation("after must be a number"))?,
        };
        let pattern = parameter("source").map(|source| serde_json::json!({ "source": [source] }).to_string());
        let listing = self.events.list(&call, after, pattern.as_deref(), MAX_EVENTS).await?;
        Ok(listing.to_json())
    }
}
