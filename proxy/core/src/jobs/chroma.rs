//! The requests that jobs send to instances, and what they read out of the answers.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Port, Stopped,
    recipe::{Model, Recipe},
};
use crate::{
    body::Named,
    catalog::Collection,
    engine::{Payload, Wire},
    ids::{InstanceId, InstanceIx},
    reply::Reply,
    route::{Action, Captures, route_of},
};

/// Destination of a request: a tenant, a database, a collection, as far as the route wants them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Address {
    captures: Captures<'static>,
    query: Option<String>,
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}

impl Address {
    pub(crate) fn tenant(tenant: &str) -> Self {
        let captures = Captures {
            tenant: Some(owned(tenant)),
            ..Captures::default()
        };
        Self {
            captures,
            query: None,
        }
    }

    pub(crate) fn database(tenant: &str, database: &str) -> Self {
        let mut address = Self::tenant(tenant);
        address.captures.database = Some(owned(database));
        address
    }

    pub(crate) fn named(tenant: &str, database: &str, name: &str) -> Self {
        let mut address = Self::database(tenant, database);
        address.captures.collection = Some(owned(name));
        address
    }

    /// A collection on one instance.
    pub(crate) fn copy(collection: &Collection, id: InstanceId) -> Self {
        Self::named(&collection.tenant, &collection.database, &id.0.to_string())
    }
}

/// A request.
pub(crate) fn wire(action: Action, address: &Address, body: Option<Bytes>) -> Option<Wire> {
    let route = route_of(action)?;
    Some(Wire {
        method: route.method,
        target: route.render(&address.captures, "", address.query.as_deref()),
        content_type: body.is_some().then(|| "application/json".into()),
        body: match body {
            None => Payload::None,
            Some(body) => Payload::Entry {
                body: Some(body),
                must_create: false,
                as_arrays: false,
            },
        },
    })
}

fn json_body(value: &Value) -> Bytes {
    value.to_string().into()
}

/// A collection as an instance describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) id: InstanceId,
    pub(crate) name: String,
    pub(crate) dimension: Option<u64>,
    metadata: Value,
    configuration: Value,
    schema: Value,
}

impl Described {
    fn parse(body: &[u8]) -> Option<Self> {
        let named = Named::parse(body)?;
        let mut whole: Value = serde_json::from_slice(body).ok()?;
        let mut take = |field: &str| whole.get_mut(field).map_or(Value::Null, Value::take);
        Some(Self {
            id: InstanceId(named.id),
            name: named.name,
            dimension: named.dimension,
            metadata: take("metadata"),
            configuration: take("configuration_json"),
            schema: take("schema"),
        })
    }

    /// Returns true when two collections are made alike. What Chroma finds out about their records in the
    /// background (the keys of their metadata) is left out.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.name == other.name && self.unlike(other).is_empty()
    }

    /// Returns true when the collection's vectors are answered bit for bit as they were added. With cosine
    /// distance Chroma keeps vectors at length one and their length beside, and answers the product, which is
    /// rounded. Servers before 1.3, which say nothing of schemas, do not say the distance of each collection
    /// either.
    pub(crate) fn answers_exact_vectors(&self) -> bool {
        let distances = [
            self.metadata.get("hnsw:space"),
            self.configuration.pointer("/hnsw/space"),
        ];
        let is_cosine = |distance: &Value| distance.as_str() == Some("cosine");
        self.schema.is_object() && !distances.into_iter().flatten().any(is_cosine)
    }

    /// Returns true when this collection can be made equal to another by its records alone: a collection that
    /// has a dimension never has none again.
    pub(crate) fn may_become(&self, other: &Self) -> bool {
        let is_set = self.dimension.is_some();
        self.is_like(other) && (!is_set || self.dimension == other.dimension)
    }

    /// The parts in which two collections are made differently, as far as both servers can say.
    pub(crate) fn unlike(&self, other: &Self) -> Vec<&'static str> {
        let defaults = |d: &Self| d.schema.get("defaults").map(without_machine);
        // Servers before 1.3 say nothing of schemas.
        let have_schemas = !self.schema.is_null() && !other.schema.is_null();
        let is_like = [
            ("metadata", self.metadata == other.metadata),
            ("configuration", self.is_configured_like(other)),
            (
                "schema",
                !have_schemas
                    || defaults(self) == defaults(other)
                        && self.special_keys() == other.special_keys(),
            ),
        ];
        let unlike = is_like.into_iter().filter(|(_, is_like)| !is_like);
        unlike.map(|(part, _)| part).collect()
    }

    /// Returns true when two collections are configured alike. Chroma 1.0.0 keeps a configuration and shows
    /// another, which is the same for all.
    fn is_configured_like(&self, other: &Self) -> bool {
        let is_shown = self.shows_configuration() && other.shows_configuration();
        !is_shown || self.configuration == other.configuration
    }

    fn shows_configuration(&self) -> bool {
        self.configuration.get("hnsw_configuration").is_none()
    }

    /// The parts of the schema about embeddings and documents themselves, as they are on this machine.
    fn special_parts(&self) -> Vec<(&String, &Value)> {
        let keys = self.schema.get("keys").and_then(Value::as_object);
        let mut special: Vec<_> = keys
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.starts_with('#'))
            .collect();
        special.sort_by_key(|(key, _)| *key);
        special
    }

    /// The same, as they would be on any machine.
    fn special_keys(&self) -> Vec<(&String, Value)> {
        let parts = self.special_parts().into_iter();
        parts
            .map(|(key, made)| (key, without_machine(made)))
            .collect()
    }

    /// The ways in which one like it may be made.
    fn recipes(&self) -> Vec<Recipe> {
        let shown = self.shows_configuration().then_some(&self.configuration);
        let model = Model {
            name: &self.name,
            metadata: &self.metadata,
            configuration: shown.unwrap_or(&Value::Null),
            schema: &self.schema,
        };
        model.recipes()
    }
}

