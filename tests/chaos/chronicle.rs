//! What happened when: the time line of faults, when each instance was sound, and what went wrong.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// Stretches of time, each with its end once that has come.
type Spans = Vec<(Duration, Option<Duration>)>;

#[derive(Debug, Default)]
struct Pages {
    lines: Vec<String>,
    /// When each instance was not sound.
    unsound: Vec<Spans>,
    /// Times at which each Achromat was not up.
    away: Vec<Spans>,
    violations: Vec<String>,
    violation_count: usize,
}

/// The chronicle of one run.
#[derive(Debug)]
pub struct Chronicle {
    begun: Instant,
    pages: Mutex<Pages>,
}

/// Violations that are kept; the first ones tell the most.
const VIOLATIONS_KEPT_MAX: usize = 20;

impl Chronicle {
    /// It begins now, with all instances sound.
    pub fn new(instances: usize, proxies: usize) -> Self {
        let pages = Pages {
            unsound: vec![Spans::new(); instances],
            away: vec![Spans::new(); proxies],
            ..Pages::default()
        };
        Self {
            begun: Instant::now(),
            pages: Mutex::new(pages),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().expect("the chronicle")
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// The time since then.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Writes down something that happened.
    pub fn note(&self, what: &str) {
        let line = format!("{:8.3} s  {what}", self.now().as_secs_f64());
        self.pages().lines.push(line);
    }

    /// The time line.
    pub fn lines(&self) -> Vec<String> {
        self.pages().lines.clone()
    }

    /// From now on an instance is not sound.
    pub fn instance_suffers(&self, instance: usize) {
        let now = self.now();
        let spans = &mut self.pages().unsound[instance];
        if !is_open(spans) {
            spans.push((now, None));
        }
    }

    /// From now on it is.
    pub fn instance_is_sound(&self, instance: usize) {
        let now = self.now();
        close(&mut self.pages().unsound[instance], now);
    }

    /// Whether it is now.
    pub fn is_sound(&self, instance: usize) -> bool {
        !is_open(&self.pages().unsound[instance])
    }

    /// Whether an instance was not sound at any time between these two.
    pub fn suffered(&self, instance: usize, (from, until): (Duration, Duration)) -> bool {
        let pages = self.pages();
        let touches = |(begin, end): &(Duration, Option<Duration>)| {
            *begin <= until && end.is_none_or(|end| end >= from)
        };
        pages.unsound[instance].iter().any(touches)
    }

    /// From now on an Achromat is not up.
    pub fn achromat_is_away(&self, proxy: usize) {
        let now = self.now();
        self.pages().away[proxy].push((now, None));
    }

    /// From now on it is.
    pub fn achromat_is_back(&self, proxy: usize) {
        let now = self.now();
        close(&mut self.pages().away[proxy], now);
    }

    /// Returns true when a request to an Achromat that began then and ends now had a right to fail: that one was
    /// not up all the time, or no instance was sound all the time.
    pub fn is_excused(&self, proxy: usize, since: Duration) -> bool {
        let pages = self.pages();
        touches(&pages.away[proxy], since)
            || pages.unsound.iter().all(|spans| touches(spans, since))
    }

    /// Writes down that something does not hold that must, and what belongs to it.
    pub fn violation(&self, what: &str, belonging: &[String]) {
        let mut text = format!("{:8.3} s  {what}", self.now().as_secs_f64());
        for line in belonging {
            text.push_str("\n      | ");
            text.push_str(line);
        }
        let mut pages = self.pages();
        pages.violation_count += 1;
        if pages.violations.len() < VIOLATIONS_KEPT_MAX {
            pages.violations.push(text);
        }
    }

    /// The first violations, and how many there were.
    pub fn violations(&self) -> (Vec<String>, usize) {
        let pages = self.pages();
        (pages.violations.clone(), pages.violation_count)
    }
}

fn is_open(spans: &Spans) -> bool {
    spans.last().is_some_and(|(_, end)| end.is_none())
}

fn close(spans: &mut Spans, now: Duration) {
    if let Some((_, end)) = spans.last_mut() {
        end.get_or_insert(now);
    }
}

/// Whether any of these stretches reaches beyond `since`.
fn touches(spans: &Spans, since: Duration) -> bool {
    spans
        .iter()
        .any(|(_, end)| end.is_none_or(|end| end >= since))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A failure is excused when Achromat was away, or when every instance suffered at some time.
    #[test]
    fn failures_are_excused_only_without_a_sound_instance() {
        let chronicle = Chronicle::new(2, 1);
        let since = chronicle.now();
        chronicle.instance_suffers(0);
        assert!(!chronicle.is_excused(0, since));
        chronicle.instance_is_sound(0);
        chronicle.instance_suffers(1);
        assert!(
            chronicle.is_excused(0, since),
            "neither was sound all the time"
        );
        assert!(
            !chronicle.is_excused(0, chronicle.now()),
            "the first is now"
        );
        chronicle.achromat_is_away(0);
        chronicle.achromat_is_back(0);
        assert!(chronicle.is_excused(0, since));
    }
}
