//! What the tools of this field write is unpacked as it was packed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Tree, open};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use towpath_archive::{Kind, Limits};

/// A folder of what projects have, and what it should be once unpacked.
fn project() -> (tempfile::TempDir, Tree) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join("p").join(name);
    let long = format!("{}/{}", "l".repeat(120), "o".repeat(120));
    fs::create_dir_all(at("bin/empty")).unwrap();
    fs::create_dir_all(at(&long)).unwrap();
    let files = [
        ("bin/run", "#!/bin/sh\n".to_owned()),
        ("gr\u{fc}\u{df}e \u{65e5}\u{672c}.txt", "hello\n".repeat(1000)),
        ("nothing", String::new()),
        (&format!("{long}/deep"), "d".to_owned()),
    ];
    for (name, content) in &files {
        fs::write(at(name), content).unwrap();
    }
    fs::set_permissions(at("bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("bin/run", at("link")).unwrap();
    let mut tree: Tree = files.iter().map(|(name, content)| (format!("p/{name}"), content.clone())).collect();
    tree.insert("p/link".into(), "-> bin/run".into());
    for name in ["", "/bin", "/bin/empty", &format!("/{}", "l".repeat(120)), &format!("/{long}")] {
        tree.insert(format!("p{name}"), "/".into());
    }
    (folder, tree)
}

fn run(folder: &Path, command: &str) {
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).current_dir(folder).env("LC_ALL", "C.UTF-8");
    shell.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", folder);
    let output = shell.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {told} (its Debian packages: cargo xtask test)");
}

/// Each command writes the archive `out`.
fn check(kind: Kind, commands: &[&str], tree: &Tree, folder: &Path) {
    for command in commands {
        fs::remove_file(folder.join("out")).ok();
        run(folder, command);
        let opened = open(&fs::read(folder.join("out")).unwrap(), Some(kind), &Limits::default());
        assert!(opened.result.is_ok(), "{command}: {:?}", opened.result);
        assert!(opened.tree == *tree, "{command}: {:?}", opened.tree.keys());
        assert_eq!(opened.mode("p/bin/run") & 0o755, 0o755, "{command}");
    }
}

#[test]
fn zips() {
    let (folder, tree) = project();
    let commands = [
        "zip -qry out.zip p && mv out.zip out",
        "zip -qry -0 out.zip p && mv out.zip out",
        "zip -qry -fz out.zip p && mv out.zip out",
        "echo a comment | zip -qryz out.zip p && mv out.zip out",
        "zip -qry out.zip p/bin && zip -qry out.zip p && mv out.zip out",
        "LC_ALL=C zip -qry out.zip p && mv out.zip out",
        "bsdtar --format zip -cf out p",
        "bsdtar --format zip -cf - p | cat > out",
        "bsdtar --format zip --options zip:compression=store -cf out p",
        "$(command -v 7zz || command -v 7z) a -bd -tzip -snl out.zip p > log && mv out.zip out",
        "$(command -v 7zz || command -v 7z) a -bd -tzip -mm=Copy -snl out.zip p > log && mv out.zip out",
    ];
    check(Kind::Zip, &commands, &tree, folder.path());
    // This one cannot write links to a pipe.
    let mut without = tree.clone();
    without.remove("p/link");
    check(Kind::Zip, &["zip -qr - p -x p/link | cat > out"], &without, folder.path());
}

#[test]
fn tars() {
    let (folder, tree) = project();
    let commands = [
        "tar -cf out p",
        "tar -cf out ./p",
        "tar -cf out --format gnu p",
        "tar -cf out --format posix p",
        "tar -cf out --label release p",
        "tar -cf out --sparse p",
        "tar -cf out p/bin && tar -rf out p",
        "bsdtar -cf out p",
        "bsdtar --format gnutar -cf out p",
        "bsdtar --format pax -cf out p",
    ];
    check(Kind::Tar, &commands, &tree, folder.path());
    let commands = [
        "tar -czf out p",
        "tar -cf - p | gzip -1 > out",
        "tar -cf all p && split -b 4096 all part. && for part in part.*; do gzip < $part; done > out",
        "bsdtar -czf out p",
        "$(command -v 7zz || command -v 7z) a -bd -ttar -snl all.tar p > log && gzip < all.tar > out",
    ];
    check(Kind::Tgz, &commands, &tree, folder.path());
}

