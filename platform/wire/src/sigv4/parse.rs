//! Reads what a request's head says about its signature, from the header or from the query.

use super::{ALGORITHM, MAX_EXPIRES_S, Scope, SignatureError, parse_amz_date};
use crate::uri;
use http::HeaderMap;
use http::request::Parts;
use towpath_api::Timestamp;

/// Where the signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    Header,
    /// A presigned URL; it counts for so many seconds after its date.
    Query {
        expires_s: Option<u32>,
    },
}

/// A signature as it was presented; nothing of it is verified yet.
#[derive(Clone, Debug)]
pub struct Presented {
    pub access_key_id: String,
    pub scope: Scope,
    pub signed_headers: Vec<String>,
    pub signature: String,
    /// As it was sent: it is part of the string to sign.
    pub amz_date: String,
    pub at: Timestamp,
    pub session_token: Option<String>,
    pub placement: Placement,
}

/// The one value of a header that may come only once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SignatureError::incomplete(format!(
            "Request must not contain more than one '{name}' header."
        )));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(SignatureError::incomplete(format!("The '{name}' header is not printable ASCII."))),
    }
}

/// `SignatureError::Missing` when the request carries no Version 4 signature at all.
pub fn parse(parts: &Parts) -> Result<Presented, SignatureError> {
    let in_query = uri::has_query(parts.uri.query(), "X-Amz-Algorithm")
        || uri::has_query(parts.uri.query(), "X-Amz-Credential");
    match single(&parts.headers, "authorization")? {
        Some(_) if in_query => Err(SignatureError::incomplete(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization \
             header should be specified",
        )),
        Some(value) => parse_header(parts, value),
        None if in_query => parse_query(parts),
        None => Err(SignatureError::Missing),
    }
}

fn parse_header(parts: &Parts, value: &str) -> Result<Presented, SignatureError> {
    let (algorithm, rest) = value.split_once([' ', '\t']).unwrap_or((value, ""));
    if algorithm != ALGORITHM {
        return Err(SignatureError::incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'")));
    }
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for field in rest.split(',').map(str::trim).filter(|field| !field.is_empty()) {
        let Some((name, value)) = field.split_once('=') else {
            return Err(SignatureError::incomplete(format!(
                "'{field}' not a valid key=value pair (missing equal-sign) in Authorization header: '{value}'."
            )));
        };
        let slot = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return Err(SignatureError::incomplete(format!("Duplicate '{name}' in Authorization header.")));
        }
    }
    let date = match single(&parts.headers, "x-amz-date")? {
        Some(date) => Some(date),
        None => single(&parts.headers, "date")?,
    };
    let mut missing = String::new();
    let fields = [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)];
    for name in fields.iter().filter(|(_, value)| value.is_none_or(str::is_empty)).map(|(name, _)| name) {
        missing.push_str(&format!("Authorization header requires '{name}' parameter. "));
    }
    if date.is_none() {
        missing.push_str(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ",
        );
    }
    let (Some(credential), Some(signed), Some(signature), Some(date), true) =
        (credential, signed_headers, signature, date, missing.is_empty())
    else {
        let shown = format!("{ALGORITHM} {}", rest.split("Signature=").next().unwrap_or_default().trim());
        return Err(SignatureError::incomplete(format!("{missing}Authorization={shown}")));
    };
    let (access_key_id, scope) = parse_credential(credential)?;
    Ok(Presented {
        access_key_id,
        scope,
        signed_headers: parse_signed_headers(signed)?,
        signature: signature.to_owned(),
        at: parse_date(date)?,
        amz_date: date.to_owned(),
        session_token: single(&parts.headers, "x-amz-security-token")?.map(str::to_owned),
        placement: Placement::Header,
    })
}

fn parse_query(parts: &Parts) -> Result<Presented, SignatureError> {
    let value = |name: &str| {
        uri::query_value(parts.uri.query(), name)
            .filter(|value| !value.is_empty())
            .map(|value| value.into_owned())
    };
    let need = |name: &str| {
        value(name).ok_or_else(|| {
            SignatureError::incomplete(format!(
                "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
            ))
        })
    };
    let algorithm = need("X-Amz-Algorithm")?;
    if algorithm != ALGORITHM {
        return Err(SignatureError::incomplete(format!("Unsupported AWS 'algorithm': '{algorithm}'")));
    }
    let (access_key_id, scope) = parse_credential(&need("X-Amz-Credential")?)?;
    let amz_date = need("X-Amz-Date")?;
    let expires_s = match value("X-Amz-Expires") {
        None => None,
        Some(text) => match text.parse::<u32>() {
            Ok(seconds) if seconds <= MAX_EXPIRES_S => Some(seconds),
            Ok(_) => {
                return Err(SignatureError::incomplete(
                    "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must \
                     be less than 604800 seconds",
                ));
            }
            Err(_) => return Err(SignatureError::incomplete("X-Amz-Expires should be a number")),
        },
    };
    Ok(Presented {
        access_key_id,
        scope,
        signed_headers: parse_signed_headers(&need("X-Amz-SignedHeaders")?)?,
        signature: need("X-Amz-Signature")?,
        at: parse_date(&amz_date)?,
        amz_date,
        session_token: value("X-Amz-Security-Token"),
        placement: Placement::Query { expires_s },
    })
}

fn parse_date(text: &str) -> Result<Timestamp, SignatureError> {
    parse_amz_date(text).ok_or_else(|| {
        SignatureError::incomplete(format!(
            "Date must be in ISO-8601 'basic format'. Got '{text}'. See http://en.wikipedia.org/wiki/ISO_8601"
        ))
    })
}

/// `AKID/20130524/us-east-1/s3/aws4_request`. The key id may not hold a slash, the others may not either.
fn parse_credential(text: &str) -> Result<(String, Scope), SignatureError> {
    let parts: Vec<&str> = text.split('/').collect();
    let [key, date, region, service, terminator] = parts[..] else {
        return Err(SignatureError::incomplete(format!(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
             '{text}'"
        )));
    };
    if terminator != "aws4_request" {
        return Err(SignatureError::Invalid(format!(
            "Credential should be scoped with a valid terminator: 'aws4_request', not '{terminator}'."
        )));
    }
    if key.is_empty() {
        return Err(SignatureError::UnknownKey);
    }
    let scope = Scope { date: date.into(), region: region.into(), service: service.into() };
    Ok((key.to_owned(), scope))
}

/// The scope alone, for routing; `None` where it is unreadable.
pub fn parse_credential_scope(text: &str) -> Option<Scope> {
    parse_credential(text).ok().map(|(_, scope)| scope)
}

fn parse_signed_headers(text: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = text.split(';').map(str::to_ascii_lowercase).collect();
    if names.len() > 200 || names.iter().any(|name| http::HeaderName::from_bytes(name.as_bytes()).is_err()) {
        return Err(SignatureError::incomplete("SignedHeaders must be header names joined by ';'."));
    }
    Ok(names)
}
