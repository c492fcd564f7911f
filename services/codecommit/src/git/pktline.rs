//! Git's packet lines: four hexadecimal digits of length, then the payload.
//! Source: <https://git-scm.com/docs/gitprotocol-common#_pkt_line_format>.

use bytes::{Buf, Bytes, BytesMut};

/// The longest payload: 65520 bytes with the length itself.
pub const MAX_PAYLOAD_BYTES: usize = 65516;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Data(Bytes),
    /// `0000`.
    Flush,
    /// `0001`.
    Delimiter,
    /// `0002`.
    ResponseEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a packet line")]
pub struct BadPacket;

/// Takes the first packet off `buffer`; `None` while it is incomplete.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Packet>, BadPacket> {
    let Some(head) = buffer.get(..4) else { return Ok(None) };
    let length = std::str::from_utf8(head)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|text| usize::from_str_radix(text, 16).ok())
        .ok_or(BadPacket)?;
    let special = match length {
        0 => Some(Packet::Flush),
        1 => Some(Packet::Delimiter),
        2 => Some(Packet::ResponseEnd),
        3 => return Err(BadPacket),
        _ if length > MAX_PAYLOAD_BYTES + 4 => return Err(BadPacket),
        _ => None,
    };
    if let Some(packet) = special {
        buffer.advance(4);
        return Ok(Some(packet));
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let mut packet = buffer.split_to(length).freeze();
    packet.advance(4);
    Ok(Some(Packet::Data(packet)))
}

/// Appends one packet. A payload that is too long is cut: callers keep below the limit.
pub fn put(out: &mut Vec<u8>, payload: &[u8]) {
    let payload = &payload[..payload.len().min(MAX_PAYLOAD_BYTES)];
    out.extend_from_slice(format!("{:04x}", payload.len() + 4).as_bytes());
    out.extend_from_slice(payload);
}

pub const FLUSH: &[u8] = b"0000";

/// Appends `payload` on a side band in as many packets as `packet_bytes` asks for.
pub fn put_band(out: &mut Vec<u8>, band: u8, payload: &[u8], packet_bytes: usize) {
    for part in payload.chunks(packet_bytes.saturating_sub(5).max(1)) {
        let mut packet = Vec::with_capacity(part.len() + 1);
        packet.push(band);
        packet.extend_from_slice(part);
        put(out, &packet);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packets_come_back_as_they_were_written() {
        let mut out = Vec::new();
        put(&mut out, b"unpack ok\n");
        out.extend_from_slice(FLUSH);
        let mut buffer = BytesMut::from(&out[..]);
        assert_eq!(take(&mut buffer), Ok(Some(Packet::Data(Bytes::from_static(b"unpack ok\n")))));
        assert_eq!(take(&mut buffer), Ok(Some(Packet::Flush)));
        assert_eq!(take(&mut buffer), Ok(None));
    }

    #[test]
    fn half_a_packet_waits_and_nonsense_is_refused() {
        let mut half = BytesMut::from(&b"000aab"[..]);
        assert_eq!(take(&mut half), Ok(None));
        for bad in ["0003", "zzzz", "+001", "ffff", "fff1"] {
            assert_eq!(take(&mut BytesMut::from(bad)), Err(BadPacket), "{bad}");
        }
    }

    #[test]
    fn a_long_text_is_cut_into_bands() {
        let mut out = Vec::new();
        put_band(&mut out, 1, &[b'x'; 2000], 1000);
        let mut buffer = BytesMut::from(&out[..]);
        let mut sizes = Vec::new();
        while let Some(Packet::Data(data)) = take(&mut buffer).unwrap() {
            assert_eq!(data[0], 1);
            sizes.push(data.len() - 1);
        }
        assert_eq!(sizes, [995, 995, 10]);
    }
}
