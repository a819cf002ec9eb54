//! Takes down what clients wrote and what operators changed, beside the requests.
//!
//! No request waits for it but an operator's change, which is durable here before it is answered. Where
//! records come faster than they can be stored, some are dropped, and counted.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use achromat_core::{
    history::{AuditKind, AuditRecord, Retention, WriteRecord},
    time::WallTime,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    access::{Access, Denial},
    clock::wall_time,
    store::{HISTORY_NOTED_MAX, HistoryStore},
    telemetry::Seldom,
};

/// Records that wait to be stored, at most. One has some 300 bytes.
const WAITING_MAX: usize = 8192;

/// Time that records wait for others to be stored with them.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Time that an operator's change waits for its record.
const DURABLE_DEADLINE: Duration = Duration::from_secs(5);

/// The longest text of a record, in characters.
const TEXT_MAX: usize = 256;

/// Retention of records, as configured.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Time that writes are kept.
    pub writes: Duration,
    /// Number of writes that are kept; with 0 no write is recorded.
    pub writes_max: u64,
    /// Time that audited events are kept.
    pub audit: Duration,
    /// Number of denials that are kept.
    pub denials_max: u64,
}

impl Keep {
    fn retention(self, now: WallTime) -> Retention {
        let since = |span: Duration| {
            let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
            WallTime(now.0.saturating_sub(span))
        };
        Retention {
            writes_since: since(self.writes),
            writes_max: self.writes_max,
            audit_since: since(self.audit),
            denials_max: self.denials_max,
        }
    }
}

enum Event {
    Write(WriteRecord),
    /// An audited event, and who waits until it is durable.
    Audit(AuditRecord, Option<oneshot::Sender<()>>),
    /// The end: the recorder stores the events before this one, and then nothing more.
    End,
}

/// Handle for handing in records and asking for them. Cheap to clone.
#[derive(Clone)]
pub struct History {
    events: mpsc::Sender<Event>,
    store: Arc<dyn HistoryStore>,
    dropped: Arc<AtomicU64>,
    keeps_writes: bool,
}

/// The task that stores records.
pub struct Recording {
    events: mpsc::Sender<Event>,
    task: JoinHandle<()>,
}

impl Recording {
    /// Waits until everything that was handed in is stored, and takes nothing more.
    pub async fn end(self) {
        let ended = async {
            let _sent = self.events.send(Event::End).await;
            let _ended = self.task.await;
        };
        if timeout(DURABLE_DEADLINE, ended).await.is_err() {
            tracing::warn!("the last records of writes and changes could not be stored in time");
        }
    }
}

impl History {
    /// Begins to store records.
    pub fn start(store: Arc<dyn HistoryStore>, keep: Keep) -> (Self, Recording) {
        let (events, inbox) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let recorder = Recorder {
            inbox,
            store: Arc::clone(&store),
            keep,
            dropped: Arc::clone(&dropped),
            losses: Seldom::default(),
        };
        let recording = Recording {
            events: events.clone(),
            task: tokio::spawn(recorder.run()),
        };
        let history = Self {
            events,
            store,
            dropped,
            keeps_writes: keep.writes_max > 0,
        };
        (history, recording)
    }

    /// True when clients' writes are taken down.
    pub fn keeps_writes(&self) -> bool {
        self.keeps_writes
    }

    /// Records that were lost since the start: they came too fast, or the store could not be written.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Takes down a write.
    pub fn note_write(&self, write: WriteRecord) {
        self.hand_in(Event::Write(write));
    }

    /// Takes down an event that nobody waits for.
    pub fn note(&self, event: AuditRecord) {
        self.hand_in(Event::Audit(event, None));
    }

