//! What a tar says of an entry beside its header: long names, pax records, maps of sparse files.
//!
//! GHSA-j5gw-2vrg-8fgx and GHSA-3cv2-h65g-fgmm: sizes in pax headers, two readings of one archive.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::tars::{Block, file, record, tar, two};
use common::{Case, Leaves, arrives, case, judge};
use towpath_archive::{Kind, Limits};

fn refuses(cases: Vec<Case>) {
    judge(cases, Kind::Tar, &Limits::default(), Leaves::Something);
}

/// Of archives of one entry, which is refused before it is made.
fn refuses_all(cases: Vec<Case>) {
    judge(cases, Kind::Tar, &Limits::default(), Leaves::Nothing);
}

#[test]
fn names_said_twice() {
    let pax = |records: &[(&str, &str)]| two(Block::pax(records), file("a"));
    let sibling = || pax(&[("mtime", "1.5"), ("comment", "\u{fc}")]);
    let long = || Block::long_name("a").gnu();
    refuses_all(vec![
        case(
            "two names",
            two(Block::pax(&[("path", "a"), ("path", "b")]), file("c")),
            "said twice",
            sibling(),
        ),
        case(
            "two long names",
            tar(&[long(), long(), file("a").gnu()]),
            "said twice",
            tar(&[long(), file("a").gnu()]),
        ),
        case(
            "a long name and a pax name",
            tar(&[long(), Block::pax(&[("path", "b")]), file("a")]),
            "said twice",
            sibling(),
        ),
        case(
            "two pax headers",
            tar(&[Block::pax(&[("mtime", "1")]), Block::pax(&[("atime", "1")]), file("a")]),
            "two extended headers",
            sibling(),
        ),
        case(
            "a pax header of nothing",
            tar(&[Block::pax(&[("mtime", "1")])]),
            "entry that is not there",
            sibling(),
        ),
        case(
            "a long name of nothing",
            tar(&[long()]),
            "entry that is not there",
            tar(&[long(), file("a").gnu()]),
        ),
    ]);
}

#[test]
fn sizes_in_extended_headers() {
    let pax = |records: &[(&str, &str)]| two(Block::pax(records), file("a"));
    // The size in the pax header would be the long name's, for a reader that takes it so.
    let shifted = |size: &str| {
        let hidden = Block::file("hidden", "x").bytes();
        tar(&[Block::pax(&[("size", size)]), Block::long_name("n"), Block::file("f", &hidden)])
    };
    refuses_all(vec![
        case(
            "a size that is none",
            pax(&[("size", "-1")]),
            "a number in an extended header is none",
            pax(&[("size", "1")]),
        ),
        case(
            "a size with a sign",
            pax(&[("size", "+1")]),
            "a number in an extended header is none",
            pax(&[("size", "1")]),
        ),
        case(
            "a size beyond all bounds",
            pax(&[("size", "99999999999999999999")]),
            "is none",
            pax(&[("size", "1")]),
        ),
        case(
            "a larger size",
            pax(&[("size", "18446744073709551615")]),
            "more than 17179869184",
            pax(&[("size", "1")]),
        ),
    ]);
    arrives(
        "a size for the entry, not for its name",
        &shifted("1024"),
        Kind::Tar,
        &[("n", &String::from_utf8(Block::file("hidden", "x").bytes()).unwrap())],
    );
    // With the size that the pax header says, what follows is the next entry for every reader.
    let follows = two(Block::pax(&[("size", "0")]), Block::file("a", Block::file("b", "").bytes()));
    arrives("a smaller size", &follows, Kind::Tar, &[("a", ""), ("b", "")]);
}

