//! What policies allow, table by table.

mod support;

use std::sync::Arc;
use support::*;
use towpath_policy::{Decision, Denial, Facts, Kind, PolicySet, Question, Source, Verdict, Who, decide};

#[test]
fn actions_and_resources() {
    let repository = "arn:aws:codecommit:us-east-1:111122223333:web";
    let cases: &[(&str, &str, &str, bool)] = &[
        (r#""Action":"*","Resource":"*""#, "iam:CreateUser", "*", true),
        (r#""Action":"codecommit:*","Resource":"*""#, "codecommit:GetFile", repository, true),
        (r#""Action":"CodeCommit:getfile","Resource":"*""#, "codecommit:GetFile", repository, true),
        (r#""Action":"codecommit:Get*","Resource":"*""#, "codecommit:PutFile", repository, false),
        (r#""Action":"codecommit:?etFile","Resource":"*""#, "codecommit:GetFile", repository, true),
        (r#""Action":["s3:Get*","codecommit:*File"],"Resource":"*""#, "codecommit:GetFile", repository, true),
        (r#""NotAction":"iam:*","Resource":"*""#, "codecommit:GetFile", repository, true),
        (r#""NotAction":"codecommit:*","Resource":"*""#, "codecommit:GetFile", repository, false),
        (r#""Action":"*","Resource":"arn:aws:codecommit:*:*:web""#, "codecommit:GetFile", repository, true),
        (r#""Action":"*","Resource":"arn:aws:codecommit:*:*:WEB""#, "codecommit:GetFile", repository, false),
        (
            r#""Action":"*","Resource":"arn:aws:codecommit:us-east-1:111122223333:w?b""#,
            "codecommit:GetFile",
            repository,
            true,
        ),
        (r#""Action":"*","Resource":"arn:aws:codecommit:*""#, "codecommit:GetFile", repository, true),
        (r#""Action":"*","Resource":"arn:aws:codecommit:*:web""#, "codecommit:GetFile", repository, false),
        (r#""Action":"*","Resource":"arn:aws:s3:::b/*""#, "s3:GetObject", "arn:aws:s3:::b/a/b:c", true),
        (r#""Action":"*","Resource":"arn:aws:s3:::b/*""#, "s3:ListBucket", "arn:aws:s3:::b", false),
        (r#""Action":"*","Resource":"arn:aws:s3:::*""#, "s3:ListAllMyBuckets", "*", false),
        (
            r#""Action":"*","NotResource":"arn:aws:codecommit:*:*:web""#,
            "codecommit:GetFile",
            repository,
            false,
        ),
        (
            r#""Action":"*","NotResource":"arn:aws:codecommit:*:*:api""#,
            "codecommit:GetFile",
            repository,
            true,
        ),
    ];
    for (body, action, resource, expected) in cases {
        let statement = format!(r#"{{"Effect":"Allow",{body}}}"#);
        assert_eq!(allows(&statement, action, resource, &[]), *expected, "{body} for {action} on {resource}");
    }
}

#[test]
fn variables() {
    let cases: &[(&str, &str, bool)] = &[
        ("arn:aws:s3:::home/${aws:username}/*", "arn:aws:s3:::home/alice/x", true),
        ("arn:aws:s3:::home/${aws:username}/*", "arn:aws:s3:::home/bob/x", false),
        ("arn:aws:s3:::home/${AWS:UserName}/*", "arn:aws:s3:::home/alice/x", true),
        ("arn:aws:s3:::t-${aws:PrincipalTag/team}", "arn:aws:s3:::t-blue", true),
        ("arn:aws:s3:::t-${aws:PrincipalTag/none, 'all'}", "arn:aws:s3:::t-all", true),
        ("arn:aws:s3:::t-${aws:PrincipalTag/none}", "arn:aws:s3:::t-", false),
        ("arn:aws:s3:::t-${*}", "arn:aws:s3:::t-*", true),
        ("arn:aws:s3:::t-${*}", "arn:aws:s3:::t-a", false),
        ("arn:aws:s3:::t-${$}{x}", "arn:aws:s3:::t-${x}", true),
        ("arn:aws:s3:::t-${aws:evil}", "arn:aws:s3:::t-anything", false),
        ("arn:aws:s3:::t-${aws:open", "arn:aws:s3:::t-${aws:open", true),
    ];
    for (resource, asked, expected) in cases {
        let statement = format!(r#"{{"Effect":"Allow","Action":"*","Resource":"{resource}"}}"#);
        let context = [("aws:evil", "*")];
        assert_eq!(allows(&statement, "s3:GetObject", asked, &context), *expected, "{resource} on {asked}");
    }
}

/// `(condition, request context, holds)`.
type ConditionCase = (&'static str, &'static [(&'static str, &'static str)], bool);

fn check_conditions(cases: &[ConditionCase]) {
    for (condition, context, expected) in cases {
        let statement =
            format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}"#);
        assert_eq!(
            allows(&statement, "s3:GetObject", "*", context),
            *expected,
            "{condition} with {context:?}"
        );
    }
}

#[test]
fn string_conditions() {
    check_conditions(&[
        (r#"{"StringEquals":{"x:k":"a"}}"#, &[("x:k", "a")], true),
        (r#"{"StringEquals":{"X:K":"a"}}"#, &[("x:k", "a")], true),
        (r#"{"StringEquals":{"x:k":"a"}}"#, &[("x:k", "A")], false),
        (r#"{"StringEquals":{"x:k":"*"}}"#, &[("x:k", "a")], false),
        (r#"{"StringEquals":{"x:k":["a","b"]}}"#, &[("x:k", "b")], true),
        (r#"{"StringEquals":{"x:k":"a"}}"#, &[], false),
        (r#"{"StringEqualsIfExists":{"x:k":"a"}}"#, &[], true),
        (r#"{"StringNotEquals":{"x:k":["a","b"]}}"#, &[("x:k", "b")], false),
        (r#"{"StringNotEquals":{"x:k":["a","b"]}}"#, &[("x:k", "c")], true),
        (r#"{"StringNotEquals":{"x:k":"a"}}"#, &[], true),
        (r#"{"StringEqualsIgnoreCase":{"x:k":"ÄB"}}"#, &[("x:k", "äb")], true),
        (r#"{"StringNotEqualsIgnoreCase":{"x:k":"AB"}}"#, &[("x:k", "ab")], false),
        (r#"{"StringLike":{"x:k":"refs/heads/*"}}"#, &[("x:k", "refs/heads/main")], true),
        (r#"{"StringNotLike":{"x:k":"refs/heads/*"}}"#, &[("x:k", "refs/heads/main")], false),
        (r#"{"StringLike":{"x:k":"${aws:username}-*"}}"#, &[("x:k", "alice-1")], true),
        (r#"{"StringEquals":{"x:k":"${aws:absent}"}}"#, &[("x:k", "${aws:absent}")], false),
        (r#"{"StringNotEquals":{"x:k":"${aws:absent}"}}"#, &[("x:k", "v")], true),
        (r#"{"StringEquals":{"x:k":"a","x:l":"b"}}"#, &[("x:k", "a")], false),
        (r#"{"ForAllValues:StringEquals":{"x:k":["a","b"]}}"#, &[("x:k", "a"), ("x:k", "b")], true),
        (r#"{"ForAllValues:StringEquals":{"x:k":["a","b"]}}"#, &[("x:k", "a"), ("x:k", "c")], false),
        (r#"{"ForAllValues:StringEquals":{"x:k":"a"}}"#, &[], true),
        (r#"{"ForAnyValue:StringEquals":{"x:k":"a"}}"#, &[("x:k", "a"), ("x:k", "c")], true),
        (r#"{"ForAnyValue:StringEquals":{"x:k":"a"}}"#, &[], false),
        (r#"{"ForAnyValue:StringEqualsIfExists":{"x:k":"a"}}"#, &[], true),
        (r#"{"ForAnyValue:StringNotEquals":{"x:k":"a"}}"#, &[("x:k", "a"), ("x:k", "c")], true),
        (r#"{"ForAllValues:StringNotEquals":{"x:k":"a"}}"#, &[("x:k", "a"), ("x:k", "c")], false),
    ]);
}

#[test]
fn typed_conditions() {
    check_conditions(&[
        (r#"{"NumericLessThanEquals":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "10")], true),
        (r#"{"NumericLessThan":{"s3:max-keys":10}}"#, &[("s3:max-keys", "9.5")], true),
        (r#"{"NumericGreaterThan":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "10")], false),
        (r#"{"NumericGreaterThanEquals":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "10.0")], true),
        (r#"{"NumericEquals":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "ten")], false),
        (r#"{"NumericNotEquals":{"s3:max-keys":"10"}}"#, &[("s3:max-keys", "11")], true),
        (r#"{"DateGreaterThan":{"aws:CurrentTime":"2026-11-20T10:00:00Z"}}"#, &[], true),
        (r#"{"DateLessThan":{"aws:CurrentTime":"2026-11-20T10:00Z"}}"#, &[], false),
        (r#"{"DateLessThan":{"aws:CurrentTime":"2027"}}"#, &[], true),
        (r#"{"DateLessThan":{"aws:CurrentTime":"2026-11-21"}}"#, &[], true),
        (r#"{"DateLessThanEquals":{"aws:EpochTime":"1795169472"}}"#, &[], true),
        (r#"{"DateLessThanEquals":{"aws:EpochTime":"1795169471"}}"#, &[], false),
        (r#"{"DateGreaterThan":{"aws:CurrentTime":"2026-11-20T12:00:00+02:00"}}"#, &[], true),
        (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, &[], true),
        (r#"{"Bool":{"aws:SecureTransport":false}}"#, &[], false),
        (r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#, &[], false),
        (r#"{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}"#, &[], true),
        (r#"{"BinaryEquals":{"x:k":"aGk="}}"#, &[("x:k", "hi")], true),
        (r#"{"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}}"#, &[], true),
        (r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","203.0.113.7"]}}"#, &[], true),
        (r#"{"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}}"#, &[], false),
        (r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#, &[], true),
        (r#"{"IpAddress":{"aws:SourceIp":"::/0"}}"#, &[], false),
        (r#"{"IpAddress":{"x:k":"2001:db8::/32"}}"#, &[("x:k", "2001:db8::1")], true),
        (r#"{"IpAddress":{"x:k":"10.0.0.0/8"}}"#, &[("x:k", "::ffff:10.1.1.1")], true),
        (
            r#"{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*:111122223333:t*"}}"#,
            &[("aws:SourceArn", "arn:aws:sns:us-east-1:111122223333:topic")],
            true,
        ),
        (
            r#"{"ArnEquals":{"aws:SourceArn":"arn:aws:sns:*:topic"}}"#,
            &[("aws:SourceArn", "arn:aws:sns:us-east-1:111122223333:topic")],
            false,
        ),
        (r#"{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/dev/*"}}"#, &[], false),
        (r#"{"Null":{"aws:TokenIssueTime":"true"}}"#, &[], true),
        (r#"{"Null":{"aws:username":"true"}}"#, &[], false),
        (r#"{"Null":{"aws:username":"false"}}"#, &[], true),
    ]);
}

#[test]
fn global_keys() {
    check_conditions(&[
        (r#"{"StringEquals":{"aws:username":"alice"}}"#, &[], true),
        (r#"{"StringEquals":{"aws:userid":"AIDAALICEALICEALICE1"}}"#, &[], true),
        (r#"{"StringEquals":{"aws:PrincipalType":"User"}}"#, &[], true),
        (r#"{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}"#, &[], true),
        (r#"{"StringEquals":{"aws:PrincipalTag/Team":"blue"}}"#, &[], true),
        (r#"{"StringEquals":{"aws:RequestedRegion":"us-east-1"}}"#, &[], true),
        (r#"{"StringEquals":{"aws:ResourceAccount":"111122223333"}}"#, &[], true),
        (r#"{"Bool":{"aws:PrincipalIsAWSService":"false"}}"#, &[], true),
        // An operation's own context never overrides what is known of the caller.
        (r#"{"StringEquals":{"aws:username":"bob"}}"#, &[("aws:username", "bob")], false),
        (r#"{"StringEquals":{"aws:PrincipalTag/admin":"yes"}}"#, &[("aws:PrincipalTag/admin", "yes")], false),
    ]);
    let (caller, facts) = (session(), Facts { token_issued_at: Some(environment().at), ..facts() });
    let holds = |condition: &str| {
        let statement =
            format!(r#"{{"Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}}}"#);
        let set = PolicySet { identity: vec![identity(&statement)], ..PolicySet::default() };
        decide(&set, None, &question(&caller, &facts, "s3:GetObject", "*", &[])).is_allowed()
    };
    assert!(holds(r#"{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/deployer"}}"#));
    assert!(holds(r#"{"StringEquals":{"aws:userid":"AROADEPLOYERDEPLOYER:ci"}}"#));
    assert!(holds(r#"{"StringEquals":{"aws:PrincipalType":"AssumedRole"}}"#));
    assert!(holds(r#"{"Null":{"aws:username":"true"}}"#));
    assert!(holds(r#"{"DateEquals":{"aws:TokenIssueTime":"2026-11-20T10:11:12Z"}}"#));
    assert!(holds(r#"{"Bool":{"aws:MultiFactorAuthPresent":"false"}}"#));
}

const ALLOW: &str = r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#;
const DENY: &str = r#"{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}"#;
const OTHER: &str = r#"{"Effect":"Allow","Action":"ec2:*","Resource":"*"}"#;

#[test]
fn the_order_of_evaluation_and_its_phrases() {
    let set = |identity_statements: &[&str], boundary: Option<&str>, session: Option<&str>| PolicySet {
        identity: identity_statements.iter().map(|statement| identity(statement)).collect(),
        boundary: boundary.map(identity),
        session: session.map(|statement| vec![identity(statement)]),
    };
    let cases: Vec<(PolicySet, &str)> = vec![
        (set(&[], None, None), "because no identity-based policy allows the s3:GetObject action"),
        (set(&[ALLOW], None, None), ""),
        (set(&[ALLOW, DENY], None, None), "with an explicit deny in an identity-based policy"),
        (set(&[ALLOW], Some(ALLOW), Some(ALLOW)), ""),
        (set(&[ALLOW], Some(OTHER), None), "because no permissions boundary allows the s3:GetObject action"),
        (set(&[ALLOW], Some(DENY), None), "with an explicit deny in a permissions boundary"),
        (set(&[ALLOW], None, Some(OTHER)), "because no session policy allows the s3:GetObject action"),
        (set(&[ALLOW], None, Some(DENY)), "with an explicit deny in a session policy"),
        (
            set(&[], Some(ALLOW), Some(ALLOW)),
            "because no identity-based policy allows the s3:GetObject action",
        ),
        (set(&[DENY], Some(OTHER), Some(OTHER)), "with an explicit deny in an identity-based policy"),
    ];
    let (caller, facts) = (alice(), facts());
    let question = question(&caller, &facts, "s3:GetObject", "arn:aws:s3:::b/k", &[]);
    for (set, expected) in cases {
        match decide(&set, None, &question) {
            Decision::Allowed => assert_eq!("", expected),
            Decision::Denied(denial) => {
                assert_eq!(denial.to_string(), expected);
                assert_eq!(Denial::from_reason(expected, "s3:GetObject"), Some(denial));
            }
        }
    }
    assert_eq!(Denial::from_reason("because", "s3:GetObject"), None);
}

#[test]
fn resource_policies_grant_by_how_they_name_the_caller() {
    let (alice, session, facts) = (alice(), session(), facts());
    let boundary = Some(identity(OTHER));
    let none = PolicySet::default();
    let bounded = PolicySet { boundary, ..PolicySet::default() };
    let of = |principal: &str| {
        of_kind(
            Kind::Resource,
            &format!(r#"{{"Effect":"Allow","Principal":{principal},"Action":"s3:*","Resource":"*"}}"#),
        )
    };
    let user = of(r#"{"AWS":"arn:aws:iam::111122223333:user/dev/alice"}"#);
    let role = of(r#"{"AWS":"arn:aws:iam::111122223333:role/deployer"}"#);
    let exact = of(r#"{"AWS":"arn:aws:sts::111122223333:assumed-role/deployer/ci"}"#);
    let account = of(r#"{"AWS":"111122223333"}"#);
    let everyone = of(r#""*""#);
    let service = of(r#"{"Service":"codebuild.amazonaws.com"}"#);
    let cases = [
        (&none, &user, &alice, true),
        (&bounded, &user, &alice, true),
        (&none, &user, &session, false),
        (&none, &role, &session, true),
        (&bounded, &role, &session, false),
        (&bounded, &exact, &session, true),
        (&none, &account, &alice, false),
        (&none, &everyone, &alice, true),
        (&bounded, &everyone, &alice, false),
        (&none, &service, &alice, false),
    ];
    for (index, (set, resource, caller, expected)) in cases.into_iter().enumerate() {
        let question = question(caller, &facts, "s3:GetObject", "arn:aws:s3:::b/k", &[]);
        assert_eq!(decide(set, Some(resource), &question).is_allowed(), expected, "case {index}");
    }
    let deny = of_kind(Kind::Resource, r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*"}"#);
    let allowed = PolicySet { identity: vec![identity(ALLOW)], ..PolicySet::default() };
    let asked = question(&alice, &facts, "s3:GetObject", "arn:aws:s3:::b/k", &[]);
    assert_eq!(decide(&allowed, Some(&deny), &asked), Decision::Denied(Denial::Explicit(Source::Resource)));
    let but = of_kind(
        Kind::Resource,
        r#"{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/dev/alice"},"Action":"*","Resource":"*"}"#,
    );
    assert!(decide(&allowed, Some(&but), &asked).is_allowed());
}

#[test]
fn trust_policies_name_services_and_conditions() {
    let trust = of_kind(
        Kind::Trust,
        r#"{"Effect":"Allow","Principal":{"Service":"codebuild.amazonaws.com"},"Action":"sts:AssumeRole",
            "Condition":{"StringEquals":{"aws:SourceAccount":"111122223333"}}}"#,
    );
    let facts = Facts::default();
    let ask = |service, account| {
        let question = Question {
            action: "sts:AssumeRole",
            resource: "arn:aws:iam::111122223333:role/deployer",
            context: &[("aws:SourceAccount", account)],
            who: Who::Service(service),
            environment: environment(),
            facts: &facts,
        };
        trust.verdict(&question)
    };
    assert!(matches!(ask("codebuild.amazonaws.com", "111122223333"), Verdict::Allow(_)));
    assert_eq!(ask("codedeploy.amazonaws.com", "111122223333"), Verdict::Silent);
    assert_eq!(ask("codebuild.amazonaws.com", "999999999999"), Verdict::Silent);
}

#[test]
fn a_policy_of_hostile_patterns_is_decided_at_once() {
    let actions: Vec<String> = (0..200).map(|_| format!("\"s3:{}b\"", "*a".repeat(12))).collect();
    let statement = format!(
        r#"{{"Effect":"Allow","Action":[{}],"Resource":"arn:aws:s3:::{}b"}}"#,
        actions.join(","),
        "*a?".repeat(1000)
    );
    let set = PolicySet { identity: vec![identity(&statement); 10], ..PolicySet::default() };
    let (caller, facts) = (alice(), facts());
    let action = format!("s3:{}", "a".repeat(120));
    let resource = format!("arn:aws:s3:::{}", "a".repeat(2000));
    let started = std::time::Instant::now();
    assert!(!decide(&set, None, &question(&caller, &facts, &action, &resource, &[])).is_allowed());
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    let shared = Arc::strong_count(&set.identity[0]);
    assert_eq!(shared, 10);
}
