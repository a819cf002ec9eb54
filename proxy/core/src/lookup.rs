//! From a read's route to what an instance is asked, and from its answer to what the client sees.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    abilities::{AllAbilities, PRE_FLIGHT},
    body::{Element, Named, elements},
    catalog::{Catalog, Collection},
    ids::{InstanceId, InstanceIx},
    own,
    read::{ReadFailure, Strategy},
    reply::{self, Reply, with_collection_id},
    route::{Action, Captures, Route, Target, push_segment, route_of},
    trash,
    view::Scope,
    write::find,
};

/// Way in which an instance's answer becomes the client's.
#[derive(Debug)]
enum Shape {
    /// As it is, in a stream.
    Stream,
    /// One collection, whose id is replaced.
    Collection,
    /// All collections of a database: those that Achromat does not know are left out, and they
    /// are put into an order of our own, so that pages fit together whichever instance answers.
    Collections(Page),
    /// One database, whose id is replaced.
    Database,
    /// Databases, whose ids are replaced.
    Databases,
    /// Abilities told to clients, of which only those that every server has are left.
    PreFlight,
}

/// The part of a list that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Page {
    offset: usize,
    limit: usize,
}

/// Evidence that an answer gives about its instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// Nothing: it is an answer to the client's question.
    Answer,
    /// The instance failed; another may not.
    ServerError,
    /// The instance does not know the route; another may.
    NoRoute,
    /// The instance may lack the collection.
    NotFound,
}

/// A read that may be sent to any instance that is eligible for its scope.
#[derive(Debug)]
pub struct Lookup<'a> {
    route: &'static Route,
    captures: Captures<'a>,
    tail: String,
    query: Option<&'a str>,
    collection: Option<Arc<Collection>>,
    abilities: AllAbilities,
    shape: Shape,
}

impl<'a> Lookup<'a> {
    /// Makes the lookup for a read, or the reply that its client gets at once.
    pub fn new(
        catalog: &Catalog,
        route: &'static Route,
        captures: Captures<'a>,
        target: &Target<'a>,
    ) -> Result<Self, Reply> {
        if let Some(reply) = own::answer(route.action, &captures) {
            return Err(reply);
        }
        let (mut shape, mut query, mut collection) = (Shape::Stream, target.query, None);
        match route.action {
            Action::Retired => return Err(reply::retired()),
            Action::CountCollections => return Err(count(catalog, &captures)),
            Action::GetCollection | Action::GetCollectionById => shape = Shape::Collection,
            Action::GetDatabase => shape = Shape::Database,
            Action::ListDatabases => shape = Shape::Databases,
            Action::System if route.path == PRE_FLIGHT => shape = Shape::PreFlight,
            Action::ListCollections => {
                // What is not a page, Chroma shall refuse in its own words.
                if let Some(page) = Page::parse(query) {
                    shape = Shape::Collections(page);
                    query = None;
                }
            }
            _ => {}
        }
        if captures.collection.is_some() {
            collection = Some(Arc::clone(find(catalog, route.action, &captures)?));
        }
        let skipped = route.path.split('/').count().saturating_sub(2);
        let mut tail = String::new();
        for (at, segment) in target.segments.iter().skip(skipped).enumerate() {
            if at > 0 {
                tail.push('/');
            }
            push_segment(&mut tail, segment);
        }
        Ok(Self {
            route,
            captures,
            tail,
            query,
            collection,
            abilities: AllAbilities::default(),
            shape,
        })
    }

    /// The same read, for instances with these abilities. Without, none is asked for more than every
    /// version of Chroma knows.
    #[must_use]
    pub fn knowing(self, abilities: &AllAbilities) -> Self {
        let abilities = abilities.clone();
        Self { abilities, ..self }
    }

