//! What is asked, by whom, and under which circumstances: the values behind condition keys and variables.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html>.

use std::borrow::Cow;
use std::net::IpAddr;
use towpath_api::{Call, Caller, Timestamp};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Who<'a> {
    Caller(&'a Caller),
    /// A service by itself, as a role's trust policy sees it (`codebuild.amazonaws.com`).
    Service(&'a str),
}

/// Keys that only Towpath fills in: absent here, they are absent.
fn is_reserved(key: &str) -> bool {
    key.starts_with("aws:principal")
        || matches!(
            key,
            "aws:userid"
                | "aws:username"
                | "aws:sourceip"
                | "aws:tokenissuetime"
                | "aws:multifactorauthpresent"
        )
}

/// Where and when.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'a> {
    pub account: &'a str,
    pub region: &'a str,
    pub at: Timestamp,
    pub source_ip: Option<IpAddr>,
    pub secure: bool,
}

impl<'a> Environment<'a> {
    pub fn of(call: &'a Call) -> Self {
        Environment {
            account: &call.account,
            region: &call.region,
            at: call.at,
            source_ip: call.source_ip,
            secure: call.secure,
        }
    }
}

/// What is known of a principal besides its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The tags of the user or role.
    pub tags: Vec<(String, String)>,
    /// When temporary credentials were issued; `None` for an access key of a user or of root.
    pub token_issued_at: Option<Timestamp>,
}

/// One question with its context.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub action: &'a str,
    pub resource: &'a str,
    /// Keys and values that the operation gives; a key may come several times.
    pub context: &'a [(&'a str, &'a str)],
    pub who: Who<'a>,
    pub environment: Environment<'a>,
    pub facts: &'a Facts,
}

impl<'a> Question<'a> {
    /// The values of a key, whose name is in lower case; none when the key is absent. What Towpath itself
    /// knows comes before what the operation gives, so that no input can pose as it.
    pub fn values(&self, key: &str) -> Vec<Cow<'a, str>> {
        if let Some(value) = self.global(key) {
            return vec![value];
        }
        if is_reserved(key) {
            return Vec::new();
        }
        self.context
            .iter()
            .filter(|(name, _)| name.to_lowercase() == key)
            .map(|(_, value)| Cow::Borrowed(*value))
            .collect()
    }

    fn global(&self, key: &str) -> Option<Cow<'a, str>> {
        let Environment { account, region, at, source_ip, secure } = self.environment;
        let flag = |value: bool| Some(Cow::Borrowed(if value { "true" } else { "false" }));
        match key {
            "aws:currenttime" => Some(at.to_iso8601().into()),
            "aws:epochtime" => Some((at.as_millis() / 1000).to_string().into()),
            "aws:requestedregion" => Some(region.into()),
            "aws:securetransport" => flag(secure),
            "aws:sourceip" => source_ip.map(|address| address.to_canonical().to_string().into()),
            "aws:resourceaccount" => Some(self.resource_account().unwrap_or(account).into()),
            "aws:tokenissuetime" => self.facts.token_issued_at.map(|at| at.to_iso8601().into()),
            "aws:principalisawsservice" => flag(matches!(self.who, Who::Service(_))),
            "aws:viaawsservice" => flag(false),
            "aws:multifactorauthpresent" => self.facts.token_issued_at.and_then(|_| flag(false)),
            _ => match self.who {
                Who::Service(name) => (key == "aws:principalservicename").then_some(name.into()),
                Who::Caller(caller) => self.of_caller(caller, key),
            },
        }
    }

    fn of_caller(&self, caller: &'a Caller, key: &str) -> Option<Cow<'a, str>> {
        if let Some(tag) = key.strip_prefix("aws:principaltag/") {
            let found = self.facts.tags.iter().find(|(name, _)| name.to_lowercase() == tag);
            return found.map(|(_, value)| value.as_str().into());
        }
        match key {
            "aws:principalarn" => Some(match caller {
                Caller::Session { role_arn, .. } => role_arn.as_str().into(),
                other => other.arn().into(),
            }),
            "aws:principalaccount" => Some(self.environment.account.into()),
            "aws:principaltype" => Some(Cow::Borrowed(match caller {
                Caller::Root { .. } => "Account",
                Caller::User { .. } => "User",
                Caller::Session { .. } => "AssumedRole",
            })),
            "aws:userid" => Some(caller.user_id().into()),
            "aws:username" => match caller {
                Caller::User { name, .. } => Some(name.as_str().into()),
                _ => None,
            },
            _ => None,
        }
    }

    fn resource_account(&self) -> Option<&'a str> {
        let account = self.resource.split(':').nth(4)?;
        (!account.is_empty()).then_some(account)
    }
}
