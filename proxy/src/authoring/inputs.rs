//! Questions to plugins as cases have them: the contract's words in JSON. A plugin sees the parts
//! that it wants and nothing else, as with a real request.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, de};
use smallvec::SmallVec;

use crate::policy::{
    ACTIONS, Action, Class, Deed, Header, InstanceState, Member, Operation, Parts, Question,
    Records, RoutingQuestion, Sizes, Standing, Uuid, Wanted, chosen, words,
};

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct OperationInput {
    #[serde(default = "one")]
    pub(super) number: u64,
    #[serde(deserialize_with = "action")]
    pub(super) action: (Action, Class),
    #[serde(default, deserialize_with = "class")]
    pub(super) class: Option<Class>,
    #[serde(default)]
    pub(super) body_bytes: u32,
    pub(super) tenant: Option<String>,
    pub(super) database: Option<String>,
    pub(super) collection: Option<String>,
    pub(super) collection_id: Option<uuid::Uuid>,
    pub(super) client: Option<String>,
    pub(super) sizes: Option<SizesInput>,
    #[serde(default)]
    pub(super) headers: Headers,
}

fn one() -> u64 {
    1
}

/// The number of records, queries and results that a request asks for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SizesInput {
    pub(super) records: u32,
    pub(super) queries: u32,
    pub(super) results: u32,
}

/// A request's headers, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Headers(pub(super) HeaderMap);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut headers = HeaderMap::new();
        for (name, value) in BTreeMap::<String, String>::deserialize(from)? {
            let wrong = || de::Error::custom(format!("{name:?}: {value:?} is no header"));
            let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| wrong())?;
            headers.insert(name.parse::<HeaderName>().map_err(|_| wrong())?, value);
        }
        Ok(Self(headers))
    }
}

fn action<'de, D: Deserializer<'de>>(from: D) -> Result<(Action, Class), D::Error> {
    let wanted = words::deserialize(from)?;
    let found = ACTIONS.into_iter().find(|(_, action, _)| *action == wanted);
    let (_, action, class) = found.ok_or_else(|| de::Error::custom("it has no class"))?;
    Ok((action, class))
}

fn class<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Class>, D::Error> {
    words::deserialize(from).map(Some)
}

impl OperationInput {
    /// A request of this kind that says nothing else.
    pub(super) fn of(action: Action, class: Class) -> Self {
        Self {
            number: one(),
            action: (action, class),
            class: None,
            body_bytes: 0,
            tenant: None,
            database: None,
            collection: None,
            collection_id: None,
            client: None,
            sizes: None,
            headers: Headers::default(),
        }
    }

    /// The parts of the operation that a plugin sees.
    pub(super) fn show(&self, wanted: &Wanted) -> ShownOperation {
        let mut shown = self.clone();
        let unless = |part| !wanted.parts.contains(part);
        for (part, text) in [
            (Parts::TENANT, &mut shown.tenant),
            (Parts::DATABASE, &mut shown.database),
            (Parts::COLLECTION, &mut shown.collection),
            (Parts::CLIENT, &mut shown.client),
        ] {
            text.take_if(|_| unless(part));
        }
        shown
            .collection_id
            .take_if(|_| unless(Parts::COLLECTION_ID));
        shown.sizes = if unless(Parts::SIZES) {
            None
        } else {
            Some(shown.sizes.unwrap_or_default())
        };
        ShownOperation {
            headers: shown_headers(&self.headers, wanted),
            operation: shown,
        }
    }
}

/// The headers that a plugin sees: their places among those that it wants, and their values.
type ShownHeaders = Vec<(u8, String)>;

fn shown_headers(headers: &Headers, wanted: &Wanted) -> ShownHeaders {
    let chosen = chosen(&headers.0, &wanted.headers);
    let owned = |header: Header<'_>| (header.index, header.value.to_owned());
    chosen.into_iter().map(owned).collect()
}

fn lent(headers: &ShownHeaders) -> SmallVec<[Header<'_>; 4]> {
    let headers = headers.iter();
    headers
        .map(|(index, value)| Header {
            index: *index,
            value,
        })
        .collect()
}

/// An operation as a plugin sees it.
#[derive(Clone, Debug)]
pub(super) struct ShownOperation {
    operation: OperationInput,
    headers: ShownHeaders,
}

impl ShownOperation {
    /// Lends it to whoever asks.
    pub(super) fn lend<R>(&self, ask: impl FnOnce(Operation<'_>) -> R) -> R {
        let headers = lent(&self.headers);
        let it = &self.operation;
        ask(Operation {
            number: it.number,
            action: it.action.0,
            class: it.class.unwrap_or(it.action.1),
            body_bytes: it.body_bytes,
            tenant: it.tenant.as_deref(),
            database: it.database.as_deref(),
            collection: it.collection.as_deref(),
            collection_id: it.collection_id.map(uuid_of),
            client: it.client.as_deref(),
            sizes: it.sizes.map(|sizes| Sizes {
                records: sizes.records,
                queries: sizes.queries,
                results: sizes.results,
            }),
            headers: (!headers.is_empty()).then_some(&headers),
        })
    }
}

fn uuid_of(uuid: uuid::Uuid) -> Uuid {
    let (high, low) = uuid.as_u64_pair();
    Uuid { high, low }
}

/// An instance, and how it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct InstanceInput {
    pub(super) name: String,
    /// By default, the first instance is the primary.
    pub(super) role: Option<RoleInput>,
    #[serde(default = "up", with = "words")]
    pub(super) standing: Standing,
    /// By default, an instance is eligible unless its standing is down.
    pub(super) eligible: Option<bool>,
    #[serde(default)]
    pub(super) in_flight: u32,
    #[serde(default)]
    pub(super) latency_us: u32,
    #[serde(default)]
    pub(super) lag_entries: u32,
}

