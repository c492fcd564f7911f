//! Zips that mean harm, each beside a harmless sibling that is unpacked.
//!
//! <https://www.bamsoftware.com/hacks/zipbomb/> (overlaps), CVE-2024-0450 (CPython's answer to them),
//! <https://blog.pypi.org/posts/2025-08-07-wheel-archive-confusion-attacks/> (two readings of one archive),
//! <https://security.snyk.io/research/zip-slip-vulnerability> (names that climb).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::zips::{CENTRAL, LOCAL, Part, body, end, zip};
use common::{Case, Leaves, arrives, case, judge, open};
use towpath_archive::{Kind, Limits};

fn one(part: Part) -> Vec<u8> {
    zip(&[part])
}

fn good() -> Part {
    Part::stored("a", "A")
}

fn refuses_before_writing(cases: Vec<Case>) {
    judge(cases, Kind::Zip, &Limits::default(), Leaves::Nothing);
}

#[test]
fn names() {
    let named = |name: &str| one(Part::stored(name, "x"));
    let fat = |name: &str| one(Part::stored(name, "x").system(0));
    let deep = |depth: usize| "d/".repeat(depth) + "f";
    let long = "x".repeat(200);
    let path = |count: usize| vec![long.as_str(); count].join("/");
    let sibling = || named("a/b");
    refuses_before_writing(vec![
        case("climbs", named("../up"), "entry '../up' is refused: its path climbs out", named("..a/..b/...")),
        case("climbs from within", named("a/../../up"), "climbs out", named("a/./b")),
        case("comes back", named("a/../b"), "climbs out", sibling()),
        case("climbs as a folder", one(Part::stored("../", "")), "climbs out", one(Part::stored("a/", ""))),
        case("absolute", named("/etc/x"), "absolute", named("etc//x")),
        case("empty", named(""), "empty", sibling()),
        case("the archive's top as a file", named("."), "empty", one(Part::stored("./", ""))),
        case(
            "a zero byte",
            named("a\0b"),
            "entry 'a\\u{0}b' is refused: its name holds a zero byte",
            named("a\u{1}b"),
        ),
        case("a zero byte at the end", named("evil.sh\0.txt"), "zero byte", named("evil.sh.txt")),
        case("backslashes that climb", fat("..\\..\\up"), "climbs out", fat("d\\e\\f")),
        case("backslash at the start", fat("\\etc\\x"), "absolute", named("\\etc\\x")),
        case("a drive", fat("C:\\x"), "begins with a drive", named("C:\\x")),
        case("a drive with slashes", fat("c:/x"), "begins with a drive", named("c:/x")),
        case("too deep", named(&deep(128)), "deeper than 128", named(&deep(127))),
        case("too long", named(&path(21)), "longer than 4095 bytes", named(&path(20))),
    ]);
    let part = "x".repeat(256);
    let cases = vec![case("a long part", named(&part), "255 bytes", named(&part[..255]))];
    judge(cases, Kind::Zip, &Limits::default(), Leaves::Nothing);
    let bidi = open(&named("../a\u{202e}\u{1b}[31m\n"), None, &Limits::default()).result.unwrap_err();
    assert!(bidi.to_string().contains("'../a\\u{202e}\\u{1b}[31m\\n'"), "{bidi}");
}

#[test]
fn names_that_only_look_alike_are_different_files() {
    let parts = ["a", "A", "\u{e9}", "e\u{301}", "x\\y", "t ", "t."].map(|name| Part::stored(name, name));
    let expected = ["a", "A", "\u{e9}", "e\u{301}", "x\\y", "t ", "t."].map(|name| (name, name));
    arrives("look-alikes", &zip(&parts), Kind::Zip, &expected);
    // What a Windows program packed with backslashes arrives in folders.
    let parts = [Part::stored("d\\e\\f", "x").system(0), Part::stored("g\\", "").system(0)];
    arrives("backslashes", &zip(&parts), Kind::Zip, &[("d", "/"), ("d/e", "/"), ("d/e/f", "x"), ("g", "/")]);
    // A name in the writer's own code, and the same in Unicode.
    let field = |crc: u32| [&[1][..], &crc.to_le_bytes(), "\u{fc}".as_bytes()].concat();
    let mut crc = flate2::Crc::new();
    crc.update(b"#U00fc");
    let part = |crc| one(Part::stored("#U00fc", "x").extra(0x7075, &field(crc)));
    arrives("a Unicode path", &part(crc.sum()), Kind::Zip, &[("\u{fc}", "x")]);
    arrives("one of another name", &part(1), Kind::Zip, &[("#U00fc", "x")]);
}

