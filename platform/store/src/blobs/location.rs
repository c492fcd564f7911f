//! Where a bucket is: `s3://bucket/prefix?endpoint=…`.
//!
//! What the URL does not say comes from the variables that every AWS tool reads: `AWS_ACCESS_KEY_ID`,
//! `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, web
//! identity and container credentials.
//! Source: <https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html>.

use std::fmt;
use std::str::FromStr;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LocationError {
    #[error(
        "{0:?} is no object store: use s3://BUCKET/PREFIX, with ?endpoint=URL for a store that is not AWS's"
    )]
    NotS3(String),
    #[error(
        "the object store's URL has {0:?}; it takes endpoint, region, access-key-id, secret-access-key and virtual-host"
    )]
    Unknown(String),
    #[error("the object store's {name} is {value:?}, but must be {wanted}")]
    Invalid { name: &'static str, value: String, wanted: &'static str },
    #[error("the object store's URL has one of access-key-id and secret-access-key; give both or neither")]
    HalfCredentials,
}

/// A prefix of a bucket, and how it is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    pub bucket: String,
    /// Without slashes at its ends; may be empty.
    pub prefix: String,
    pub endpoint: Option<String>,
    pub region: Option<String>,
    pub credentials: Option<(String, String)>,
    /// The bucket in the host's name rather than in the path.
    pub virtual_host: bool,
}

impl fmt::Debug for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Without secrets: for logs and people.
impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.prefix)?;
        match &self.endpoint {
            Some(endpoint) => write!(formatter, " at {endpoint}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Location, LocationError> {
        let without_secrets = || LocationError::NotS3(text.split('?').next().unwrap_or_default().to_owned());
        let url = url::Url::parse(text).map_err(|_| without_secrets())?;
        let bucket = url.host_str().filter(|_| url.scheme() == "s3").ok_or_else(without_secrets)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.port().is_none();
        if !plain || url.fragment().is_some() {
            return Err(without_secrets());
        }
        let prefix = url.path().trim_matches('/').to_owned();
        let fits = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        if !prefix.is_empty() && !prefix.split('/').all(fits) {
            let wanted = "parts of letters, digits, '.', '_' and '-'";
            return Err(LocationError::Invalid { name: "prefix", value: prefix, wanted });
        }
        let mut location = Location {
            bucket: bucket.to_owned(),
            prefix,
            endpoint: None,
            region: None,
            credentials: None,
            virtual_host: false,
        };
        location.read_parameters(&url)?;
        Ok(location)
    }
}

impl Location {
    fn read_parameters(&mut self, url: &url::Url) -> Result<(), LocationError> {
        let (mut access_key_id, mut secret_access_key) = (None, None);
        for (name, value) in url.query_pairs() {
            let value = value.into_owned();
            match name.as_ref() {
                "endpoint" => {
                    let known = value.starts_with("http://") || value.starts_with("https://");
                    if !known || url::Url::parse(&value).is_err() {
                        let wanted = "an http:// or https:// URL";
                        return Err(LocationError::Invalid { name: "endpoint", value, wanted });
                    }
                    self.endpoint = Some(value.trim_end_matches('/').to_owned());
                }
                "region" => self.region = Some(value),
                "access-key-id" => access_key_id = Some(value),
                "secret-access-key" => secret_access_key = Some(value),
                "virtual-host" => {
                    self.virtual_host = value.parse().map_err(|_| {
                        let wanted = "true or false";
                        LocationError::Invalid { name: "virtual-host", value: value.clone(), wanted }
                    })?;
                }
                other => return Err(LocationError::Unknown(other.to_owned())),
            }
        }
        self.credentials = match (access_key_id, secret_access_key) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ => return Err(LocationError::HalfCredentials),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_says_where_and_how() {
        let text = "s3://bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-west-1&access-key-id=A&secret-access-key=s%2Fx";
        let location: Location = text.parse().unwrap();
        assert_eq!((location.bucket.as_str(), location.prefix.as_str()), ("bucket", "a/b"));
        assert_eq!(location.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(location.region.as_deref(), Some("eu-west-1"));
        assert_eq!(location.credentials, Some(("A".into(), "s/x".into())));
        assert_eq!(format!("{location:?}"), "s3://bucket/a/b at http://127.0.0.1:9000");
        let plain: Location = "s3://bucket".parse().unwrap();
        assert_eq!((plain.prefix.as_str(), plain.endpoint), ("", None));
    }

    #[test]
    fn what_it_does_not_know_it_refuses_without_telling_secrets() {
        for text in ["", "bucket", "gs://bucket", "s3://", "s3://user:secret@bucket/", "/var/lib/objects"] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(matches!(error, LocationError::NotS3(_)), "{text}: {error}");
        }
        let refused = |text: &str| text.parse::<Location>().unwrap_err().to_string();
        assert!(refused("s3://b?regio=x").contains("regio"));
        assert!(refused("s3://b?endpoint=ftp://x").contains("endpoint"));
        assert!(refused("s3://b?virtual-host=maybe").contains("virtual-host"));
        assert!(refused("s3://b?access-key-id=A").contains("both or neither"));
        assert!(refused("s3://b/a b").contains("prefix"));
        assert!(!refused("gs://b?secret-access-key=geheim").contains("geheim"));
    }
}
