//! Large objects on disk.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::PermissionsExt;
use tokio::io::AsyncReadExt;
use towpath_store::blobs::{BlobId, Blobs};

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
    let mut content = String::new();
    blobs.open_blob(&blob.id).await.unwrap().read_to_string(&mut content).await.unwrap();
    assert_eq!(content, "abc");
    let path = blobs.path(&blob.id);
    assert!(path.ends_with(format!("{}/{}", &blob.id.as_str()[..2], blob.id)));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let shard = u8::from_str_radix(&blob.id.as_str()[..2], 16).unwrap();
    assert_eq!(blobs.ids(shard).await.unwrap()[0].0, blob.id);
    blobs.delete(&blob.id).await.unwrap();
    blobs.delete(&blob.id).await.unwrap();
    assert!(blobs.open_blob(&blob.id).await.is_err());
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
    assert_eq!(std::fs::read(blobs.path(&blob.id)).unwrap(), content);
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