/// The role of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RoleInput {
    Primary,
    Replica,
}

fn up() -> Standing {
    Standing::Up
}

impl InstanceInput {
    /// One of this name that is up, idle, and has everything.
    pub(super) fn idle(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            role: None,
            standing: up(),
            eligible: None,
            in_flight: 0,
            latency_us: 0,
            lag_entries: 0,
        }
    }

    fn state(&self, index: u8) -> InstanceState {
        InstanceState {
            index,
            standing: self.standing,
            eligible: self.eligible.unwrap_or(self.standing != Standing::Down),
            in_flight: self.in_flight,
            latency_us: self.latency_us,
            lag_entries: self.lag_entries,
        }
    }
}

/// A question to a routing plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoutingInput {
    pub(super) operation: OperationInput,
    /// The first is the primary.
    #[serde(default = "three")]
    pub(super) instances: Vec<InstanceInput>,
}

pub(super) fn three() -> Vec<InstanceInput> {
    ["a", "b", "c"].map(InstanceInput::idle).to_vec()
}

impl RoutingInput {
    /// The instances as they are told at the start.
    pub(super) fn members(&self) -> Vec<Member> {
        let member = |(at, instance): (usize, &InstanceInput)| Member {
            name: Arc::from(instance.name.as_str()),
            is_primary: instance
                .role
                .map_or(at == 0, |role| role == RoleInput::Primary),
        };
        self.instances.iter().enumerate().map(member).collect()
    }

    pub(super) fn show(&self, wanted: &Wanted) -> ShownRouting {
        let states = (0..).zip(&self.instances);
        ShownRouting {
            operation: self.operation.show(wanted),
            states: states
                .map(|(index, instance)| instance.state(index))
                .collect(),
        }
    }
}

/// A question as a routing plugin sees it.
#[derive(Clone)]
pub(super) struct ShownRouting {
    operation: ShownOperation,
    states: Vec<InstanceState>,
}

impl ShownRouting {
    pub(super) fn lend<R>(&self, ask: impl FnOnce(RoutingQuestion<'_>) -> R) -> R {
        let states = &self.states;
        self.operation
            .lend(|operation| ask(RoutingQuestion { operation, states }))
    }
}

/// A question to a WAL plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WalInput {
    pub(super) operation: OperationInput,
}

/// A question to a guard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardInput {
    pub(super) question: QuestionInput,
}

/// The destruction that a guard is asked about.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct QuestionInput {
    #[serde(with = "words")]
    pub(super) deed: Deed,
    pub(super) tenant: Option<String>,
    pub(super) database: Option<String>,
    pub(super) collection: Option<String>,
    pub(super) collection_id: Option<uuid::Uuid>,
    pub(super) new_name: Option<String>,
    pub(super) records: Option<RecordsInput>,
    pub(super) subject: Option<String>,
    pub(super) client: Option<String>,
    #[serde(default)]
    pub(super) is_operator: bool,
    #[serde(default)]
    pub(super) headers: Headers,
}

/// Records that would be deleted.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RecordsInput {
    pub(super) ids: Vec<String>,
    pub(super) filter: Option<String>,
    pub(super) count: Option<u64>,
    pub(super) held: Option<u64>,
}

impl QuestionInput {
    /// A deed of which nothing else is said.
    pub(super) fn of(deed: Deed) -> Self {
        Self {
            deed,
            tenant: None,
            database: None,
            collection: None,
            collection_id: None,
            new_name: None,
            records: None,
            subject: None,
            client: None,
            is_operator: false,
            headers: Headers::default(),
        }
    }

    pub(super) fn show(&self, wanted: &Wanted) -> ShownQuestion {
        ShownQuestion {
            headers: shown_headers(&self.headers, wanted),
            question: self.clone(),
        }
    }
}

/// A question as a guard sees it.
#[derive(Clone, Debug)]
pub(super) struct ShownQuestion {
    question: QuestionInput,
    headers: ShownHeaders,
}

impl ShownQuestion {
    pub(super) fn lend<R>(&self, ask: impl FnOnce(Question<'_>) -> R) -> R {
        let headers = lent(&self.headers);
        let it = &self.question;
        let ids: Vec<&str> = it.records.as_ref().map_or_else(Vec::new, |records| {
            records.ids.iter().map(String::as_str).collect()
        });
        ask(Question {
            deed: it.deed,
            tenant: it.tenant.as_deref(),
            database: it.database.as_deref(),
            collection: it.collection.as_deref(),
            collection_id: it.collection_id.map(uuid_of),
            new_name: it.new_name.as_deref(),
            records: it.records.as_ref().map(|records| Records {
                ids: &ids,
                filter: records.filter.as_deref(),
                count: records.count,
                held: records.held,
            }),
            subject: it.subject.as_deref(),
            client: it.client.as_deref(),
            is_operator: it.is_operator,
            headers: &headers,
        })
    }
}
