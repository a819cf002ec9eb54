//! From a write's route and body to what may be logged.
//!
//! A [`Permit`] can be made here only, after the guard has agreed: nothing can be submitted to the
//! engine without one (I10).

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use crate::{
    body::{
        self, AttachFacts, CreateFacts, DatabaseFacts, DeleteFacts, ForkFacts, ModifyFacts,
        TenantFacts,
    },
    catalog::{Catalog, Collection, Prefer},
    guard::{Denial, Guard},
    ids::{CollectionId, DatabaseId, EntryId, InstanceIx},
    key::Keyed,
    log::{Entry, Letter, Level, RecordAct, Verb},
    own,
    reply::{self, Reply},
    route::{Action, Captures, is_reachable},
    time::WallTime,
    trash,
};

/// Ids that an entry needs, minted by the shell.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// For the entry.
    pub entry: EntryId,
    /// For a collection, should one be made.
    pub collection: CollectionId,
    /// For a database, should one be made.
    pub database: DatabaseId,
    /// Now, for people.
    pub logged_at: WallTime,
}

/// Acknowledgement levels by kind of write.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// Of record writes.
    pub records: Level,
    /// Of tenants, databases and collections.
    pub schema: Level,
}

/// State and rules by which writes are judged.
#[derive(Clone, Copy, Debug)]
pub struct WriteRules<'a> {
    /// The catalog.
    pub catalog: &'a Catalog,
    /// The guard.
    pub guard: &'a Guard,
    /// The levels.
    pub levels: Levels,
}

/// A write that may be logged.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "separate facts")]
pub struct Permit {
    pub(crate) entry: Entry,
    pub(crate) level: Level,
    /// True when being in the log is enough while no instance is in service.
    pub(crate) accepts_when_down: bool,
    /// The instance that is to carry it out first, when it is as good as any other.
    pub(crate) executor: Option<InstanceIx>,
    /// An instance must be asked before it is logged.
    pub(crate) must_resolve: bool,
    /// True when the logged body must name the records to delete.
    pub(crate) needs_ids: bool,
    /// Guard to be asked again when everything before is decided: the write destroys what is there then.
    pub(crate) guard: Option<Guard>,
    /// True when the write deletes a collection in the trash, and none that has come back from there.
    pub(crate) is_purge: bool,
    /// Catalog at the time when a policy allowed that all of it be destroyed.
    pub(crate) judged: Option<Catalog>,
}

impl Permit {
    /// Has the write name the records that it touches, if it does not do so by itself.
    pub(crate) fn name_ids(&mut self) {
        let deletes = matches!(
            self.entry.verb,
            Verb::Record {
                act: RecordAct::Delete,
                ..
            }
        );
        if deletes && body::named_ids(&self.entry.body).is_none() {
            (self.must_resolve, self.needs_ids) = (true, true);
        }
    }

    /// Returns true when the write is judged again once everything before it is decided.
    pub(crate) fn is_judged_again(&self) -> bool {
        self.guard.is_some() || self.is_purge
    }

    /// Asks the guard again.
    pub(crate) fn is_still_given(&self, catalog: &Catalog) -> Result<(), Reply> {
        if let (true, Some(id)) = (self.is_purge, self.entry.verb.subject()) {
            trash::find(catalog, id)?;
        }
        let Some(guard) = &self.guard else {
            return Ok(());
        };
        let rules = WriteRules {
            catalog,
            guard,
            levels: Levels {
                records: self.level,
                schema: self.level,
            },
        };
        let checked = rules.check(&self.entry.verb, &self.entry.body);
        checked.map_err(|denial| denied(&denial))?;
        match &self.judged {
            Some(judged) => self.is_as_judged(judged, catalog),
            None => Ok(()),
        }
    }

    /// The same write, which a policy has allowed by what there was.
    #[must_use]
    pub fn judged_by(mut self, catalog: &Catalog) -> Self {
        self.judged = self.guard.is_some().then(|| catalog.clone());
        self
    }