    /// State that an instance must have to be asked.
    pub fn scope(&self) -> Scope<'_> {
        match (&self.collection, self.route.action) {
            (_, Action::System | Action::CollectionByResourceName) => Scope::Any,
            (Some(collection), Action::GetCollection | Action::GetCollectionById) => {
                Scope::Description(collection)
            }
            (Some(collection), _) => Scope::Collection(collection),
            (None, Action::ListCollections) => Scope::List {
                tenant: self.tenant(),
                database: self.captures.database.as_deref().unwrap_or_default(),
            },
            (None, _) => Scope::Schema,
        }
    }

    /// The collection that it is about.
    pub fn collection(&self) -> Option<&Collection> {
        self.collection.as_deref()
    }

    /// Strategy that spreads the read over instances. What Chroma works out in the background (a collection's
    /// version, the keys that its schema has discovered) differs from instance to instance for a while; a
    /// client that polls for it shall see one instance, and not each in turn.
    pub fn strategy(&self, configured: Strategy) -> Strategy {
        match self.scope() {
            Scope::Schema | Scope::List { .. } | Scope::Description(_) => Strategy::PrimaryOnly,
            Scope::Any | Scope::Collection(_) => configured,
        }
    }

    /// The target on an instance.
    pub fn target(&self, instance: InstanceIx) -> String {
        let mut captures = self.captures.clone();
        let mut route = self.route;
        if let Some(collection) = &self.collection {
            captures.collection = Some(if self.asks_by_name(instance) {
                route = route_of(Action::GetCollection).unwrap_or(route);
                collection.name.to_string().into()
            } else {
                let id = collection.on(instance);
                id.map_or_else(String::new, |id| id.to_string()).into()
            });
        }
        route.render(&captures, &self.tail, self.query)
    }

    /// Returns true when an instance is asked for a collection by the name that the catalog has: when the
    /// client asks by name, or the instance knows no other way.
    fn asks_by_name(&self, instance: InstanceIx) -> bool {
        match self.route.action {
            Action::GetCollection => true,
            Action::GetCollectionById => !self.abilities.of(instance).by_id,
            _ => false,
        }
    }

    /// The UUID of the instance's copy of the collection that is asked about.
    pub fn copy_id(&self, instance: InstanceIx) -> Option<InstanceId> {
        self.collection.as_ref()?.on(instance)
    }

    /// Returns true when a success is passed on as it comes, byte by byte.
    pub fn streams(&self) -> bool {
        matches!(self.shape, Shape::Stream)
    }

    /// The answer as the client sees it, or the failure for which another instance may have something
    /// better.
    pub fn judge(
        &self,
        catalog: &Catalog,
        instance: InstanceIx,
        answer: Reply,
    ) -> Result<Reply, ReadFailure> {
        let evidence = self.evidence(&answer);
        let reply = self.rewrite(catalog, instance, answer);
        match evidence {
            Evidence::Answer => Ok(reply),
            Evidence::ServerError => Err(ReadFailure::ServerError(reply)),
            Evidence::NoRoute => Err(ReadFailure::NoRoute(reply)),
            Evidence::NotFound => Err(ReadFailure::Missing(reply)),
        }
    }

    /// Evidence that an answer gives about its instance (rule 12 of the design).
    fn evidence(&self, answer: &Reply) -> Evidence {
        match answer.status {
            // Chroma answers an unknown route with an empty body, and anything else with an error.
            404 | 405 if answer.body.is_empty() => Evidence::NoRoute,
            404 if self.asks_about_collection() => Evidence::NotFound,
            status if status >= 500 && status != 501 => Evidence::ServerError,
            _ => Evidence::Answer,
        }
    }

    /// Returns true when a 404 can only be about the collection itself. Other routes below a collection have
    /// something of their own that may not be found, such as an attached function.
    fn asks_about_collection(&self) -> bool {
        self.collection.is_some()
            && matches!(
                self.route.action,
                Action::Get
                    | Action::Query
                    | Action::Count
                    | Action::GetCollection
                    | Action::GetCollectionById
            )
    }

    /// The answer as the client sees it.
    #[must_use]
    pub fn rewrite(&self, catalog: &Catalog, instance: InstanceIx, answer: Reply) -> Reply {
        let describes = matches!(self.shape, Shape::Collection);
        if describes && (answer.is_success() || answer.status == 404) {
            return self.described(catalog, instance, answer);
        }
        if !answer.is_success() {
            let copy = self
                .collection
                .as_ref()
                .and_then(|c| Some((c.on(instance)?, c.id)));
            return match copy {
                Some((copy, id)) => with_collection_id(answer, copy, id.0),
                None => answer,
            };
        }
        let body = match &self.shape {
            Shape::Stream | Shape::Collection => Some(answer.body.clone()),
            Shape::Collections(page) => list_collections(catalog, &answer.body, *page),
            Shape::Database => self.one_database(catalog, &answer.body),
            Shape::Databases => self.list_databases(catalog, &answer.body),
            Shape::PreFlight => return self.abilities.in_common(&answer).unwrap_or(answer),
        };
        match body {
            Some(body) => Reply { body, ..answer },
            None => unreadable(),
        }
    }

    /// I13: a collection is described under its name, which may be another's, or nobody's, by the
    /// time an instance looks. What the instance means is seen from its UUID; what the path means
    /// then, from the catalog.
    fn described(&self, catalog: &Catalog, instance: InstanceIx, answer: Reply) -> Reply {
        let changing = || reply::unavailable("The collection is being changed", 1);
        let now = || find(catalog, self.route.action, &self.captures);
        if !answer.is_success() {
            return now().map_or_else(|gone| gone, |_| changing());
        }
        let Some(named) = Named::parse(&answer.body) else {
            return unreadable();
        };
        // The instance is ahead of the catalog: the collection goes to the trash.
        if trash::holds(&named.name) {
            return now().map_or_else(|gone| gone, |_| changing());
        }
        let is_it = |c: &&Arc<Collection>| c.on(instance) == Some(InstanceId(named.id));
        let found = self.collection.as_ref().filter(is_it).map_or_else(now, Ok);
        match found {
            Ok(found) if is_it(&found) => {
                let body = named.with_id(&answer.body, found.id.0);
                Reply { body, ..answer }
            }
            Ok(_) => changing(),
            Err(gone) => gone,
        }
    }

    fn one_database(&self, catalog: &Catalog, body: &Bytes) -> Option<Bytes> {
        let named = Named::parse(body)?;
        Some(match catalog.database(self.tenant(), &named.name) {
            Some(id) => named.with_id(body, id.0),
            None => body.clone(),
        })
    }

    fn list_databases(&self, catalog: &Catalog, body: &Bytes) -> Option<Bytes> {
        let list = elements(body)?;
        Some(join(list.iter().map(|element| {
            let id = catalog.database(self.tenant(), &element.named.name);
            (element, id.map_or(element.named.id, |id| id.0))
        })))
    }

    fn tenant(&self) -> &str {
        self.captures.tenant.as_deref().unwrap_or_default()
    }
}

