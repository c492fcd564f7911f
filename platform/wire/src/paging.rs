//! Pagination tokens, sealed at the edge: a token that a client sends back is the one that it was given, for
//! the same operation and the same question, or it is refused with the operation's own error.
//!
//! A service writes into its token where to go on. Here that is wrapped together with a digest of the
//! service, the operation and the other members of the input, so no service has to tell a token of another
//! listing, or one that was cut or changed, from its own. It is no signature: a token gives no right, and
//! whoever makes one up learns nothing that the same listing would not tell them.
//!
//! It holds no state, so tokens survive a restart and are good on every node. In-process callers see the
//! services' own tokens.
//!
//! A token is good for the question that it was given for:
//! <https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html>

use sha2::{Digest, Sha256};
use towpath_api::model::{Kind, Operation, Service, ShapeId};
use towpath_api::{ApiError, Node, id};

/// Members that are a token in an operation's input and output alike.
const TOKENS: &[&str] = &["nextToken", "NextToken", "Marker"];
/// How many are wanted may differ from page to page.
const SIZES: &[&str] = &["maxResults", "MaxResults", "MaxItems", "limit"];
const DIGEST_BYTES: usize = 12;

/// What an answer's token is sealed with.
pub struct Seal {
    member: &'static str,
    digest: [u8; DIGEST_BYTES],
}

/// Opens the token of an input, where its operation has one. The seal is the answer's.
pub fn open(
    service: &'static Service,
    operation: &Operation,
    input: &mut Node,
) -> Result<Option<Seal>, ApiError> {
    let Some(member) = token_member(service, operation) else { return Ok(None) };
    let sent = input.take(member);
    let seal = Seal { member, digest: digest(service, operation, member, input) };
    if let (Some(token), Node::Map(entries)) = (sent.as_str(), &mut *input) {
        let inner = seal.unwrap(token).ok_or_else(|| refusal(service, operation))?;
        entries.retain(|(name, _)| name != member);
        entries.push((member.to_owned(), Node::Str(inner)));
    }
    Ok(Some(seal))
}

impl Seal {
    /// Seals the token of an output.
    pub fn close(&self, output: &mut Node) {
        let Node::Map(entries) = output else { return };
        for (name, value) in entries {
            if let (true, Some(token)) = (name == self.member, value.as_str()) {
                let wrapped = [&self.digest, token.as_bytes()].concat();
                *value = Node::Str(id::base64_encode(&wrapped));
            }
        }
    }

    fn unwrap(&self, token: &str) -> Option<String> {
        let wrapped = id::base64_decode(token)?;
        let inner = wrapped.strip_prefix(&self.digest)?;
        String::from_utf8(inner.to_vec()).ok()
    }
}

/// The token's name, when input and output have the same one.
fn token_member(service: &'static Service, operation: &Operation) -> Option<&'static str> {
    let has = |shape: Option<ShapeId>, name: &str| match shape.map(|shape| &service.shape(shape).kind) {
        Some(Kind::Structure { members, .. }) => members.iter().any(|member| member.name == name),
        _ => false,
    };
    TOKENS.iter().copied().find(|name| has(operation.input, name) && has(operation.output, name))
}

fn digest(service: &Service, operation: &Operation, token: &str, input: &Node) -> [u8; DIGEST_BYTES] {
    let mut question: Vec<&(String, Node)> = match input {
        Node::Map(entries) => entries
            .iter()
            .filter(|(name, value)| name != token && !SIZES.contains(&name.as_str()) && !value.is_null())
            .collect(),
        _ => Vec::new(),
    };
    question.sort_by(|one, other| one.0.cmp(&other.0));
    let mut hash = Sha256::new();
    hash.update(format!("{}:{}", service.name, operation.name));
    for (name, value) in question {
        // A node cannot fail to become JSON; if it did, the token would be refused.
        hash.update(serde_json::to_vec(&(name, value)).unwrap_or_default());
    }
    let mut digest = [0; DIGEST_BYTES];
    digest.copy_from_slice(&hash.finalize()[..DIGEST_BYTES]);
    digest
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use towpath_api_codepipeline::MODEL;

    fn input(members: &[(&str, &str)]) -> Node {
        Node::Map(
            members.iter().map(|(name, value)| ((*name).to_owned(), Node::Str((*value).into()))).collect(),
        )
    }

    fn opened(operation: &str, members: &[(&str, &str)]) -> Result<(Node, Option<Seal>), ApiError> {
        let mut node = input(members);
        let seal = open(&MODEL, MODEL.operation(operation).unwrap(), &mut node)?;
        Ok((node, seal))
    }

    fn sealed(operation: &str, members: &[(&str, &str)], token: &str) -> String {
        let mut output = input(&[("nextToken", token)]);
        opened(operation, members).unwrap().1.unwrap().close(&mut output);
        output.get("nextToken").and_then(Node::as_str).unwrap().to_owned()
    }

    #[test]
    fn a_token_comes_back_as_it_was() {
        let token = sealed("ListPipelineExecutions", &[("pipelineName", "p")], "here");
        let again = &[("nextToken", token.as_str()), ("pipelineName", "p")];
        let (node, _) = opened("ListPipelineExecutions", again).unwrap();
        assert_eq!(node.get("nextToken"), Some(&Node::Str("here".into())));
    }

    #[test]
    fn a_token_of_another_listing_or_question_is_refused() {
        let token = sealed("ListPipelineExecutions", &[("pipelineName", "p")], "here");
        for (operation, name, token) in [
            ("ListActionExecutions", "p", token.clone()),
            ("ListPipelineExecutions", "q", token.clone()),
            ("ListPipelineExecutions", "p", token.replacen(&token[..1], "z", 1)),
            ("ListPipelineExecutions", "p", token[..token.len() - 4].to_owned() + "!!!!"),
            ("ListPipelineExecutions", "p", String::new()),
        ] {
            let refused = opened(operation, &[("pipelineName", name), ("nextToken", &token)]);
            assert_eq!(
                refused.err().unwrap().code,
                "InvalidNextTokenException",
                "{operation} {name} {token}"
            );
        }
    }

    #[test]
    fn what_is_no_listing_has_no_seal() {
        assert!(opened("PutApprovalResult", &[("token", "x")]).unwrap().1.is_none());
    }
}
