//! The forms of action and resource strings, refused with IAM's sentences.

use crate::error::PolicyError;
use crate::template::split_at_colons;

const IAM_PATHS: [&str; 14] = [
    "user/",
    "federated-user/",
    "role/",
    "group/",
    "instance-profile/",
    "mfa/",
    "server-certificate/",
    "policy/",
    "sms-mfa/",
    "saml-provider/",
    "oidc-provider/",
    "report/",
    "access-report/",
    "root",
];

pub fn action(text: &str) -> Result<(), PolicyError> {
    if text == "*" {
        return Ok(());
    }
    let Some((vendor, name)) = text.split_once(':') else {
        return Err(PolicyError::NoVendor(text.to_owned()));
    };
    if name.contains(':') {
        return Err(PolicyError::SeveralColons(text.to_owned()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if vendor.is_empty() || vendor != "*" && !vendor.bytes().all(plain) {
        return Err(PolicyError::Vendor(vendor.to_owned()));
    }
    if name.is_empty() || !name.bytes().all(|byte| plain(byte) || matches!(byte, b'*' | b'?' | b'_')) {
        return Err(PolicyError::Legacy(format!("\"{text}\" is not an action.")));
    }
    Ok(())
}

pub fn condition_key(text: &str) -> Result<(), PolicyError> {
    match text.split_once(':') {
        Some((vendor, name)) if !vendor.is_empty() && !name.is_empty() => Ok(()),
        _ => Err(PolicyError::NoVendor(text.to_owned())),
    }
}

pub fn resource(text: &str) -> Result<(), PolicyError> {
    if text == "*" {
        return Ok(());
    }
    let parts = split_at_colons(text, 6);
    let part = |index: usize| parts.get(index).copied().unwrap_or("*");
    if parts.len() < 2 || parts[0] != "arn" {
        return Err(PolicyError::ResourceFormat(text.to_owned()));
    }
    let partition = part(1);
    let known = ["*", "aws", "aws-cn", "aws-us-gov", "aws-eusc"].contains(&partition)
        || partition.starts_with("aws-iso");
    if !known {
        return Err(PolicyError::Partition {
            partition: partition.to_owned(),
            resource: format!("arn:{partition}:{}:{}:{}:{}", part(2), part(3), part(4), part(5)),
        });
    }
    let service = part(2);
    if service.is_empty() || service.contains(['*', '?', '$']) {
        return Err(PolicyError::ResourceVendor);
    }
    let has_region = parts.len() > 3 && !part(3).is_empty() && part(3) != "*";
    match service {
        "iam" if has_region => Err(PolicyError::IamRegion(text.to_owned())),
        "iam"
            if !part(5).starts_with(['*', '$'])
                && !IAM_PATHS.iter().any(|path| part(5).starts_with(path)) =>
        {
            Err(PolicyError::IamPath)
        }
        "s3" if has_region && !part(5).starts_with("accesspoint/") => {
            Err(PolicyError::S3Region(text.to_owned()))
        }
        _ => Ok(()),
    }
}
