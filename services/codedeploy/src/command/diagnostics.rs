//! What agents say about a script. It comes from a host, so nothing about its form is taken for granted.

use crate::state::host::Diagnostics;
use serde::Deserialize;
use towpath_api_codedeploycommand::Envelope;

/// The payload of an acknowledgement.
#[derive(Deserialize)]
struct Acknowledgement {
    #[serde(rename = "IsCommandNoop", default)]
    is_command_noop: bool,
}

pub fn is_noop(envelope: Option<&Envelope>) -> bool {
    payload(envelope)
        .and_then(|text| serde_json::from_str::<Acknowledgement>(text).ok())
        .is_some_and(|told| told.is_command_noop)
}

fn payload(envelope: Option<&Envelope>) -> Option<&str> {
    envelope?.payload.as_deref()
}

/// The payload of a completion.
#[derive(Deserialize)]
struct Told {
    /// A number; AWS's agent falls back to a word when it cannot describe its own failure.
    error_code: serde_json::Value,
    #[serde(default)]
    script_name: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    log: Option<String>,
}

/// A completion without readable diagnostics is kept with a message that says so.
pub fn read(envelope: Option<&Envelope>, succeeded: bool) -> Diagnostics {
    let told = payload(envelope).and_then(|text| serde_json::from_str::<Told>(text).ok());
    let Some(told) = told else {
        let code = if succeeded { "Success" } else { "UnknownError" };
        return Diagnostics::new(code, "", "The agent gave no diagnostics that could be read.", "");
    };
    let code = match (succeeded, told.error_code.as_i64()) {
        (true, _) => "Success",
        (false, Some(1)) => "ScriptMissing",
        (false, Some(2)) => "ScriptNotExecutable",
        (false, Some(3)) => "ScriptTimedOut",
        (false, Some(4)) => "ScriptFailed",
        (false, _) => "UnknownError",
    };
    let text = |text: Option<String>| text.unwrap_or_default();
    Diagnostics::new(code, &text(told.script_name), &text(told.message), &text(told.log))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(payload: &str) -> Envelope {
        Envelope { format: Some("JSON".into()), payload: Some(payload.into()) }
    }

    #[test]
    fn codes_of_the_agent_become_those_of_the_api() {
        let of = |payload| read(Some(&envelope(payload)), false).error_code;
        assert_eq!(of(r#"{"error_code":1,"script_name":"a","message":"m","log":"l"}"#), "ScriptMissing");
        assert_eq!(of(r#"{"error_code":3}"#), "ScriptTimedOut");
        assert_eq!(of(r#"{"error_code":7}"#), "UnknownError");
        assert_eq!(of(r#"{"error_code":"Unknown","script_name":null}"#), "UnknownError");
        assert_eq!(of("no JSON"), "UnknownError");
        assert_eq!(read(None, true).error_code, "Success");
    }

    #[test]
    fn only_a_plain_true_is_a_noop() {
        assert!(is_noop(Some(&envelope(r#"{"IsCommandNoop":true}"#))));
        assert!(!is_noop(Some(&envelope(r#"{"IsCommandNoop":"true"}"#))));
        assert!(!is_noop(Some(&envelope("{}"))));
        assert!(!is_noop(None));
    }
}
