//! What one instance was asked and how it answered, as it was seen on the way.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::message::Message;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has not ended.
    Open,
    /// Chroma has answered it; the answer may have been lost on its way back.
    Answered(u16),
    /// The connection ended first.
    Broken,
}

/// One request on its way to one instance.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: String,
    pub path: String,
    pub body_hash: u64,
    /// When all of it had been passed on to Chroma; `None` when it never was.
    pub passed_at: Option<Duration>,
    pub ended_at: Option<Duration>,
    pub fate: Fate,
}

/// The number of a request.
#[derive(Clone, Copy, Debug)]
pub struct Number(usize);

/// Everything that went to one instance.
#[derive(Debug)]
pub struct Recorder {
    begun: Instant,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Exchange {
    /// The instance's id of the collection whose records it changes.
    pub fn changes_records_of(&self) -> Option<&str> {
        let (head, act) = self.path.rsplit_once('/')?;
        let is_write = matches!(act, "add" | "upsert" | "update" | "delete");
        is_write.then(|| head.rsplit_once('/').map(|(_, id)| id))?
    }
}

impl Recorder {
    /// Nothing is recorded; times are counted from `begun`.
    pub fn new(begun: Instant) -> Self {
        Self {
            begun,
            exchanges: Mutex::default(),
        }
    }

    fn exchanges(&self) -> std::sync::MutexGuard<'_, Vec<Exchange>> {
        self.exchanges.lock().expect("what was recorded")
    }

    fn change(&self, number: Number, change: impl FnOnce(&mut Exchange)) {
        change(&mut self.exchanges()[number.0]);
    }

    /// A request has come.
    pub fn came(&self, request: &Message) -> Number {
        let mut exchanges = self.exchanges();
        exchanges.push(Exchange {
            method: request.word(0).to_owned(),
            path: request.word(1).to_owned(),
            body_hash: request.body_hash(),
            passed_at: None,
            ended_at: None,
            fate: Fate::Open,
        });
        Number(exchanges.len() - 1)
    }

    /// It is about to be passed on to Chroma.
    pub fn passed(&self, number: Number) {
        let now = self.begun.elapsed();
        self.change(number, |exchange| exchange.passed_at = Some(now));
    }

    /// It has ended.
    pub fn ended(&self, number: Number, fate: Fate) {
        let now = self.begun.elapsed();
        self.change(number, |exchange| {
            exchange.ended_at = Some(now);
            exchange.fate = fate;
        });
    }

    /// All of it, in the order in which it came.
    pub fn all(&self) -> Vec<Exchange> {
        self.exchanges().clone()
    }
}

/// How often writes of records were passed on.
pub fn sendings(exchanges: &[Exchange]) -> usize {
    let is_sending = |e: &&Exchange| e.passed_at.is_some() && e.changes_records_of().is_some();
    exchanges.iter().filter(is_sending).count()
}

/// Two writes of one collection's records that were at one instance at the same time.
#[derive(Clone, Debug)]
pub struct Overlap {
    pub earlier: Exchange,
    pub later: Exchange,
    /// From when to when both were there.
    pub span: (Duration, Duration),
}

/// All of them.
pub fn overlaps(exchanges: &[Exchange]) -> Vec<Overlap> {
    let mut spans: BTreeMap<&str, Vec<(Duration, Duration, &Exchange)>> = BTreeMap::new();
    for exchange in exchanges {
        if let (Some(id), Some(from)) = (exchange.changes_records_of(), exchange.passed_at) {
            let until = exchange.ended_at.unwrap_or(Duration::MAX);
            spans.entry(id).or_default().push((from, until, exchange));
        }
    }
    let mut found = Vec::new();
    for mut spans in spans.into_values() {
        spans.sort_by_key(|(from, ..)| *from);
        for pair in spans.windows(2) {
            if let [(_, until, earlier), (from, _, later)] = pair
                && from < until
            {
                found.push(Overlap {
                    earlier: (*earlier).clone(),
                    later: (*later).clone(),
                    span: (*from, *until),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(path: &str, from_ms: u64, until_ms: u64) -> Exchange {
        Exchange {
            method: "POST".to_owned(),
            path: path.to_owned(),
            body_hash: 0,
            passed_at: Some(Duration::from_millis(from_ms)),
            ended_at: Some(Duration::from_millis(until_ms)),
            fate: Fate::Answered(200),
        }
    }

    /// Only writes of the same collection stand in each other's way.
    #[test]
    fn overlaps_are_found() {
        let mut seen = vec![
            exchange("/api/v2/c/1/add", 0, 10),
            exchange("/api/v2/c/1/upsert", 10, 20),
            exchange("/api/v2/c/2/add", 5, 30),
            exchange("/api/v2/c/1/get", 0, 90),
        ];
        assert!(overlaps(&seen).is_empty());
        assert_eq!(sendings(&seen), 3);
        seen.push(exchange("/api/v2/c/2/delete", 29, 31));
        assert_eq!(overlaps(&seen).len(), 1);
    }
}
