//! The contract of [`HistoryStore`](super::HistoryStore), run against every implementation.

use achromat_core::{
    history::{
        AuditAsked, AuditKind, AuditRecord, Retention, WriteOutcome, WriteRecord, WritesAsked,
    },
    time::WallTime,
};

use super::Place;

fn write_record(at: u64, collection: &str, status: u16) -> WriteRecord {
    WriteRecord {
        begun_at: WallTime(at),
        took_ms: 7,
        who: "cms".to_owned(),
        client: "127.0.0.1".to_owned(),
        action: "upsert".to_owned(),
        tenant: "default_tenant".to_owned(),
        database: "default \"database\"".to_owned(),
        collection: collection.to_owned(),
        status,
        key: String::new(),
    }
}

fn event(at: u64, kind: AuditKind) -> AuditRecord {
    AuditRecord {
        at: WallTime(at),
        kind,
        who: "operator".to_owned(),
        client: "::1".to_owned(),
        what: "POST /admin/cleanup".to_owned(),
        status: 200,
        detail: "{}".to_owned(),
    }
}

/// Keeps everything.
const KEEP: Retention = Retention {
    writes_since: WallTime(0),
    writes_max: 1_000,
    audit_since: WallTime(0),
    denials_max: 1_000,
};

const ALL_WRITES: WritesAsked = WritesAsked {
    before: u64::MAX,
    limit: 100,
    collection: None,
    who: None,
    outcome: None,
};

/// Recent writes are listed as they were noted, the newest first, by page, collection, token and outcome, and
/// counted by their status.
#[tokio::test]
async fn recent_writes_are_listed() {
    for place in Place::all().await {
        let store = place.open_history().await;
        let noted = [
            write_record(1, "notes", 200),
            write_record(2, "pages", 404),
            write_record(3, "notes", 503),
        ];
        store.note(&noted[..2], &[], &KEEP).await.unwrap();
        store.note(&noted[2..], &[], &KEEP).await.unwrap();
        drop(store);
        let store = place.open_history().await;
        let listed = async |asked: &WritesAsked| {
            let found = store.writes(asked).await.unwrap();
            found
                .into_iter()
                .map(|(_, write)| write)
                .collect::<Vec<_>>()
        };
        let newest_first: Vec<_> = noted.iter().rev().cloned().collect();
        assert_eq!(listed(&ALL_WRITES).await, newest_first);
        let two = WritesAsked {
            limit: 2,
            ..ALL_WRITES
        };
        let page = store.writes(&two).await.unwrap();
        let rest = WritesAsked {
            before: page[1].0,
            ..ALL_WRITES
        };
        assert_eq!(listed(&rest).await, noted[..1]);
        let notes = WritesAsked {
            collection: Some("notes".to_owned()),
            ..ALL_WRITES
        };
        assert_eq!(listed(&notes).await.len(), 2);
        let nobody = WritesAsked {
            who: Some("nobody".to_owned()),
            ..ALL_WRITES
        };
        assert_eq!(listed(&nobody).await, []);
        let refused = WritesAsked {
            outcome: Some(WriteOutcome::Refused),
            ..ALL_WRITES
        };
        assert_eq!(listed(&refused).await, noted[1..2]);
        let counts = store.write_counts(WallTime(2)).await.unwrap();
        assert_eq!(counts, [(404, 1), (503, 1)].into());
    }
}

/// Pruning deletes what the retention leaves out: writes by age and by number, events by age,
/// denials by their number while the others stay.
#[tokio::test]
async fn history_is_pruned() {
    for place in Place::all().await {
        let store = place.open_history().await;
        let writes: Vec<_> = (1..=5).map(|at| write_record(at, "notes", 200)).collect();
        store.note(&writes, &[], &KEEP).await.unwrap();
        let times = async || {
            let found = store.writes(&ALL_WRITES).await.unwrap();
            found
                .iter()
                .map(|(_, write)| write.begun_at.0)
                .collect::<Vec<_>>()
        };
        let by_age = Retention {
            writes_since: WallTime(3),
            ..KEEP
        };
        store.note(&[], &[], &by_age).await.unwrap();
        assert_eq!(times().await, [5, 4, 3]);
        let by_number = Retention {
            writes_max: 2,
            ..KEEP
        };
        store.note(&writes[..1], &[], &by_number).await.unwrap();
        assert_eq!(times().await, [1, 5]);

        let events = [
            event(1, AuditKind::Change),
            event(2, AuditKind::Denial),
            event(3, AuditKind::Denial),
            event(4, AuditKind::Destruction),
        ];
        store.note(&[], &events, &KEEP).await.unwrap();
        let listed = async |kind| {
            let asked = AuditAsked {
                before: u64::MAX,
                limit: 100,
                kind,
            };
            let found = store.audit(&asked).await.unwrap();
            found
                .into_iter()
                .map(|(_, event)| event)
                .collect::<Vec<_>>()
        };
        let newest_first: Vec<_> = events.iter().rev().cloned().collect();
        assert_eq!(listed(None).await, newest_first);
        assert_eq!(listed(Some(AuditKind::Change)).await, events[..1]);
        let denials = Retention {
            denials_max: 1,
            ..KEEP
        };
        store.note(&[], &[], &denials).await.unwrap();
        assert_eq!(listed(Some(AuditKind::Denial)).await, events[2..3]);
        assert_eq!(listed(None).await.len(), 3);
        let by_age = Retention {
            audit_since: WallTime(4),
            ..KEEP
        };
        store.note(&[], &[], &by_age).await.unwrap();
        assert_eq!(listed(None).await, events[3..]);
    }
}
