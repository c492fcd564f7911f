//! What precedes an entry of a tar to say more of it: GNU's long names, and pax records.

use crate::ArchiveError;

/// What is known of the next entry before its own header comes. Each thing is said once or the archive has two
/// readings.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) sparse: Option<Sparse>,
    pax: bool,
}

/// GNU tar's sparse files in pax archives, of format 1.0: the map comes at the head of the content.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sparse {
    major: Option<u64>,
    minor: Option<u64>,
    pub(super) size: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
}

fn damaged(why: &str) -> ArchiveError {
    ArchiveError::Damaged(why.to_owned())
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && !self.pax
    }

    pub(super) fn long_name(&mut self, value: Vec<u8>) -> Result<(), ArchiveError> {
        once(&mut self.path, without_zero(value))
    }

    pub(super) fn long_link(&mut self, value: Vec<u8>) -> Result<(), ArchiveError> {
        once(&mut self.link, without_zero(value))
    }

    pub(super) fn records(&mut self, records: &[u8]) -> Result<(), ArchiveError> {
        if self.pax {
            return Err(damaged("one entry has two extended headers"));
        }
        self.pax = true;
        let mut sparse = Sparse::default();
        each(records, |key, value| {
            match key {
                b"path" => once(&mut self.path, value.to_vec())?,
                b"linkpath" => once(&mut self.link, value.to_vec())?,
                b"size" => once(&mut self.size, number(value)?)?,
                b"GNU.sparse.major" => once(&mut sparse.major, number(value)?)?,
                b"GNU.sparse.minor" => once(&mut sparse.minor, number(value)?)?,
                b"GNU.sparse.realsize" => once(&mut sparse.size, number(value)?)?,
                b"GNU.sparse.name" => once(&mut sparse.name, value.to_vec())?,
                _ if key.starts_with(b"GNU.sparse.") => return Err(damaged(OLD_SPARSE)),
                _ => {}
            }
            Ok(())
        })?;
        if sparse != Sparse::default() {
            let whole = sparse.size.is_some() && sparse.name.is_some();
            if (sparse.major, sparse.minor) != (Some(1), Some(0)) || !whole {
                return Err(damaged(OLD_SPARSE));
            }
            self.sparse = Some(sparse);
        }
        Ok(())
    }
}

const OLD_SPARSE: &str = "it has a sparse file of a format other than 1.0: pack it without --sparse";

/// Records for all that follows. What they could say of names and sizes, readers understand differently.
pub(super) fn check_global(records: &[u8]) -> Result<(), ArchiveError> {
    each(records, |key, _| match key {
        b"path" | b"linkpath" | b"size" => Err(damaged("a global header names or sizes its entries")),
        _ if key.starts_with(b"GNU.sparse.") => Err(damaged("a global header names or sizes its entries")),
        _ => Ok(()),
    })
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), ArchiveError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(damaged("an entry's name, link or size is said twice")),
    }
}

fn without_zero(mut value: Vec<u8>) -> Vec<u8> {
    if value.last() == Some(&0) {
        value.pop();
    }
    value
}

/// Decimal, and nothing else.
pub(super) fn number(digits: &[u8]) -> Result<u64, ArchiveError> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| damaged("a number in an extended header is none"))
}

/// Records are `LENGTH KEY=VALUE\n`, with the length of the whole.
fn each(
    mut records: &[u8],
    mut take: impl FnMut(&[u8], &[u8]) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let bad = || damaged("an extended header is not as it should be");
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = usize::try_from(number(&records[..space])?).map_err(|_| bad())?;
        let record = records.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        take(&record[..equals], &record[equals + 1..])?;
        records = &records[length..];
    }
    Ok(())
}
