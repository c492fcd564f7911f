//! Who may do what: from an S3 operation to IAM's actions and ARNs, and from an access key to a [`Call`].
//! Source: <https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>.

use crate::engine::S3;
use crate::errors::to_s3;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::path::S3Path;
use s3s::{S3Result, s3_error};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use towpath_api::{ApiError, Call, Credential, async_trait};
use towpath_wire::uri;

/// What one request knows of its caller before and after its signature is checked.
#[derive(Clone)]
pub struct Requester {
    pub s3: Arc<S3>,
    pub request_id: String,
    pub session_token: Option<String>,
    pub source_ip: Option<IpAddr>,
    pub secure: bool,
    credential: Arc<OnceLock<Credential>>,
    /// Whether the signature was checked before `s3s` sees the request.
    verified: bool,
}

impl Requester {
    pub fn new(s3: Arc<S3>, request_id: String, session_token: Option<String>) -> Self {
        Requester {
            s3,
            request_id,
            session_token,
            source_ip: None,
            secure: false,
            credential: Arc::new(OnceLock::new()),
            verified: false,
        }
    }

    /// The request's signature was found to be this credential's.
    pub fn is_verified(&mut self, credential: Credential) {
        self.credential = Arc::new(OnceLock::from(credential));
        self.verified = true;
    }

    fn call(&self) -> Option<Call> {
        let credential = self.credential.get()?;
        Some(Call {
            request_id: self.request_id.clone(),
            account: self.s3.config.account.clone(),
            region: self.s3.config.region.clone(),
            at: self.s3.store.wall(),
            caller: credential.caller.clone(),
            source_ip: self.source_ip,
            secure: self.secure,
            gate: credential.gate.clone(),
        })
    }
}

#[async_trait]
impl S3Auth for Requester {
    /// The secret that the signature must have been made with. A session token that does not belong to
    /// the access key, or has expired, is refused here.
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let found = self.s3.identity.credential(access_key, self.session_token.as_deref()).await;
        let Some(credential) = found.map_err(to_s3)? else {
            return Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            ));
        };
        let secret = SecretKey::from(credential.secret_access_key.as_str());
        let _ = self.credential.set(credential);
        Ok(secret)
    }
}

#[async_trait]
impl S3Access for Requester {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let signed = self.verified || cx.credentials().is_some();
        let Some(call) = self.call().filter(|_| signed) else {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        };
        if let Some(credential) = self.credential.get() {
            let region = &self.s3.config.region;
            self.s3.identity.note_use(&credential.access_key_id, "s3", region, call.at);
        }
        let operation = cx.s3_op().name();
        // By its decoded name, as whoever carries the operation out reads it.
        let versioned = uri::has_query(cx.uri().query(), "versionId");
        let Some(action) = action(operation, versioned) else {
            let refusal = ApiError::not_implemented(format_args!("s3:{operation}"));
            return Err(to_s3(refusal));
        };
        let resource = match cx.s3_path() {
            S3Path::Root => "*".to_owned(),
            S3Path::Bucket { bucket } => format!("arn:aws:s3:::{bucket}"),
            S3Path::Object { bucket, key } => format!("arn:aws:s3:::{bucket}/{key}"),
        };
        // Every key of a DeleteObjects is authorized by itself when the list is known.
        if operation != "DeleteObjects" {
            authorize(&call, action, &resource).map_err(to_s3)?;
        }
        cx.extensions_mut().insert(call);
        Ok(())
    }
}

/// Asks the caller's policies, in S3's words.
pub fn authorize(call: &Call, action: &str, resource: &str) -> Result<(), ApiError> {
    call.authorize(action, resource, &[])
}

/// The IAM action of an operation; `None` for what is not implemented.
fn action(operation: &str, versioned: bool) -> Option<&'static str> {
    Some(match operation {
        "ListBuckets" => "s3:ListAllMyBuckets",
        "CreateBucket" => "s3:CreateBucket",
        "DeleteBucket" => "s3:DeleteBucket",
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "s3:ListBucket",
        "ListObjectVersions" => "s3:ListBucketVersions",
        "GetBucketLocation" => "s3:GetBucketLocation",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "PutBucketVersioning" => "s3:PutBucketVersioning",
        "GetBucketTagging" => "s3:GetBucketTagging",
        "PutBucketTagging" | "DeleteBucketTagging" => "s3:PutBucketTagging",
        "GetObject" | "HeadObject" | "GetObjectAttributes" if versioned => "s3:GetObjectVersion",
        "GetObject" | "HeadObject" | "GetObjectAttributes" => "s3:GetObject",
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => "s3:PutObject",
        "DeleteObject" | "DeleteObjects" if versioned => "s3:DeleteObjectVersion",
        "DeleteObject" | "DeleteObjects" => "s3:DeleteObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListParts" => "s3:ListMultipartUploadParts",
        "ListMultipartUploads" => "s3:ListBucketMultipartUploads",
        "GetObjectTagging" => "s3:GetObjectTagging",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::action;

    #[test]
    fn an_operation_that_is_not_listed_has_no_action() {
        assert_eq!(action("GetObject", false), Some("s3:GetObject"));
        assert_eq!(action("GetObject", true), Some("s3:GetObjectVersion"));
        assert_eq!(action("PutBucketPolicy", false), None);
    }
}