    /// Refuses the write when it would destroy something else than the policy has judged by its name: a
    /// collection was made, or got another name, since.
    fn is_as_judged(&self, judged: &Catalog, now: &Catalog) -> Result<(), Reply> {
        let is_hit = |collection: &&Arc<Collection>| match &self.entry.verb {
            Verb::DeleteDatabase { tenant, database } => {
                collection.tenant == *tenant && collection.database == *database
            }
            _ => true,
        };
        let is_new = |collection: &Arc<Collection>| {
            let before = judged.get(collection.id);
            before.is_none_or(|before| before.name != collection.name)
        };
        if now.collections().filter(is_hit).any(is_new) {
            let message =
                "Collections were made or renamed since this was judged; nothing was done";
            return Err(reply::unavailable(message, 1));
        }
        Ok(())
    }

    /// The entry that it permits.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The same write under a key, by which it is done once however often it is asked for.
    #[must_use]
    pub fn under(mut self, keyed: Keyed) -> Self {
        self.entry.key = Some(keyed);
        self
    }

    /// The same write, to be carried out by this instance first when it is as good as any other.
    #[must_use]
    pub fn first_on(mut self, executor: InstanceIx) -> Self {
        self.executor = Some(executor);
        self
    }

    /// Returns true when the write may be accepted while no instance is in service. A write that must be
    /// resolved first can't be accepted then.
    pub(crate) fn accepts_in_log(&self) -> bool {
        let is_record = matches!(self.entry.verb, Verb::Record { .. });
        let is_enough = self.accepts_when_down || self.level == Level::Logged;
        is_record && is_enough && !self.must_resolve
    }

    /// The same write as a policy wants it answered: at another level, or, while no instance is in
    /// service, when it is in the log.
    #[must_use]
    pub fn answered(mut self, level: Option<Level>, accepts_when_down: bool) -> Self {
        self.level = level.unwrap_or(self.level);
        self.accepts_when_down = accepts_when_down;
        self
    }

