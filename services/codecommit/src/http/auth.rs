//! Who a git client is: Basic authentication with a service-specific credential, or with a signature in
//! place of the password, as git-remote-codecommit and the aws CLI's credential helper send it.
//!
//! Sources: <https://docs.aws.amazon.com/codecommit/latest/userguide/setting-up-gc.html>,
//! <https://docs.aws.amazon.com/codecommit/latest/userguide/setting-up-git-remote-codecommit.html>.

use super::{PREFIX, Refusal};
use crate::service::CodeCommitService;
use ::http::request::Parts;
use ::http::{StatusCode, header};
use towpath_api::{Arn, Call, Credential, id};
use towpath_wire::sigv4::git::{GitPassword, split_user_name};
use towpath_wire::{Peer, RequestId};

/// What service-specific credentials are made for.
const SERVICE: &str = "codecommit.amazonaws.com";
/// A session token and a signature fit many times.
const MAX_HEADER_BYTES: usize = 64 * 1024;

impl CodeCommitService {
    pub(super) async fn authenticate(&self, head: &Parts) -> Result<Call, Refusal> {
        let needed = || {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "Git credentials are needed: a service-specific credential of an IAM user for \
                 codecommit.amazonaws.com, or git-remote-codecommit with an access key.",
            )
        };
        let (user, password) = basic(head).ok_or_else(needed)?;
        let credential = match GitPassword::parse(&password) {
            Some(signed) => self.signed_credential(head, &user, &signed).await?,
            None => self.identity.service_specific(SERVICE, &user, &password).await?,
        };
        let wrong = || Refusal::new(StatusCode::UNAUTHORIZED, "The git credentials are not valid.");
        let Credential { caller, gate, .. } = credential.ok_or_else(wrong)?;
        let account = Arn::parse(&caller.arn()).map(|arn| arn.account).ok_or_else(wrong)?;
        let peer = head.extensions.get::<Peer>();
        Ok(Call {
            request_id: head.extensions.get::<RequestId>().map_or_else(id::uuid, |RequestId(id)| id.clone()),
            account,
            region: self.config.region.clone(),
            at: self.store.wall(),
            caller,
            source_ip: peer.map(|peer| peer.address.ip()),
            secure: peer.is_some_and(|peer| peer.secure),
            gate,
        })
    }

    async fn signed_credential(
        &self,
        head: &Parts,
        user: &str,
        signed: &GitPassword<'_>,
    ) -> Result<Option<Credential>, Refusal> {
        let (key_id, token) = split_user_name(user);
        let found = match self.identity.credential(key_id, token).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(error) if error.cause.is_none() => {
                return Err(Refusal::new(StatusCode::UNAUTHORIZED, error.message));
            }
            Err(error) => return Err(error.into()),
        };
        let (secret, region) = (&found.secret_access_key, &self.config.region);
        let (hosts, path) = (hosts(head), signed_path(head));
        signed
            .verify(secret, region, &hosts, &[&path], self.store.wall())
            .map_err(|error| Refusal::new(StatusCode::UNAUTHORIZED, error.to_string()))?;
        Ok(Some(found))
    }
}

fn basic(head: &Parts) -> Option<(String, String)> {
    let value = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || encoded.len() > MAX_HEADER_BYTES {
        return None;
    }
    let decoded = String::from_utf8(id::base64_decode(encoded.trim())?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The host as the client addressed it, and without its port: the aws CLI's helper drops that.
fn hosts(head: &Parts) -> Vec<&str> {
    let header = head.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let Some(host) = header.or_else(|| head.uri.authority().map(|authority| authority.as_str())) else {
        return Vec::new();
    };
    let mut hosts = vec![host];
    if let Some((name, port)) = host.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        hosts.push(name);
    }
    hosts
}

/// `/v1/repos/NAME`: the client signs once for all requests of a command.
fn signed_path(head: &Parts) -> String {
    let path = head.uri.path();
    let name = path.strip_prefix(PREFIX).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    format!("{PREFIX}{name}")
}
