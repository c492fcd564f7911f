//! Scalars as text: in forms, headers, query strings and XML.

use std::fmt::Write;
use towpath_api::model::{Kind, Shape, TimeFormat};
use towpath_api::{Bytes, Node, Timestamp, id};

/// Why a text is not of its shape; completed with the path by the caller.
pub type ScalarError = String;

pub fn parse(text: &str, shape: &Shape, format: TimeFormat) -> Result<Node, ScalarError> {
    let invalid =
        |what: &str| format!("'{}' is not a valid {what}", text.chars().take(100).collect::<String>());
    match &shape.kind {
        Kind::String { .. } => Ok(Node::Str(text.to_owned())),
        Kind::Integer { .. } => {
            text.parse::<i32>().map(|value| Node::Int(value.into())).map_err(|_| invalid("integer"))
        }
        Kind::Long { .. } => text.parse::<i64>().map(Node::Int).map_err(|_| invalid("long")),
        Kind::Float | Kind::Double => parse_float(text).map(Node::Float).ok_or_else(|| invalid("number")),
        Kind::Boolean => match text {
            "true" => Ok(Node::Bool(true)),
            "false" => Ok(Node::Bool(false)),
            _ => Err(invalid("boolean")),
        },
        Kind::Blob { .. } => id::base64_decode(text)
            .map(|bytes| Node::Blob(Bytes::from(bytes)))
            .ok_or_else(|| "the value is not valid base64".to_owned()),
        Kind::Timestamp { .. } => {
            parse_time(text, format).map(Node::Time).ok_or_else(|| invalid("timestamp"))
        }
        Kind::Structure { .. } | Kind::List { .. } | Kind::Map { .. } => {
            Err(format!("a value was found where {} begins", shape.name))
        }
    }
}

/// What Rust's own parser takes beyond AWS's (`inf`, `nan`) is refused; AWS's names are taken.
pub fn parse_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|value: &f64| value.is_finite()),
    }
}

pub fn parse_time(text: &str, format: TimeFormat) -> Option<Timestamp> {
    match format {
        TimeFormat::Iso8601 => Timestamp::parse_iso8601(text).or_else(|| parse_epoch(text)),
        TimeFormat::Epoch => parse_epoch(text),
        TimeFormat::Rfc822 => parse_http_date(text),
    }
}

fn parse_epoch(text: &str) -> Option<Timestamp> {
    text.parse().ok().and_then(time_from_seconds)
}

/// Seconds since the epoch, within the years 0 to 9999.
pub fn time_from_seconds(seconds: f64) -> Option<Timestamp> {
    (-62_167_219_200.0..253_402_300_800.0).contains(&seconds).then(|| Timestamp::from_seconds(seconds))
}

/// `Fri, 20 Nov 2026 10:11:12 GMT`, also with a fraction of a second.
fn parse_http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let (day, month, year, time) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let zone = words.next()?;
    (zone == "GMT" || zone == "+0000").then_some(())?;
    Timestamp::parse_iso8601(&format!("{year}-{month:02}-{day:0>2}T{time}Z"))
}

pub fn write_time(out: &mut String, at: Timestamp, format: TimeFormat) {
    match format {
        TimeFormat::Iso8601 => out.push_str(&at.to_iso8601()),
        TimeFormat::Rfc822 => out.push_str(&at.to_http_date()),
        TimeFormat::Epoch => write_epoch(out, at),
    }
}

/// Seconds with as many decimals as there are; written from the integer, so that nothing is rounded.
pub fn write_epoch(out: &mut String, at: Timestamp) {
    let millis = at.as_millis();
    let (seconds, fraction) = (millis / 1000, millis.unsigned_abs() % 1000);
    let sign = if millis < 0 && seconds == 0 { "-" } else { "" };
    // Writing to a String cannot fail.
    let _ = match fraction {
        0 => write!(out, "{seconds}"),
        _ => write!(out, "{sign}{seconds}.{fraction:03}"),
    };
}

pub fn write_float(out: &mut String, value: f64) {
    let _ = match value {
        _ if value.is_nan() => write!(out, "NaN"),
        f64::INFINITY => write!(out, "Infinity"),
        f64::NEG_INFINITY => write!(out, "-Infinity"),
        _ => write!(out, "{value:?}"),
    };
}

/// The text of a scalar; `None` when it does not fit the shape.
pub fn write(out: &mut String, node: &Node, shape: &Shape, format: TimeFormat) -> Option<()> {
    match (&shape.kind, node) {
        (Kind::String { .. }, Node::Str(text)) => out.push_str(text),
        (Kind::Integer { .. } | Kind::Long { .. } | Kind::Float | Kind::Double, Node::Int(value)) => {
            let _ = write!(out, "{value}");
        }
        (Kind::Float | Kind::Double, Node::Float(value)) => write_float(out, *value),
        (Kind::Boolean, Node::Bool(value)) => out.push_str(if *value { "true" } else { "false" }),
        (Kind::Blob { .. }, Node::Blob(bytes)) => out.push_str(&id::base64_encode(bytes)),
        (Kind::Timestamp { .. }, Node::Time(at)) => write_time(out, *at, format),
        _ => return None,
    }
    Some(())
}

/// The format of a timestamp: the member's own, else the shape's, else the protocol's.
pub fn time_format(member: Option<TimeFormat>, shape: &Shape, protocol: TimeFormat) -> TimeFormat {
    member.unwrap_or(match shape.kind {
        Kind::Timestamp { format: Some(format) } => format,
        _ => protocol,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(millis: i64, format: TimeFormat) -> String {
        let mut out = String::new();
        write_time(&mut out, Timestamp::from_millis(millis), format);
        out
    }

    #[test]
    fn times_in_all_formats_travel_both_ways() {
        for millis in [0, 1_700_000_000_123, -1, -1500, 1_700_000_000_000] {
            for format in [TimeFormat::Iso8601, TimeFormat::Epoch] {
                let at = parse_time(&text(millis, format), format);
                assert_eq!(at, Some(Timestamp::from_millis(millis)), "{}", text(millis, format));
            }
        }
        assert_eq!(text(1_700_000_000_123, TimeFormat::Epoch), "1700000000.123");
        assert_eq!(text(-1, TimeFormat::Epoch), "-0.001");
        let date = text(1_700_000_000_000, TimeFormat::Rfc822);
        assert_eq!(date, "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(parse_time(&date, TimeFormat::Rfc822), Some(Timestamp::from_millis(1_700_000_000_000)));
    }

    #[test]
    fn floats_that_are_no_numbers() {
        assert!(parse_float("NaN").is_some_and(f64::is_nan));
        assert_eq!(parse_float("-Infinity"), Some(f64::NEG_INFINITY));
        assert_eq!(parse_float("inf"), None);
        assert_eq!(parse_float("1e999"), None);
    }

    #[test]
    fn times_outside_of_the_calendar_are_refused() {
        assert_eq!(parse_time("1e18", TimeFormat::Epoch), None);
        assert_eq!(time_from_seconds(f64::NAN), None);
    }
}
