//! Against ciborium, and what a hostile body tries.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::protocol::codec_tests::whole;
use crate::test_model::{SERVICE, THING};
use ciborium::value::Value;

fn read(body: &[u8]) -> Result<Node, String> {
    decode(&SERVICE, THING, body).map_err(|error| error.message)
}

fn foreign(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

fn thing(name: &str, value: Value) -> Vec<u8> {
    foreign(&Value::Map(vec![(Value::Text(name.into()), value)]))
}

#[test]
fn travels_both_ways() {
    let bytes = encode(&SERVICE, THING, &whole()).unwrap();
    assert_eq!(read(&bytes).unwrap(), whole());
}

#[test]
fn ciborium_reads_what_we_write() {
    let bytes = encode(&SERVICE, THING, &whole()).unwrap();
    let value: Value = ciborium::from_reader(&bytes[..]).unwrap();
    let map = value.into_map().unwrap();
    let get =
        |name: &str| map.iter().find(|(key, _)| key.as_text() == Some(name)).map(|(_, value)| value).unwrap();
    assert_eq!(get("Size"), &Value::from(-5_000_000_000i64));
    assert_eq!(get("Content"), &Value::Bytes(vec![0, 255]));
    assert_eq!(get("At"), &Value::Tag(1, Box::new(Value::Float(1_700_000_000.123))));
    assert_eq!(get("IsoAt"), &Value::Tag(1, Box::new(Value::from(1_700_000_000i64))));
}

#[test]
fn we_read_what_ciborium_writes() {
    let at = |seconds: f64| thing("At", Value::Tag(1, Box::new(Value::Float(seconds))));
    assert_eq!(
        read(&at(1_700_000_000.123)).unwrap().get("At"),
        Some(&Node::Time(Timestamp::from_millis(1_700_000_000_123)))
    );
    // Small floats come in half precision.
    assert_eq!(read(&thing("Ratio", Value::Float(1.5))).unwrap().get("Ratio"), Some(&Node::Float(1.5)));
    assert_eq!(read(&thing("Ratio", Value::from(-3))).unwrap().get("Ratio"), Some(&Node::Float(-3.0)));
    assert_eq!(read(&thing("Size", Value::from(i64::MIN))).unwrap().get("Size"), Some(&Node::Int(i64::MIN)));
    assert_eq!(read(&thing("Name", Value::Null)).unwrap(), Node::Map(vec![]));
    let unknown =
        Value::Map(vec![(Value::Text("x".into()), Value::Array(vec![Value::Tag(9, Box::new(Value::Null))]))]);
    assert_eq!(read(&thing("Nope", unknown)).unwrap(), Node::Map(vec![]));
}

#[test]
fn indefinite_lengths() {
    // {_ "Names": [_ (_ "a", "b"), "c"]}
    let body = b"\xbf\x65Names\x9f\x7f\x61a\x61b\xff\x61c\xff\xff";
    let names = Node::List(vec![Node::Str("ab".into()), Node::Str("c".into())]);
    assert_eq!(read(body).unwrap().get("Names"), Some(&names));
}

#[test]
fn type_errors_name_the_path() {
    let message = read(&thing("Count", Value::Text("1".into()))).unwrap_err();
    assert_eq!(message, "A text can not be converted to Count at 'Count'");
    let message = read(&thing("Names", Value::Array(vec![Value::from(1)]))).unwrap_err();
    assert_eq!(message, "A number can not be converted to Name at 'Names[0]'");
    assert!(read(&thing("Count", Value::from(3_000_000_000i64))).is_err());
    assert!(read(&thing("At", Value::Float(1.0))).is_err(), "a time needs its tag");
}

#[test]
fn hostile_bodies_are_refused() {
    for body in [
        &b"\xa1"[..],                                        // a map that ends
        b"\xa1\x64Name\x7b\xff\xff\xff\xff\xff\xff\xff\xff", // a text of 2^64 bytes
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",             // a list of 2^64 items where a structure goes
        b"\xa1\x65Names\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xa0\x00",                  // bytes after the end
        b"\xa1\x01\x02",              // a key that is no text
        b"\xa1\x64Name\x61\xff",      // not UTF-8
        b"\xa1\x64Name\x7f\x41a\xff", // a byte string within a text
        b"\xa1\x64Name\xff",          // a break alone
        b"\x1c",
    ] {
        assert!(read(body).is_err(), "{body:x?} was taken");
    }
    let deep = [b"\xa1\x64Nope".to_vec(), b"\x81".repeat(100_000)].concat();
    assert!(read(&deep).unwrap_err().contains("deeper"));
}