#[test]
fn records() {
    let pax = |records: &[(&str, &str)]| two(Block::pax(records), file("a"));
    let raw = |records: &str| two(Block::new("x", b'x', records), file("a"));
    let global = |records: &[(&str, &str)]| {
        let text: String = records.iter().map(|(key, value)| record(key, value)).collect();
        two(Block::new("g", b'g', text), file("a"))
    };
    refuses_all(vec![
        case("a record that is too long", raw("99 path=b\n"), "not as it should be", raw("10 path=b\n")),
        case("one that is too short", raw("3 path=b\n"), "not as it should be", raw("10 path=b\n")),
        case("one without length", raw("path=b\n"), "extended header", raw("10 path=b\n")),
        case("one of length zero", raw("0 path=b\n"), "not as it should be", raw("10 path=b\n")),
        case("one without equals", raw("10 path b\n"), "not as it should be", raw("10 path=b\n")),
        case(
            "a global name",
            global(&[("path", "b")]),
            "a global header",
            global(&[("comment", "0123abcd")]),
        ),
        case(
            "a global size",
            global(&[("size", "0")]),
            "a global header",
            global(&[("comment", "0123abcd")]),
        ),
        case(
            "more than a megabyte",
            pax(&[("comment", &"x".repeat(1 << 20))]),
            "an extended header of",
            pax(&[("comment", &"x".repeat(1 << 19))]),
        ),
    ]);
}

#[test]
fn sparse_files() {
    let number = |number: u64| format!("{number:011o}\0");
    let old = |pieces: &[(u64, u64)], real: u64, content: &str| {
        let mut block = Block::new("s", b'S', content).gnu();
        for (index, (offset, length)) in pieces.iter().enumerate() {
            block = block.set(386 + index * 24, format!("{}{}", number(*offset), number(*length)).as_bytes());
        }
        tar(&[block.set(483, number(real).as_bytes())])
    };
    let new = |version: (&str, &str), real: &str, map: &str, content: &str| {
        let records = [
            ("GNU.sparse.major", version.0),
            ("GNU.sparse.minor", version.1),
            ("GNU.sparse.name", "s"),
            ("GNU.sparse.realsize", real),
        ];
        let padded = format!("{map:\0<512}{content}");
        two(Block::pax(&records), Block::file("GNUSparseFile.0/s", padded))
    };
    let one = ("1", "0");
    arrives("old", &old(&[(2, 1), (4, 0)], 4, "x"), Kind::Tar, &[("s", "\0\0x\0")]);
    arrives("new", &new(one, "4", "2\n2\n1\n4\n0\n", "x"), Kind::Tar, &[("s", "\0\0x\0")]);
    let good = || new(one, "4", "1\n2\n1\n", "x");
    refuses(vec![
        case(
            "pieces out of order",
            old(&[(2, 1), (1, 1)], 4, "xy"),
            "out of order",
            old(&[(1, 1), (2, 1)], 4, "xy"),
        ),
        case(
            "pieces that overlap",
            old(&[(0, 2), (1, 1)], 4, "xyz"),
            "out of order",
            old(&[(0, 2), (2, 1)], 4, "xyz"),
        ),
        case("beyond the file", old(&[(4, 1)], 4, "x"), "does not fit", old(&[(3, 1)], 4, "x")),
        case("more pieces than content", old(&[(0, 2)], 4, "x"), "does not fit", old(&[(0, 1)], 4, "x")),
        case("more content than pieces", old(&[(0, 1)], 4, "xy"), "does not fit", old(&[(0, 2)], 4, "xy")),
        case("larger than all bounds", old(&[], 0o77777777777, ""), "times its size", old(&[], 1 << 20, "")),
        case(
            "new: larger than all bounds",
            new(one, "18446744073709551615", "0\n", ""),
            "more than 17179869184",
            good(),
        ),
        case("new: beyond the file", new(one, "2", "1\n2\n1\n", "x"), "does not fit", good()),
        case("new: out of order", new(one, "9", "2\n2\n1\n1\n1\n", "xy"), "out of order", good()),
        case("new: no map", new(one, "9", "hello\n", "x"), "is none", good()),
        case("new: a map without end", new(one, "9", "99\n1\n1\n", "x"), "is no map", good()),
        case("new: a line without end", new(one, "9", &"1".repeat(512), "x"), "no map", good()),
        case("another format", new(("0", "1"), "4", "1\n2\n1\n", "x"), "pack it without --sparse", good()),
        case(
            "pieces in the header",
            two(Block::pax(&[("GNU.sparse.map", "0,1")]), file("s")),
            "pack it without --sparse",
            good(),
        ),
    ]);
}