    /// Takes down an event, and waits until it is durable. A store that can't be written holds it up for a
    /// few seconds, and is told in the log.
    pub async fn note_durably(&self, event: AuditRecord) {
        let (done, is_durable) = oneshot::channel();
        let work = async {
            // The task is there as long as anybody can hand in.
            let _handed = self.events.send(Event::Audit(event, Some(done))).await;
            // It answers, or drops the record and tells of it.
            let _durable = is_durable.await;
        };
        if timeout(DURABLE_DEADLINE, work).await.is_err() {
            tracing::warn!("the record of a change is not durable yet");
        }
    }

    /// The records that are kept.
    pub fn records(&self) -> &dyn HistoryStore {
        self.store.as_ref()
    }

    /// Tells that a request was denied, and takes it down. A flood of denials is counted only.
    pub fn note_denial(&self, access: &Access, denial: &Denial<'_>) {
        if access.count_denial(denial) {
            let from = (denial.name, denial.client);
            let told = (denial.status, denial.why);
            self.note(audited(AuditKind::Denial, from, denial.what, told));
        }
    }

    fn hand_in(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Records that are stored together.
#[derive(Default)]
struct Batch {
    is_last: bool,
    writes: Vec<WriteRecord>,
    audit: Vec<AuditRecord>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn add(&mut self, event: Event) {
        match event {
            Event::Write(write) => self.writes.push(write),
            Event::Audit(event, waiting) => {
                self.audit.push(event);
                self.waiting.extend(waiting);
            }
            Event::End => self.is_last = true,
        }
    }

    fn len(&self) -> usize {
        self.writes.len() + self.audit.len()
    }
}

struct Recorder {
    inbox: mpsc::Receiver<Event>,
    store: Arc<dyn HistoryStore>,
    keep: Keep,
    dropped: Arc<AtomicU64>,
    losses: Seldom,
}

impl Recorder {
    async fn run(mut self) {
        while let Some(first) = self.inbox.recv().await {
            let batch = self.gather(first).await;
            let is_last = batch.is_last;
            self.flush(batch).await;
            if is_last {
                break;
            }
        }
    }

    /// Gathers the events of one interval. An event that somebody waits for ends the interval at once.
    async fn gather(&mut self, first: Event) -> Batch {
        let until = Instant::now() + FLUSH_INTERVAL;
        let mut batch = Batch::default();
        batch.add(first);
        let batch_max = usize::try_from(HISTORY_NOTED_MAX).unwrap_or(usize::MAX);
        while batch.waiting.is_empty() && !batch.is_last && batch.len() < batch_max {
            match timeout_at(until, self.inbox.recv()).await {
                Ok(Some(event)) => batch.add(event),
                Ok(None) | Err(_) => break,
            }
        }
        batch
    }

    async fn flush(&self, batch: Batch) {
        let retention = self.keep.retention(wall_time());
        let noted = self
            .store
            .note(&batch.writes, &batch.audit, &retention)
            .await;
        if let Err(error) = noted {
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            self.dropped.fetch_add(count, Relaxed);
            if let Some(left_out) = self.losses.due() {
                tracing::warn!(%error, count, left_out, "records of writes and changes are lost");
            }
        }
        for waiting in batch.waiting {
            // Who has gone meanwhile waits no more.
            let _gone = waiting.send(());
        }
    }
}

/// An event of now. The answer's status stands with what the call said, or why it was denied.
pub fn audited(
    kind: AuditKind,
    (who, client): (&str, Option<IpAddr>),
    what: &str,
    (status, detail): (u16, &str),
) -> AuditRecord {
    AuditRecord {
        at: wall_time(),
        kind,
        who: bounded(who),
        client: client.map(|client| client.to_string()).unwrap_or_default(),
        what: bounded(what),
        status,
        detail: bounded(detail),
    }
}

/// A text of a record: bounded, and without what a terminal or a database would stumble over.
pub fn bounded(text: &str) -> String {
    let shown = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c });
    shown.take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text is cut at its bound, by characters, and has no control characters.
    #[test]
    fn texts_are_bounded() {
        assert_eq!(bounded("a\u{0}b\nc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(bounded(&"é".repeat(300)).chars().count(), TEXT_MAX);
    }
}
