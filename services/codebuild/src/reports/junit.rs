//! JUnit's XML, as the many tools write it that are not JUnit. Document types are refused, so there is no
//! entity to expand; depth, names and messages are bounded.
//!
//! There is no normative schema; this follows what CodeBuild's guide shows:
//! <https://docs.aws.amazon.com/codebuild/latest/userguide/test-report-junit.html>.

use super::{
    Case, CaseStatus, MAX_CASES, MAX_DURATION_NS, MAX_MESSAGE_BYTES, MAX_NAME_BYTES, ReportError, cut,
};
use quick_xml::Reader;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};

const MAX_DEPTH: usize = 64;
const MAX_DURATION_SECONDS: f64 = MAX_DURATION_NS as f64 / 1e9;

/// The cases of one file, at most [`MAX_CASES`]; whether some were left out.
pub fn parse(file: &str, text: &str) -> Result<(Vec<Case>, bool), ReportError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader::from_str(text);
    let mut parser =
        Parser { file, depth: 0, suites: Vec::new(), open: None, cases: Vec::new(), truncated: false };
    loop {
        let event = reader.read_event().map_err(|error| ReportError::Malformed {
            file: file.to_owned(),
            position: reader.error_position(),
            reason: error.to_string(),
        })?;
        match event {
            Event::Start(element) => parser.start(&element, false)?,
            Event::Empty(element) => {
                parser.start(&element, true)?;
                parser.end();
            }
            Event::End(_) => parser.end(),
            Event::Text(text) => parser.text(&text),
            Event::CData(data) => parser.text(&data),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(character)) => parser.text(character.encode_utf8(&mut [0; 4])),
                _ => match resolve_predefined_entity(&reference) {
                    Some(text) => parser.text(text),
                    None => return Err(ReportError::Doctype { file: file.to_owned() }),
                },
            },
            Event::DocType(_) => return Err(ReportError::Doctype { file: file.to_owned() }),
            Event::Eof if parser.depth == 0 && parser.seen_root() => {
                return Ok((parser.cases, parser.truncated));
            }
            Event::Eof => {
                return Err(ReportError::Malformed {
                    file: file.to_owned(),
                    position: text.len() as u64,
                    reason: "the file ends too early".to_owned(),
                });
            }
            _ => {}
        }
    }
}

struct Parser<'a> {
    file: &'a str,
    depth: usize,
    /// Names of the open suites; the first is `<testsuites>` or the root suite.
    suites: Vec<Option<String>>,
    open: Option<OpenCase>,
    cases: Vec<Case>,
    truncated: bool,
}

struct OpenCase {
    case: Case,
    /// Depth of the `<testcase>`; a result element is one deeper.
    depth: usize,
    /// Inside `<failure>`, `<error>` or `<skipped>`: its text is the message, after the attribute.
    in_result: bool,
}

impl Parser<'_> {
    fn seen_root(&self) -> bool {
        !self.suites.is_empty()
    }

    fn start(&mut self, element: &BytesStart, empty: bool) -> Result<(), ReportError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ReportError::TooDeep { file: self.file.to_owned(), limit: MAX_DEPTH });
        }
        let local = element.local_name();
        let name = local.as_ref();
        if self.depth == 1 && self.suites.is_empty() && name != "testsuites" && name != "testsuite" {
            let root = cut(name, 60);
            return Err(ReportError::NotJunit { file: self.file.to_owned(), root });
        }
        match name {
            "testsuites" if self.depth == 1 => self.suites.push(None),
            "testsuite" if self.open.is_none() => {
                self.suites.push(attribute(element, "name", MAX_NAME_BYTES));
            }
            "testcase" if self.open.is_none() => self.open_case(element),
            "failure" | "error" | "skipped" => self.result(name, element, empty),
            _ => {}
        }
        Ok(())
    }

    fn open_case(&mut self, element: &BytesStart) {
        let seconds =
            attribute(element, "time", 64).and_then(|text| text.replace(',', "").parse::<f64>().ok());
        let seconds = seconds.filter(|seconds| (0.0..MAX_DURATION_SECONDS).contains(seconds)).unwrap_or(0.0);
        let case = Case {
            name: attribute(element, "name", MAX_NAME_BYTES).unwrap_or_default(),
            prefix: attribute(element, "classname", MAX_NAME_BYTES),
            suite: self.suites.iter().rev().flatten().next().cloned(),
            status: CaseStatus::Succeeded,
            duration_ns: (seconds * 1e9).round() as i64,
            message: None,
            file: self.file.to_owned(),
        };
        self.open = Some(OpenCase { case, depth: self.depth, in_result: false });
    }

    fn result(&mut self, name: &str, element: &BytesStart, empty: bool) {
        let Some(open) = self.open.as_mut().filter(|open| open.depth + 1 == self.depth) else { return };
        open.case.status = match name {
            "failure" => CaseStatus::Failed,
            "error" => CaseStatus::Error,
            _ => CaseStatus::Skipped,
        };
        if let Some(message) = attribute(element, "message", MAX_MESSAGE_BYTES) {
            append(&mut open.case.message, &message);
        }
        open.in_result = !empty;
    }

    fn text(&mut self, text: &str) {
        if let Some(open) = self.open.as_mut().filter(|open| open.in_result) {
            append(&mut open.case.message, text);
        }
    }

    fn end(&mut self) {
        if let Some(open) = self.open.as_mut() {
            if open.depth + 1 == self.depth {
                open.in_result = false;
            }
            if open.depth == self.depth
                && let Some(mut open) = self.open.take()
            {
                open.case.message = open.case.message.map(|text| text.trim().to_owned());
                open.case.message = open.case.message.filter(|text| !text.is_empty());
                if self.cases.len() < MAX_CASES {
                    self.cases.push(open.case);
                } else {
                    self.truncated = true;
                }
            }
        }
        self.depth = self.depth.saturating_sub(1);
    }
}

