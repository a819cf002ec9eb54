//! Decisions as they are recorded: questions with everything that any version could want to see,
//! but for what documents say, and written so that they can be asked again.

use achromat_core::policy::Subject;
use http::HeaderName;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use uuid::Uuid;

use super::{
    asked::Asked,
    contract::{
        guard::exports::achromat::policy::guard_policy::{Deed, Question, Records},
        routing::{
            achromat::policy::types::{Action, Class, Header, Operation, Parts, Sizes},
            exports::achromat::policy::route_policy::{InstanceState, Standing},
        },
    },
    request::uuid,
    version::Wanted,
    words,
    world::{GuardSlot, RoutingQuestion, RoutingSlot, WalSlot},
};

/// Headers that are never recorded: they are secrets.
const SECRET: [&str; 6] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
    "x-auth-token",
    "x-chroma-token",
];

/// Parts of a request that are recorded beside those that always are.
#[derive(Clone, Copy)]
pub struct Taking<'a> {
    /// The headers that somebody wants to see.
    pub headers: &'a [HeaderName],
    /// True when ids and filters are recorded.
    pub contents: bool,
}

impl Taking<'_> {
    /// These headers, without those that are secrets.
    pub(super) fn headers(&self, all: &http::HeaderMap) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        for name in self.headers {
            if SECRET.contains(&name.as_str()) {
                continue;
            }
            for value in all.get_all(name) {
                if let Ok(value) = std::str::from_utf8(value.as_bytes()) {
                    taken.push((name.as_str().to_owned(), value.to_owned()));
                }
            }
        }
        taken
    }
}

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedOperation {
    pub(super) number: u64,
    #[serde(with = "words")]
    pub(super) action: Action,
    #[serde(with = "words")]
    pub(super) class: Class,
    pub(super) body_bytes: u32,
    pub(super) tenant: Option<String>,
    pub(super) database: Option<String>,
    pub(super) collection: Option<String>,
    pub(super) collection_id: Option<Uuid>,
    pub(super) client: Option<String>,
    /// Records, queries, results.
    pub(super) sizes: (u32, u32, u32),
    pub(super) headers: Vec<(String, String)>,
}

/// A request, and how the instances were.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedRouting {
    #[serde(flatten)]
    pub(super) operation: RecordedOperation,
    pub(super) states: Vec<RecordedState>,
}

/// The state of an instance when the question was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecordedState {
    index: u8,
    #[serde(with = "words")]
    standing: Standing,
    eligible: bool,
    in_flight: u32,
    latency_us: u32,
    lag_entries: u32,
}

/// The destruction that a guard was asked about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordedConcern {
    pub(super) number: u64,
    #[serde(with = "words")]
    pub(super) deed: Deed,
    pub(super) tenant: Option<String>,
    pub(super) database: Option<String>,
    pub(super) collection: Option<String>,
    pub(super) collection_id: Option<Uuid>,
    pub(super) new_name: Option<String>,
    pub(super) records: Option<RecordedRecords>,
    pub(super) subject: Option<String>,
    pub(super) client: Option<String>,
    pub(super) is_operator: bool,
    pub(super) headers: Vec<(String, String)>,
}

/// Records that were to be deleted. Ids and filter are there only when contents are recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RecordedRecords {
    pub(super) ids: Vec<String>,
    pub(super) filter: Option<String>,
    pub(super) count: Option<u64>,
    pub(super) held: Option<u64>,
}

impl From<&InstanceState> for RecordedState {
    fn from(state: &InstanceState) -> Self {
        Self {
            index: state.index,
            standing: state.standing,
            eligible: state.eligible,
            in_flight: state.in_flight,
            latency_us: state.latency_us,
            lag_entries: state.lag_entries,
        }
    }
}

impl From<&RecordedState> for InstanceState {
    fn from(state: &RecordedState) -> Self {
        Self {
            index: state.index,
            standing: state.standing,
            eligible: state.eligible,
            in_flight: state.in_flight,
            latency_us: state.latency_us,
            lag_entries: state.lag_entries,
        }
    }
}

