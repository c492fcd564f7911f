//! Markers. A marker is the key of the last item, so that items which come or go between two pages are
//! neither shown twice nor skipped.

use crate::documents::Entity;
use crate::limits::DEFAULT_PAGE;
use crate::problem::Problem;
use crate::service::IdentityService;
use towpath_api::id;
use towpath_store::{Document, Order};

/// Items of one page, and the marker of the next.
pub type Page<T> = (Vec<T>, Option<String>);

/// What a listing is asked for.
pub struct Paging {
    after: Option<String>,
    limit: usize,
}

impl Paging {
    pub fn new(marker: Option<String>, max_items: Option<i64>) -> Result<Self, Problem> {
        let after = marker
            .map(|marker| {
                id::base64_decode(&marker)
                    .and_then(|bytes| String::from_utf8(bytes).ok())
                    .ok_or_else(|| Problem::Validation("Invalid Marker.".to_owned()))
            })
            .transpose()?;
        let limit = max_items.and_then(|items| usize::try_from(items).ok()).unwrap_or(DEFAULT_PAGE);
        Ok(Paging { after, limit: limit.clamp(1, 1000) })
    }

    /// Of items that are all at hand.
    pub fn of<T>(&self, mut items: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        items.sort_by_key(&key);
        if let Some(after) = &self.after {
            items.retain(|item| key(item) > *after);
        }
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let marker = items.last().filter(|_| more).map(|last| id::base64_encode(key(last).as_bytes()));
        (items, marker)
    }
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
                let marker = items.last().map(|last| id::base64_encode(Document::key(last).as_bytes()));
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
