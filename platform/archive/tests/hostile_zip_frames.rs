//! Zips whose frame misleads: end records, directories, what stands before, between and after the entries.
//!
//! <https://blog.pypi.org/posts/2025-08-07-wheel-archive-confusion-attacks/>

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::zips::{Frame, Part, body, end, end64, zip, zip_ending};
use common::{Case, Leaves, arrives, case, judge, open};
use towpath_archive::{ArchiveError, Kind, Limits};

fn one(part: Part) -> Vec<u8> {
    zip(&[part])
}

fn good() -> Part {
    Part::stored("a", "A")
}

/// Both are there, and all that is said of places is true; the directory has only the second.
fn zip_of_the_second(first: Part, second: Part) -> Vec<u8> {
    let (mut bytes, frame) = body(&[first.clone(), second.clone()]);
    bytes.drain(frame.directory_at..frame.directory_at + first.central.len());
    let directory_bytes = second.central.len();
    bytes.extend(end(Frame { entries: 1, directory_bytes, ..frame }, b""));
    bytes
}

fn refuses_before_writing(cases: Vec<Case>) {
    judge(cases, Kind::Zip, &Limits::default(), Leaves::Nothing);
}

#[test]
fn frames() {
    let whole = one(good());
    let cut = |bytes: usize| whole[..whole.len() - bytes].to_vec();
    let comment = |comment: &[u8]| zip_ending(&[good()], |frame, _| end(frame, comment));
    let hidden_end = |frame: Frame, comment: &[u8]| {
        let other = Frame { entries: 0, directory_at: 0, directory_bytes: 0 };
        end(frame, &[b"see: ", &end(other, comment)[..]].concat())
    };
    let two = || zip(&[good(), Part::stored("b", "B")]);
    refuses_before_writing(vec![
        case("cut in its end", cut(1), "cut off", whole.clone()),
        case("without its end", cut(22), "no end record", whole.clone()),
        case("cut in its content", whole[..31].to_vec(), "no end record", whole.clone()),
        case("something after it", [&whole[..], b"x"].concat(), "put after it", comment(b"hello")),
        case("another archive after it", [whole.clone(), two()].concat(), "put before its entries", two()),
        case(
            "another archive before it",
            [two(), whole.clone()].concat(),
            "put before its entries",
            whole.clone(),
        ),
        case(
            "an end in the comment",
            zip_ending(&[good()], |frame, _| hidden_end(frame, b"")),
            "bytes more than its end record says",
            comment(b"PK"),
        ),
        case(
            "a longer end in the comment",
            zip_ending(&[good()], |frame, _| hidden_end(frame, b"..")),
            "bytes more than its end record says",
            comment(b"PK\x05"),
        ),
        case(
            "a mark in the comment",
            comment(b"PK\x05\x06, which others take for the end"),
            "does not end where",
            comment(b"PK\x05 \x06"),
        ),
    ]);
    arrives("empty", &zip(&[]), Kind::Zip, &[]);
    arrives("filled up with zeros", &[whole, vec![0; 9000]].concat(), Kind::Zip, &[("a", "A")]);
    arrives("a comment", &comment(&[b'x'; 65_535]), Kind::Zip, &[("a", "A")]);
    let empty = open(b"", Some(Kind::Zip), &Limits::default()).result.unwrap_err();
    assert_eq!(empty.to_string(), "expected a zip archive, found an empty file");
}

