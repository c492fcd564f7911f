//! Tars that mean harm, each beside a harmless sibling that is unpacked.
//!
//! CVE-2007-4559 (names that climb), CVE-2021-32803 and CVE-2025-4517 (through links), CVE-2026-33056 (rights
//! through a link).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::tars::{Block, blocks, file, gzip, record, tar, two};
use common::{Case, Leaves, arrives, case, judge, open};
use towpath_archive::{Kind, Limits};

fn refuses(cases: Vec<Case>) {
    judge(cases, Kind::Tar, &Limits::default(), Leaves::Something);
}

/// Of archives of one entry, which is refused before it is made.
fn refuses_all(cases: Vec<Case>) {
    judge(cases, Kind::Tar, &Limits::default(), Leaves::Nothing);
}

#[test]
fn names() {
    let named = |name: &str| tar(&[file(name)]);
    let long = |name: &str| two(Block::long_name(name).gnu(), file("short").gnu());
    let pax = |name: &str| two(Block::pax(&[("path", name)]), file("short"));
    let deep = |depth: usize| "d/".repeat(depth) + "f";
    let path = |count: usize| vec!["x".repeat(200); count].join("/");
    refuses_all(vec![
        case("climbs", named("../up"), "entry '../up' is refused: its path climbs out", named("..a/b")),
        case("climbs from within", named("a/../../up"), "climbs out", named("./a/./b")),
        case(
            "climbs by its prefix",
            tar(&[file("x").set(345, b"..")]),
            "climbs out",
            tar(&[file("x").set(345, b"a")]),
        ),
        case("absolute", named("/etc/x"), "absolute", named("etc//x")),
        case("empty", named(""), "empty", named("a")),
        case("the archive's top as a file", named("."), "empty", tar(&[Block::folder("./")])),
        case("climbs by a long name", long("../up"), "climbs out", long(&path(20))),
        case("a zero byte in a long name", long("a\0b"), "zero byte", long("ab")),
        case(
            "too long",
            two(Block::long_name(path(30)).gnu(), file("s").gnu()),
            "too large",
            long(&path(20)),
        ),
        case("climbs by pax", pax("../up"), "climbs out", pax("up")),
        case("absolute by pax", pax("/up"), "absolute", pax("u/p")),
        case("a zero byte by pax", pax("a\0b"), "zero byte", pax("a\u{1}b")),
        case("too long by pax", pax(&path(21)), "longer than 4095", pax(&path(20))),
        case("too deep by pax", pax(&deep(128)), "deeper than 128", pax(&deep(127))),
        case("a long part", pax(&"x".repeat(256)), "255 bytes", pax(&"x".repeat(255))),
    ]);
    let alike = ["a", "A", "\u{e9}", "e\u{301}", "x\\y", "C:x"];
    arrives("look-alikes", &tar(&alike.map(file)), Kind::Tar, &alike.map(|name| (name, "x")));
}

#[test]
fn names_that_come_twice() {
    let again = |name: &str| Block::file(name, "later");
    // As `tar --append` means it.
    arrives("a later file", &two(file("a"), again("a")), Kind::Tar, &[("a", "later")]);
    arrives(
        "a later link",
        &tar(&[file("a"), file("b"), Block::symlink("a", "b")]),
        Kind::Tar,
        &[("a", "-> b"), ("b", "x")],
    );
    let replaced = tar(&[file("a"), Block::symlink("l", "a"), again("l")]);
    arrives("a file in a link's place", &replaced, Kind::Tar, &[("a", "x"), ("l", "later")]);
    let parted = tar(&[file("a"), Block::hard_link("h", "a"), again("h")]);
    arrives("a file in a hard link's place", &parted, Kind::Tar, &[("a", "x"), ("h", "later")]);
    let sibling = || two(file("d"), file("e/f"));
    refuses(vec![
        case(
            "through a link",
            two(Block::symlink("l", "."), file("l/f")),
            "entry 'l/f' is refused: a symlink is on its path",
            sibling(),
        ),
        case(
            "a folder over a link",
            two(Block::symlink("l", "d"), Block::folder("l/")),
            "a symlink is on its path",
            sibling(),
        ),
        case(
            "a hard link through a link",
            tar(&[file("d/f"), Block::symlink("l", "d"), Block::hard_link("h", "l/f")]),
            "a symlink is on its path",
            sibling(),
        ),
        case("a folder where a file is", two(file("d"), file("d/f")), "is none", sibling()),
        case("a file where a folder is", two(file("d/f"), file("d")), "a folder of that name", sibling()),
        case(
            "a link where a folder is",
            two(file("d/f"), Block::symlink("d", "x")),
            "a folder of that name",
            sibling(),
        ),
    ]);
}

