//! zip: an entry is its own header and the directory's, either of which a test may change.

use std::io::Write;

pub const LOCAL: usize = 30;
pub const CENTRAL: usize = 46;

#[derive(Clone, Debug)]
pub struct Part {
    pub local: Vec<u8>,
    pub data: Vec<u8>,
    /// After the data: a descriptor, or what does not belong there.
    pub after: Vec<u8>,
    pub central: Vec<u8>,
    /// Where the directory says that it is, if not where it is.
    pub claimed_at: Option<u32>,
}

fn crc(content: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    crc.sum()
}

pub fn deflate(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

impl Part {
    fn new(name: &[u8], method: u16, content: &[u8], data: Vec<u8>) -> Part {
        let sizes = [crc(content), data.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
        let length = (name.len() as u16).to_le_bytes();
        let mut local = b"PK\x03\x04\x14\0\0\0".to_vec();
        local.extend(method.to_le_bytes());
        local.extend(b"\0\0\x21\0");
        local.extend(&sizes);
        local.extend(length);
        local.extend(b"\0\0");
        local.extend(name);
        let mut central = b"PK\x01\x02\x14\x03\x14\0\0\0".to_vec();
        central.extend(method.to_le_bytes());
        central.extend(b"\0\0\x21\0");
        central.extend(&sizes);
        central.extend(length);
        central.extend([0; 16]);
        central.extend(name);
        Part { local, data, after: Vec::new(), central, claimed_at: None }
    }

    pub fn stored(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Part {
        Part::new(name.as_ref(), 0, content.as_ref(), content.as_ref().to_vec())
    }

    pub fn deflated(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Part {
        Part::new(name.as_ref(), 8, content.as_ref(), deflate(content.as_ref()))
    }

    /// With type bits.
    pub fn mode(self, mode: u32) -> Part {
        self.central(38, &(mode << 16).to_le_bytes())
    }

    pub fn link(name: &str, target: &str) -> Part {
        Part::stored(name, target).mode(0o120_777)
    }

    pub fn system(self, system: u8) -> Part {
        self.central(5, &[system])
    }

    pub fn local(mut self, at: usize, bytes: &[u8]) -> Part {
        self.local[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub fn central(mut self, at: usize, bytes: &[u8]) -> Part {
        self.central[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// In both headers; `at` is the own header's.
    pub fn both(self, at: usize, bytes: &[u8]) -> Part {
        self.local(at, bytes).central(at + 2, bytes)
    }

    pub fn after(mut self, after: &[u8]) -> Part {
        self.after = after.to_vec();
        self
    }

    pub fn at(mut self, claimed_at: u32) -> Part {
        self.claimed_at = Some(claimed_at);
        self
    }

    pub fn extra(mut self, id: u16, field: &[u8]) -> Part {
        let whole = [&id.to_le_bytes()[..], &(field.len() as u16).to_le_bytes(), field].concat();
        let more = |header: &mut Vec<u8>, at: usize| {
            let length = u16::from_le_bytes([header[at], header[at + 1]]) + whole.len() as u16;
            header[at..at + 2].copy_from_slice(&length.to_le_bytes());
            header.extend(&whole);
        };
        more(&mut self.local, 28);
        more(&mut self.central, 30);
        self
    }

    /// As a writer does that cannot go back: sizes come after the data.
    pub fn streamed(self, marked: bool, wide: bool) -> Part {
        let (crc, sizes) = (self.central[16..20].to_vec(), self.central[20..28].to_vec());
        let mut after = if marked { b"PK\x07\x08".to_vec() } else { Vec::new() };
        after.extend(crc);
        for size in sizes.chunks(4) {
            after.extend(size);
            after.extend(if wide { &[0; 4][..] } else { &[] });
        }
        self.both(6, &[8, 0]).local(14, &[0; 12]).after(&after)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub entries: usize,
    pub directory_at: usize,
    pub directory_bytes: usize,
}

pub fn end(frame: Frame, comment: &[u8]) -> Vec<u8> {
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    end.extend((frame.entries as u16).to_le_bytes());
    end.extend((frame.entries as u16).to_le_bytes());
    end.extend((frame.directory_bytes as u32).to_le_bytes());
    end.extend((frame.directory_at as u32).to_le_bytes());
    end.extend((comment.len() as u16).to_le_bytes());
    end.extend(comment);
    end
}

/// A zip64 end record, its locator, and an end record that leaves everything to it.
pub fn end64(frame: Frame, at: usize) -> Vec<u8> {
    let mut end = b"PK\x06\x06".to_vec();
    end.extend(44u64.to_le_bytes());
    end.extend(b"\x2d\x03\x2d\0\0\0\0\0\0\0\0\0");
    for number in [frame.entries, frame.entries, frame.directory_bytes, frame.directory_at] {
        end.extend((number as u64).to_le_bytes());
    }
    end.extend(b"PK\x06\x07\0\0\0\0");
    end.extend((at as u64).to_le_bytes());
    end.extend(b"\x01\0\0\0");
    end.extend(b"PK\x05\x06\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    end
}

/// Entries and directory, without an end.
pub fn body(parts: &[Part]) -> (Vec<u8>, Frame) {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for part in parts {
        let at = part.claimed_at.unwrap_or(bytes.len() as u32);
        directory.extend(part.clone().central(42, &at.to_le_bytes()).central);
        bytes.extend(&part.local);
        bytes.extend(&part.data);
        bytes.extend(&part.after);
    }
    let frame = Frame { entries: parts.len(), directory_at: bytes.len(), directory_bytes: directory.len() };
    bytes.extend(directory);
    (bytes, frame)
}

pub fn zip(parts: &[Part]) -> Vec<u8> {
    let (mut bytes, frame) = body(parts);
    bytes.extend(end(frame, b""));
    bytes
}

/// With an end of the test's own making, from the place where it will be.
pub fn zip_ending(parts: &[Part], make: impl FnOnce(Frame, usize) -> Vec<u8>) -> Vec<u8> {
    let (mut bytes, frame) = body(parts);
    let end = make(frame, bytes.len());
    bytes.extend(end);
    bytes
}
