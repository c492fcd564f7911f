//! IAM's quotas. Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>.

pub const USERS: usize = 5000;
pub const GROUPS: usize = 300;
pub const ROLES: usize = 1000;
pub const POLICIES: usize = 1500;
pub const GROUPS_PER_USER: usize = 10;
pub const ATTACHED_POLICIES: usize = 10;
pub const ACCESS_KEYS_PER_USER: usize = 2;
pub const CREDENTIALS_PER_SERVICE: usize = 2;
pub const VERSIONS_PER_POLICY: usize = 5;
pub const TAGS: usize = 50;

/// Characters without white space.
pub const MANAGED_POLICY_SIZE: usize = 6144;
pub const TRUST_POLICY_SIZE: usize = 2048;

/// Bytes of session policies and their ARNs that a session token may carry.
pub const PACKED_POLICY_BYTES: usize = 4096;
pub const SESSION_POLICY_ARNS: usize = 10;

pub const DEFAULT_PAGE: usize = 100;

pub const SESSION_SECONDS_DEFAULT: i64 = 3600;
pub const SESSION_SECONDS_MIN: i64 = 900;
pub const CHAINED_SESSION_SECONDS_MAX: i64 = 3600;
pub const USER_SESSION_SECONDS_DEFAULT: i64 = 43_200;
pub const USER_SESSION_SECONDS_MAX: i64 = 129_600;
pub const ROOT_SESSION_SECONDS_MAX: i64 = 3600;

/// Resolved principals kept in memory.
pub const CACHED_CREDENTIALS: usize = 10_000;
/// Keys and roles whose last use waits to be written.
pub const PENDING_USES: usize = 100_000;
