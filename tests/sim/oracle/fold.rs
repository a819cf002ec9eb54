//! What a server holds that was sent the log and nothing else: for each position of the schema lane
//! and of every collection's lane.

use std::collections::BTreeMap;

use achromat_core::{
    body::Named,
    ids::{CollectionId, LaneId, Position},
    log::{RecordAct, Verb, Verdict},
};
use uuid::Uuid;

use super::{
    Noted, Oracle,
    homes::{LocalNoted, numbered},
};
use crate::{
    model::{Answer, Contents, Server},
    proxy::PROTECTED,
};

/// A living collection at some position of the schema lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Living {
    pub(super) database: String,
    pub(super) name: String,
    pub(super) made_at: usize,
    /// Its UUID on the server of the fold.
    pub(super) uuid: Uuid,
}

/// The schema lane after some entry.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) server: Server,
    pub(super) living: BTreeMap<CollectionId, Living>,
}

/// A collection behind a write that is not logged.
pub(super) struct LocalState {
    pub(super) place: super::homes::Place,
    /// Time at which the home carried it out.
    pub(super) at: u64,
    stay: u32,
    is_lost: bool,
    pub(super) server: Server,
}

/// The fold of a log.
pub(super) struct Fold {
    /// After each entry of the schema lane, and before the first.
    pub(super) schema: Vec<Version>,
    /// After each entry of a collection's lane, and before the first.
    pub(super) lanes: BTreeMap<CollectionId, Vec<Server>>,
    /// The states of collections behind writes that are not logged, in their order.
    pub(super) local: BTreeMap<CollectionId, Vec<LocalState>>,
    /// Of a collection that is there again, empty, since some entry of its lane: what it had before.
    pub(super) lost: BTreeMap<CollectionId, (usize, Server)>,
    /// Every collection that ever lived, as it was made.
    pub(super) made: BTreeMap<CollectionId, Living>,
    /// The last version without what was found to be gone since.
    without: Option<Version>,
}

type Place = (String, String, String);

impl Fold {
    /// The fold of what was logged. Fails when the log says what cannot be.
    pub(super) fn of(oracle: &Oracle) -> Result<Self, String> {
        let mut fold = Self {
            schema: vec![Version {
                server: Server::new(oracle.seed ^ 0x5eed),
                living: BTreeMap::new(),
            }],
            lanes: BTreeMap::new(),
            local: BTreeMap::new(),
            lost: BTreeMap::new(),
            made: BTreeMap::new(),
            without: None,
        };
        let schema = oracle.log.get(&LaneId::Schema);
        for (noted, at) in schema.into_iter().flatten().zip(1..) {
            fold.bury(oracle, at - 1);
            fold.apply_schema(noted, at, oracle)
                .map_err(|why| format!("schema {at}: {why}"))?;
        }
        fold.bury(oracle, fold.schema.len() - 1);
        for (lane, entries) in &oracle.log {
            if let LaneId::Collection(collection) = lane {
                fold.apply_lane(*collection, entries, oracle)?;
            }
        }
        for collection in fold.made.keys().copied().collect::<Vec<_>>() {
            if !fold.lanes.contains_key(&collection) {
                fold.apply_lane(collection, &[], oracle)?;
            }
        }
        Ok(fold)
    }

    /// The next version lacks what was found to be gone after this entry of the schema lane.
    fn bury(&mut self, oracle: &Oracle, at: usize) {
        let at = Position(u64::try_from(at).expect("a position"));
        let mut buried = oracle.vanished.buried.iter();
        let version = self.schema.last().expect("the first");
        let is_due = |(id, (after, _)): &(&CollectionId, &(Position, u64))| {
            *after == at && version.living.contains_key(id)
        };
        let Some((id, _)) = buried.find(is_due) else {
            return;
        };
        let mut version = version.clone();
        if let Some(living) = version.living.remove(id) {
            let Living { database, name, .. } = living;
            let target =
                format!("/api/v2/tenants/default_tenant/databases/{database}/collections/{name}");
            version.server.handle("DELETE", &target, b"");
        }
        self.without = Some(version);
    }

