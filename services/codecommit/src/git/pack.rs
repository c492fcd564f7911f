//! Objects made by the API, and the pack that carries them into a repository. They enter through
//! receive-pack like everyone's, so git checks them and puts them on the disk before the ref moves.
//! Source: <https://git-scm.com/docs/gitformat-pack>.

use super::GitError;
use flate2::{Compression, write::ZlibEncoder};
use gix::ObjectId;
use gix::objs::Kind;
use std::collections::BTreeMap;
use std::io::Write;

/// New objects, each once.
#[derive(Default)]
pub struct NewObjects {
    objects: BTreeMap<ObjectId, (Kind, Vec<u8>)>,
}

impl NewObjects {
    pub fn add(&mut self, kind: Kind, content: Vec<u8>) -> Result<ObjectId, GitError> {
        let id =
            gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, &content).map_err(GitError::unreadable)?;
        self.objects.insert(id, (kind, content));
        Ok(id)
    }

    pub fn get(&self, id: &ObjectId) -> Option<&(Kind, Vec<u8>)> {
        self.objects.get(id)
    }

    /// The pack: a header, every object deflated and without deltas, and a checksum.
    pub fn into_pack(self) -> Result<Vec<u8>, GitError> {
        let mut pack = Vec::new();
        pack.extend_from_slice(b"PACK\0\0\0\x02");
        let count = u32::try_from(self.objects.len()).map_err(GitError::unreadable)?;
        pack.extend_from_slice(&count.to_be_bytes());
        for (kind, content) in self.objects.into_values() {
            object_header(&mut pack, kind, content.len() as u64);
            let mut encoder = ZlibEncoder::new(&mut pack, Compression::fast());
            encoder
                .write_all(&content)
                .and_then(|()| encoder.finish().map(drop))
                .map_err(GitError::io("packing"))?;
        }
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&pack);
        let checksum = hasher.try_finalize().map_err(GitError::unreadable)?;
        pack.extend_from_slice(checksum.as_slice());
        Ok(pack)
    }
}

/// Three bits of type and the size, seven bits at a time after the first four.
fn object_header(out: &mut Vec<u8>, kind: Kind, size_bytes: u64) {
    let kind = match kind {
        Kind::Commit => 1u8,
        Kind::Tree => 2,
        Kind::Blob => 3,
        Kind::Tag => 4,
    };
    let mut byte = kind << 4 | (size_bytes & 15) as u8;
    let mut rest = size_bytes >> 4;
    while rest > 0 {
        out.push(byte | 0x80);
        byte = (rest & 0x7f) as u8;
        rest >>= 7;
    }
    out.push(byte);
}
