#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

fn scratch() -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::open(folder.path()).unwrap();
    (folder, root)
}

fn reopen(mut file: File) -> File {
    use std::io::Seek;
    file.rewind().unwrap();
    file
}

/// A tar made byte by byte, because the `tar` crate itself refuses to write hostile names.
fn raw_tar(entries: &[(&str, u8, &str, &[u8])]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    for (name, kind, link, content) in entries {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0004755");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[148..156].copy_from_slice(b"        ");
        header[156] = *kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..263].copy_from_slice(b"ustar\0");
        header[263..265].copy_from_slice(b"00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        file.write_all(&header).unwrap();
        file.write_all(content).unwrap();
        file.write_all(&vec![0; (512 - content.len() % 512) % 512]).unwrap();
    }
    file.write_all(&[0; 1024]).unwrap();
    reopen(file)
}

fn untar(entries: &[(&str, u8, &str, &[u8])]) -> (tempfile::TempDir, Result<Summary, ArchiveError>) {
    let (folder, root) = scratch();
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).unwrap();
    drop(root);
    let result = unpack(raw_tar(entries), None, &Root::open(&inside).unwrap(), &Limits::default());
    (folder, result)
}

#[test]
fn good_archives_arrive_whole() {
    for kind in [Kind::Zip, Kind::Tar, Kind::Tgz] {
        let (source, _root) = scratch();
        fs::create_dir(source.path().join("bin")).unwrap();
        fs::write(source.path().join("bin/run"), "#!/bin/sh\n").unwrap();
        let entries = || {
            vec![
                Entry {
                    name: "bin/run".into(),
                    content: Content::Beneath {
                        root: Arc::new(Root::open(source.path()).unwrap()),
                        path: "bin/run".into(),
                        follow: Follow::No,
                        executable: true,
                    },
                },
                Entry { name: "a.txt".into(), content: Content::Bytes(b"hello".to_vec()) },
                Entry { name: "empty".into(), content: Content::Folder },
                Entry { name: "bin/link".into(), content: Content::Symlink { target: "../a.txt".into() } },
            ]
        };
        let mut first = tempfile::tempfile().unwrap();
        let packed = pack(kind, entries(), &mut first).unwrap();
        let mut second = tempfile::tempfile().unwrap();
        assert_eq!(pack(kind, entries(), &mut second).unwrap(), packed, "deterministic");
        let (target, into) = scratch();
        let summary = unpack(reopen(first), None, &into, &Limits::default()).unwrap();
        assert_eq!((summary.kind, summary.entries), (kind, 4));
        assert_eq!(fs::read_to_string(target.path().join("bin/link")).unwrap(), "hello");
        assert!(target.path().join("empty").is_dir());
        let mode = fs::metadata(target.path().join("bin/run")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        assert!(matches!(
            unpack(
                reopen(second),
                Some(if kind == Kind::Zip { Kind::Tar } else { Kind::Zip }),
                &into,
                &Limits::default()
            ),
            Err(ArchiveError::WrongKind { .. })
        ));
    }
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../evil", "/etc/evil", "a/../../evil", "a/.."] {
        let (folder, result) = untar(&[(name, b'0', "", b"x")]);
        assert!(result.unwrap_err().is_refusal(), "{name}");
        assert!(!folder.path().join("evil").exists());
    }
    let (folder, root) = scratch();
    let mut file = tempfile::tempfile().unwrap();
    pack(Kind::Zip, vec![Entry { name: "../evil".into(), content: Content::Bytes(vec![1]) }], &mut file)
        .unwrap();
    assert!(unpack(reopen(file), None, &root, &Limits::default()).unwrap_err().is_refusal());
    assert!(!folder.path().parent().unwrap().join("evil").exists());
}

#[test]
fn links_that_lead_out_are_refused() {
    for target in ["/etc", "../..", "../../x", "x/../../..", ""] {
        assert!(untar(&[("d/l", b'2', target, b"")]).1.is_err(), "{target}");
    }
    // `p/d` leads to the shallow `x`, so `p/d/../..` would be above the root.
    let (_, result) = untar(&[
        ("x/keep", b'0', "", b"1"),
        ("p/q/d", b'2', "../../x", b""),
        ("evil", b'2', "p/q/d/../..", b""),
    ]);
    assert!(result.unwrap_err().is_refusal());
    assert!(untar(&[("hard", b'1', "../outside", b"")]).1.is_err());
    assert!(untar(&[("l", b'2', "f", b""), ("hard", b'1', "l", b"")]).1.is_err());
    // A good one, as the control.
    assert!(
        untar(&[("d/f", b'0', "", b"1"), ("d/e/l", b'2', "../f", b""), ("h", b'1', "d/f", b"")]).1.is_ok()
    );
}

