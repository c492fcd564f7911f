//! Documents that are refused, and with which sentence.

mod support;

use towpath_policy::{Kind, MAX_DOCUMENT_BYTES, Policy};

fn error(kind: Kind, document: &str) -> String {
    match Policy::parse(kind, document) {
        Ok(_) => panic!("accepted: {document}"),
        Err(error) => error.to_string(),
    }
}

fn identity(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#)
}

/// A statement, and what its refusal says.
const REFUSED: &[(&str, &str)] = &[
    (r#"{"Effect":"Allow","Action":"s3:Get*"}"#, "Policy statement must contain resources."),
    (r#"{"Effect":"Allow","Resource":"*"}"#, "Policy statement must contain actions."),
    (r#"{"Effect":"Allow","Action":[],"Resource":"*"}"#, "Policy statement must contain actions."),
    (r#"{"Effect":"Allow","Action":"*","Resource":[]}"#, "Policy statement must contain resources."),
    (
        r#"{"Effect":"allow","Action":"*","Resource":"*"}"#,
        "Syntax errors in policy. In statement 1: Effect must be",
    ),
    (r#"{"Action":"*","Resource":"*"}"#, "Effect is missing."),
    (r#"{"Effect":"Allow","Actoin":"*","Resource":"*"}"#, "\"Actoin\" is not an element of a statement."),
    (r#"{"Effect":"Allow","Action":7,"Resource":"*"}"#, "Action must be a string or a list, not a number."),
    (r#"{"Effect":"Allow","Action":["*",null],"Resource":"*"}"#, "Action lists strings, not null."),
    (
        r#"{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}"#,
        "Action and NotAction exclude each other.",
    ),
    (r#"{"Effect":"Allow","Action":"*","Action":"*","Resource":"*"}"#, "the key \"Action\" occurs twice"),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}"#,
        "Policy document should not specify a principal.",
    ),
    (
        r#"{"Effect":"Allow","Action":"GetObject","Resource":"*"}"#,
        "must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
    ),
    (r#"{"Effect":"Allow","Action":"a:b:c","Resource":"*"}"#, "can contain only one colon."),
    (r#"{"Effect":"Allow","Action":"s 3:Get","Resource":"*"}"#, "Vendor s 3 is not valid"),
    (r#"{"Effect":"Allow","Action":"s3:","Resource":"*"}"#, "\"s3:\" is not an action."),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"bucket"}"#,
        "Resource bucket must be in ARN format or \"*\".",
    ),
    (r#"{"Effect":"Allow","Action":"*","Resource":"s3:bucket"}"#, "must be in ARN format or \"*\"."),
    (r#"{"Effect":"Allow","Action":"*","Resource":""}"#, "must be in ARN format or \"*\"."),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"arn:ibm:s3:::b"}"#,
        "Partition \"ibm\" is not valid for resource \"arn:ibm:s3:::b\".",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:*:::b"}"#,
        "Resource vendor must be fully qualified",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:us-east-1::b"}"#,
        "can not contain region information.",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:iam:us-east-1::user/a"}"#,
        "cannot contain region information.",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"arn:aws:iam::1:alice"}"#,
        "IAM resource path must either be \"*\"",
    ),
    (
        r#"{"Sid":"no spaces","Effect":"Allow","Action":"*","Resource":"*"}"#,
        "Statement IDs (SID) must be alpha-numeric.",
    ),
    (
        r#"[{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"}]"#,
        "Statement IDs (SID) in a single policy must be unique.",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEqual":{"aws:username":"a"}}}"#,
        "Invalid Condition type : StringEqual.",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NullIfExists":{"aws:username":"true"}}}"#,
        "Invalid Condition type : NullIfExists.",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"username":"a"}}}"#,
        "must be prefaced by a vendor",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}}"#,
        "The policy failed legacy parsing: \"10.0.0.0/33\" is not a value",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"tomorrow"}}}"#,
        "The policy failed legacy parsing",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"NumericEquals":{"s3:max-keys":"many"}}}"#,
        "The policy failed legacy parsing",
    ),
    (
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":[]}"#,
        "Condition must be an object, not a list.",
    ),
    (r#"[]"#, "Statement is empty."),
    (r#""x""#, "Statement must be an object or a list, not a string."),
    (r#"[1]"#, "a statement is an object, not a number."),
];

#[test]
fn identity_policies_are_refused_with_iams_sentences() {
    for (statement, expected) in REFUSED {
        let found = error(Kind::Identity, &identity(statement));
        assert!(found.contains(expected), "{statement}\n found {found}\n expected {expected}");
    }
}

#[test]
fn whole_documents_are_checked() {
    let statement = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
    assert!(error(Kind::Identity, "{").starts_with("Syntax errors in policy. It is not valid JSON"));
    assert!(error(Kind::Identity, "[]").contains("A policy is an object, not a list."));
    assert!(error(Kind::Identity, r#"{"Version":"2012-10-17"}"#).contains("Statement is missing."));
    let old = format!(r#"{{"Version":"2008-10-17","Statement":{statement}}}"#);
    assert_eq!(error(Kind::Identity, &old), "Policy document must be version 2012-10-17 or greater.");
    let unknown = format!(r#"{{"Version":"2012-10-17","Statements":{statement}}}"#);
    assert!(error(Kind::Identity, &unknown).contains("\"Statements\" is not an element of a policy."));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    assert!(error(Kind::Identity, &deep).starts_with("Syntax errors in policy."));
    let long = format!("{}{}", " ".repeat(MAX_DOCUMENT_BYTES), identity(statement));
    assert!(error(Kind::Identity, &long).contains("longer than"));
    assert!(error(Kind::Trust, "{").starts_with("This policy contains invalid Json"));
}

#[test]
fn trust_policies_have_principals_and_no_resources() {
    let cases: &[(&str, &str)] = &[
        (r#"{"Effect":"Allow","Action":"sts:AssumeRole"}"#, "Missing required field Principal"),
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{}}"#,
            "Missing required field Principal",
        ),
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*","Resource":"*"}"#,
            "Has prohibited field Resource",
        ),
        (
            r#"{"Effect":"Allow","Action":"s3:GetObject","Principal":"*"}"#,
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"codebuild"}}"#,
            "Invalid principal in policy: \"Service\":\"codebuild\"",
        ),
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111122223333:user/*"}}"#,
            "Invalid principal in policy: \"AWS\":\"arn:aws:iam::111122223333:user/*\"",
        ),
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"arn:aws:iam::111122223333:group/g"}}"#,
            "Invalid principal in policy",
        ),
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Aws":"*"}}"#,
            "Invalid principal in policy: \"Aws\":\"*\"",
        ),
        (
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"alice"}"#,
            "Principal must be \"*\" or an object",
        ),
    ];
    for (statement, expected) in cases {
        let found = error(Kind::Trust, &identity(statement));
        assert!(found.contains(expected), "{statement}\n found {found}\n expected {expected}");
    }
    let old = r#"{"Version":"2008-10-17","Statement":[{"Sid":"","Effect":"Allow",
        "Principal":{"Service":["codebuild.amazonaws.com","codepipeline.amazonaws.com"]},"Action":"sts:AssumeRole"}]}"#;
    assert_eq!(Policy::parse(Kind::Trust, old).map(|policy| policy.statements.len()), Ok(1));
}