    /// A write that no guard is asked about.
    pub(crate) fn unguarded(entry: Entry, level: Level) -> Self {
        Self {
            entry,
            level,
            accepts_when_down: false,
            executor: None,
            must_resolve: false,
            needs_ids: false,
            guard: None,
            is_purge: false,
            judged: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(entry: Entry, level: Level, must_resolve: bool) -> Self {
        Self {
            must_resolve,
            ..Self::unguarded(entry, level)
        }
    }
}

/// Judges a write.
pub fn permit(
    rules: WriteRules<'_>,
    action: Action,
    captures: &Captures<'_>,
    content_type: Option<&str>,
    body: Bytes,
    fresh: Fresh,
) -> Result<Permit, Reply> {
    if let Some(reply) = own::answer(action, captures) {
        return Err(reply);
    }
    let verb = rules.verb(action, captures, &body, fresh)?;
    check_names(&verb, &body)?;
    rules.permit(Entry {
        id: fresh.entry,
        logged_at: fresh.logged_at,
        verb,
        content_type: content_type.map(Arc::from),
        body,
        key: None,
        retries: None,
    })
}

/// Judges a write as before positional bodies were refused: nothing is seen in one.
#[cfg(feature = "planted")]
pub fn permit_blindly(
    rules: WriteRules<'_>,
    action: Action,
    captures: &Captures<'_>,
    content_type: Option<&str>,
    body: Bytes,
    fresh: Fresh,
) -> Result<Permit, Reply> {
    let seen = Bytes::from_static(br#"{"name":""}"#);
    let permit = permit(rules, action, captures, content_type, seen, fresh);
    permit.map(|mut permit| {
        if let Verb::CreateCollection { name, .. } = &mut permit.entry.verb {
            *name = None;
        }
        permit.entry.body = body;
        permit
    })
}

/// Judges the write of a letter anew, as if its client had just sent it.
pub fn permit_again(
    rules: WriteRules<'_>,
    letter: Letter,
    body: Bytes,
    fresh: Fresh,
) -> Result<Permit, Reply> {
    let mut verb = letter.verb;
    match &mut verb {
        Verb::CreateCollection { id, .. } => *id = fresh.collection,
        Verb::CreateDatabase { id, .. } => *id = fresh.database,
        _ => {}
    }
    if let Some(subject) = verb.subject()
        && rules.catalog.get(subject).is_none()
    {
        return Err(reply::no_such_collection_id(&subject.to_string()));
    }
    rules.permit(Entry {
        id: fresh.entry,
        logged_at: fresh.logged_at,
        verb,
        content_type: letter.content_type,
        body,
        key: None,
        retries: Some(letter.id),
    })
}

/// Judges the deletion of a collection that is cleaned up.
pub fn permit_cleanup(
    rules: WriteRules<'_>,
    collection: CollectionId,
    fresh: Fresh,
) -> Result<Permit, Reply> {
    let found = rules.catalog.get(collection);
    let found = found.ok_or_else(|| reply::no_such_collection_id(&collection.to_string()))?;
    if !rules.guard.cleans(&found.name) {
        let name = &found.name;
        return Err(reply::denied(&format!(
            "[{name}] fits no pattern of guard.cleanup"
        )));
    }
    rules.permit(Entry {
        id: fresh.entry,
        logged_at: fresh.logged_at,
        verb: Verb::DeleteCollection { collection },
        content_type: None,
        body: Bytes::new(),
        key: None,
        retries: None,
    })
}

fn denied(denial: &Denial) -> Reply {
    reply::denied(&denial.to_string())
}

impl WriteRules<'_> {
    fn permit(&self, entry: Entry) -> Result<Permit, Reply> {
        body::check(&entry.verb, &entry.body)?;
        own::check(&entry.verb)?;
        let must_resolve = self
            .check(&entry.verb, &entry.body)
            .map_err(|denial| denied(&denial))?;
        let level = match entry.verb {
            Verb::Record { .. } => self.levels.records,
            _ => self.levels.schema,
        };
        let destroys_all = matches!(entry.verb, Verb::Reset | Verb::DeleteDatabase { .. });
        Ok(Permit {
            must_resolve,
            guard: destroys_all.then(|| self.guard.clone()),
            ..Permit::unguarded(entry, level)
        })
    }

    /// Verb of the write.
    fn verb(
        &self,
        action: Action,
        captures: &Captures<'_>,
        body: &Bytes,
        fresh: Fresh,
    ) -> Result<Verb, Reply> {
        let owned = |name: &Option<Cow<'_, str>>| Arc::<str>::from(name.as_deref().unwrap_or(""));
        let (tenant, database) = (|| owned(&captures.tenant), || owned(&captures.database));
        Ok(match action {
            Action::Reset => Verb::Reset,
            Action::CreateTenant => Verb::CreateTenant {
                name: Some(body::read::<TenantFacts<'_>>(body)?.name.into()),
            },
            Action::UpdateTenant => Verb::UpdateTenant { tenant: tenant() },
            Action::CreateDatabase => Verb::CreateDatabase {
                tenant: tenant(),
                name: Some(body::read::<DatabaseFacts<'_>>(body)?.name.into()),
                id: fresh.database,
            },
            Action::DeleteDatabase => Verb::DeleteDatabase {
                tenant: tenant(),
                database: database(),
            },
            Action::CreateCollection => Verb::CreateCollection {
                tenant: tenant(),
                database: database(),
                name: Some(body::read::<CreateFacts<'_>>(body)?.name.into()),
                id: fresh.collection,
            },
            _ => self.verb_within(action, captures, body)?,
        })
    }

    /// Verb of a write to one collection.
    fn verb_within(
        &self,
        action: Action,
        captures: &Captures<'_>,
        body: &Bytes,
    ) -> Result<Verb, Reply> {
        let collection = find(self.catalog, action, captures)?.id;
        let record = |act| Verb::Record { collection, act };
        Ok(match action {
            Action::Add => record(RecordAct::Add),
            Action::Update => record(RecordAct::Update),
            Action::Upsert => record(RecordAct::Upsert),
            Action::DeleteRecords => record(RecordAct::Delete),
            Action::DeleteCollection => Verb::DeleteCollection { collection },
            Action::Fork => Verb::Fork { collection },
            Action::AttachFunction => Verb::AttachFunction { collection },
            Action::DetachFunction => Verb::DetachFunction {
                collection,
                function: captures.name.as_deref().unwrap_or_default().into(),
            },
            Action::UpdateCollection => Verb::ModifyCollection {
                collection,
                new_name: body::read::<ModifyFacts<'_>>(body)?.new_name.map(Arc::from),
            },
            other => {
                let message = format!("{other:?} is not a write");
                return Err(reply::malformed(&message));
            }
        })
    }

    /// Asks the guard. Says whether an instance must be asked before the write can be logged.
    fn check(&self, verb: &Verb, body: &Bytes) -> Result<bool, Denial> {
        let subject = verb.subject().and_then(|id| self.catalog.get(id));
        match (verb, subject) {
            (Verb::Reset, _) => self.guard.reset(self.catalog)?,
            (Verb::DeleteDatabase { tenant, database }, _) => {
                self.guard.delete_database(self.catalog, tenant, database)?;
            }
            (Verb::DeleteCollection { .. }, Some(collection)) => self.guard.delete(collection)?,
            (Verb::ModifyCollection { new_name, .. }, Some(collection)) => {
                self.guard.modify(collection)?;
                // A body that can't be read here could still be a rename.
                let is_readable = body::facts::<ModifyFacts<'_>>(body).is_some();
                let keeps_name = new_name
                    .as_ref()
                    .is_none_or(|name| *name == collection.name);
                if !(is_readable && keeps_name) {
                    self.guard.rename(collection)?;
                }
            }
            (
                Verb::Record {
                    act: RecordAct::Delete,
                    ..
                },
                Some(collection),
            ) => {
                self.guard.delete_records(collection)?;
                let is_protected = self.guard.rule_for(&collection.name).is_some();
                let has_limit =
                    body::facts::<DeleteFacts<'_>>(body).is_some_and(|facts| facts.limit.is_some());
                return Ok(is_protected || has_limit);
            }
            (
                Verb::Record {
                    act: RecordAct::Update | RecordAct::Upsert,
                    ..
                },
                Some(collection),
            ) => self.guard.change_records(collection)?,
            _ => {}
        }
        Ok(false)
    }
}

/// Refuses names that no client may give, or by which nothing could ever be reached.
fn check_names(verb: &Verb, body: &Bytes) -> Result<(), Reply> {
    let is_reserved = match verb {
        Verb::Fork { .. } => trash::holds(&body::read::<ForkFacts<'_>>(body)?.new_name),
        Verb::AttachFunction { .. } => {
            let output = body::read::<AttachFacts<'_>>(body)?.output_collection;
            output.as_deref().is_some_and(trash::holds)
        }
        _ => verb.new_name().is_some_and(trash::holds),
    };
    if is_reserved {
        return Err(reply::name_is_reserved());
    }
    match verb {
        Verb::CreateTenant { name: Some(name) } if !is_reachable(name) => {
            Err(reply::tenant_is_unreachable())
        }
        Verb::CreateDatabase {
            name: Some(name), ..
        } if !is_reachable(name) => Err(reply::database_is_unreachable(name)),
        _ => Ok(()),
    }
}

/// The collection that a path means, or Chroma's 404 for it.
pub fn find<'a>(
    catalog: &'a Catalog,
    action: Action,
    captures: &Captures<'_>,
) -> Result<&'a Arc<Collection>, Reply> {
    let reference = captures.collection.as_deref().unwrap_or_default();
    let by_name = matches!(action, Action::GetCollection | Action::DeleteCollection);
    let prefer = if by_name { Prefer::Name } else { Prefer::Id };
    let tenant = captures.tenant.as_deref().unwrap_or_default();
    let database = captures.database.as_deref().unwrap_or_default();
    catalog
        .resolve(tenant, database, reference, prefer)
        .ok_or_else(|| not_found(action, reference))
}

/// Chroma's 404 for a collection that a path means.
pub(crate) fn not_found(action: Action, reference: &str) -> Reply {
    match action {
        Action::GetCollection | Action::DeleteCollection | Action::GetCollectionById => {
            reply::no_such_collection(reference)
        }
        _ => reply::no_such_collection_id(reference),
    }
}

#[cfg(test)]
mod tests {
    use smallvec::smallvec;
    use uuid::Uuid;

    use super::*;
    use crate::{
        catalog::{Change, Copy},
        ids::{InstanceId, Position},
        route::{Method, Target, find as find_route},
    };

    fn catalog() -> Catalog {
        let mut catalog = Catalog::default();
        for (number, database, name) in [(1, "d", "global"), (2, "d", "notes"), (3, "e", "notes")] {
            let copy = |offset: u128| Copy {
                id: Some(InstanceId(Uuid::from_u128(number + offset))),
                ..Copy::default()
            };
            catalog.apply(&Change::Made(Arc::new(Collection {
                id: CollectionId(Uuid::from_u128(number)),
                tenant: "t".into(),
                database: database.into(),
                name: name.into(),
                made_at: Position(1),
                gone_at: None,
                home: None,
                copies: smallvec![copy(0xa00), copy(0xb00)],
            })));
        }
        catalog
    }

    /// `METHOD path body` → the status of a refusal, or what may be logged.
    fn judged(line: &str) -> String {
        let (method, rest) = line.split_once(' ').unwrap();
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let path = path.replace("$D", "/api/v2/tenants/t/databases/d");
        let target = Target::parse(path.as_bytes()).unwrap();
        let method = Method::of(&method.parse().unwrap());
        let (route, captures) = find_route(method, &target).unwrap();
        let (catalog, guard) = (catalog(), Guard::new(["global"]));
        let rules = WriteRules {
            catalog: &catalog,
            guard: &guard,
            levels: Levels {
                records: Level::One,
                schema: Level::All,
            },
        };
        let fresh = Fresh {
            entry: EntryId(Uuid::nil()),
            collection: CollectionId(Uuid::nil()),
            database: DatabaseId(Uuid::nil()),
            logged_at: WallTime(0),
        };
        let body = Bytes::from(body.to_owned());
        match permit(rules, route.action, &captures, None, body, fresh) {
            Ok(permit) if permit.must_resolve => "ask first".to_owned(),
            Ok(_) => "permitted".to_owned(),
            Err(reply) => reply.status.to_string(),
        }
    }

    /// The protected collection can't be deleted by any of its names, nor with its database, nor
    /// renamed away, nor reset; whatever is not protected can.
    #[test]
    fn the_guard_stands_before_the_log() {
        let by = |number: u128| format!("DELETE $D/collections/{}", Uuid::from_u128(number));
        assert_eq!(judged("DELETE $D/collections/global"), "403");
        for number in [1, 0xa01, 0xb01] {
            assert_eq!(judged(&by(number)), "403");
        }
        assert_eq!(judged("DELETE $D"), "403");
        assert_eq!(judged("POST /api/v2/reset"), "403");
        assert_eq!(judged("DELETE /api/v2/tenants/t/databases/e"), "permitted");
        assert_eq!(judged("DELETE $D/collections/notes"), "permitted");
        assert_eq!(judged(&by(0xb02)), "permitted");
        assert_eq!(judged(&by(3)), "404", "another database's");
        let modify = |body| judged(&format!("PUT $D/collections/global {body}"));
        assert_eq!(modify(r#"{"new_name":"other"}"#), "403");
        assert_eq!(modify(r#"{"new_name":5}"#), "422");
        assert_eq!(modify(r#"["other",null,null]"#), "422");
        assert_eq!(
            modify(r#"{"new_name":"global","new_metadata":{"a":1}}"#),
            "permitted"
        );
        assert_eq!(modify(r#"{"new_metadata":{"a":1}}"#), "permitted");
    }

    /// Nobody finds a collection that is in the trash, and it keeps its database from being deleted. Names
    /// like those in the trash can't be given.
    #[test]
    fn the_trash_is_out_of_clients_reach() {
        let mut catalog = catalog();
        let notes = CollectionId(Uuid::from_u128(3));
        let guard = Guard::default();
        let levels = Levels {
            records: Level::One,
            schema: Level::All,
        };
        let deletion = Entry {
            id: EntryId(Uuid::nil()),
            logged_at: WallTime(0),
            verb: Verb::DeleteCollection { collection: notes },
            content_type: None,
            body: Bytes::new(),
            key: None,
            retries: None,
        };
        let rules = WriteRules {
            catalog: &catalog,
            guard: &guard,
            levels,
        };
        let permit = rules.permit(deletion).unwrap();
        let until = WallTime(1_794_000_000_000);
        let permit = permit.into_trash(&catalog, until).unwrap();
        let name = Arc::<str>::from(permit.entry().verb.new_name().unwrap());
        assert_eq!(
            *name,
            *"achromat-trash.1794000000000.00000000000000000000000000000003.notes"
        );
        assert_eq!(
            permit.entry().body,
            format!(r#"{{"new_name":"{name}"}}"#).as_bytes()
        );

        assert_eq!(catalog.count_in("t", "e"), 1);
        catalog.apply(&Change::Renamed {
            collection: notes,
            name: Arc::clone(&name),
        });
        assert_eq!(catalog.count_in("t", "e"), 0);
        for reference in [
            &*name,
            &notes.to_string(),
            &Uuid::from_u128(0xa03).to_string(),
        ] {
            for prefer in [Prefer::Name, Prefer::Id] {
                assert_eq!(catalog.resolve("t", "e", reference, prefer), None);
            }
        }
        assert!(guard.delete_database(&catalog, "t", "e").is_err());
        assert!(guard.reset(&catalog).is_err());
        assert!(guard.delete_database(&catalog, "t", "d").is_ok());
        let found: Vec<_> = trash::contents(&catalog).collect();
        assert_eq!((found.len(), found[0].1.name), (1, "notes"));
        assert_eq!(found[0].1.until, until);

        let create = |name: &str| judged(&format!(r#"POST $D/collections {{"name":"{name}"}}"#));
        assert_eq!(create(&name), "400");
        assert_eq!(create("achromat-tras"), "permitted");
        let modify = |body| judged(&format!("PUT $D/collections/{} {body}", Uuid::from_u128(2)));
        assert_eq!(modify(r#"{"new_name":"achromat-trash.1.2.x"}"#), "400");
    }

    /// Deletes that could empty the protected collection, or that have a limit, are looked into.
    #[test]
    fn some_deletes_are_looked_into_first() {
        let delete = |name, body| judged(&format!("POST $D/collections/{name}/delete {body}"));
        assert_eq!(delete("global", r#"{"ids":["a"]}"#), "ask first");
        assert_eq!(delete("global", "{"), "400");
        assert_eq!(delete("notes", r#"{"ids":["a"],"limit":3}"#), "400");
        assert_eq!(delete("notes", r#"{"ids":["a"]}"#), "permitted");
        assert_eq!(delete("notes", r#"{"where":{"a":1}}"#), "permitted");
        assert_eq!(
            delete("notes", r#"{"where":{"a":1},"limit":3}"#),
            "ask first"
        );
        assert_eq!(delete("nothing", r#"{"ids":["a"]}"#), "404");
    }
}