type Chosen<'a> = SmallVec<[Header<'a>; 4]>;

/// The recorded headers that a version wants, as it sees them.
fn chosen<'a>(recorded: &'a [(String, String)], wanted: &[HeaderName]) -> Chosen<'a> {
    let of = |(index, name): (u8, &HeaderName)| {
        let name = name.clone();
        let values = recorded.iter().filter(move |(n, _)| name.as_str() == n);
        values.map(move |(_, value)| Header { index, value })
    };
    (0..).zip(wanted).flat_map(of).collect()
}

impl RecordedOperation {
    fn show<R>(&self, wanted: &Wanted, see: impl FnOnce(Operation<'_>) -> R) -> R {
        let wants = |part| wanted.parts.contains(part);
        let part = |text: &'_ Option<String>, part| -> Option<String> {
            text.clone().filter(|_| wants(part))
        };
        let (tenant, database) = (
            part(&self.tenant, Parts::TENANT),
            part(&self.database, Parts::DATABASE),
        );
        let (collection, client) = (
            part(&self.collection, Parts::COLLECTION),
            part(&self.client, Parts::CLIENT),
        );
        let headers = chosen(&self.headers, &wanted.headers);
        let (records, queries, results) = self.sizes;
        see(Operation {
            number: self.number,
            action: self.action,
            class: self.class,
            body_bytes: self.body_bytes,
            tenant: tenant.as_deref(),
            database: database.as_deref(),
            collection: collection.as_deref(),
            collection_id: self
                .collection_id
                .filter(|_| wants(Parts::COLLECTION_ID))
                .map(uuid),
            client: client.as_deref(),
            sizes: wants(Parts::SIZES).then_some(Sizes {
                records,
                queries,
                results,
            }),
            headers: (!headers.is_empty()).then_some(&headers),
        })
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            number: self.number,
            tenant: self.tenant.as_deref(),
            collection: self.collection.as_deref(),
        }
    }
}

impl Asked<WalSlot> for RecordedOperation {
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(Operation<'_>) -> R) -> R {
        self.show(wanted, ask)
    }

    fn subject(&self) -> Subject<'_> {
        Self::subject(self)
    }

    fn action(&self) -> &'static str {
        words::word_of(self.action)
    }

    fn record(&self, _: Taking<'_>) -> Self {
        self.clone()
    }
}

impl Asked<RoutingSlot> for RecordedRouting {
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(RoutingQuestion<'_>) -> R) -> R {
        let states: SmallVec<[InstanceState; 4]> = self.states.iter().map(Into::into).collect();
        self.operation.show(wanted, |operation| {
            let states = &states;
            ask(RoutingQuestion { operation, states })
        })
    }

    fn subject(&self) -> Subject<'_> {
        self.operation.subject()
    }

    fn action(&self) -> &'static str {
        words::word_of(self.operation.action)
    }

    fn record(&self, _: Taking<'_>) -> Self {
        self.clone()
    }
}

impl Asked<GuardSlot> for RecordedConcern {
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(Question<'_>) -> R) -> R {
        let headers = chosen(&self.headers, &wanted.headers);
        let records = self.records.as_ref();
        let ids: Vec<&str> = records.map_or_else(Vec::new, |records| {
            records.ids.iter().map(String::as_str).collect()
        });
        ask(Question {
            deed: self.deed,
            tenant: self.tenant.as_deref(),
            database: self.database.as_deref(),
            collection: self.collection.as_deref(),
            collection_id: self.collection_id.map(uuid),
            new_name: self.new_name.as_deref(),
            records: records.map(|records| Records {
                ids: &ids,
                filter: records.filter.as_deref(),
                count: records.count,
                held: records.held,
            }),
            subject: self.subject.as_deref(),
            client: self.client.as_deref(),
            is_operator: self.is_operator,
            headers: &headers,
        })
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            number: self.number,
            tenant: self.tenant.as_deref(),
            collection: self.collection.as_deref(),
        }
    }

    fn action(&self) -> &'static str {
        words::word_of(self.deed)
    }

    fn record(&self, _: Taking<'_>) -> Self {
        self.clone()
    }
}