fn append(message: &mut Option<String>, text: &str) {
    let message = message.get_or_insert_default();
    let room = MAX_MESSAGE_BYTES.saturating_sub(message.len());
    message.push_str(&cut(text, room));
}

/// An attribute's text. One that cannot be read is as good as absent.
fn attribute(element: &BytesStart, name: &str, max_bytes: usize) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok().flatten()?;
    let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
    Some(cut(value.trim(), max_bytes)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn reads_what_pytest_writes() {
        let text = r#"<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.5">
<testcase classname="tests.test_a" name="test_ok[a &lt; b]" time="0.123" />
<testcase classname="tests.test_a" name="test_bad" time="0.001"><failure message="assert 1 == 2">def f():
&gt;   assert &#49; == 2</failure></testcase>
<testcase classname="tests.test_a" name="test_err"><error message="boom"><![CDATA[<trace>]]></error></testcase>
<testcase classname="tests.test_a" name="test_skip"><skipped type="pytest.skip" message="no network"/><system-out>noise</system-out></testcase>
</testsuite></testsuites>"#;
        let (cases, truncated) = parse("report.xml", text).unwrap();
        assert!(!truncated);
        let shown: Vec<_> = cases.iter().map(|case| format!("{} {}", case.name, case.status)).collect();
        assert_eq!(
            shown,
            ["test_ok[a < b] SUCCEEDED", "test_bad FAILED", "test_err ERROR", "test_skip SKIPPED"]
        );
        assert_eq!(cases[0].duration_ns, 123_000_000);
        assert_eq!(cases[0].suite.as_deref(), Some("pytest"));
        assert!(cases[1].message.as_deref().unwrap().contains(">   assert 1 == 2"));
        assert_eq!(cases[2].message.as_deref(), Some("boom<trace>"));
        assert_eq!(cases[3].message.as_deref(), Some("no network"));
    }

    #[test]
    fn hostile_files_are_refused() {
        let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite>&b;</testsuite>"#;
        assert!(matches!(parse("x", bomb), Err(ReportError::Doctype { .. })));
        let undefined = "<testsuite><testcase name='a'><failure>&b;</failure></testcase></testsuite>";
        assert!(parse("x", undefined).is_err());
        assert!(matches!(parse("x", "<html></html>"), Err(ReportError::NotJunit { .. })));
        for text in ["", "<testsuite>", "<testsuite></x>", "not xml", "<testsuite a='<'>"] {
            assert!(parse("x", text).is_err(), "{text}");
        }
        let deep = format!("<testsuite>{}", "<a>".repeat(1000));
        assert!(matches!(parse("x", &deep), Err(ReportError::TooDeep { .. })));
        let long = format!("<testsuite><testcase name='{}'/></testsuite>", "n".repeat(100_000));
        assert_eq!(parse("x", &long).unwrap().0[0].name.len(), MAX_NAME_BYTES);
        let odd = "<testsuite><testcase name='a' time='NaN'/><testcase name='b' time='1e300'/></testsuite>";
        assert!(parse("x", odd).unwrap().0.iter().all(|case| case.duration_ns == 0));
        let many = format!("<testsuite>{}</testsuite>", "<testcase name='a'/>".repeat(MAX_CASES + 1));
        assert_eq!(
            parse("x", &many).map(|(cases, truncated)| (cases.len(), truncated)).unwrap(),
            (MAX_CASES, true)
        );
    }
}
