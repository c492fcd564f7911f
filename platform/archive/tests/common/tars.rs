//! tar: a header block, content, padding.

use std::io::Write;

#[derive(Clone, Debug)]
pub struct Block {
    pub header: [u8; 512],
    pub content: Vec<u8>,
}

impl Block {
    pub fn new(name: impl AsRef<[u8]>, kind: u8, content: impl AsRef<[u8]>) -> Block {
        let (name, content) = (name.as_ref(), content.as_ref().to_vec());
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..107].copy_from_slice(b"0000644");
        header[108..115].copy_from_slice(b"0000000");
        header[116..123].copy_from_slice(b"0000000");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[136..147].copy_from_slice(b"00000000000");
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        Block { header, content }
    }

    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Block {
        Block::new(name, b'0', content)
    }

    pub fn folder(name: &str) -> Block {
        Block::new(name, b'5', "").set(100, b"0000755")
    }

    pub fn symlink(name: &str, target: impl AsRef<[u8]>) -> Block {
        Block::new(name, b'2', "").set(157, target.as_ref())
    }

    pub fn hard_link(name: &str, target: &str) -> Block {
        Block::new(name, b'1', "").set(157, target.as_bytes())
    }

    pub fn pax(records: &[(&str, &str)]) -> Block {
        let records: Vec<String> = records.iter().map(|(key, value)| record(key, value)).collect();
        Block::new("PaxHeaders/x", b'x', records.concat())
    }

    pub fn long_name(name: impl AsRef<[u8]>) -> Block {
        Block::new("././@LongLink", b'L', [name.as_ref(), b"\0"].concat())
    }

    pub fn set(mut self, at: usize, bytes: &[u8]) -> Block {
        self.header[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// As GNU's older format marks itself.
    pub fn gnu(self) -> Block {
        self.set(257, b"ustar  \0")
    }

    /// Says another size than it has.
    pub fn says_size(self, size: &[u8]) -> Block {
        self.set(124, size)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut header = self.header;
        header[148..156].copy_from_slice(b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let padding = vec![0; (512 - self.content.len() % 512) % 512];
        [&header[..], &self.content, &padding].concat()
    }
}

pub fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length =
        (1..=9).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
    format!("{} {key}={value}\n", length.unwrap())
}

/// Without an end mark.
pub fn blocks(blocks: &[Block]) -> Vec<u8> {
    blocks.iter().map(Block::bytes).collect::<Vec<_>>().concat()
}

pub fn tar(parts: &[Block]) -> Vec<u8> {
    [blocks(parts), vec![0; 1024]].concat()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn file(name: &str) -> Block {
    Block::file(name, "x")
}

pub fn two(first: Block, second: Block) -> Vec<u8> {
    tar(&[first, second])
}
