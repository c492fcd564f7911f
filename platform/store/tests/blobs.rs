//! Large objects on disk.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures_util::StreamExt;
use std::io;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use towpath_store::blobs::{BlobId, Blobs};

async fn read(blobs: &Blobs, blob: &BlobId, range: Range<u64>) -> io::Result<Vec<u8>> {
    let mut stream = blobs.read(blob, range);
    let mut found = Vec::new();
    while let Some(bytes) = stream.next().await {
        found.extend_from_slice(&bytes?);
    }
    Ok(found)
}

#[tokio::test]
async fn a_blob_comes_back_with_its_digests() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().join("blobs")).await.unwrap();
    let mut writer = blobs.writer().await.unwrap();
    for part in [b"ab".as_slice(), b"", b"c"] {
        writer.write(part).await.unwrap();
    }
    let blob = writer.finish().await.unwrap();
    assert_eq!(blob.size_bytes, 3);
    assert_eq!(blob.md5, "900150983cd24fb0d6963f7d28e17f72");
    assert_eq!(blob.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(read(&blobs, &blob.id, 0..3).await.unwrap(), b"abc");
    assert_eq!(read(&blobs, &blob.id, 1..2).await.unwrap(), b"b");
    assert_eq!(read(&blobs, &blob.id, 1..9).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let path = folder.path().join("blobs").join(&blob.id.as_str()[..2]).join(blob.id.as_str());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let shard = u8::from_str_radix(&blob.id.as_str()[..2], 16).unwrap();
    assert_eq!(blobs.ids(shard).await.unwrap()[0].0, blob.id);
    blobs.delete(&blob.id).await.unwrap();
    blobs.delete(&blob.id).await.unwrap();
    assert_eq!(read(&blobs, &blob.id, 0..3).await.unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[tokio::test]
async fn content_larger_than_the_buffer_is_kept_whole() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).await.unwrap();
    let content: Vec<u8> = (0..3_500_000u32).map(|number| (number * 7 % 251) as u8).collect();
    let mut writer = blobs.writer().await.unwrap();
    for chunk in content.chunks(99_991) {
        writer.write(chunk).await.unwrap();
    }
    assert_eq!(writer.size_bytes(), content.len() as u64);
    let blob = writer.finish().await.unwrap();
    assert_eq!(read(&blobs, &blob.id, 0..blob.size_bytes).await.unwrap(), content);
    let copy = folder.path().join("copy");
    blobs.copy_to(&blob.id, blob.size_bytes, &copy).await.unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), content);
}

#[tokio::test]
async fn what_was_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).await.unwrap();
    let temporary = folder.path().join("tmp");
    let mut writer = blobs.writer().await.unwrap();
    writer.write(&[1; 2_000_000]).await.unwrap();
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 1);
    drop(writer);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    std::fs::write(temporary.join("left-by-a-crash"), b"x").unwrap();
    Blobs::open(folder.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}

#[test]
fn an_id_is_never_a_path() {
    for text in ["", "../../../../etc/passwd", "ABCDEF00112233445566778899aabbcc", "0011"] {
        assert!(BlobId::try_from(text.to_owned()).is_err());
        assert!(serde_json::from_value::<BlobId>(text.into()).is_err());
    }
}
