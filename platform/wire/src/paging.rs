//! Pagination tokens, sealed at the edge: a token that a client sends back is the one that it was given, for
//! the same operation and the same question, or it is refused with the operation's own error.
//!
//! A service writes into its token where to go on. Here that is wrapped together with a digest of it, of the
//! caller, the service, the operation and the other members of the input, so no service has to tell a token of
//! another listing, or one that was cut or changed, from its own. It is no signature: a token gives no right,
//! and whoever makes one up learns nothing that the same listing would not tell them.
//!
//! It holds no state, so tokens survive a restart and are good on every node. In-process callers see the
//! services' own tokens. A role's sessions share their tokens, for credentials are renewed between pages.
//!
//! A token is good for the question that it was given for:
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>

use sha2::{Digest, Sha256};
use towpath_api::model::{Kind, Operation, Service, ShapeId};
use towpath_api::{ApiError, Call, Caller, Name, Node, id};

/// A listing's token in its input, and what it is called in the output.
type Names = (&'static str, &'static [&'static str]);
const TOKENS: &[Names] = &[
    ("nextToken", &["nextToken"]),
    ("NextToken", &["NextToken"]),
    ("Marker", &["Marker"]),
    ("nextToken", &["nextForwardToken", "nextBackwardToken"]),
];
/// How many are wanted may differ from page to page.
const SIZES: &[&str] = &["maxResults", "MaxResults", "MaxItems", "limit"];
/// GetLogEvents goes both ways from one place, and may look at another span of time from there: its token is
/// good for its stream.
/// <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html>
const SPAN_OF_A_STREAM: &[&str] = &["startTime", "endTime", "startFromHead", "unmask"];
const DIGEST_BYTES: usize = 12;

/// What a listing's tokens are sealed with.
pub struct Seal {
    question: Sha256,
}

impl Seal {
    /// For one caller's question; `parts` are all that the question is made of.
    pub fn new(call: &Call, parts: &[&str]) -> Seal {
        let who = match &call.caller {
            Caller::Root { account } => account,
            Caller::User { id, .. } => id,
            Caller::Session { role_id, .. } => role_id,
        };
        let mut question = Sha256::new();
        for part in
            [&call.account, &call.region, who].into_iter().map(String::as_str).chain(parts.iter().copied())
        {
            question.update((part.len() as u64).to_be_bytes());
            question.update(part);
        }
        Seal { question }
    }

    /// Where to go on, as the token that a client is given.
    pub fn wrap(&self, inner: &str) -> String {
        id::base64_encode(&[&self.digest(inner), inner.as_bytes()].concat())
    }

    /// What was wrapped; nothing when this is not a token of this question, as it was given.
    pub fn unwrap(&self, token: &str) -> Option<String> {
        let wrapped = id::base64_decode(token)?;
        let (digest, inner) = wrapped.split_at_checked(DIGEST_BYTES)?;
        let inner = std::str::from_utf8(inner).ok()?;
        (digest == self.digest(inner)).then(|| inner.to_owned())
    }

    fn digest(&self, inner: &str) -> [u8; DIGEST_BYTES] {
        let hash = self.question.clone().chain_update(inner).finalize();
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(&hash[..DIGEST_BYTES]);
        digest
    }
}

/// What the tokens of one answer are sealed with.
pub struct Closing {
    seal: Seal,
    members: &'static [&'static str],
}

/// Opens the token of an input, where its operation has one. The seal is the answer's.
pub fn open(
    call: &Call,
    service: &'static Service,
    operation: &Operation,
    input: &mut Node,
) -> Result<Option<Closing>, ApiError> {
    let Some((member, members)) = token_members(service, operation) else { return Ok(None) };
    let sent = input.take(member);
    let seal = seal(call, service, operation, (member, members), input);
    if let (Some(token), Node::Map(entries)) = (sent.as_str(), &mut *input) {
        let inner = seal.unwrap(token).ok_or_else(|| refusal(service, operation))?;
        entries.retain(|(name, _)| name != member);
        entries.push((member.into(), Node::Str(inner)));
    }
    Ok(Some(Closing { seal, members }))
}

impl Closing {
    /// Seals the tokens of an output.
    pub fn close(&self, output: &mut Node) {
        let Node::Map(entries) = output else { return };
        for (name, value) in entries {
            if let (true, Some(token)) = (self.members.contains(&name.as_ref()), value.as_str()) {
                *value = Node::Str(self.seal.wrap(token));
            }
        }
    }
}

/// The token's names, when input and output have them.
fn token_members(service: &'static Service, operation: &Operation) -> Option<Names> {
    let has = |shape: Option<ShapeId>, name: &str| match shape.map(|shape| &service.shape(shape).kind) {
        Some(Kind::Structure { members, .. }) => members.iter().any(|member| member.name == name),
        _ => false,
    };
    TOKENS.iter().copied().find(|(name, told)| {
        has(operation.input, name) && told.iter().all(|told| has(operation.output, told))
    })
}

fn seal(call: &Call, service: &Service, operation: &Operation, (token, told): Names, input: &Node) -> Seal {
    let ignored = if told.contains(&token) { &[] } else { SPAN_OF_A_STREAM };
    let mut question: Vec<&(Name, Node)> = match input {
        Node::Map(entries) => entries
            .iter()
            .filter(|(name, value)| {
                let name = name.as_ref();
                name != token && !SIZES.contains(&name) && !ignored.contains(&name) && !value.is_null()
            })
            .collect(),
        _ => Vec::new(),
    };
    question.sort_by(|one, other| one.0.cmp(&other.0));
    // A node cannot fail to become JSON; if it did, the token would be refused.
    let question = serde_json::to_string(&question).unwrap_or_default();
    Seal::new(call, &[service.name, operation.name, &question])
}

/// The operation's own error for a token, else what the service answers to any wrong parameter.
fn refusal(service: &'static Service, operation: &Operation) -> ApiError {
    let declared = operation.errors.iter().map(|&error| service.shape(error).name);
    let modelled = declared.clone().find(|name| name.ends_with("TokenException"));
    let (code, message) = match (modelled, service.name) {
        (Some(code), _) => (code, "The next token was specified in an invalid format."),
        (None, "logs") => ("InvalidParameterException", "The specified nextToken is invalid."),
        (None, "codebuild") => ("InvalidInputException", "Invalid next token"),
        (None, "iam") => ("ValidationException", "Invalid Marker."),
        (None, _) => ("ValidationException", "The next token was specified in an invalid format."),
    };
    ApiError::client(code, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::sync::Arc;
    use towpath_api::{AuthzRequest, Gate, Timestamp};
    use towpath_api_codepipeline::MODEL;

    fn input(members: &[(&str, &str)]) -> Node {
        Node::Map(
            members
                .iter()
                .map(|(name, value)| ((*name).to_owned().into(), Node::Str((*value).into())))
                .collect(),
        )
    }

    struct Open;

    impl Gate for Open {
        fn check(&self, _: &AuthzRequest, _: &Call) -> Result<(), String> {
            Ok(())
        }
    }

    fn session_of(role_id: &str, session: &str) -> Call {
        Call {
            request_id: "r".into(),
            account: "000000000000".into(),
            region: "us-east-1".into(),
            at: Timestamp::from_millis(0),
            caller: Caller::Session {
                arn: format!("arn:aws:sts::000000000000:assumed-role/r/{session}"),
                role_arn: "arn:aws:iam::000000000000:role/r".into(),
                role_id: role_id.into(),
                session_name: session.into(),
            },
            source_ip: None,
            secure: false,
            gate: Arc::new(Open),
        }
    }

    fn opened_by(
        call: &Call,
        operation: &str,
        members: &[(&str, &str)],
    ) -> Result<(Node, Closing), ApiError> {
        let model = if operation.starts_with("GetLog") { &towpath_api_logs::MODEL } else { &MODEL };
        let mut node = input(members);
        let closing = open(call, model, model.operation(operation).unwrap(), &mut node)?;
        Ok((node, closing.unwrap()))
    }

    fn opened(operation: &str, members: &[(&str, &str)]) -> Result<Node, ApiError> {
        opened_by(&session_of("AROA1", "s"), operation, members).map(|(node, _)| node)
    }

    fn sealed(operation: &str, members: &[(&str, &str)], told: &str) -> String {
        let mut output = input(&[(told, "here")]);
        opened_by(&session_of("AROA1", "s"), operation, members).unwrap().1.close(&mut output);
        output.get(told).and_then(Node::as_str).unwrap().to_owned()
    }

    const ASKED: &[(&str, &str)] = &[("pipelineName", "p")];

    #[test]
    fn a_token_comes_back_as_it_was() {
        let token = sealed("ListPipelineExecutions", ASKED, "nextToken");
        let again = &[("nextToken", token.as_str()), ("pipelineName", "p"), ("maxResults", "7")];
        for session in ["s", "renewed"] {
            let call = session_of("AROA1", session);
            let (node, _) = opened_by(&call, "ListPipelineExecutions", again).unwrap();
            assert_eq!(node.get("nextToken"), Some(&Node::Str("here".into())));
        }
        let other = opened_by(&session_of("AROA2", "s"), "ListPipelineExecutions", again);
        assert_eq!(other.err().unwrap().code, "InvalidNextTokenException");
    }

    #[test]
    fn a_token_of_another_listing_or_question_is_refused() {
        let token = sealed("ListPipelineExecutions", ASKED, "nextToken");
        let refused = |operation: &str, name: &str, token: &str| {
            let refused = opened(operation, &[("pipelineName", name), ("nextToken", token)]);
            let error = refused.expect_err(&format!("{operation} {name} {token}"));
            assert_eq!(error.code, "InvalidNextTokenException");
        };
        refused("ListActionExecutions", "p", &token);
        refused("ListPipelineExecutions", "q", &token);
        refused("ListPipelineExecutions", "p", &"A".repeat(2048));
        for cut in 0..token.len() {
            refused("ListPipelineExecutions", "p", &token[..cut]);
            let other = if token.as_bytes()[cut] == b'A' { "B" } else { "A" };
            refused("ListPipelineExecutions", "p", &format!("{}{other}{}", &token[..cut], &token[cut + 1..]));
        }
    }

    #[test]
    fn a_streams_tokens_go_both_ways_over_any_span_of_that_stream_alone() {
        let stream = [("logGroupName", "g"), ("logStreamName", "s")];
        let forward = sealed("GetLogEvents", &stream, "nextForwardToken");
        assert_eq!(forward, sealed("GetLogEvents", &stream, "nextBackwardToken"));
        let with = |members: &[(&str, &str)]| {
            opened("GetLogEvents", &[members, &[("nextToken", &forward)]].concat())
        };
        assert!(
            with(&[stream.as_slice(), &[("startTime", "1"), ("startFromHead", "true")]].concat()).is_ok()
        );
        let other = with(&[("logGroupName", "g"), ("logStreamName", "t")]);
        assert_eq!(other.unwrap_err().code, "InvalidParameterException");
    }

    #[test]
    fn what_is_no_listing_has_no_seal() {
        let operation = MODEL.operation("PutApprovalResult").unwrap();
        assert!(
            open(&session_of("AROA1", "s"), &MODEL, operation, &mut input(&[("token", "x")]))
                .unwrap()
                .is_none()
        );
    }
}
