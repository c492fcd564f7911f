//! Tokens: a place to go on from, written so that it is opaque and survives everything but a change of
//! the request.

use crate::store::Position;
use towpath_api::{ApiError, id};
use towpath_api_logs::errors::invalid_parameter_exception;

pub(super) fn invalid() -> ApiError {
    invalid_parameter_exception("The specified nextToken is invalid.")
}

/// A text as a token.
pub(super) fn encode(text: &str) -> String {
    id::hex(text.as_bytes())
}

pub(super) fn decode(token: &str) -> Result<String, ApiError> {
    let digits = token.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 16_384 {
        return Err(invalid());
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)
}

/// GetLogEvents' token: a direction and a border between events, in the form `f/<56 digits>/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageToken {
    Forward(Position),
    Backward(Position),
}

impl PageToken {
    pub fn render(self) -> String {
        let (letter, border) = match self {
            PageToken::Forward(border) => ('f', border),
            PageToken::Backward(border) => ('b', border),
        };
        format!("{letter}/{:020}{:036}/s", border.time_ms, border.number)
    }

    pub fn parse(token: &str) -> Result<PageToken, ApiError> {
        let parse = || {
            let (letter, rest) = token.split_once('/')?;
            let digits = rest.strip_suffix("/s")?;
            if digits.len() != 56 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let (time, number) = digits.split_at(20);
            let border = Position { time_ms: time.parse().ok()?, number: number.parse().ok()? };
            match letter {
                "f" => Some(PageToken::Forward(border)),
                "b" => Some(PageToken::Backward(border)),
                _ => None,
            }
        };
        parse().ok_or_else(invalid)
    }
}
