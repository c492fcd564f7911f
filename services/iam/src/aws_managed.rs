//! The policies that AWS keeps and that users of developer tools name (`arn:aws:iam::aws:policy/…`), with
//! AWS's documents. ReadOnlyAccess lists the actions of AWS's developer tools and of what surrounds them;
//! AWS's own goes on for hundreds of services that Towpath does not know.
//! Source: <https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html>.

use sha2::{Digest, Sha256};
use towpath_api::Timestamp;

pub struct AwsManaged {
    pub name: &'static str,
    pub path: &'static str,
    pub version: u32,
    created: &'static str,
    updated: &'static str,
    pub document: &'static str,
}

macro_rules! policy {
    ($name:literal, $path:literal, $version:literal, $created:literal, $updated:literal) => {
        AwsManaged {
            name: $name,
            path: $path,
            version: $version,
            created: $created,
            updated: $updated,
            document: include_str!(concat!("../managed/", $name, ".json")),
        }
    };
}

static POLICIES: &[AwsManaged] = &[
    policy!("AdministratorAccess", "/", 1, "2015-02-06T18:39:46Z", "2015-02-06T18:39:46Z"),
    policy!("PowerUserAccess", "/", 12, "2015-02-06T18:39:47Z", "2026-02-12T17:59:14Z"),
    policy!("ReadOnlyAccess", "/", 182, "2015-02-06T18:39:48Z", "2026-04-03T15:27:12Z"),
    policy!("AWSCodePipeline_FullAccess", "/", 3, "2020-08-03T22:38:28Z", "2024-03-14T17:06:23Z"),
    policy!("AWSCodePipeline_ReadOnlyAccess", "/", 1, "2020-08-03T22:25:17Z", "2020-08-03T22:25:17Z"),
    policy!("AWSCodePipelineApproverAccess", "/", 3, "2016-07-28T18:59:17Z", "2017-08-02T17:24:58Z"),
    policy!("AWSCodePipelineCustomActionAccess", "/", 1, "2015-07-09T17:02:54Z", "2015-07-09T17:02:54Z"),
    policy!("AWSCodeBuildAdminAccess", "/", 20, "2016-12-01T19:04:44Z", "2026-02-12T18:01:51Z"),
    policy!("AWSCodeBuildDeveloperAccess", "/", 21, "2016-12-01T19:02:32Z", "2026-02-12T18:01:34Z"),
    policy!("AWSCodeBuildReadOnlyAccess", "/", 15, "2016-12-01T19:03:41Z", "2026-02-12T18:02:34Z"),
    policy!("AWSCodeCommitPowerUser", "/", 18, "2015-07-09T17:06:49Z", "2026-02-12T17:57:24Z"),
    policy!("AWSCodeCommitReadOnly", "/", 14, "2015-07-09T17:05:06Z", "2026-02-12T18:00:25Z"),
    policy!("AWSCodeCommitFullAccess", "/", 13, "2015-07-09T17:02:19Z", "2026-02-12T18:00:23Z"),
    policy!("AWSCodeDeployFullAccess", "/", 6, "2015-05-19T18:13:23Z", "2026-02-12T17:58:37Z"),
    policy!("AWSCodeDeployRole", "/service-role/", 11, "2015-05-04T18:05:37Z", "2023-08-16T20:38:58Z"),
    policy!("AWSCodeDeployReadOnlyAccess", "/", 6, "2015-05-19T18:21:32Z", "2026-02-12T17:57:13Z"),
    policy!("AWSCodeDeployDeployerAccess", "/", 6, "2015-05-19T18:18:43Z", "2026-02-12T18:02:10Z"),
    policy!("AmazonS3FullAccess", "/", 2, "2015-02-06T18:40:58Z", "2021-09-27T20:16:37Z"),
    policy!("AmazonS3ReadOnlyAccess", "/", 3, "2015-02-06T18:40:59Z", "2023-08-10T21:31:39Z"),
    policy!("CloudWatchLogsFullAccess", "/", 8, "2015-02-06T18:40:02Z", "2026-02-12T18:00:33Z"),
    policy!("CloudWatchLogsReadOnlyAccess", "/", 12, "2015-02-06T18:40:03Z", "2026-02-12T17:59:13Z"),
    policy!("CloudWatchFullAccess", "/", 4, "2015-02-06T18:40:00Z", "2022-11-27T13:23:49Z"),
    policy!("CloudWatchReadOnlyAccess", "/", 24, "2015-02-06T18:40:01Z", "2026-02-12T18:01:50Z"),
    policy!("IAMFullAccess", "/", 2, "2015-02-06T18:40:38Z", "2019-06-21T19:40:00Z"),
    policy!("IAMReadOnlyAccess", "/", 4, "2015-02-06T18:40:39Z", "2018-01-25T19:11:27Z"),
    policy!("IAMUserChangePassword", "/", 5, "2016-11-15T00:25:16Z", "2026-02-12T17:58:57Z"),
    policy!(
        "IAMSelfManageServiceSpecificCredentials",
        "/",
        1,
        "2016-12-22T17:25:18Z",
        "2016-12-22T17:25:18Z"
    ),
    policy!(
        "AmazonEC2RoleforAWSCodeDeploy",
        "/service-role/",
        2,
        "2015-05-19T18:10:14Z",
        "2017-03-20T17:14:10Z"
    ),
];

const PREFIX: &str = "arn:aws:iam::aws:policy";

/// Every policy that AWS keeps, by name.
pub fn all() -> &'static [AwsManaged] {
    POLICIES
}

pub fn find(arn: &str) -> Option<&'static AwsManaged> {
    let rest = arn.strip_prefix(PREFIX)?;
    POLICIES.iter().find(|policy| rest.strip_prefix(policy.path) == Some(policy.name))
}

pub fn is_aws_arn(arn: &str) -> bool {
    arn.starts_with(PREFIX)
}

impl AwsManaged {
    pub fn arn(&self) -> String {
        format!("{PREFIX}{}{}", self.path, self.name)
    }

    /// Stable, as AWS's ids are, and made from the name.
    pub fn id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let digest = Sha256::digest(self.name.as_bytes());
        let suffix: String =
            digest.iter().take(17).map(|byte| ALPHABET[(byte % 32) as usize] as char).collect();
        format!("ANPA{suffix}")
    }

    pub fn created_at(&self) -> Timestamp {
        Timestamp::parse_iso8601(self.created).unwrap_or_default()
    }

    pub fn updated_at(&self) -> Timestamp {
        Timestamp::parse_iso8601(self.updated).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use towpath_policy::{Kind, Policy};

    #[test]
    fn every_document_is_a_policy() {
        for policy in all() {
            assert!(Policy::parse(Kind::Identity, policy.document).is_ok(), "{}", policy.name);
            assert_eq!(find(&policy.arn()).map(|found| found.name), Some(policy.name));
            assert_ne!(policy.created_at(), Timestamp::EPOCH);
        }
        assert!(find("arn:aws:iam::aws:policy/AWSCodeDeployRole").is_none());
        assert!(find("arn:aws:iam::aws:policy/service-role/AWSCodeDeployRole").is_some());
    }
}