#[test]
fn links() {
    let symlink = |target: &str| tar(&[Block::symlink("d/l", target)]);
    let hard = |target: &str| two(file("d/f"), Block::hard_link("h", target));
    refuses(vec![
        case("an absolute link", symlink("/etc/passwd"), "leads out", symlink("etc/passwd")),
        case("a climbing link", symlink("../../x"), "leads out", symlink("../x")),
        case("a link that climbs late", symlink("x/../../y"), "leads out", symlink("x/y")),
        case("an empty link", symlink(""), "its link", symlink(".")),
        case(
            "a pax link that leads out",
            two(Block::pax(&[("linkpath", "../../x")]), Block::symlink("d/l", "x")),
            "leads out",
            two(Block::pax(&[("linkpath", "../x")]), Block::symlink("d/l", "x")),
        ),
        case("a hard link out", hard("../outside"), "its hard link leads out", hard("d/f")),
        case(
            "an absolute hard link",
            hard("/etc/passwd"),
            "entry 'h' is refused: its hard link leads out",
            hard("./d/f"),
        ),
        case(
            "a hard link to what is not there",
            hard("later"),
            "entry 'h' is refused: the file that it is a hard link to",
            hard("d/f"),
        ),
        case("a hard link to no folder", hard("no/such"), "does not come before it", hard("d/f")),
        case("a hard link to a folder", hard("d"), "no regular file", hard("d/f")),
        case(
            "a hard link to a link",
            tar(&[Block::symlink("l", "f"), Block::hard_link("h", "l")]),
            "no regular file",
            hard("d/f"),
        ),
    ]);
}

#[test]
fn special_files_and_bits() {
    let hard = |target: &str| two(file("d/f"), Block::hard_link("h", target));
    let kind = |kind: u8| tar(&[Block::new("x", kind, "")]);
    refuses(vec![
        case("a character device", kind(b'3'), "special file", kind(b'0')),
        case("a block device", kind(b'4'), "special file", kind(0)),
        case("a pipe", kind(b'6'), "special file", kind(b'7')),
        case(
            "another volume's rest",
            kind(b'M'),
            "special file",
            two(Block::new("label", b'V', ""), file("a")),
        ),
        case("a kind of no standard", kind(b'Z'), "special file", kind(b'0')),
        case(
            "a folder with content",
            tar(&[Block::new("d/", b'5', "x")]),
            "has content",
            tar(&[Block::folder("d/")]),
        ),
        case(
            "a link with content",
            tar(&[Block::new("l", b'2', "x").set(157, b"f")]),
            "has content",
            tar(&[Block::symlink("l", "f")]),
        ),
        case("an old folder with content", tar(&[file("d/")]), "has content", tar(&[Block::file("d/", "")])),
    ]);
    arrives(
        "no folder was made for a missing target",
        &hard("d/f"),
        Kind::Tar,
        &[("d", "/"), ("d/f", "x"), ("h", "x")],
    );
    let opened = open(&hard("no/such"), None, &Limits::default());
    assert!(!opened.tree.contains_key("no"), "{:?}", opened.tree);
    let opened = open(
        &tar(&[file("s").set(100, b"0006755"), Block::folder("d/").set(100, b"0001777"), file("d/f")]),
        None,
        &Limits::default(),
    );
    assert_eq!((opened.mode("s"), opened.mode("d")), (0o755, 0o777), "no special bits");
    let opened =
        open(&tar(&[Block::folder("d/").set(100, b"0000000"), file("d/f")]), None, &Limits::default());
    assert_eq!((opened.result.is_ok(), opened.mode("d")), (true, 0o700), "and nobody is locked out");
}

#[test]
fn sizes_that_lie() {
    let sized = |size: &[u8]| tar(&[file("a").says_size(size)]);
    let mut binary = [0u8; 12];
    binary[0] = 0x80;
    let with = |at: usize, value: u8| {
        let mut size = binary;
        (size[11], size[at]) = (1, value);
        sized(&size)
    };
    refuses(vec![
        case("more than there is", sized(b"00000002001"), "cut off", sized(b"00000000001")),
        case("far more", sized(b"77777777777"), "more than 250 times its size", sized(b"     000001")),
        case("no number", sized(b"0000000zzzz"), "no number", sized(b"1\0\0\0\0\0\0\0\0\0\0\0")),
        case("negative", with(0, 0xff), "negative or beyond", with(0, 0x80)),
        case("beyond all bounds", with(1, 1), "negative or beyond", with(0, 0x80)),
        case("most of all", with(4, 0xff), "more than 17179869184 bytes", with(0, 0x80)),
        case(
            "a wrong checksum",
            {
                let mut bytes = tar(&[file("a")]);
                bytes[0] = b'b';
                bytes
            },
            "checksum is wrong",
            tar(&[file("b")]),
        ),
    ]);
}

