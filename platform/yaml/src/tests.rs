#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

fn read(text: &str) -> Result<Node, Error> {
    parse(text, Limits::default())
}

fn message(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

#[test]
fn keeps_the_text_and_the_place() {
    let node = read("version: 0.2\nphases:\n  build:\n    python: 3.10\n    on: yes\n").unwrap();
    let map = node.map("").unwrap();
    assert_eq!(map.text("version").unwrap(), Some("0.2"));
    let phases = map.required("phases").unwrap().map("phases").unwrap();
    let build = phases.required("build").unwrap().map("build").unwrap();
    assert_eq!(build.text("python").unwrap(), Some("3.10"));
    assert_eq!(build.boolean("on").unwrap(), Some(true));
    let python = build.get("python").unwrap();
    assert_eq!((python.line, python.column), (4, 13));
}

#[test]
fn block_scalars_and_quotes() {
    let node = read("a: |\n  one\n  two\nb: 'x: y'\nc: \"t\\tb\"\nd: >-\n  x\n  y\n").unwrap();
    let map = node.map("").unwrap();
    assert_eq!(map.text("a").unwrap(), Some("one\ntwo\n"));
    assert_eq!(map.text("b").unwrap(), Some("x: y"));
    assert_eq!(map.text("c").unwrap(), Some("t\tb"));
    assert_eq!(map.text("d").unwrap(), Some("x y"));
}

#[test]
fn unknown_keys_are_named_with_line_and_what_is_allowed() {
    let node = read("version: 0.2\nphase: {}\n").unwrap();
    let error = node.map("").unwrap().only(&["version", "phases"]).err().unwrap();
    assert_eq!(error.to_string(), "unknown key 'phase'; allowed: version, phases at line 2");
}

#[test]
fn types_are_checked_by_name() {
    let node = read("a: [1]\nb:\nc: maybe\nd: 1x\n").unwrap();
    let map = node.map("env").unwrap();
    assert_eq!(
        map.text("a").unwrap_err().to_string(),
        "expected env/a to be a string, found a list at line 1"
    );
    assert!(
        map.text("b").unwrap_err().to_string().starts_with("expected env/b to be a string, found nothing")
    );
    assert_eq!(
        map.boolean("c").unwrap_err().to_string(),
        "expected env/c to be yes or no, found 'maybe' at line 3"
    );
    assert!(map.integer("d").is_err());
    assert_eq!(map.required("e").unwrap_err().to_string(), "missing key 'e' at line 1");
    assert!(map.texts("c").is_err());
}

#[test]
fn duplicates_documents_and_tags_are_refused() {
    assert_eq!(message("a: 1\nb: 2\na: 3\n"), "duplicate key 'a' at line 3");
    assert!(message("a: 1\n---\nb: 2\n").starts_with("only one document"));
    assert!(message("a: !Ref x\n").starts_with("tag '!Ref' is not supported"));
    assert!(message("? [a]\n: 1\n").contains("a key must be"));
    assert_eq!(message(""), "the document is empty");
    assert_eq!(message("# nothing\n"), "the document is empty");
    assert!(message("a: [1\n").contains("line"));
    assert!(message("a: *nowhere\n").contains("line 1"));
}

#[test]
fn aliases_are_copies_and_merges_do_not_win() {
    let node = read("base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\n").unwrap();
    let more = node.map("").unwrap().required("more").unwrap().map("more").unwrap();
    assert_eq!(more.text("x").unwrap(), Some("1"));
    assert_eq!(more.text("y").unwrap(), Some("3"));
}

#[test]
fn bombs_end_early() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(",")));
    }
    assert!(message(&bomb).contains("too large"));

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), vec!["*a"; 1000].join(","));
    assert!(message(&long).contains("after aliases were expanded"));

    assert!(message("a: &a [*a]\n").contains("must not refer"));
    assert!(message(&"[".repeat(100_000)).contains("line"));
    let deep: String = (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(message(&deep).contains("nested deeper"));
    let limits = Limits { max_bytes: 10, ..Limits::default() };
    assert!(parse("a: 12345678901\n", limits).is_err());
}

#[test]
fn garbage_never_panics() {
    let pieces = [
        "a:",
        " - ",
        "&x ",
        "*x",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "|",
        ">",
        "'",
        "\"",
        "!!str ",
        "? ",
        "#",
        "\t",
        "\u{feff}",
        "\0",
        "é",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        ",",
        "<<: ",
    ];
    let mut seed = 1u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            text.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
        }
        let _ = read(&text);
    }
}