#[test]
fn names_that_come_twice() {
    let pair = |first: Part, second: Part| zip(&[first, second]);
    let file = |name: &str| Part::stored(name, "x");
    let folder = |name: &str| Part::stored(name, "");
    let link = Part::link;
    let sibling = || pair(file("a"), file("b"));
    let cases = vec![
        case("the same", pair(file("a"), file("a")), "entry 'a' is refused: its name comes twice", sibling()),
        case("the same, spelt otherwise", pair(file("a/b"), file("a//./b")), "comes twice", sibling()),
        case("a link in a file's place", pair(file("a"), link("a", "b")), "comes twice", sibling()),
        case("a file in a link's place", pair(link("a", "b"), file("a")), "comes twice", sibling()),
        case(
            "through a link",
            pair(link("l", "d"), file("l/f")),
            "entry 'l/f' is refused: a symlink is on its path",
            pair(link("l", "d"), file("d/f")),
        ),
        case(
            "a folder over a link",
            pair(link("l", "d"), folder("l/")),
            "a symlink is on its path",
            sibling(),
        ),
        case("a file where a folder is", pair(file("d/f"), file("d")), "comes twice", sibling()),
        case(
            "a folder where a file is",
            pair(file("d"), file("d/f")),
            "is none",
            pair(folder("d/"), folder("d/")),
        ),
    ];
    judge(cases, Kind::Zip, &Limits::default(), Leaves::Something);
}

#[test]
fn links_and_special_files() {
    let entry = |mode: u32| one(Part::stored("x", "").mode(mode));
    let link = |target: &str| one(Part::link("d/l", target));
    let cases = vec![
        case("an absolute link", link("/etc/passwd"), "leads out", link("etc/passwd")),
        case("a climbing link", link("../../x"), "leads out", link("../x")),
        case("a link that climbs late", link("x/../../y"), "leads out", link("x/y")),
        case("an empty link", link(""), "leads nowhere", link(".")),
        case("a link with a zero byte", link("a\0b"), "leads nowhere", link("ab")),
        case("a link longer than paths are", link(&"x".repeat(4096)), "too long", link(&"x/".repeat(2000))),
        case("a character device", entry(0o020_666), "special file", entry(0o100_666)),
        case("a block device", entry(0o060_666), "special file", entry(0o100_666)),
        case("a pipe", entry(0o010_666), "special file", entry(0o100_666)),
        case("a socket", entry(0o140_666), "special file", entry(0o100_666)),
        case(
            "a folder with content",
            one(Part::stored("d/", "x")),
            "folder by its name",
            one(Part::stored("d/", "")),
        ),
        case(
            "a link that is called a folder",
            one(Part::link("d/", "")),
            "folder by its name",
            one(Part::stored("d/", "").mode(0o040_755)),
        ),
    ];
    judge(cases, Kind::Zip, &Limits::default(), Leaves::Something);
    let opened = open(&one(Part::stored("x", "").mode(0o106_755)), None, &Limits::default());
    assert_eq!(opened.mode("x"), 0o755, "no setuid bit");
}