    fn apply_schema(&mut self, noted: &Noted, at: usize, oracle: &Oracle) -> Result<(), String> {
        let last = self.schema.last().expect("the first");
        let mut version = self.without.take().unwrap_or_else(|| last.clone());
        let before = version.clone();
        let verb = &noted.entry.verb;
        let applies = matches!(noted.verdict, Verdict::Accepted | Verdict::Found)
            || matches!(noted.verdict, Verdict::Refused { .. });
        let answer = applies
            .then(|| version.send(verb, &noted.entry.body))
            .flatten();
        match (noted.verdict, &answer) {
            (Verdict::Accepted, Some(answer)) if is_success(answer) => {
                if let Some(living) = verb.subject().and_then(|id| before.living.get(&id)) {
                    oracle.check_purge(noted, &living.name)?;
                }
                version.accept(verb, at, answer)?;
                if let Verb::CreateCollection { id, .. } = verb
                    && self.made.insert(*id, version.living[id].clone()).is_some()
                {
                    return Err(format!("I13: {id} is made twice"));
                }
            }
            (Verdict::Found, Some(answer)) if is_success(answer) => {}
            // What is already so is a success where it may be the entry's own work.
            (
                Verdict::Accepted,
                Some(Answer {
                    status: 404 | 409, ..
                }),
            ) if is_idempotent(verb) => {}
            (Verdict::Refused { .. }, Some(answer)) if !is_success(answer) => {}
            (Verdict::Refused { .. }, None)
            | (Verdict::Abandoned | Verdict::Void | Verdict::Open, _) => {}
            // An instance has decided that has it no more.
            (Verdict::Refused { .. } | Verdict::Found, _)
                if before.is_about_vanished(noted, oracle) =>
            {
                version = before;
            }
            (verdict, answer) => {
                let status = answer.as_ref().map(|answer| answer.status);
                return Err(format!(
                    "{verb:?} is {verdict:?}, but a server says {status:?}"
                ));
            }
        }
        self.schema.push(version);
        Ok(())
    }

    fn apply_lane(
        &mut self,
        collection: CollectionId,
        entries: &[Noted],
        oracle: &Oracle,
    ) -> Result<(), String> {
        let Some(made) = self.made.get(&collection).cloned() else {
            return match entries.first() {
                Some(_) => Err(format!("{collection} has entries and was never made")),
                None => Ok(()),
            };
        };
        let is_gone = oracle.gone.contains(&collection);
        let mut versions = vec![self.schema[made.made_at].server.clone()];
        let emptied = oracle.vanished.emptied.get(&collection).copied();
        let mut local = oracle.homes.of(collection);
        for (noted, at) in entries.iter().zip(1..) {
            self.empty((collection, emptied), &mut versions);
            self.apply_local((collection, &made, emptied), &mut local, &versions)?;
            let mut server = self.newest(collection, &versions).clone();
            // What nobody had decided when the collection was deleted may have been carried out before.
            let is_left_open = is_gone && noted.verdict == Verdict::Open;
            let applies = matches!(noted.verdict, Verdict::Accepted | Verdict::Refused { .. })
                || (is_left_open && noted.executed != 0);
            if applies {
                let answer = made.write(&mut server, &noted.entry.verb, &noted.entry.body);
                let is_right = match noted.verdict {
                    Verdict::Accepted => is_success(&answer),
                    Verdict::Refused { .. } => !is_success(&answer),
                    _ => true,
                };
                if !is_right {
                    let (verdict, status) = (noted.verdict, answer.status);
                    return Err(format!(
                        "{collection} {at} is {verdict:?}, but a server says {status}"
                    ));
                }
                made.check_protected(&versions, &server, noted)?;
            }
            versions.push(server);
        }
        self.empty((collection, emptied), &mut versions);
        self.apply_local((collection, &made, emptied), &mut local, &versions)?;
        self.lanes.insert(collection, versions);
        Ok(())
    }