#[test]
fn links_may_lead_anywhere_where_only_a_sandbox_follows_them() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let packed = |entries: Vec<(&str, Content)>| {
        let mut file = tempfile::tempfile().unwrap();
        let entries = entries.into_iter().map(|(name, content)| Entry { name: name.into(), content });
        pack(Kind::Zip, entries.collect(), &mut file).unwrap();
        reopen(file)
    };
    let link = || Content::Symlink { target: target.into() };
    let (folder, root) = scratch();
    let root = root.with_links_anywhere();
    unpack(packed(vec![("out", link())]), None, &root, &Limits::default()).unwrap();
    assert_eq!(fs::read_link(folder.path().join("out")).unwrap(), outside.path());
    assert!(root.open_root(Path::new("out"), Follow::Beneath).is_err(), "kept, never followed");
    let through = packed(vec![("out", link()), ("out/evil", Content::Bytes(vec![1]))]);
    assert!(unpack(through, None, &root, &Limits::default()).is_err());
    assert!(!outside.path().join("evil").exists());
}

#[test]
fn nothing_is_written_through_a_link() {
    let (folder, result) =
        untar(&[("real/f", b'0', "", b"old"), ("via", b'2', "real", b""), ("via/f", b'0', "", b"new")]);
    assert!(result.unwrap_err().is_refusal());
    assert_eq!(fs::read_to_string(folder.path().join("inside/real/f")).unwrap(), "old");
    // A file in the place of a link replaces the link.
    let (folder, result) = untar(&[("f", b'0', "", b"old"), ("l", b'2', "f", b""), ("l", b'0', "", b"new")]);
    result.unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("inside/f")).unwrap(), "old");
    assert_eq!(fs::read_to_string(folder.path().join("inside/l")).unwrap(), "new");
}

#[test]
fn devices_and_setuid_do_not_arrive() {
    for kind in *b"346" {
        assert!(untar(&[("dev", kind, "", b"")]).1.unwrap_err().is_refusal());
    }
    let (folder, result) = untar(&[("suid", b'0', "", b"x")]);
    result.unwrap();
    let mode = fs::metadata(folder.path().join("inside/suid")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn bombs_and_garbage_end() {
    let (_folder, root) = scratch();
    let zeros = || {
        let mut file = tempfile::tempfile().unwrap();
        let mut source = tempfile::tempfile().unwrap();
        source.set_len(100 << 20).unwrap();
        source.flush().unwrap();
        let content = Content::File { file: source, executable: false };
        pack(Kind::Zip, vec![Entry { name: "zeros".into(), content }], &mut file).unwrap();
        reopen(file)
    };
    let limits = Limits { max_ratio: 100, ..Limits::default() };
    assert!(matches!(unpack(zeros(), None, &root, &limits), Err(ArchiveError::TooLarge(_))));
    let limits = Limits { max_bytes: 1000, ..Limits::default() };
    assert!(matches!(unpack(zeros(), None, &root, &limits), Err(ArchiveError::TooLarge(_))));
    let limits = Limits { max_entries: 1, ..Limits::default() };
    let two = raw_tar(&[("a", b'0', "", b""), ("b", b'0', "", b"")]);
    assert!(matches!(unpack(two, None, &root, &limits), Err(ArchiveError::TooLarge(_))));

    for bytes in [&b""[..], b"PK\x03\x04garbage", b"\x1f\x8bnot gzip", b"hello"] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        assert!(unpack(reopen(file), None, &root, &Limits::default()).is_err());
    }
}

#[test]
fn a_root_opens_nothing_outside() {
    let (outer, _) = scratch();
    let inside = outer.path().join("inside");
    fs::create_dir_all(inside.join("sub")).unwrap();
    fs::write(outer.path().join("secret"), "secret").unwrap();
    fs::write(inside.join("sub/plain"), "plain").unwrap();
    symlink("../secret", inside.join("up")).unwrap();
    symlink("/etc", inside.join("etc")).unwrap();
    symlink("sub/plain", inside.join("good")).unwrap();
    let root = Root::open(&inside).unwrap();
    for path in ["up", "etc/passwd", "../secret", "/etc/passwd", "sub"] {
        assert!(root.open_file(Path::new(path), Follow::Beneath).is_err(), "{path}");
    }
    assert!(root.open_file(Path::new("good"), Follow::No).is_err());
    let mut text = String::new();
    root.open_file(Path::new("good"), Follow::Beneath).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "plain");
    let found = root.walk(Path::new("."), &Limits::default()).unwrap();
    let names: Vec<_> = found.iter().map(|found| found.path.to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["etc", "good", "sub", "sub/plain", "up"], "links are listed, not followed");
    nix::unistd::mkfifo(&inside.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(root.open_file(Path::new("fifo"), Follow::No).unwrap_err().is_refusal(), "and does not block");
}
