//! Lists that are asked for a page at a time, because one answer has only so much room.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::json;

use super::{
    Stopped,
    chroma::unreadable,
    copy::{Pair, Side},
};
use crate::{
    limits::{LISTED_AGAIN, LISTED_MAX},
    record,
    route::Action,
};

impl Pair {
    /// The ids of all records that one side has. Writes go on meanwhile: a record that is deleted moves
    /// those behind it to the front, so each page begins before the end of the last one, by as many
    /// records as writes have touched, and some more. What was touched is compared again later.
    pub(crate) async fn ids(&self, side: &Side) -> Result<Vec<String>, Stopped> {
        let mut pages = Pages::default();
        loop {
            let first = pages.next_from(self.port.touched_count());
            let page = self.page(side, first).await?;
            if pages.is_sound(first, self.port.touched_count()) && pages.add(first, page)? {
                return Ok(pages.ids);
            }
        }
    }

    async fn page(&self, side: &Side, first: usize) -> Result<Vec<String>, Stopped> {
        let body = json!({ "include": [], "limit": LISTED_MAX, "offset": first });
        let body = Bytes::from(body.to_string());
        let answer = self
            .port
            .must(side.instance, Action::Get, &side.address, Some(body))
            .await?;
        record::ids(&answer).ok_or_else(|| unreadable("a list of ids"))
    }
}

/// Pages of ids put together.
#[derive(Debug, Default)]
struct Pages {
    ids: Vec<String>,
    last: Vec<String>,
    /// The place behind the last page.
    end: usize,
}

impl Pages {
    /// Offset of the next page, when writes have touched so many records.
    fn next_from(&self, touched: usize) -> usize {
        self.end
            .saturating_sub(touched.saturating_add(LISTED_AGAIN))
    }

    /// Returns true when no record can be missing between the last page and a page that was asked for from
    /// `first` on.
    fn is_sound(&self, first: usize, touched: usize) -> bool {
        self.end == 0 || first.saturating_add(touched) <= self.end
    }

    /// Takes in a page. Returns whether it was the last one.
    fn add(&mut self, first: usize, page: Vec<String>) -> Result<bool, Stopped> {
        let end = first + page.len();
        let is_last = page.len() < LISTED_MAX;
        let reaches_back_too_far = first < self.end.saturating_sub(self.last.len());
        if reaches_back_too_far || end <= self.end && !is_last {
            let reason = "too many records were written while they were listed";
            return Err(Stopped::because(reason));
        }
        let known: BTreeSet<&str> = self.last.iter().map(String::as_str).collect();
        let new = page.iter().filter(|id| !known.contains(id.as_str()));
        self.ids.extend(new.cloned());
        (self.last, self.end) = (page, end);
        Ok(is_last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of so many ids, from a place on.
    fn page(list: &[String], first: usize) -> Vec<String> {
        let end = list.len().min(first + LISTED_MAX);
        list.get(first..end).unwrap_or_default().to_vec()
    }

    fn list(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("r{n}")).collect()
    }

    /// Deletes between two pages move records to the front; none is missing, and none is listed twice.
    #[test]
    fn no_record_is_missed_although_others_are_deleted() {
        let mut list = list(LISTED_MAX * 2);
        let mut pages = Pages::default();
        let first = pages.next_from(0);
        assert!(!pages.add(first, page(&list, first)).expect("a page"));
        list.drain(0..700);
        let first = pages.next_from(300);
        assert!(pages.is_sound(first, 700));
        assert!(!pages.is_sound(first, 2_000), "too many were touched since");
        assert!(!pages.add(first, page(&list, first)).expect("a page"));
        let first = pages.next_from(700);
        assert!(pages.is_sound(first, 700));
        assert!(pages.add(first, page(&list, first)).expect("a page"));
        let all: BTreeSet<&String> = pages.ids.iter().collect();
        assert_eq!(all.len(), pages.ids.len(), "none twice");
        assert!(list.iter().all(|id| all.contains(id)), "none missing");
    }

    /// More writes than a page has room for end the listing instead of repeating it for ever.
    #[test]
    fn a_listing_ends_when_writes_outrun_it() {
        let list = list(LISTED_MAX * 3);
        let mut pages = Pages::default();
        for _ in 0..2 {
            let first = pages.next_from(0);
            assert!(!pages.add(first, page(&list, first)).expect("a page"));
        }
        let first = pages.next_from(LISTED_MAX);
        assert!(pages.add(first, page(&list, first)).is_err());
    }
}