fn unreadable() -> Reply {
    reply::unavailable("An instance's answer can't be read", 1)
}

fn count(catalog: &Catalog, captures: &Captures<'_>) -> Reply {
    let tenant = captures.tenant.as_deref().unwrap_or_default();
    let database = captures.database.as_deref().unwrap_or_default();
    Reply::json(200, catalog.count_in(tenant, database).to_string())
}

fn list_collections(catalog: &Catalog, body: &Bytes, page: Page) -> Option<Bytes> {
    let list = elements(body)?;
    let mut known: Vec<_> = list
        .iter()
        .filter_map(|element| {
            let collection = catalog.of_instance_id(InstanceId(element.named.id))?;
            // The instance may be ahead of the catalog, and shows it under its name in the trash.
            if collection.is_in_trash() || trash::holds(&element.named.name) {
                return None;
            }
            Some(((collection.made_at, collection.id), element))
        })
        .collect();
    known.sort_by_key(|(order, _)| *order);
    let page = known.into_iter().skip(page.offset).take(page.limit);
    Some(join(page.map(|((_, id), element)| (element, id.0))))
}

fn join<'a>(elements: impl Iterator<Item = (&'a Element<'a>, uuid::Uuid)>) -> Bytes {
    let mut list = String::from("[");
    for (at, (element, id)) in elements.enumerate() {
        if at > 0 {
            list.push(',');
        }
        element.push_with_id(&mut list, id);
    }
    list.push(']');
    list.into()
}