#[test]
fn sizes_and_checksums_that_lie() {
    let zeros = vec![0; 10_000];
    let text = |size: u32| Part::deflated("z", &zeros).both(22, &size.to_le_bytes());
    let sibling = || one(Part::deflated("z", &zeros));
    let cases = vec![
        case("more than it says", one(text(9_999)), "entry 'z': it unpacks to more bytes", sibling()),
        case("nothing, it says", one(text(0)), "more bytes", sibling()),
        case("less than it says", one(text(10_001)), "cut off", sibling()),
        case("stored, more", one(good().both(22, &[0])), "more bytes", one(good())),
        case("stored, less", one(good().both(22, &[2])), "cut off", one(good())),
        case("a wrong checksum", one(good().both(14, &[1])), "entry 'a': its checksum is wrong", one(good())),
        case(
            "a link's wrong checksum",
            one(Part::link("l", "a").both(14, &[1])),
            "checksum",
            one(Part::link("l", "a")),
        ),
        case("no deflated data", one(Part::stored("a", "\x07oops").both(8, &[8])), "entry 'a'", one(good())),
        case(
            "data that nobody reads",
            {
                let mut part = Part::deflated("z", &zeros);
                part.data.extend(b"hidden");
                let packed = (part.data.len() as u32).to_le_bytes();
                one(part.both(18, &packed))
            },
            "end before the archive says",
            sibling(),
        ),
    ];
    judge(cases, Kind::Zip, &Limits::default(), Leaves::Something);
    let huge = Part::stored("a", "A").both(22, &[0xff, 0xff, 0xff, 0xff]);
    let wide = huge.extra(1, &u64::MAX.to_le_bytes());
    refuses_before_writing(vec![case(
        "beyond all bounds",
        one(wide),
        "more than 17179869184 bytes",
        one(good()),
    )]);
}

#[test]
fn bombs() {
    let zeros = vec![0; 64 << 10];
    let limits = Limits { max_entries: 3, max_bytes: 256 << 10, ..Limits::default() };
    let parts = |count: usize, size: usize| {
        let part = |number: usize| Part::deflated(number.to_string(), &zeros[..size]);
        zip(&(0..count).map(part).collect::<Vec<_>>())
    };
    let cases = vec![
        case("entries", parts(4, 1), "too large: more than 3 entries", parts(3, 1)),
        case(
            "bytes",
            zip(&[Part::deflated("0", vec![0; 256 << 10]), good()]),
            "with entry 'a' it unpacks to more than 262144 bytes",
            parts(3, 64 << 10),
        ),
    ];
    judge(cases, Kind::Zip, &limits, Leaves::Nothing);
    // 65 MiB of zeros are above the floor below which nobody cares, and DEFLATE makes them a thousand times smaller.
    let half = Part::deflated("h", vec![0; 33 << 20]);
    let two = zip(&[
        half.clone(),
        Part { local: half.local.clone(), ..half.clone() }.local(LOCAL, b"i").central(CENTRAL, b"i"),
    ]);
    refuses_before_writing(vec![case("ratio", two, "more than 250 times its size", zip(&[half]))]);
    // A bomb in an archive in an archive stays packed.
    let inner = zip(&[Part::stored("inner.zip", parts(4, 64 << 10))]);
    let opened = open(&inner, None, &limits);
    assert_eq!((opened.result.unwrap().entries, opened.tree.len()), (1, 1));
}

