//! Listings: keys in byte order, grouped by a delimiter, in pages.

use crate::engine::S3;
use crate::errors;
use crate::store::{Current, Version};
use towpath_api::ApiError;
use towpath_store::{Order, key};

const PAGE: usize = 1000;
/// Sorts after every key that continues a prefix.
const LAST: char = '\u{10FFFE}';

pub struct Query<'a> {
    pub bucket: &'a str,
    pub prefix: &'a str,
    pub delimiter: &'a str,
    /// Keys (or a common prefix) up to and including this one have been listed.
    pub after: &'a str,
    pub limit: usize,
}

#[derive(Default)]
pub struct Listing {
    pub objects: Vec<Version>,
    pub prefixes: Vec<String>,
    /// Where the next page starts; `None` on the last page.
    pub next: Option<String>,
}

impl Listing {
    pub fn len(&self) -> usize {
        self.objects.len() + self.prefixes.len()
    }
}

/// The common prefix of `object_key`, when the delimiter comes after the query's prefix.
fn common_prefix(object_key: &str, prefix: &str, delimiter: &str) -> Option<String> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = object_key.strip_prefix(prefix)?;
    let end = rest.find(delimiter)?;
    Some(format!("{prefix}{}", &rest[..end + delimiter.len()]))
}

/// The key after which to go on, past a whole common prefix where one was listed last.
fn resume_point(query: &Query) -> String {
    let group = common_prefix(query.after, query.prefix, query.delimiter);
    if group.as_deref() == Some(query.after) {
        format!("{}{LAST}", query.after)
    } else {
        query.after.to_owned()
    }
}

impl S3 {
    pub async fn list_current(&self, query: &Query<'_>) -> Result<Listing, ApiError> {
        let mut listing = Listing::default();
        if query.limit == 0 {
            return Ok(listing);
        }
        let mut after = resume_point(query);
        let mut last = String::new();
        'pages: loop {
            let from = (!after.is_empty()).then(|| key(&[query.bucket, &after]));
            // One more than is wanted says whether there are more.
            let rows = PAGE.min(query.limit - listing.len() + 1);
            let page = self
                .store
                .list::<Current>(&key(&[query.bucket, query.prefix]), from.as_deref(), rows, Order::Ascending)
                .await
                .map_err(errors::storage)?;
            let more = page.next.is_some();
            // Small groups are skipped key by key; the rest of a large one is jumped over with the next page.
            let mut group: Option<String> = None;
            for current in page.items {
                let version = current.doc.0;
                if group.as_deref().is_some_and(|group| version.key.starts_with(group)) {
                    continue;
                }
                if listing.len() == query.limit {
                    listing.next = Some(last);
                    break 'pages;
                }
                group = common_prefix(&version.key, query.prefix, query.delimiter);
                match &group {
                    Some(group) => {
                        last.clone_from(group);
                        after = format!("{group}{LAST}");
                        listing.prefixes.push(group.clone());
                    }
                    None => {
                        last.clone_from(&version.key);
                        after.clone_from(&version.key);
                        listing.objects.push(version);
                    }
                }
            }
            if !more {
                break;
            }
        }
        Ok(listing)
    }

    /// Every version, newest first within a key; `after` is a key and, within it, a version's order.
    pub async fn list_versions(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<(Vec<Version>, bool), ApiError> {
        let from = after.map(|(object_key, order)| match order {
            "" => key(&[bucket, object_key, &LAST.to_string()]),
            order => key(&[bucket, object_key, order]),
        });
        let page = self
            .store
            .list::<Version>(&key(&[bucket, prefix]), from.as_deref(), limit.max(1), Order::Ascending)
            .await
            .map_err(errors::storage)?;
        Ok((page.items.into_iter().map(|version| version.doc).collect(), page.next.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delimiter_groups_what_follows_the_prefix() {
        assert_eq!(common_prefix("a/b/c", "a/", "/").as_deref(), Some("a/b/"));
        assert_eq!(common_prefix("a/b", "a/", "/"), None);
        assert_eq!(common_prefix("a/b", "", "/").as_deref(), Some("a/"));
        assert_eq!(common_prefix("a/b", "", ""), None);
        assert_eq!(common_prefix("a--b--c", "a", "--").as_deref(), Some("a--"));
    }
}
