//! Markers. A marker is the key of the last item, so that items which come or go between two pages are
//! neither shown twice nor skipped. The model allows a marker of 320 characters, which a policy's ARN or a tag's
//! key may exceed: of a long key it has the beginning and a digest. When its item has gone by then, the items
//! with the same long beginning are shown again rather than left out. The edge seals markers, so that a client can
//! send no other.

use crate::documents::Entity;
use crate::limits::DEFAULT_PAGE;
use crate::problem::Problem;
use crate::service::IdentityService;
use sha2::{Digest, Sha256};
use towpath_api::id;
use towpath_store::{Document, Order};

/// Items of one page, and the marker of the next.
pub type Page<T> = (Vec<T>, Option<String>);

/// A key's bytes that fit into a marker, with room for the digest and for the seal that goes around it.
const MARKED_BYTES: usize = 180;
const DIGEST_BYTES: usize = 12;
/// Between the beginning of a long key and its digest; no key has it.
const CUT: char = '\0';

/// What a listing is asked for.
pub struct Paging {
    after: Option<String>,
    limit: usize,
}

impl Paging {
    pub fn new(marker: Option<String>, max_items: Option<i64>) -> Self {
        let limit = max_items.and_then(|items| usize::try_from(items).ok()).unwrap_or(DEFAULT_PAGE);
        Paging { after: marker, limit: limit.clamp(1, 1000) }
    }

    /// Of items that are all at hand.
    pub fn of<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        items.sort_by_key(&key);
        if let Some(after) = &self.after {
            let start = items.iter().position(|item| place(&key(item)) == *after).map(|last| last + 1);
            let beginning = after.split(CUT).next().unwrap_or_default();
            let is_before = |item: &T| {
                let key = key(item);
                if after.contains(CUT) { cut(&key) < beginning } else { key.as_str() <= beginning }
            };
            items.drain(..start.unwrap_or_else(|| items.partition_point(is_before)));
        }
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let marker = items.last().filter(|_| more).map(|last| place(&key(last)));
        (items, marker)
    }
}

/// As much of a key as a marker holds.
fn cut(key: &str) -> &str {
    &key[..key.floor_char_boundary(MARKED_BYTES)]
}

/// A key in a marker.
fn place(key: &str) -> String {
    if key.len() <= MARKED_BYTES {
        return key.to_owned();
    }
    let digest = Sha256::digest(key);
    format!("{}{CUT}{}", cut(key), id::hex(&digest[..DIGEST_BYTES]))
}

impl IdentityService {
    /// Users, groups or roles below a path.
    pub(super) async fn list_entities<E: Entity>(
        &self,
        paging: &Paging,
        path_prefix: Option<&str>,
    ) -> Result<Page<E>, Problem> {
        let prefix = path_prefix.unwrap_or("/");
        let mut after = paging.after.clone();
        let mut items: Vec<E> = Vec::new();
        loop {
            let page = self.store.list::<E>("", after.as_deref(), 500, Order::Ascending).await?;
            for entity in page.items {
                if entity.path().starts_with(prefix) {
                    items.push(entity.into_doc());
                }
            }
            if items.len() > paging.limit {
                items.truncate(paging.limit);
                let marker = items.last().map(|last| Document::key(last));
                return Ok((items, marker));
            }
            after = match page.next {
                Some(next) => Some(next),
                None => return Ok((items, None)),
            };
        }
    }

    /// Whether another document of this kind would exceed `quota`.
    pub(super) async fn check_quota<D: Document>(
        &self,
        name: &'static str,
        limit: usize,
    ) -> Result<(), Problem> {
        let page = self.store.list::<D>("", None, limit, Order::Ascending).await?;
        if page.items.len() >= limit { Err(Problem::Quota { name, limit }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paged(keys: &[String], size: i64, mut between: impl FnMut(&[String]) -> Vec<String>) -> Vec<String> {
        let (mut told, mut keys, mut marker) = (Vec::new(), keys.to_vec(), None);
        loop {
            let paging = Paging::new(marker, Some(size));
            let (page, next) = paging.of(keys, String::clone);
            assert!(page.len() <= size as usize);
            told.extend(page);
            let Some(next) = next else { return told };
            // As the edge seals it: another digest around it, and base64 around that.
            assert!((next.len() + 12).div_ceil(3) * 4 <= 320, "{}", next.len());
            (keys, marker) = (between(&told), Some(next));
        }
    }

    #[test]
    fn keys_of_any_length_are_told_once_each() {
        for length in [1, 100, 179, 180, 181, 700] {
            let begin = "ä".repeat(length);
            let keys: Vec<String> = (0..9).map(|number| format!("{begin}{number}")).collect();
            for size in [1, 2, 9, 10] {
                assert_eq!(paged(&keys, size, |_| keys.clone()), keys, "{length} {size}");
            }
        }
    }

    #[test]
    fn what_goes_between_pages_takes_nothing_with_it() {
        for begin in ["k".to_owned(), "k".repeat(500)] {
            let keys: Vec<String> = (0..9).map(|number| format!("{begin}{number}")).collect();
            let told =
                paged(&keys, 2, |told| keys.iter().filter(|key| !told.contains(key)).cloned().collect());
            assert_eq!(told, keys);
        }
    }
}
