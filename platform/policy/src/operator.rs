//! The names of condition operators.
//! Source: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>.

/// `ForAnyValue:StringNotLikeIfExists` taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    pub quantifier: Quantifier,
    pub test: Test,
    pub negated: bool,
    /// A missing key makes the condition true.
    pub if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    /// The key has one value.
    Single,
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    Text { wildcards: bool, ignore_case: bool },
    Number(Comparison),
    Date(Comparison),
    Bool,
    Binary,
    Address,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub fn holds(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => ordering.is_eq(),
            Comparison::Less => ordering.is_lt(),
            Comparison::LessOrEqual => ordering.is_le(),
            Comparison::Greater => ordering.is_gt(),
            Comparison::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Operator {
    /// `None` when there is no such operator. `Null` takes no `IfExists`.
    pub fn parse(name: &str) -> Option<Self> {
        let (quantifier, rest) = if let Some(rest) = name.strip_prefix("ForAllValues:") {
            (Quantifier::ForAllValues, rest)
        } else if let Some(rest) = name.strip_prefix("ForAnyValue:") {
            (Quantifier::ForAnyValue, rest)
        } else {
            (Quantifier::Single, name)
        };
        let (base, if_exists) = match rest.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (rest, false),
        };
        let (test, negated) = test(base)?;
        if test == Test::Null && (if_exists || quantifier != Quantifier::Single) {
            return None;
        }
        Some(Operator { quantifier, test, negated, if_exists })
    }
}

fn test(base: &str) -> Option<(Test, bool)> {
    const EXACT: Test = Test::Text { wildcards: false, ignore_case: false };
    const FOLDED: Test = Test::Text { wildcards: false, ignore_case: true };
    const LIKE: Test = Test::Text { wildcards: true, ignore_case: false };
    if let Some(name) = base.strip_prefix("Numeric") {
        return comparison(name).map(|(comparison, negated)| (Test::Number(comparison), negated));
    }
    if let Some(name) = base.strip_prefix("Date") {
        return comparison(name).map(|(comparison, negated)| (Test::Date(comparison), negated));
    }
    Some(match base {
        "StringEquals" => (EXACT, false),
        "StringNotEquals" => (EXACT, true),
        "StringEqualsIgnoreCase" => (FOLDED, false),
        "StringNotEqualsIgnoreCase" => (FOLDED, true),
        "StringLike" => (LIKE, false),
        "StringNotLike" => (LIKE, true),
        "Bool" => (Test::Bool, false),
        "BinaryEquals" => (Test::Binary, false),
        "IpAddress" => (Test::Address, false),
        "NotIpAddress" => (Test::Address, true),
        "ArnEquals" | "ArnLike" => (Test::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
        "Null" => (Test::Null, false),
        _ => return None,
    })
}

fn comparison(name: &str) -> Option<(Comparison, bool)> {
    Some(match name {
        "Equals" => (Comparison::Equal, false),
        "NotEquals" => (Comparison::Equal, true),
        "LessThan" => (Comparison::Less, false),
        "LessThanEquals" => (Comparison::LessOrEqual, false),
        "GreaterThan" => (Comparison::Greater, false),
        "GreaterThanEquals" => (Comparison::GreaterOrEqual, false),
        _ => return None,
    })
}
