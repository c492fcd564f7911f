//! The shared home, over an object store in memory. What only a real server shows is in the tests of
//! several nodes.

#![allow(clippy::unwrap_used)]

use super::remote::Remote;
use super::{BlobWriter, Blobs, FileName, Home};
use futures_util::StreamExt;
use object_store::memory::InMemory;
use std::io;
use std::path::Path;
use std::sync::Arc;

struct World {
    blobs: Blobs,
    spool: tempfile::TempDir,
}

async fn world() -> World {
    let spool = tempfile::tempdir().unwrap();
    let remote = Remote::over(Arc::new(InMemory::new()), "a/b", spool.path().join("spool")).await.unwrap();
    World { blobs: Blobs { home: Home::Remote(remote) }, spool }
}

impl World {
    fn spooled(&self) -> usize {
        std::fs::read_dir(self.spool.path().join("spool")).unwrap().count()
    }
}

async fn write(mut writer: BlobWriter, content: &[u8]) -> super::Blob {
    for chunk in content.chunks(99_991) {
        writer.write(chunk).await.unwrap();
    }
    writer.finish().await.unwrap()
}

async fn read(blobs: &Blobs, blob: &super::BlobId, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    let mut stream = blobs.read(blob, range);
    let mut found = Vec::new();
    while let Some(bytes) = stream.next().await {
        found.extend_from_slice(&bytes?);
    }
    Ok(found)
}

fn name(text: &str) -> FileName {
    FileName::try_from(text.to_owned()).unwrap()
}

#[tokio::test]
async fn a_small_and_a_large_blob_come_back_with_their_digests() {
    let world = world().await;
    let small = world.blobs.put(b"abc").await.unwrap();
    assert_eq!(small.md5, "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(small.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(read(&world.blobs, &small.id, 1..2).await.unwrap(), b"b");
    let content: Vec<u8> = (0..20_000_000u32).map(|number| (number * 7 % 251) as u8).collect();
    let large = write(world.blobs.writer().await.unwrap(), &content).await;
    assert_eq!(large.size_bytes, content.len() as u64);
    assert_eq!(world.spooled(), 0);
    assert_eq!(read(&world.blobs, &large.id, 0..large.size_bytes).await.unwrap(), content);
    let middle = 8_388_600..8_388_700;
    let expected = &content[middle.start as usize..middle.end as usize];
    assert_eq!(read(&world.blobs, &large.id, middle).await.unwrap(), expected);
    let empty = world.blobs.put(b"").await.unwrap();
    assert_eq!(read(&world.blobs, &empty.id, 0..0).await.unwrap(), b"");
}

#[tokio::test]
async fn a_blob_that_is_gone_or_too_short_is_an_error() {
    let world = world().await;
    let blob = world.blobs.put(b"abc").await.unwrap();
    assert_eq!(read(&world.blobs, &blob.id, 0..9).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let shard = u8::from_str_radix(&blob.id.as_str()[..2], 16).unwrap();
    let listed = world.blobs.ids(shard).await.unwrap();
    assert_eq!(listed[0].0, blob.id);
    assert!(listed[0].1.elapsed().unwrap().as_secs() < 600);
    world.blobs.delete(&blob.id).await.unwrap();
    world.blobs.delete(&blob.id).await.unwrap();
    assert_eq!(read(&world.blobs, &blob.id, 0..3).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(world.blobs.ids(shard).await.unwrap().is_empty());
    let destination = world.spool.path().join("copy");
    assert!(world.blobs.copy_to(&blob.id, 3, &destination).await.is_err());
    assert!(!destination.exists());
}

#[tokio::test]
async fn what_was_not_finished_leaves_nothing() {
    let world = world().await;
    let mut writer = world.blobs.writer().await.unwrap();
    writer.write(&[1; 12_000_000]).await.unwrap();
    assert_eq!(world.spooled(), 1);
    drop(writer);
    assert_eq!(world.spooled(), 0);
    for shard in 0..=u8::MAX {
        assert!(world.blobs.ids(shard).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn files_have_the_names_they_were_given() {
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    for blobs in [world.blobs, Blobs::open(folder.path().join("home")).await.unwrap()] {
        let here = tempfile::tempdir().unwrap();
        let files = blobs.files(name("git"));
        let source = here.path().join("source");
        std::fs::write(&source, b"pack").unwrap();
        assert!(files.put(&name("r1/objects/pack-1.pack"), &source).await.unwrap());
        std::fs::write(&source, vec![7; 9 << 20]).unwrap();
        assert!(!files.put(&name("r1/objects/pack-1.pack"), &source).await.unwrap());
        assert!(files.put(&name("r2/pack-2.pack"), &source).await.unwrap());
        let all: Vec<_> =
            files.list(None).await.unwrap().into_iter().map(|e| (e.name, e.size_bytes)).collect();
        assert_eq!(all, [("r1/objects/pack-1.pack".into(), 4), ("r2/pack-2.pack".into(), 9 << 20)]);
        assert_eq!(files.list(Some(&name("r2"))).await.unwrap().len(), 1);
        assert!(files.list(Some(&name("r"))).await.unwrap().is_empty());
        let copy = here.path().join("copy");
        assert!(files.get(&name("r1/objects/pack-1.pack"), &copy).await.unwrap());
        assert_eq!(std::fs::read(&copy).unwrap(), b"pack");
        assert!(!files.get(&name("r3/none"), &here.path().join("none")).await.unwrap());
        assert!(!Path::new(&here.path().join("none")).exists());
        files.delete(&name("r1/objects/pack-1.pack")).await.unwrap();
        files.delete(&name("r1/objects/pack-1.pack")).await.unwrap();
        assert_eq!(files.list(None).await.unwrap().len(), 1);
    }
    for text in ["", "/", "a//b", "../a", "a/../b", ".hidden", "a b", "a\\b"] {
        assert!(FileName::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}