#[test]
fn bombs() {
    let limits = Limits { max_entries: 3, max_bytes: 1 << 20, ..Limits::default() };
    let entries = |count: usize| tar(&(0..count).map(|number| file(&number.to_string())).collect::<Vec<_>>());
    let sized = |size: usize| tar(&[Block::file("f", vec![b'x'; size])]);
    let cases = vec![
        case("entries", entries(4), "more than 3 entries", entries(3)),
        case(
            "bytes",
            sized((1 << 20) + 1),
            "with entry 'f' it unpacks to more than 1048576 bytes",
            sized(1 << 20),
        ),
    ];
    judge(cases, Kind::Tar, &limits, Leaves::Something);
    // Whoever copies the folder copies the file once for each of its names.
    let linked = |size: usize| {
        tar(&[Block::file("f", vec![b'x'; size]), Block::hard_link("g", "f"), Block::hard_link("h", "g")])
    };
    let (hostile, sibling) = (linked((1 << 20) / 3 + 1), linked((1 << 20) / 3));
    let later = |size: usize| {
        let full = Block::file("f", vec![b'x'; 1 << 19]);
        tar(&[full, Block::hard_link("g", "f"), Block::file("h", vec![b'x'; size])])
    };
    let second = case("a file after hard links", later(1), "with entry 'h' it unpacks to more", later(0));
    let cases = vec![
        second,
        case("hard links", hostile, "with entry 'h' it unpacks to more than 1048576 bytes", sibling),
    ];
    judge(cases, Kind::Tar, &limits, Leaves::Something);
    let headers =
        |count: usize, block: Block| gzip(&[blocks(&vec![block; count]), tar(&[file("a")])].concat());
    let global = || Block::new("g", b'g', record("comment", &"x".repeat(1 << 18)));
    let cases = vec![
        case(
            "gzip of a large file",
            gzip(&sized((1 << 20) + 1)),
            "unpacks to more than",
            gzip(&sized(1 << 20)),
        ),
        case("gzip of headers alone", headers(8, global()), "headers and fillings", headers(2, global())),
        case(
            "gzip of zeros after the end",
            gzip(&[tar(&[file("a")]), vec![0; 2 << 20]].concat()),
            "headers and fillings",
            gzip(&[tar(&[file("a")]), vec![0; 10 << 10]].concat()),
        ),
        case(
            "a long name without end",
            gzip(&two(Block::long_name(vec![b'x'; 4 << 20]).gnu(), file("a").gnu())),
            "too large",
            gzip(&two(Block::long_name("b").gnu(), file("a").gnu())),
        ),
    ];
    judge(cases, Kind::Tgz, &limits, Leaves::Something);
    // 65 MiB of zeros, packed a thousand times smaller.
    let (large, small) = (gzip(&sized(65 << 20)), gzip(&sized(60 << 20)));
    judge(
        vec![case("ratio", large, "more than 250 times its size", small)],
        Kind::Tgz,
        &Limits::default(),
        Leaves::Nothing,
    );
}

#[test]
fn ends() {
    let good = || tar(&[file("a")]);
    let zipped = || gzip(&good());
    let cut = |bytes: Vec<u8>, at: usize| bytes[..at].to_vec();
    refuses(vec![
        case("no end mark", blocks(&[file("a")]), "it has no end mark", good()),
        case("cut in a header", cut(good(), 100), "cut off", good()),
        case("cut in a content", cut(tar(&[Block::file("a", [b'x'; 600])]), 1000), "cut off", good()),
        case("cut in a padding", cut(good(), 600), "cut off", good()),
        case(
            "another archive after it",
            [good(), good()].concat(),
            "something comes after its end mark",
            [good(), vec![0; 9000]].concat(),
        ),
        case("one byte after it", [good(), vec![1]].concat(), "something comes after", good()),
        case("garbage", vec![b'x'; 2000], "checksum is wrong", good()),
        case(
            "xz that calls itself tar",
            [b"\xfd7zXZ\0".to_vec(), vec![0; 600]].concat(),
            "found xz-compressed data",
            good(),
        ),
        case("bzip2 that calls itself tar", b"BZh91AY&SY".to_vec(), "found bzip2-compressed data", good()),
        case("empty", Vec::new(), "found an empty file", tar(&[])),
    ]);
    let mut sum = zipped();
    let at = sum.len() - 8;
    sum[at] ^= 1;
    let parts = [gzip(&good()[..700]), gzip(&good()[700..])].concat();
    let cases = vec![
        case("a gzip that is cut", cut(zipped(), zipped().len() - 1), "cut off", zipped()),
        case("a gzip cut at half", cut(zipped(), 30), "cut off", zipped()),
        case("a gzip's wrong checksum", sum, "corrupt gzip", parts),
        case("something after the gzip", [zipped(), b"something".repeat(9)].concat(), "gzip", zipped()),
        case(
            "two archives in two gzips",
            [zipped(), zipped()].concat(),
            "something comes after its end mark",
            zipped(),
        ),
        case("a gzip of a zip", gzip(b"PK\x03\x04"), "cut off", zipped()),
        case("a gzip of nothing", gzip(b""), "cut off", gzip(&tar(&[]))),
    ];
    judge(cases, Kind::Tgz, &Limits::default(), Leaves::Something);
}
