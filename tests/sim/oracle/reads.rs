//! What clients read, against every state that they may have seen: at least what was acknowledged
//! before they asked, at most what was logged when they were answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use achromat_core::{
    body::{Named, elements},
    ids::{CollectionId, LaneId},
    reply::Reply,
    trash::holds,
};
use serde_json::Value;
use uuid::Uuid;

use super::{
    Oracle,
    fold::{Fold, Living, Version},
    registers::Shown,
};
use crate::{clients::Operation, requests::About};

impl Oracle {
    pub(super) fn judge_read(
        &self,
        operation: &Operation,
        fold: &Fold,
        shown: &mut Shown,
    ) -> Result<(), String> {
        let (Some(reply), Some(ended)) = (&operation.reply, operation.ended) else {
            return Ok(());
        };
        if operation.draft.about == About::Write {
            return Ok(());
        }
        if reply.status >= 500 || matches!(reply.status, 408 | 429) {
            let is_excused = !operation.is_closing || !self.tampered.is_empty();
            let status = reply.status;
            let why = || format!("all is well, but a read is answered {status}");
            return if is_excused { Ok(()) } else { Err(why()) };
        }
        let span = self.span(LaneId::Schema, operation.started, ended);
        let versions = &fold.schema[span];
        let vanished: BTreeSet<CollectionId> = versions
            .iter()
            .flat_map(|version| version.living.keys().copied())
            .filter(|id| self.is_vanished(*id, ended))
            .collect();
        let is_right = match operation.draft.about {
            // An instance that has lost a collection does not list it, nor does it describe it.
            About::List | About::Description if !self.tampered.is_empty() => true,
            // What somebody has changed is read until it is found.
            About::Records if self.is_altered() && !operation.is_closing => true,
            About::Records => {
                return self.judge_records((operation, reply), fold, versions, shown);
            }
            About::Description => is_description(operation, reply, versions, &vanished),
            About::List => is_list(operation, reply, versions, &vanished),
            About::Absent => self.is_absent(operation, reply, versions),
            About::CountAll => versions
                .iter()
                .any(|version| is_count(operation, reply, version, &vanished)),
            About::Write => true,
        };
        if is_right {
            return Ok(());
        }
        let body: String = String::from_utf8_lossy(&reply.body)
            .chars()
            .take(80)
            .collect();
        Err(format!(
            "{} read {} {body}, which never was so",
            operation.draft.target, reply.status
        ))
    }

    /// What never was there is not found, and while its collection is there nothing else is missing. An
    /// old server does not know of such things.
    fn is_absent(&self, operation: &Operation, reply: &Reply, versions: &[Version]) -> bool {
        let draft = &operation.draft;
        let resolved = |version| resolve(version, draft.database, &draft.reference, false);
        let ended = operation.ended.unwrap_or_default();
        let is_doubtful = |id: CollectionId| self.is_vanished(id, ended);
        let mut all = versions.iter();
        let may_be_gone = all.any(|version| resolved(version).is_none_or(is_doubtful));
        let says = String::from_utf8_lossy(&reply.body);
        let may_be_old = self.has_old_servers() && says.is_empty();
        let is_told = says.contains("'nope' not found");
        reply.status == 404 && (is_told || may_be_old || may_be_gone || !self.tampered.is_empty())
    }

    /// The positions of a lane after which a read may have seen it.
    fn span(&self, lane: LaneId, started: u64, ended: u64) -> RangeInclusive<usize> {
        self.acknowledged_before(lane, started)..=self.appended_by(lane, ended)
    }

    fn judge_records(
        &self,
        (operation, reply): (&Operation, &Reply),
        fold: &Fold,
        versions: &[Version],
        shown: &mut Shown,
    ) -> Result<(), String> {
        let draft = &operation.draft;
        let found: BTreeSet<Option<CollectionId>> = versions
            .iter()
            .map(|version| resolve(version, draft.database, &draft.reference, false))
            .collect();
        let ended = operation.ended.unwrap_or_default();
        let mut all = found.iter().flatten();
        let is_vanished = all.any(|id| self.is_vanished(*id, ended));
        if reply.status == 404 {
            // An instance that has lost a collection does not find it.
            if found.contains(&None) || is_vanished || !self.tampered.is_empty() {
                return Ok(());
            }
            return Err(format!("{} is not found, but is there", draft.target));
        }
        let tail = draft.target.rsplit('/').next().unwrap_or_default();
        let theirs = json(&reply.body);
        let mut tried = Vec::new();
        // By name it may have been one of several.
        let is_register = found.len() == 1;
        let mut older = None;
        for collection in found.into_iter().flatten() {
            let lane = LaneId::Collection(collection);
            let mut floor = self.acknowledged_locally(collection, operation.started);
            if !self.has_lost_home(collection) {
                floor = floor.max(shown.floor(collection, operation.started));
            }
            // What was not logged is lost with what was deleted.
            if is_vanished {
                floor.1 = 0;
            }
            let buried = self.vanished.buried.get(&collection);
            if buried.is_some_and(|(_, since)| *since < operation.started) {
                continue;
            }
            let span = self.span(lane, operation.started, ended);
            let states = span.flat_map(|at| {
                let lost = fold.lost.get(&collection).filter(|(lost, _)| *lost == at);
                let now = &fold.lanes[&collection][at];
                let local = fold.local.get(&collection).into_iter().flatten();
                let local = local.filter(move |state| state.place.0 == at && state.at <= ended);
                lost.map(|(_, server)| ((at, 0), server))
                    .into_iter()
                    .chain([((at, 0), now)])
                    .chain(local.map(|state| (state.place, &state.server)))
            });
            for (at, server) in states {
                let made = &fold.made[&collection];
                let tail = format!("/{tail}");
                let answer = made.ask(server, draft.method.as_str(), &tail, &draft.body);
                let ours = json(&answer.body);
                let is_equal = ours == theirs
                    || (self.remade.contains(&collection) && rows(&ours) == rows(&theirs));
                if answer.status == reply.status && is_equal {
                    if is_register && at < floor {
                        older = Some(at);
                        continue;
                    }
                    if is_register {
                        shown.note(collection, ended, at);
                    }
                    return Ok(());
                }
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                tried.push(format!("\n  {collection} {at:?}: {body}"));
            }
        }
        if let Some(at) = older {
            return Err(format!(
                "I26: {} read {theirs}, as it was after {at:?}, and something later had been read before",
                draft.target
            ));
        }
        Err(format!(
            "{} read {} {theirs}, which never was so; it may have been{}",
            draft.target,
            reply.status,
            tried.concat()
        ))
    }
}

fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// The records of an answer, by their ids: a copy that was made anew may hold them in another order.
fn rows(answer: &Value) -> Option<BTreeMap<&str, [&Value; 3]>> {
    let ids = answer["ids"].as_array()?.iter().zip(0..);
    ids.map(|(id, at)| row(answer, id, at)).collect()
}

fn row<'a>(answer: &'a Value, id: &'a Value, at: usize) -> Option<(&'a str, [&'a Value; 3])> {
    let columns = ["embeddings", "documents", "metadatas"];
    Some((id.as_str()?, columns.map(|column| &answer[column][at])))
}

/// The collection that a path means in some version.
fn resolve(
    version: &Version,
    database: &str,
    reference: &str,
    prefers_name: bool,
) -> Option<CollectionId> {
    let by_id = || {
        let id = CollectionId(Uuid::try_parse(reference).ok()?);
        let living = version.living.get(&id)?;
        (living.database == database && !holds(&living.name)).then_some(id)
    };
    let by_name = || {
        let mut named = version
            .living
            .iter()
            .filter(|(_, living)| living.database == database && living.name == reference);
        named.next().map(|(id, _)| *id)
    };
    if prefers_name {
        by_name().or_else(by_id)
    } else {
        by_id().or_else(by_name)
    }
}

fn is_description(
    operation: &Operation,
    reply: &Reply,
    versions: &[Version],
    vanished: &BTreeSet<CollectionId>,
) -> bool {
    let draft = &operation.draft;
    let mut found = versions.iter().map(|version| {
        (
            version,
            resolve(version, draft.database, &draft.reference, true),
        )
    });
    if reply.status == 404 {
        return found.any(|(_, found)| found.is_none_or(|id| vanished.contains(&id)));
    }
    let theirs = json(&reply.body);
    found.any(|(version, found)| {
        let Some(id) = found else {
            return false;
        };
        let living = &version.living[&id];
        let contents = version.server.contents();
        let place = (
            "default_tenant".to_owned(),
            living.database.clone(),
            living.name.clone(),
        );
        let metadata = serde_json::to_value(&contents[&place].metadata).unwrap_or_default();
        theirs["id"] == id.to_string()
            && theirs["name"] == living.name.as_str()
            && (theirs["metadata"] == metadata || vanished.contains(&id))
    })
}

/// What is listed was there at some time, what was there all the time is listed, and all stands in
/// the order in which it was made.
fn is_list(
    operation: &Operation,
    reply: &Reply,
    versions: &[Version],
    vanished: &BTreeSet<CollectionId>,
) -> bool {
    let database = operation.draft.database;
    let Some(listed) = elements(&reply.body) else {
        return false;
    };
    let listed: Vec<(CollectionId, &str)> = listed
        .iter()
        .map(|element| {
            let Named { id, name, .. } = &element.named;
            (CollectionId(*id), name.as_str())
        })
        .collect();
    let is_in = |version: &Version, id: &CollectionId, name: &str| {
        let living = version.living.get(id);
        living.is_some_and(|living| {
            living.name == name && living.database == database && !holds(name)
        })
    };
    let all_were = listed
        .iter()
        .all(|(id, name)| versions.iter().any(|version| is_in(version, id, name)));
    let first = versions.first().expect("one at least");
    let stayed = first.living.iter().filter(|(id, living)| {
        living.database == database
            && versions.iter().all(|version| {
                let living = version.living.get(id);
                living.is_some_and(|living| !holds(&living.name))
            })
    });
    let all_are = stayed
        .into_iter()
        .all(|(id, _)| vanished.contains(id) || listed.iter().any(|(listed, _)| listed == id));
    let made_at = |id: &CollectionId| {
        let mut lives = versions.iter().filter_map(|version| version.living.get(id));
        lives.next().map(|living| living.made_at)
    };
    all_were && all_are && listed.is_sorted_by_key(|(id, _)| made_at(id))
}

/// Collections that were deleted directly are counted, or not.
fn is_count(
    operation: &Operation,
    reply: &Reply,
    version: &Version,
    vanished: &BTreeSet<CollectionId>,
) -> bool {
    let database = operation.draft.database;
    let here = |(_, living): &(&CollectionId, &Living)| {
        living.database == database && !holds(&living.name)
    };
    let living = version.living.iter().filter(here);
    let (doubtful, sure): (Vec<_>, Vec<_>) = living.partition(|(id, _)| vanished.contains(id));
    let counted = json(&reply.body).as_u64();
    let most = sure.len() + doubtful.len();
    counted.is_some_and(|counted| {
        (sure.len()..=most).any(|count| Ok(count) == usize::try_from(counted))
    })
}