const PYTHON: &str = r#"
import os, sys, tarfile, zipfile
class Stream:
    def __init__(self, file): self.file = file
    def write(self, data): return self.file.write(data)
    def flush(self): self.file.flush()
def zipped(archive, wide=False):
    for folder, names, files in os.walk("p"):
        for name in [*names, *files]:
            path = os.path.join(folder, name)
            entry = zipfile.ZipInfo.from_file(path) if not os.path.islink(path) else zipfile.ZipInfo(path)
            if os.path.islink(path):
                entry.external_attr = 0o120777 << 16
                archive.writestr(entry, os.readlink(path))
            elif os.path.isdir(path):
                archive.writestr(entry, b"")
            else:
                with open(path, "rb") as source, archive.open(entry, "w", force_zip64=wide) as target:
                    target.write(source.read())
out = open("out", "wb")
how = sys.argv[1]
if how in ("stored", "wide", "stream", "wide-stream"):
    target = Stream(out) if "stream" in how else out
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED if how == "stored" else zipfile.ZIP_DEFLATED) as archive:
        zipped(archive, "wide" in how)
        archive.comment = b"a comment"
else:
    with tarfile.open(fileobj=out, mode="w", format=getattr(tarfile, how)) as archive:
        archive.add("p")
"#;

#[test]
fn pythons_archives() {
    let (folder, tree) = project();
    fs::write(folder.path().join("pack.py"), PYTHON).unwrap();
    let zips = ["stored", "wide", "stream", "wide-stream"].map(|how| format!("python3 pack.py {how}"));
    check(Kind::Zip, &zips.each_ref().map(String::as_str), &tree, folder.path());
    let tars = ["GNU_FORMAT", "PAX_FORMAT"].map(|how| format!("python3 pack.py {how}"));
    check(Kind::Tar, &tars.each_ref().map(String::as_str), &tree, folder.path());
    run(folder.path(), "cd p && python3 -c 'import shutil; shutil.make_archive(\"../made\", \"zip\")'");
    let made = open(&fs::read(folder.path().join("made.zip")).unwrap(), None, &Limits::default());
    assert!(made.result.is_ok(), "{:?}", made.result);
    assert!(made.tree.contains_key("bin/run"));
}

#[test]
fn archives_of_git() {
    let (folder, mut tree) = project();
    tree.remove("p/bin/empty");
    run(folder.path(), "git init -q . && git add p && git -c user.name=a -c user.email=a@b commit -q -m one");
    check(Kind::Zip, &["git archive --format zip -o out HEAD"], &tree, folder.path());
    check(Kind::Tar, &["git archive --format tar -o out HEAD"], &tree, folder.path());
    check(Kind::Tgz, &["git archive --format tar.gz -o out HEAD"], &tree, folder.path());
}

#[test]
fn holes_stay_holes() {
    let folder = tempfile::tempdir().unwrap();
    run(
        folder.path(),
        "truncate -s 8M s && printf middle | dd of=s bs=1 seek=4194304 conv=notrunc status=none && cp --sparse=always s t",
    );
    let wanted = fs::read(folder.path().join("s")).unwrap();
    for command in [
        "tar --sparse -cf out s",
        "tar --sparse --format posix -cf out s",
        "bsdtar -cf out s",
        "bsdtar --format gnutar -cf out s",
        "tar -cf out s",
    ] {
        run(folder.path(), command);
        let opened = open(&fs::read(folder.path().join("out")).unwrap(), Some(Kind::Tar), &Limits::default());
        assert!(opened.result.is_ok(), "{command}: {:?}", opened.result);
        assert_eq!(opened.tree.len(), 1, "{command}");
        assert!(opened.tree["s"].as_bytes() == wanted, "{command}");
    }
}