impl Page {
    /// The page that a query asks for; `None` for anything but numbers given once.
    fn parse(query: Option<&str>) -> Option<Self> {
        let (mut limit, mut offset) = (None, None);
        for pair in query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match key {
                "limit" => &mut limit,
                "offset" => &mut offset,
                _ if key.contains('%') => return None,
                _ => continue,
            };
            if place.replace(value.parse::<u32>().ok()?).is_some() {
                return None;
            }
        }
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        Some(Self {
            offset: offset.map_or(0, size),
            limit: limit.map_or(usize::MAX, size),
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        catalog::{Change, Copy},
        ids::{CollectionId, Position},
        route::{self, Method},
    };

    const A: InstanceIx = InstanceIx(0);

    /// The collections of these numbers and names, the newest last; A knows each by its number and
    /// 100.
    fn catalog(collections: &[(u128, &str)]) -> Catalog {
        let mut catalog = Catalog::default();
        for (number, name) in collections {
            let copy = Copy {
                id: Some(InstanceId(Uuid::from_u128(number + 100))),
                ..Copy::default()
            };
            catalog.apply(&Change::Made(Arc::new(Collection {
                id: CollectionId(Uuid::from_u128(*number)),
                tenant: "t".into(),
                database: "d".into(),
                name: (*name).into(),
                made_at: Position(1),
                gone_at: None,
                home: None,
                copies: [copy].into_iter().collect(),
            })));
        }
        catalog
    }

    /// A path that was looked up before its collection was renamed or replaced is answered with the
    /// collection that the path means now, or with a 404; and never with one collection under the id of
    /// another.
    #[test]
    fn a_name_that_has_changed_hands_is_not_confused() {
        let before = catalog(&[(1, "abc")]);
        let (gone, replaced) = (catalog(&[]), catalog(&[(2, "abc")]));
        let renamed = catalog(&[(1, "xyz")]);
        let (id, none) = (Uuid::from_u128(1).to_string(), None);
        let cases = [
            (id.as_str(), &before, Some(101), (200, Some(1))),
            ("abc", &before, Some(101), (200, Some(1))),
            // The instance is ahead of the catalog.
            ("abc", &before, none, (503, none)),
            ("abc", &before, Some(102), (503, none)),
            ("abc", &gone, none, (404, none)),
            ("abc", &gone, Some(102), (404, none)),
            ("abc", &replaced, Some(102), (200, Some(2))),
            (id.as_str(), &replaced, Some(102), (404, none)),
            (id.as_str(), &renamed, none, (503, none)),
            // It was so when the instance looked.
            (id.as_str(), &gone, Some(101), (200, Some(1))),
        ];
        for (reference, after, found, expected) in cases {
            let path = format!("/api/v2/tenants/t/databases/d/collections/{reference}");
            let target = Target::parse(path.as_bytes()).unwrap();
            let (route, captures) = route::find(Some(Method::Get), &target).unwrap();
            let lookup = Lookup::new(&before, route, captures, &target).unwrap();
            let answer = match found {
                Some(uuid) => {
                    let id = Uuid::from_u128(uuid);
                    Reply::json(200, format!(r#"{{"id":"{id}","name":"abc"}}"#))
                }
                None => Reply::error(404, "NotFoundError", "Collection [abc] does not exist"),
            };
            let reply = lookup.rewrite(after, A, answer);
            let told = Named::parse(&reply.body).map(|named| named.id.as_u128());
            assert_eq!((reply.status, told), expected, "{reference} {found:?}");
        }
    }

    /// An instance may have put a collection into the trash before the catalog says so: its name there is
    /// shown to no client, neither in a list nor in a description.
    #[test]
    fn a_name_in_the_trash_is_shown_to_nobody() {
        let before = catalog(&[(1, "abc"), (2, "xyz")]);
        let name = format!("{}1794000000000.0123.abc", trash::PREFIX);
        let after = catalog(&[(1, &name), (2, "xyz")]);
        let described = |number: u128, name: &str| {
            let id = Uuid::from_u128(number + 100);
            format!(r#"{{"id":"{id}","name":"{name}"}}"#)
        };
        let asked = |path: &str, catalog: &Catalog, body: String| {
            let path = format!("/api/v2/tenants/t/databases/d/collections{path}");
            let target = Target::parse(path.as_bytes()).unwrap();
            let (route, captures) = route::find(Some(Method::Get), &target).unwrap();
            let lookup = Lookup::new(&before, route, captures, &target).unwrap();
            lookup.rewrite(catalog, A, Reply::json(200, body))
        };
        for (catalog, status) in [(&before, 503), (&after, 404)] {
            let list = format!("[{},{}]", described(1, &name), described(2, "xyz"));
            let listed = asked("", catalog, list);
            let names: Vec<_> = elements(&listed.body).unwrap();
            let names: Vec<_> = names.iter().map(|e| e.named.name.as_str()).collect();
            assert_eq!(names, ["xyz"]);
            let id = Uuid::from_u128(1);
            for reference in ["/abc".to_owned(), format!("/{id}")] {
                let reply = asked(&reference, catalog, described(1, &name));
                assert_eq!(reply.status, status, "{reference}");
            }
        }
    }

    /// Valid pages are cut by us; pages that Chroma would refuse are left to Chroma.
    #[test]
    fn only_plain_pages_are_taken() {
        let page = |query| Page::parse(query).map(|page| (page.offset, page.limit));
        assert_eq!(page(None), Some((0, usize::MAX)));
        assert_eq!(page(Some("limit=3&offset=2&x=1")), Some((2, 3)));
        for refused in [
            "limit=-1",
            "limit=x",
            "limit=1&limit=1",
            "limit=",
            "l%69mit=1",
        ] {
            assert_eq!(page(Some(refused)), None, "{refused}");
        }
    }
}