    /// Applies what a home has done behind the last entry so far.
    fn apply_local(
        &mut self,
        (collection, made, emptied): (CollectionId, &Living, Option<(Position, u64)>),
        local: &mut &[LocalNoted],
        versions: &[Server],
    ) -> Result<(), String> {
        let last = versions.len() - 1;
        let count = local.iter().take_while(|noted| noted.after == last).count();
        let (now, later) = local.split_at(count);
        *local = later;
        let emptied = emptied.filter(|(at, _)| usize::try_from(at.0) == Ok(last));
        let dropped = self.lost.get(&collection).filter(|(at, _)| *at == last);
        let dropped = dropped.map(|(_, server)| server.clone());
        for (place, noted) in numbered(now) {
            let is_before = emptied.is_some_and(|(_, when)| noted.at < when);
            let states = self.local.get(&collection).into_iter().flatten();
            let was_before = |state: &LocalState| emptied.is_some_and(|(_, when)| state.at < when);
            let mut before = states.filter(|state| {
                let is_kept = !state.is_lost || state.stay == noted.stay;
                state.place.0 == last && was_before(state) == is_before && is_kept
            });
            let before = before.next_back();
            let first = dropped.as_ref().filter(|_| is_before);
            let first = first.unwrap_or(&versions[last]);
            let mut server = before.map_or(first, |state| &state.server).clone();
            let answer = made.act(&mut server, noted.act, &noted.body);
            if is_success(&answer) != (noted.status < 300) {
                let (theirs, ours) = (noted.status, answer.status);
                return Err(format!(
                    "{collection}: a home has answered {theirs} behind {last}, but a server says {ours}"
                ));
            }
            let state = LocalState {
                place,
                at: noted.at,
                stay: noted.stay,
                is_lost: noted.is_lost || is_before,
                server,
            };
            self.local.entry(collection).or_default().push(state);
        }
        Ok(())
    }

    /// The last state of a collection, whose lane has these so far.
    fn newest<'a>(&'a self, collection: CollectionId, versions: &'a [Server]) -> &'a Server {
        let last = versions.len() - 1;
        let states = self.local.get(&collection).into_iter().flatten();
        let mut kept = states.filter(|state| state.place.0 == last && !state.is_lost);
        kept.next_back()
            .map_or(&versions[last], |state| &state.server)
    }

    /// Behind the entry at which a collection is there again it is as it was made.
    fn empty(
        &mut self,
        (collection, emptied): (CollectionId, Option<(Position, u64)>),
        versions: &mut [Server],
    ) {
        let last = versions.len() - 1;
        if emptied.is_some_and(|(at, _)| usize::try_from(at.0) == Ok(last)) {
            let dropped = versions[last].clone();
            self.lost.entry(collection).or_insert((last, dropped));
            versions[last] = versions[0].clone();
        }
    }

    /// What every instance must hold.
    pub(super) fn contents(&self) -> BTreeMap<Place, (CollectionId, Contents)> {
        let last = self.schema.last().expect("the first");
        let last = self.without.as_ref().unwrap_or(last);
        let mut contents = last.server.contents();
        last.living
            .iter()
            .map(|(id, living)| {
                let place = |living: &Living| {
                    let tenant = "default_tenant".to_owned();
                    (tenant, living.database.clone(), living.name.clone())
                };
                let mut whole = contents.remove(&place(living)).expect("it lives");
                let records = self.newest(*id, &self.lanes[id]).contents();
                let records = &records[&place(&self.made[id])];
                whole.dimension = records.dimension;
                whole.records = records.records.clone();
                (place(living), (*id, whole))
            })
            .collect()
    }
}

fn is_idempotent(verb: &Verb) -> bool {
    matches!(
        verb,
        Verb::DeleteDatabase { .. }
            | Verb::CreateDatabase { .. }
            | Verb::CreateTenant { .. }
            | Verb::DetachFunction { .. }
    )
}

fn is_success(answer: &Answer) -> bool {
    (200..300).contains(&answer.status)
}

impl Living {
    fn target(&self, tail: &str) -> String {
        let Self { database, uuid, .. } = self;
        format!("/api/v2/tenants/default_tenant/databases/{database}/collections/{uuid}{tail}")
    }

    /// Asks a server for the records of the collection.
    pub(super) fn ask(&self, server: &Server, method: &str, tail: &str, body: &str) -> Answer {
        server
            .clone()
            .handle(method, &self.target(tail), body.as_bytes())
    }

    fn write(&self, server: &mut Server, verb: &Verb, body: &[u8]) -> Answer {
        match verb {
            Verb::Record { act, .. } => self.act(server, *act, body),
            _ => server.handle("POST", &self.target(""), body),
        }
    }

    fn act(&self, server: &mut Server, act: RecordAct, body: &[u8]) -> Answer {
        let tail = match act {
            RecordAct::Add => "/add",
            RecordAct::Update => "/update",
            RecordAct::Upsert => "/upsert",
            RecordAct::Delete => "/delete",
        };
        server.handle("POST", &self.target(tail), body)
    }

