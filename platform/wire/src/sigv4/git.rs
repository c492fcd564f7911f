//! The signed password of `git-remote-codecommit` and of the AWS CLI's credential helper:
//! `<timestamp>Z<signature>`, signed with the method `GIT` over host and path, without a payload hash.
//! The user name is the access key id, with `%` and the session token after it where there is one.
//!
//! Tool: <https://github.com/aws/git-remote-codecommit>.

use super::{ALGORITHM, SKEW_MS, Scope, SignatureError, SigningKey, parse_amz_date, string_to_sign};
use towpath_api::Timestamp;

/// A password of that form, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitPassword<'a> {
    /// `20261120T101112`, without the `Z`.
    timestamp: &'a str,
    signature: &'a str,
}

/// The user name's parts: access key id and session token.
pub fn split_user_name(user_name: &str) -> (&str, Option<&str>) {
    match user_name.split_once('%') {
        Some((key, token)) => (key, Some(token)),
        None => (user_name, None),
    }
}

impl<'a> GitPassword<'a> {
    /// `None` when the password is of another kind (a service-specific credential's).
    pub fn parse(password: &'a str) -> Option<Self> {
        let (timestamp, signature) = password.split_once('Z')?;
        (timestamp.len() == 15 && signature.len() == 64).then_some(GitPassword { timestamp, signature })
    }

    fn string_to_sign(&self, scope: &Scope, host: &str, path: &str) -> String {
        let canonical = format!("GIT\n{path}\n\nhost:{host}\n\nhost\n");
        string_to_sign(ALGORITHM, self.timestamp, scope, &canonical)
    }

    /// `hosts`: every form of the host's name that a client may have signed (with its port, without).
    /// `paths`: likewise (`/v1/repos/NAME`).
    pub fn verify(
        &self,
        secret_access_key: &str,
        region: &str,
        hosts: &[&str],
        paths: &[&str],
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        let at = parse_amz_date(&format!("{}Z", self.timestamp))
            .ok_or_else(|| SignatureError::incomplete("The password's date is no ISO-8601 basic date."))?;
        if at > now.plus_millis(SKEW_MS) || at < now.plus_millis(-SKEW_MS) {
            return Err(SignatureError::Skewed(format!(
                "Signature expired: {} is not within 15 min. of the server's time",
                self.timestamp
            )));
        }
        let scope = Scope {
            date: self.timestamp[..8].to_owned(),
            region: region.to_owned(),
            service: "codecommit".to_owned(),
        };
        let key = SigningKey::new(secret_access_key, &scope);
        let right = hosts
            .iter()
            .flat_map(|host| paths.iter().map(move |path| (host, path)))
            .any(|(host, path)| key.matches(&self.string_to_sign(&scope, host, path), self.signature));
        if right { Ok(()) } else { Err(SignatureError::Mismatch { detail: String::new() }) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Made with botocore's SigV4Auth the way git-remote-codecommit does it.
    const PASSWORD: &str = include_str!("../../tests/data/git-password.txt");

    #[test]
    fn a_password_of_the_real_tool() {
        let password = GitPassword::parse(PASSWORD.trim()).unwrap();
        let now = parse_amz_date("20261120T101500Z").unwrap();
        let verify = |secret: &str, hosts: &[&str], now| {
            password.verify(secret, "us-east-1", hosts, &["/v1/repos/demo"], now)
        };
        assert_eq!(verify("secret", &["127.0.0.1:4566", "127.0.0.1"], now), Ok(()));
        assert!(matches!(verify("other", &["127.0.0.1"], now), Err(SignatureError::Mismatch { .. })));
        assert!(matches!(verify("secret", &["localhost"], now), Err(SignatureError::Mismatch { .. })));
        let later = now.plus_millis(16 * 60_000);
        assert!(matches!(verify("secret", &["127.0.0.1"], later), Err(SignatureError::Skewed(_))));
    }

    #[test]
    fn other_passwords_are_left_to_others() {
        assert_eq!(GitPassword::parse("aZb"), None);
        assert_eq!(split_user_name("AKIA%tok%en"), ("AKIA", Some("tok%en")));
    }
}
