//! Archives in which one byte after the other lies.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::tars::{Block, gzip, tar};
use common::zips::{Part, end64, zip_ending};
use common::{Opened, Tree, open};
use std::collections::BTreeSet;
use towpath_archive::{Kind, Limits};

/// Each changed archive that was unpacked, with the place of the change. That nothing outside changes, that nothing
/// panics and that no message has control characters holds for all.
fn lies(
    kind: Kind,
    good: &[u8],
    places: impl IntoIterator<Item = usize>,
    mut accepted: impl FnMut(usize, Opened),
) {
    let limits = Limits { max_entries: 64, max_bytes: 1 << 20, ..Limits::default() };
    let mut refused = 0;
    for at in places {
        for change in [|byte| byte ^ 1, |byte| byte ^ 0x80, |_| 0xff, |_| 0, |byte: u8| byte.wrapping_add(1)]
        {
            let mut bytes = good.to_vec();
            bytes[at] = change(bytes[at]);
            let opened = open(&bytes, Some(kind), &limits);
            match &opened.result {
                Ok(summary) => {
                    assert!(summary.entries <= 64 && summary.bytes <= 1 << 20);
                    accepted(at, opened);
                }
                Err(error) => {
                    assert!(!error.to_string().chars().any(char::is_control), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > good.len() / 4, "{refused} changes of {} bytes", good.len());
}

fn contents(tree: &Tree) -> BTreeSet<String> {
    tree.values().filter(|content| !content.starts_with("-> ")).cloned().collect()
}

#[test]
fn of_a_zip_the_content_stays_or_it_is_refused() {
    let parts = [
        Part::stored("d/", "").mode(0o040_755),
        Part::deflated("d/deflated", "deflated ".repeat(9)).mode(0o100_755),
        Part::deflated("streamed", "streamed").streamed(true, false),
        Part::stored("wide", "wide").both(22, &[0xff; 4]).extra(1, &4u64.to_le_bytes()),
        Part::link("link", "wide"),
    ];
    let good = zip_ending(&parts, end64);
    let whole = open(&good, Some(Kind::Zip), &Limits::default());
    assert_eq!(whole.result.unwrap().entries, 5);
    let whole = contents(&whole.tree);
    lies(Kind::Zip, &good, 0..good.len(), |at, opened| {
        let (found, links) = (contents(&opened.tree), ["wide".to_owned()]);
        // A link whose mode is changed becomes a file of its target.
        let strange: Vec<_> = found.difference(&whole).filter(|content| !links.contains(content)).collect();
        assert!(strange.is_empty(), "{at}: {strange:?}");
        assert_eq!(opened.result.unwrap().entries, 5, "{at}: none is hidden");
    });
}

#[test]
fn of_a_tgz_all_stays_or_it_is_refused() {
    let good = gzip(&tar(&[Block::folder("d/"), Block::file("d/f", "text"), Block::symlink("l", "d/f")]));
    let whole = open(&good, Some(Kind::Tgz), &Limits::default()).tree;
    lies(Kind::Tgz, &good, 0..good.len(), |at, opened| assert_eq!(opened.tree, whole, "{at}"));
}

#[test]
fn of_a_tar_no_header_is_believed_that_was_changed() {
    let blocks = [
        Block::pax(&[("path", "d/named"), ("mtime", "1.5")]),
        Block::file("short", "text"),
        Block::long_name("l".repeat(120)).gnu(),
        Block::file("short", "more").gnu(),
    ];
    let good = tar(&blocks);
    let whole = open(&good, Some(Kind::Tar), &Limits::default()).tree;
    assert_eq!(whole.len(), 3);
    // The four headers, but for what is zeros in all of them, and the first extended one.
    let headers = (0..4).map(|number| number * 1024);
    let places = headers.flat_map(|start| start..start + 360).chain(512..600);
    lies(Kind::Tar, &good, places, |at, opened| {
        assert!(at % 1024 >= 512 || opened.tree == whole, "{at}: {:?}", opened.tree);
    });
}