    /// The protected collection keeps at least one record once it has one.
    fn check_protected(
        &self,
        before: &[Server],
        after: &Server,
        noted: &Noted,
    ) -> Result<(), String> {
        if self.name != PROTECTED {
            return Ok(());
        }
        let count = |server: &Server| self.ask(server, "GET", "/count", "").body;
        let had = count(before.last().expect("the first"));
        if had != b"0" && count(after) == b"0" {
            return Err(format!("I10: {:?} empties {PROTECTED}", noted.entry.verb));
        }
        Ok(())
    }
}

impl Version {
    /// Whether an entry is about a collection, by itself or by its name, that was deleted directly
    /// before the entry was decided.
    fn is_about_vanished(&self, noted: &Noted, oracle: &Oracle) -> bool {
        let decided = noted.decided.unwrap_or(u64::MAX);
        let is_meant = |(id, living): &(&CollectionId, &Living)| match &noted.entry.verb {
            Verb::CreateCollection { database, name, .. } => {
                *living.database == **database && name.as_deref() == Some(&*living.name)
            }
            verb => verb.subject() == Some(**id),
        };
        let mut meant = self.living.iter().filter(is_meant);
        meant.any(|(id, _)| oracle.is_vanished(*id, decided))
    }

    /// Sends an entry to the server; nothing when its collection does not live.
    fn send(&mut self, verb: &Verb, body: &[u8]) -> Option<Answer> {
        let at = |tail: String| format!("/api/v2/tenants/{tail}");
        let living = verb.subject().map(|subject| self.living.get(&subject));
        if living == Some(None) {
            return None;
        }
        let living = living.flatten();
        let (method, target) = match verb {
            Verb::CreateTenant { .. } => ("POST", "/api/v2/tenants".to_owned()),
            Verb::UpdateTenant { tenant } => ("PATCH", at(tenant.to_string())),
            Verb::CreateDatabase { tenant, .. } => ("POST", at(format!("{tenant}/databases"))),
            Verb::DeleteDatabase { tenant, database } => {
                ("DELETE", at(format!("{tenant}/databases/{database}")))
            }
            Verb::CreateCollection {
                tenant, database, ..
            } => (
                "POST",
                at(format!("{tenant}/databases/{database}/collections")),
            ),
            Verb::ModifyCollection { .. } => ("PUT", living?.target("")),
            Verb::DeleteCollection { .. } => {
                let Living { database, name, .. } = living?;
                let tail = format!("default_tenant/databases/{database}/collections/{name}");
                ("DELETE", at(tail))
            }
            Verb::DetachFunction { function, .. } => {
                let tail = format!("/attached_functions/{function}/detach");
                ("POST", living?.target(&tail))
            }
            Verb::Reset => ("POST", "/api/v2/reset".to_owned()),
            _ => return None,
        };
        Some(self.server.handle(method, &target, body))
    }

    fn accept(&mut self, verb: &Verb, at: usize, answer: &Answer) -> Result<(), String> {
        let protects = |living: &Living| living.name == PROTECTED;
        let before = self.living.values().filter(|l| protects(l)).count();
        match verb {
            Verb::CreateCollection { database, id, .. } => {
                let named = Named::parse(&answer.body).ok_or("a create says no id")?;
                if self.living.values().any(|living| living.uuid == named.id) {
                    return Err(format!("{verb:?} is Accepted, but found what is there"));
                }
                let living = Living {
                    database: database.to_string(),
                    name: named.name,
                    made_at: at,
                    uuid: named.id,
                };
                self.living.insert(*id, living);
                return Ok(());
            }
            Verb::ModifyCollection {
                collection,
                new_name: Some(name),
            } => {
                if let Some(living) = self.living.get_mut(collection) {
                    living.name = name.to_string();
                }
            }
            Verb::DeleteCollection { collection } => {
                self.living.remove(collection);
            }
            Verb::DeleteDatabase { database, .. } => {
                self.living.retain(|_, l| *l.database != **database);
            }
            Verb::Reset => self.living.clear(),
            _ => {}
        }
        let after = self.living.values().filter(|l| protects(l)).count();
        if after < before {
            return Err(format!("I10: {verb:?} takes {PROTECTED} away"));
        }
        Ok(())
    }
}