/// A part of a schema without what a server sets by itself, from its processors and, when it upgrades a
/// collection that an older version made, by default.
fn without_machine(part: &Value) -> Value {
    let mut part = part.clone();
    let mut rest = vec![&mut part];
    while let Some(value) = rest.pop() {
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|name, _| !["num_threads", "batch_size"].contains(&name.as_str()));
            rest.extend(fields.values_mut());
        }
    }
    part
}

/// A database in a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Listed {
    pub(crate) id: Uuid,
    pub(crate) name: String,
}

/// Collections or databases are listed in pages of this many: one of 2,000 collections has about 3 MB.
const PAGE: usize = 2_000;

/// The page of a list that begins at a place.
fn page_from(first: usize) -> String {
    format!("limit={PAGE}&offset={first}")
}

impl Port {
    pub(super) async fn request(
        &self,
        instance: InstanceIx,
        action: Action,
        address: &Address,
        body: Option<Bytes>,
    ) -> Result<Reply, Stopped> {
        let wire = wire(action, address, body).ok_or_else(|| Stopped::because("no such route"))?;
        self.ask(instance, wire).await
    }

    /// The answer to a `get`, when it has not more bytes than it may have.
    pub(super) async fn get_at_most(
        &self,
        instance: InstanceIx,
        address: &Address,
        body: Bytes,
        bytes_max: usize,
    ) -> Result<Option<Bytes>, Stopped> {
        let wire = wire(Action::Get, address, Some(body))
            .ok_or_else(|| Stopped::because("no such route"))?;
        match self.ask_at_most(instance, wire, bytes_max).await? {
            None => Ok(None),
            Some(reply) => success(Action::Get, reply).map(Some),
        }
    }

    /// The body of an answer, when only success will do.
    pub(crate) async fn must(
        &self,
        instance: InstanceIx,
        action: Action,
        address: &Address,
        body: Option<Bytes>,
    ) -> Result<Bytes, Stopped> {
        let reply = self.request(instance, action, address, body).await?;
        success(action, reply)
    }

    /// Asks an instance for the description of its collection of this name, if it has one.
    pub(crate) async fn describe(
        &self,
        instance: InstanceIx,
        address: &Address,
    ) -> Result<Option<Described>, Stopped> {
        self.describe_by(Action::GetCollection, instance, address)
            .await
    }

    /// Asks an instance for the description of its copy, under whatever name the copy has there by now. A
    /// server that does not know collections by their UUID is asked by the name that the catalog has; where
    /// that name is another copy's or nobody's, the copy is looked for among all of its database.
    pub(crate) async fn describe_copy(
        &self,
        instance: InstanceIx,
        collection: &Collection,
        id: InstanceId,
    ) -> Result<Option<Described>, Stopped> {
        let (tenant, database) = (&collection.tenant, &collection.database);
        if self.abilities(instance).by_id {
            let copy = Address::copy(collection, id);
            return self
                .describe_by(Action::GetCollectionById, instance, &copy)
                .await;
        }
        let named = Address::named(tenant, database, &collection.name);
        let found = self.describe(instance, &named).await?;
        if found.as_ref().is_some_and(|found| found.id == id) {
            return Ok(found);
        }
        let all = self.list(instance, tenant, database).await?;
        Ok(all.into_iter().find(|listed| listed.id == id))
    }

    async fn describe_by(
        &self,
        action: Action,
        instance: InstanceIx,
        address: &Address,
    ) -> Result<Option<Described>, Stopped> {
        let reply = self.request(instance, action, address, None).await?;
        match reply.status {
            404 => Ok(None),
            200..=299 => Described::parse(&reply.body)
                .map(Some)
                .ok_or_else(|| unreadable("a collection's description")),
            status => Err(Stopped::because(format!(
                "{action:?} was answered {status}"
            ))),
        }
    }

    /// All collections of a database, as an instance lists them.
    pub(crate) async fn list(
        &self,
        instance: InstanceIx,
        tenant: &str,
        database: &str,
    ) -> Result<Vec<Described>, Stopped> {
        let mut address = Address::database(tenant, database);
        let mut all = Vec::new();
        loop {
            address.query = Some(page_from(all.len()));
            let body = self
                .must(instance, Action::ListCollections, &address, None)
                .await?;
            let list: Vec<&serde_json::value::RawValue> =
                serde_json::from_slice(&body).map_err(|_| unreadable("a list of collections"))?;
            for one in &list {
                let described = Described::parse(one.get().as_bytes());
                all.push(described.ok_or_else(|| unreadable("a list of collections"))?);
            }
            if list.len() < PAGE {
                return Ok(all);
            }
        }
    }