#[test]
fn directories() {
    let whole = one(good());
    let changed = |change: fn(&mut Frame)| {
        zip_ending(&[good(), Part::stored("b", "B")], |mut frame, _| {
            change(&mut frame);
            end(frame, b"")
        })
    };
    let two = || zip(&[good(), Part::stored("b", "B")]);
    let split = |at: usize| {
        let mut bytes = whole.clone();
        let end = bytes.len() - 22;
        bytes[end + at] = 1;
        bytes
    };
    refuses_before_writing(vec![
        case("an entry more", changed(|frame| frame.entries = 3), "more entries than its directory", two()),
        case("an entry less", changed(|frame| frame.entries = 1), "more entries", two()),
        case(
            "entries without end",
            changed(|frame| frame.entries = 60_000),
            "more entries than its directory",
            two(),
        ),
        case(
            "a directory too early",
            changed(|frame| frame.directory_at -= 1),
            "put before its entries",
            two(),
        ),
        case("a directory beyond", changed(|frame| frame.directory_at += 1), "beyond itself", two()),
        case("a split archive", split(4), "split over several files", whole.clone()),
        case("a directory elsewhere", split(6), "split over several files", whole.clone()),
        case("a gap", one(good().after(b"hidden")), "belongs to none", one(good())),
        case(
            "an unlisted entry before all",
            zip_of_the_second(good(), Part::stored("b", "B")),
            "put before its first entry",
            two(),
        ),
        case(
            "an unlisted entry",
            {
                let hidden = Part::stored("h", "x");
                one(good().after(&[hidden.local, hidden.data].concat()))
            },
            "belongs to none",
            two(),
        ),
    ]);
}

#[test]
fn wide_frames() {
    let wide = |change: fn(&mut Vec<u8>)| {
        zip_ending(&[good()], |frame, at| {
            let mut end = end64(frame, at);
            change(&mut end);
            end
        })
    };
    let sibling = || wide(|_| {});
    refuses_before_writing(vec![
        case(
            "another count in the old record",
            wide(|end| end[86..88].copy_from_slice(&[7, 0])),
            "contradict",
            sibling(),
        ),
        case("another size", wide(|end| end[88..92].copy_from_slice(&[7, 0, 0, 0])), "contradict", sibling()),
        case(
            "another place",
            wide(|end| end[92..96].copy_from_slice(&[7, 0, 0, 0])),
            "contradict",
            sibling(),
        ),
        case("a locator that points elsewhere", wide(|end| end[64] ^= 1), "zip64 end record", sibling()),
        case("one that points beyond", wide(|end| end[64..72].fill(0xff)), "zip64 end record", sibling()),
        case("a record of another length", wide(|end| end[4] = 45), "zip64 end record", sibling()),
        case("entries beyond all bounds", wide(|end| end[24..40].fill(0xff)), "more entries", sibling()),
        case("a directory beyond all bounds", wide(|end| end[40..56].fill(0xff)), "beyond itself", sibling()),
    ]);
    let streamed = |marked, wide| Part::deflated("s", "streamed").streamed(marked, wide);
    for (marked, wide) in [(true, false), (false, false), (true, true), (false, true)] {
        arrives(
            "a descriptor",
            &zip(&[streamed(marked, wide), good()]),
            Kind::Zip,
            &[("a", "A"), ("s", "streamed")],
        );
    }
}

#[test]
fn other_formats_are_called_by_their_names() {
    let told = |head: &[u8], kind| {
        open(&[head, &[0; 600]].concat(), kind, &Limits::default()).result.unwrap_err().to_string()
    };
    for (head, name) in [
        (&b"\xfd7zXZ\0"[..], "xz-compressed"),
        (b"BZh9", "bzip2-compressed"),
        (b"\x28\xb5\x2f\xfd", "zstd-compressed"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"Rar!", "a RAR archive"),
        (b"MZ", "self-extracting"),
        (b"#!/bin/sh", "something else"),
    ] {
        assert!(told(head, None).contains(name), "{name}");
        assert!(told(head, Some(Kind::Zip)).starts_with("expected a zip archive, found "), "{name}");
    }
    assert!(told(b"BZh9", Some(Kind::Tar)).contains("bzip2"), "and is no tar of the oldest kind");
    assert!(matches!(open(b"hello", None, &Limits::default()).result, Err(ArchiveError::UnknownKind(_))));
}
