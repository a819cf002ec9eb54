//! Shows a request to a plugin: the parts that it wants, and nothing else.

use std::net::IpAddr;

use achromat_core::{
    catalog::Collection,
    policy::{Sizes as CoreSizes, Subject},
    route::{Action as CoreAction, Captures, Class as CoreClass, Route},
};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::{
    asked::Asked,
    contract::routing::achromat::policy::types::{
        Action, Class, Header, Operation, Parts, Sizes, Uuid,
    },
    limits::HEADER_VALUE_BYTES_MAX,
    recorded::{RecordedOperation, Taking},
    version::Wanted,
    words::word_of,
    world::WalSlot,
};

/// A request, as far as a plugin may see it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Counts requests.
    pub number: u64,
    /// The route, which says what the request does.
    pub route: &'a Route,
    /// The captured parts of its path.
    pub captures: &'a Captures<'a>,
    /// The collection that it means.
    pub collection: Option<&'a Collection>,
    /// The name of the collection that it makes.
    pub made: Option<&'a str>,
    /// Its body.
    pub body: &'a [u8],
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

impl Asked<WalSlot> for Request<'_> {
    fn put<R>(&self, wanted: &Wanted, ask: impl FnOnce(Operation<'_>) -> R) -> R {
        self.show(wanted, ask)
    }

    fn subject(&self) -> Subject<'_> {
        Request::subject(self)
    }

    fn action(&self) -> &'static str {
        self.action_word()
    }

    fn record(&self, taking: Taking<'_>) -> RecordedOperation {
        Request::record(self, taking)
    }
}

impl Request<'_> {
    /// Records all parts of the request that any version could want to see.
    pub(super) fn record(&self, taking: Taking<'_>) -> RecordedOperation {
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let sizes = sizes(self.body);
        RecordedOperation {
            number: self.number,
            action: action(self.route.action),
            class: class(self.route.class),
            body_bytes: u32::try_from(self.body.len()).unwrap_or(u32::MAX),
            tenant: text(&self.captures.tenant),
            database: text(&self.captures.database),
            collection: self
                .collection
                .map(|collection| collection.name.to_string()),
            collection_id: self.collection.map(|collection| collection.id.0),
            client: self.client.map(|address| address.to_string()),
            sizes: (sizes.records, sizes.queries, sizes.results),
            headers: taking.headers(self.headers),
        }
    }

    /// The word of its action.
    pub(super) fn action_word(&self) -> &'static str {
        word_of(action(self.route.action))
    }

    /// The request's number, tenant and collection, by which a trial takes its share.
    pub(super) fn subject(&self) -> Subject<'_> {
        Subject {
            number: self.number,
            tenant: self.captures.tenant.as_deref(),
            collection: self.collection.map(|collection| &*collection.name),
        }
    }

    /// Shows it to a plugin.
    pub(super) fn show<R>(&self, wanted: &Wanted, see: impl FnOnce(Operation<'_>) -> R) -> R {
        let wants = |part| wanted.parts.contains(part);
        let collection = self.collection;
        let client = self.client.filter(|_| wants(Parts::CLIENT));
        let client = client.map(|address| address.to_string());
        let headers = chosen(self.headers, &wanted.headers);
        let name = |name: &Option<std::borrow::Cow<'_, str>>, part| {
            let text = name.as_deref().filter(|_| wants(part));
            text.map(str::to_owned)
        };
        let tenant = name(&self.captures.tenant, Parts::TENANT);
        let database = name(&self.captures.database, Parts::DATABASE);
        see(Operation {
            number: self.number,
            action: action(self.route.action),
            class: class(self.route.class),
            body_bytes: u32::try_from(self.body.len()).unwrap_or(u32::MAX),
            tenant: tenant.as_deref(),
            database: database.as_deref(),
            collection: collection
                .map(|collection| collection.name.as_ref())
                .or(self.made)
                .filter(|_| wants(Parts::COLLECTION)),
            collection_id: collection
                .filter(|_| wants(Parts::COLLECTION_ID))
                .map(|collection| uuid(collection.id.0)),
            client: client.as_deref(),
            sizes: wants(Parts::SIZES).then(|| sizes(self.body)),
            headers: (!headers.is_empty()).then_some(&headers),
        })
    }
}

/// The wanted headers that are there, in the order in which they are wanted.
pub fn chosen<'a>(headers: &'a HeaderMap, wanted: &[HeaderName]) -> SmallVec<[Header<'a>; 4]> {
    let mut chosen = SmallVec::new();
    for (index, name) in (0..).zip(wanted) {
        let values = headers.get_all(name).iter();
        chosen.extend(values.filter_map(|value| {
            let text = std::str::from_utf8(value.as_bytes()).ok()?;
            let end = text.floor_char_boundary(HEADER_VALUE_BYTES_MAX);
            let value = text.get(..end)?;
            Some(Header { index, value })
        }));
    }
    chosen
}

fn sizes(body: &[u8]) -> Sizes {
    let CoreSizes {
        records,
        queries,
        results,
    } = CoreSizes::of(body);
    Sizes {
        records,
        queries,
        results,
    }
}

pub(super) fn uuid(uuid: uuid::Uuid) -> Uuid {
    let (high, low) = uuid.as_u64_pair();
    Uuid { high, low }
}

pub(super) fn class(class: CoreClass) -> Class {
    match class {
        CoreClass::System => Class::System,
        CoreClass::Read => Class::Read,
        CoreClass::Write => Class::Write,
        CoreClass::Destructive => Class::Destructive,
    }
}

pub(super) fn action(action: CoreAction) -> Action {
    match action {
        CoreAction::System | CoreAction::Retired => Action::System,
        CoreAction::Reset => Action::Reset,
        CoreAction::CollectionByResourceName => Action::CollectionByResourceName,
        CoreAction::CreateTenant => Action::CreateTenant,
        CoreAction::GetTenant => Action::GetTenant,
        CoreAction::UpdateTenant => Action::UpdateTenant,
        CoreAction::ListDatabases => Action::ListDatabases,
        CoreAction::CreateDatabase => Action::CreateDatabase,
        CoreAction::GetDatabase => Action::GetDatabase,
        CoreAction::DeleteDatabase => Action::DeleteDatabase,
        CoreAction::ListCollections => Action::ListCollections,
        CoreAction::CreateCollection => Action::CreateCollection,
        CoreAction::CountCollections => Action::CountCollections,
        CoreAction::GetCollection => Action::GetCollection,
        CoreAction::GetCollectionById => Action::GetCollectionById,
        CoreAction::UpdateCollection => Action::UpdateCollection,
        CoreAction::DeleteCollection => Action::DeleteCollection,
        CoreAction::Add => Action::Add,
        CoreAction::Update => Action::Update,
        CoreAction::Upsert => Action::Upsert,
        CoreAction::DeleteRecords => Action::DeleteRecords,
        CoreAction::Get => Action::Get,
        CoreAction::Query => Action::Query,
        CoreAction::Search => Action::Search,
        CoreAction::Count => Action::Count,
        CoreAction::IndexingStatus => Action::IndexingStatus,
        CoreAction::Fork => Action::Fork,
        CoreAction::ForkCount => Action::ForkCount,
        CoreAction::AttachFunction => Action::AttachFunction,
        CoreAction::GetFunction => Action::GetFunction,
        CoreAction::DetachFunction => Action::DetachFunction,
    }
}
