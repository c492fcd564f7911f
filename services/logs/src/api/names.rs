//! Names and ARNs of groups and streams.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html>.

use towpath_api::{ApiError, Call};
use towpath_api_logs::errors::invalid_parameter_exception;

const MAX_NAME: usize = 512;

/// A log group of an account and region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupRef {
    pub account: String,
    pub region: String,
    pub name: String,
}

impl GroupRef {
    pub fn named(call: &Call, name: &str) -> Result<GroupRef, ApiError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(invalid_parameter_exception(format!("{name:?} is not a log group's name.")));
        }
        Ok(GroupRef { account: call.account.clone(), region: call.region.clone(), name: name.to_owned() })
    }

    /// Either a name or an identifier, which is a name or an ARN, must be there, and not both.
    pub fn named_or_identified(
        call: &Call,
        name: Option<&str>,
        identifier: Option<&str>,
    ) -> Result<GroupRef, ApiError> {
        match (name, identifier) {
            (Some(name), None) => GroupRef::named(call, name),
            (None, Some(identifier)) => GroupRef::identified(call, identifier),
            (Some(_), Some(_)) => Err(invalid_parameter_exception(
                "LogGroup name and LogGroup identifier are mutually exclusive.",
            )),
            (None, None) => {
                Err(invalid_parameter_exception("Either logGroupName or logGroupIdentifier is required."))
            }
        }
    }

    pub fn identified(call: &Call, identifier: &str) -> Result<GroupRef, ApiError> {
        if !identifier.starts_with("arn:") {
            return GroupRef::named(call, identifier);
        }
        let invalid = || invalid_parameter_exception(format!("{identifier} is not the ARN of a log group."));
        let prefix = format!("arn:aws:logs:{}:{}:log-group:", call.region, call.account);
        let name = identifier.strip_prefix(&prefix).ok_or_else(invalid)?;
        GroupRef::named(call, name.strip_suffix(":*").unwrap_or(name)).map_err(|_| invalid())
    }

    /// The group itself, as TagResource takes it.
    pub fn arn(&self) -> String {
        format!("arn:aws:logs:{}:{}:log-group:{}", self.region, self.account, self.name)
    }

    pub fn stream_arn(&self, stream: &str) -> String {
        stream_arn(&self.arn(), stream)
    }

    /// May the caller do this to the group? The resource is the group with no stream, which policies
    /// name as `…:log-group:NAME:*`.
    pub fn authorize(&self, call: &Call, action: &str) -> Result<(), ApiError> {
        call.authorize(action, &self.stream_arn(""), &[])
    }

    pub fn authorize_stream(&self, call: &Call, action: &str, stream: &str) -> Result<(), ApiError> {
        call.authorize(action, &self.stream_arn(stream), &[])
    }
}

pub(super) fn stream_arn(group_arn: &str, stream: &str) -> String {
    [group_arn, ":log-stream:", stream].concat()
}

pub(super) fn check_stream_name(name: &str) -> Result<(), ApiError> {
    let reserved = |character: char| matches!(character, ':' | '*' | '\u{10ffff}') || character.is_control();
    if name.is_empty() || name.chars().count() > MAX_NAME || name.contains(reserved) {
        return Err(invalid_parameter_exception(format!("{name:?} is not a log stream's name.")));
    }
    Ok(())
}
