//! Why a document is no policy. Each text begins with the sentence that IAM gives, so that scripts which
//! look for it find it; where IAM's sentence does not say what is wrong, ours follows.

/// A document that IAM would answer with `MalformedPolicyDocument`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("Syntax errors in policy. {0}")]
    Syntax(String),
    #[error("This policy contains invalid Json: {0}")]
    InvalidJson(String),
    #[error("Policy document must be version 2012-10-17 or greater.")]
    Version,
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    DuplicateSid,
    #[error(
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
    )]
    SidCharacters,
    #[error("Policy statement must contain actions.")]
    NoActions,
    #[error("Policy statement must contain resources.")]
    NoResources,
    #[error("Policy document should not specify a principal.")]
    PrincipalNotAllowed,
    #[error("Missing required field Principal")]
    PrincipalMissing,
    #[error("Has prohibited field {0}")]
    ProhibitedField(&'static str),
    #[error("Invalid principal in policy: \"{kind}\":\"{value}\"")]
    InvalidPrincipal { kind: String, value: String },
    #[error("AssumeRole policy may only specify STS AssumeRole actions.")]
    TrustActions,
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc. \"{0}\" is not.")]
    NoVendor(String),
    #[error("Actions/Condition can contain only one colon. \"{0}\" has more.")]
    SeveralColons(String),
    #[error("Vendor {0} is not valid")]
    Vendor(String),
    #[error("Resource {0} must be in ARN format or \"*\".")]
    ResourceFormat(String),
    #[error("Partition \"{partition}\" is not valid for resource \"{resource}\".")]
    Partition { partition: String, resource: String },
    #[error("Resource vendor must be fully qualified and cannot contain regexes.")]
    ResourceVendor,
    #[error("IAM resource {0} cannot contain region information.")]
    IamRegion(String),
    #[error("Resource {0} can not contain region information.")]
    S3Region(String),
    #[error(
        "IAM resource path must either be \"*\" or start with user/, federated-user/, role/, group/, instance-profile/, mfa/, server-certificate/, policy/, sms-mfa/, saml-provider/, oidc-provider/, report/, access-report/."
    )]
    IamPath,
    #[error("Invalid Condition type : {0}.")]
    ConditionType(String),
    #[error("The policy failed legacy parsing: {0}")]
    Legacy(String),
}