    /// The databases of a tenant; none when there is no such tenant.
    pub(crate) async fn databases(
        &self,
        instance: InstanceIx,
        tenant: &str,
    ) -> Result<Vec<Listed>, Stopped> {
        let mut address = Address::tenant(tenant);
        let mut all = Vec::new();
        loop {
            address.query = Some(page_from(all.len()));
            let reply = self
                .request(instance, Action::ListDatabases, &address, None)
                .await?;
            let list: Vec<Listed> = match reply.status {
                200..=299 => serde_json::from_slice(&reply.body)
                    .map_err(|_| unreadable("a list of databases"))?,
                404 => return Ok(Vec::new()),
                status => {
                    return Err(Stopped::because(format!(
                        "ListDatabases was answered {status}"
                    )));
                }
            };
            let is_last = list.len() < PAGE;
            all.extend(list);
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Makes something by its name; that it is there already will do.
    pub(crate) async fn ensure(
        &self,
        instance: InstanceIx,
        action: Action,
        address: &Address,
        name: &str,
    ) -> Result<(), Stopped> {
        let body = json_body(&json!({ "name": name }));
        let reply = self.request(instance, action, address, Some(body)).await?;
        if reply.is_success() || reply.status == 409 {
            return Ok(());
        }
        Err(Stopped::because(format!(
            "{action:?} {name} was answered {}",
            reply.status
        )))
    }

    /// Deletes something by its name; that it is gone already will do.
    pub(crate) async fn remove(
        &self,
        instance: InstanceIx,
        action: Action,
        address: &Address,
    ) -> Result<(), Stopped> {
        let reply = self.request(instance, action, address, None).await?;
        if reply.is_success() || reply.status == 404 {
            return Ok(());
        }
        Err(Stopped::because(format!(
            "{action:?} was answered {}",
            reply.status
        )))
    }

    /// Makes a collection like another one, empty, in the place of whatever has its name.
    pub(crate) async fn make_like(
        &self,
        instance: InstanceIx,
        model: &Described,
        tenant: &str,
        database: &str,
    ) -> Result<InstanceId, Stopped> {
        let (within, named) = (
            Address::database(tenant, database),
            Address::named(tenant, database, &model.name),
        );
        self.ensure(instance, Action::CreateTenant, &Address::default(), tenant)
            .await?;
        self.ensure(
            instance,
            Action::CreateDatabase,
            &Address::tenant(tenant),
            database,
        )
        .await?;
        // One that is the same to the last setting is best; one that servers of other versions, or on
        // other machines, can't make more alike will do.
        let mut second_best = None;
        for recipe in model.recipes() {
            self.remove(instance, Action::DeleteCollection, &named)
                .await?;
            let made = self.follow(instance, &within, &named, &recipe).await?;
            match made.filter(|made| made.is_like(model)) {
                Some(made) if made.special_parts() == model.special_parts() => return Ok(made.id),
                Some(_) => second_best = second_best.or(Some(recipe)),
                None => {}
            }
        }
        let none = || Stopped::because(format!("no collection like {} could be made", model.name));
        let recipe = second_best.ok_or_else(none)?;
        self.remove(instance, Action::DeleteCollection, &named)
            .await?;
        let made = self.follow(instance, &within, &named, &recipe).await?;
        let made = made.filter(|made| made.is_like(model));
        made.map(|made| made.id).ok_or_else(none)
    }
}

impl Port {
    /// Makes a collection by a recipe; `None` when Chroma does not take it.
    async fn follow(
        &self,
        instance: InstanceIx,
        within: &Address,
        named: &Address,
        recipe: &Recipe,
    ) -> Result<Option<Described>, Stopped> {
        let create = Some(recipe.create.clone());
        let created = self
            .request(instance, Action::CreateCollection, within, create)
            .await?;
        let made = Described::parse(&created.body).filter(|_| created.is_success());
        let (Some(made), Some(modify)) = (&made, &recipe.modify) else {
            return Ok(made);
        };
        let mut copy = within.clone();
        copy.captures.collection = Some(owned(&made.id.0.to_string()));
        let modified = self
            .request(
                instance,
                Action::UpdateCollection,
                &copy,
                Some(modify.clone()),
            )
            .await?;
        if modified.is_success() {
            self.describe(instance, named).await
        } else {
            Ok(None)
        }
    }
}

/// The body of a success.
fn success(action: Action, reply: Reply) -> Result<Bytes, Stopped> {
    if reply.is_success() {
        return Ok(reply.body);
    }
    let said = String::from_utf8_lossy(reply.body.get(..300).unwrap_or(&reply.body)).into_owned();
    Err(Stopped::because(format!(
        "{action:?} was answered {}: {said}",
        reply.status
    )))
}

pub(crate) fn unreadable(what: &str) -> Stopped {
    Stopped::because(format!("{what} can't be read"))
}