#[test]
fn entries_that_share_bytes() {
    let shared = |claimed_at| {
        zip(&[
            Part::deflated("a", "kernel"),
            Part { local: vec![], data: vec![], ..Part::deflated("a", "kernel").at(claimed_at) },
        ])
    };
    let other_name = {
        let twin = Part { local: vec![], data: vec![], ..Part::deflated("b", "kernel").at(0) };
        zip(&[Part::deflated("a", "kernel"), twin])
    };
    // Each entry's data are a stored block that quotes the next entry's header: one kernel, many files.
    let inner = Part::deflated("b", "kernel");
    let quoted = [&inner.local[..], &inner.data].concat();
    let quote = |data: &[u8]| {
        let length = data.len() as u16;
        [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), data].concat()
    };
    let block = [quote(&inner.local), inner.data.clone()].concat();
    let mut outer = Part::deflated("a", [&inner.local[..], b"kernel"].concat());
    outer.data = block;
    let packed = (outer.data.len() as u32).to_le_bytes();
    let outer = outer.both(18, &packed);
    let inner_at = (outer.local.len() + 5) as u32;
    let bomb = zip(&[outer.clone(), Part { local: vec![], data: vec![], ..inner.clone().at(inner_at) }]);
    let backwards = zip(&[Part::stored("a", "x").at(2), Part::stored("b", "y").at(0)]);
    let turned = {
        let (first, second) = (Part::stored("a", "x"), Part::stored("b", "y"));
        let (mut bytes, frame) = body(&[first.clone(), second.clone()]);
        bytes.truncate(frame.directory_at);
        let at = (first.local.len() + 1) as u32;
        bytes.extend(second.central(42, &at.to_le_bytes()).central);
        bytes.extend(first.central(42, &[0; 4]).central);
        bytes.extend(end(frame, b""));
        bytes
    };
    let into_directory = one(Part::stored("a", "x").both(18, &[40]));
    refuses_before_writing(vec![
        case(
            "one twice",
            shared(0),
            "entry 'a': it overlaps",
            zip(&[Part::deflated("a", "kernel"), Part::deflated("b", "kernel")]),
        ),
        case("one under two names", other_name, "overlaps", turned),
        case("a quoted overlap", bomb, "entry 'a': it overlaps", one(outer)),
        case("a header within a header", backwards, "has no header", one(Part::stored("a", quoted))),
        case("data that reach into the directory", into_directory, "overlaps", one(good())),
    ]);
}

#[test]
fn headers_that_disagree() {
    let sibling = || one(good());
    let streamed = Part::deflated("s", "streamed").streamed(true, false);
    let mut other_sum = streamed.clone();
    other_sum.after[4] ^= 1;
    refuses_before_writing(vec![
        case("names", one(good().local(LOCAL, b"b")), "entry 'a': its own header calls it 'b'", sibling()),
        case("sizes", one(good().local(22, &[9])), "another size or checksum", sibling()),
        case("packed sizes", one(good().local(18, &[9])), "another size or checksum", sibling()),
        case("checksums", one(good().local(14, &[9])), "another size or checksum", sibling()),
        case("methods", one(good().local(8, &[8])), "another compression", one(Part::deflated("a", "A"))),
        case("encryption", one(good().local(6, &[1])), "encryption", sibling()),
        case("the descriptor", one(other_sum), "what follows its content", one(streamed.clone())),
        case(
            "no descriptor",
            one(Part { after: vec![], ..streamed.clone() }),
            "what follows its content",
            one(streamed),
        ),
        case(
            "no header",
            zip(&[good(), Part::stored("b", "B").local(2, b"XX")]),
            "entry 'b': it has no header",
            sibling(),
        ),
        case(
            "two zip64 fields",
            one(good().extra(1, &[]).extra(1, &[])),
            "same extra field twice",
            one(good().extra(1, &[])),
        ),
        case(
            "a cut extra field",
            one(good().extra(9, b"12").local(LOCAL + 3, &[9]).central(CENTRAL + 3, &[9])),
            "cut off",
            one(good().extra(9, b"12")),
        ),
        case(
            "a short zip64 field",
            one(good().both(22, &[0xff; 4]).extra(1, &[0; 7])),
            "too short",
            one(good().both(22, &[0xff; 4]).extra(1, &1u64.to_le_bytes())),
        ),
    ]);
}

#[test]
fn what_cannot_be_read_is_told_by_name() {
    let method = |code: u8| one(good().both(8, &[code]));
    refuses_before_writing(vec![
        case(
            "encrypted",
            one(good().both(6, &[1])),
            "entry 'a' is encrypted: pack the archive without",
            one(good()),
        ),
        case("strongly encrypted", one(good().both(6, &[0x40])), "encrypted", one(good())),
        case("AES", one(good().both(6, &[1]).both(8, &[99])), "encrypted", one(good())),
        case(
            "Deflate64",
            method(9),
            "entry 'a' is refused: it is compressed by method 9 (Deflate64)",
            one(good()),
        ),
        case("bzip2", method(12), "bzip2", one(good())),
        case("LZMA", method(14), "LZMA", one(good())),
        case("zstd", method(93), "zstd", one(good())),
        case("xz", method(95), "xz", one(good())),
        case("unheard of", method(77), "method 77;", one(good())),
    ]);
}
