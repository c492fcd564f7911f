//! What a git client sends before its pack, and what git reports after it.

#[path = "../../../services/codecommit/src/git/pktline.rs"]
#[allow(dead_code)]
mod pktline;
#[path = "../../../services/codecommit/src/git/receive.rs"]
#[allow(dead_code)]
mod receive;

use bytes::BytesMut;
use pktline::Packet;
use receive::{BadPush, MAX_COMMANDS, Push, Reader, Report};

/// The push, and how much of the input is left for the pack.
fn read(data: &[u8], piece: usize) -> Result<Option<(Push, usize)>, BadPush> {
    let (mut reader, mut buffer) = (Reader::default(), BytesMut::new());
    let mut fed = 0;
    for piece in data.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        fed += piece.len();
        if let Some(push) = reader.read(&mut buffer)? {
            return Ok(Some((push, buffer.len() + data.len() - fed)));
        }
    }
    Ok(None)
}

pub fn git(data: &[u8]) {
    let mut buffer = BytesMut::from(data);
    while let Ok(Some(packet)) = pktline::take(&mut buffer) {
        if let Packet::Data(payload) = packet {
            assert!(payload.len() <= pktline::MAX_PAYLOAD_BYTES);
        }
    }
    let (whole, cut) = (read(data, data.len()), read(data, 7));
    assert_eq!(whole, cut, "the cut decides");
    if let Ok(Some((push, _))) = whole {
        assert!(push.commands.len() <= MAX_COMMANDS);
        let again = Reader::default().read(&mut BytesMut::from(&push.encode()[..]));
        // Capabilities stand on the first command's line: without a command there is no place for them.
        if !push.commands.is_empty() {
            assert_eq!(again, Ok(Some(push)), "what git is told is not what was asked for");
        }
    }
    if let Some(report) = Report::decode(data) {
        let again = Report::decode(&report.encode()).expect("a report that was written can be read");
        assert_eq!(again.outcomes.len(), report.outcomes.len());
    }
}
