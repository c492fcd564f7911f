//! Archives, opened beneath a folder beside which there is something to break.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use towpath_archive::{Kind, Limits, Root, unpack};

const LIMITS: Limits =
    Limits { max_entries: 64, max_bytes: 1 << 20, max_ratio: 250, max_path_bytes: 300, max_depth: 8 };
const OUTSIDE: &[u8] = b"nobody's business";

pub fn zip(data: &[u8]) {
    open(data, Some(Kind::Zip));
}

/// Also whatever else the content turns out to be.
pub fn tar(data: &[u8]) {
    open(data, Some(Kind::Tar));
    if data.starts_with(&[0x1f, 0x8b]) {
        open(data, None);
    }
}

fn memory(data: &[u8]) -> File {
    let mut file = File::from(memfd_create("archive", MFdFlags::MFD_CLOEXEC).expect("memory for a file"));
    file.write_all(data).expect("memory for a file");
    file.rewind().expect("a file of memory can be rewound");
    file
}

fn open(data: &[u8], kind: Option<Kind>) {
    let shared = Path::new("/dev/shm");
    let place = if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() };
    let outer = tempfile::tempdir_in(place).expect("a folder to work in");
    let (inner, outside) = (outer.path().join("root"), outer.path().join("outside"));
    fs::create_dir(&inner).expect("a folder to open into");
    fs::write(&outside, OUTSIDE).expect("a file to leave alone");
    let root = Root::open(&inner).expect("the folder is there");
    let opened = unpack(memory(data), kind, &root, &LIMITS);
    let bytes = check(&inner, 0);
    if let Ok(summary) = opened {
        assert!(summary.bytes <= LIMITS.max_bytes && summary.entries <= LIMITS.max_entries);
    }
    // One buffer more than is counted may have been on its way.
    assert!(bytes <= LIMITS.max_bytes + (64 << 10), "{bytes} bytes on the disk");
    let metadata = fs::metadata(&outside).expect("the file outside is still there");
    assert_eq!((metadata.nlink(), fs::read(&outside).expect("and can be read")), (1, OUTSIDE.to_vec()));
    let beside = fs::read_dir(outer.path()).expect("the outer folder is still there").count();
    assert_eq!(beside, 2, "something was made outside");
}

/// Nothing but files, folders and links that stay inside; gives the bytes of all files.
fn check(folder: &Path, depth: usize) -> u64 {
    assert!(depth <= LIMITS.max_depth, "{} is too deep", folder.display());
    let mut bytes = 0;
    for entry in fs::read_dir(folder).expect("a folder that was made can be listed") {
        let path = entry.expect("it can be listed to its end").path();
        let found = fs::symlink_metadata(&path).expect("what is listed is there");
        assert_eq!(found.mode() & 0o7000, 0, "{} has a special bit", path.display());
        if found.is_dir() {
            bytes += check(&path, depth + 1);
        } else if found.is_symlink() {
            let target: PathBuf = fs::read_link(&path).expect("a link can be read");
            let climbs = target.components().filter(|part| part.as_os_str() == "..").count();
            assert!(target.is_relative() && climbs <= depth, "{} leads out", path.display());
        } else {
            assert!(found.is_file(), "{} is a special file", path.display());
            bytes += found.len() / found.nlink();
        }
    }
    bytes
}
