//! How a command ended, as the service shows it.
//! <https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_Diagnostics.html>

use serde::{Deserialize, Serialize};

/// The protocol's bound on a payload, and AWS's on the log's tail.
const MAX_PAYLOAD_BYTES: usize = 8_192;
pub const MAX_LOG_BYTES: usize = 2_048;
const MAX_MESSAGE_BYTES: usize = 2_000;
const MAX_SCRIPT_BYTES: usize = 500;

/// The numbers are those of AWS's agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorCode {
    Success = 0,
    ScriptMissing = 1,
    ScriptNotExecutable = 2,
    ScriptTimedOut = 3,
    ScriptFailed = 4,
    UnknownError = 5,
    FailedAfterRestart = 7,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    pub code: ErrorCode,
    pub script: String,
    pub message: String,
    pub log: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded(Diagnostics),
    Failed(Diagnostics),
}

impl Diagnostics {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Diagnostics {
        Diagnostics { code, script: String::new(), message: message.into(), log: String::new() }
    }

    /// What goes over the wire, within the protocol's bound.
    pub fn payload(&self) -> String {
        let mut log = last_bytes(&self.log, MAX_LOG_BYTES);
        let message = first_bytes(&self.message, MAX_MESSAGE_BYTES);
        let script = first_bytes(&self.script, MAX_SCRIPT_BYTES);
        loop {
            let payload = serde_json::json!({
                "error_code": self.code as u8,
                "script_name": script,
                "message": message,
                "log": log,
            })
            .to_string();
            if payload.len() <= MAX_PAYLOAD_BYTES || log.is_empty() {
                return payload;
            }
            // Escapes made it longer than it looks.
            log = last_bytes(log, log.len() / 2);
        }
    }
}

/// The end of a text, cut at a character's border.
pub fn last_bytes(text: &str, most: usize) -> &str {
    let mut start = text.len().saturating_sub(most);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn first_bytes(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_payload_stays_within_the_protocols_bound() {
        let mut diagnostics = Diagnostics::new(ErrorCode::ScriptFailed, "é".repeat(5_000));
        diagnostics.log = "\u{1}".repeat(10_000);
        let payload = diagnostics.payload();
        assert!(payload.len() <= MAX_PAYLOAD_BYTES, "{}", payload.len());
        let read: serde_json::Value = serde_json::from_str(&payload).unwrap();
        assert_eq!(read["error_code"], 4);
        assert!(!read["log"].as_str().unwrap().is_empty());
    }

    #[test]
    fn the_log_keeps_its_end() {
        assert_eq!(last_bytes("aé", 1), "");
        assert_eq!(last_bytes("abc", 2), "bc");
    }
}
