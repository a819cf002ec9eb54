//! The trash: policy has some deletions undone for a while, and an operator gets collections back, or has
//! them deleted for good; what has been there for its time is deleted, as the shell's purge does it.

use std::time::Duration;

use achromat_core::{
    ids::{CollectionId, DatabaseId, EntryId},
    log::Verb,
    reply::Reply,
    route::Method,
    time::WallTime,
    trash::{Trashed, due, permit_purge, permit_restore},
    write::{Fresh, Permit},
};

use super::{
    bugs::Planting,
    clients::Operation,
    marks::Mark,
    proxy::{Message, Proxy},
    requests::{About, Draft, known_database},
    world::{Happening, World},
};

/// Names that an operator gives what comes back, beside its own.
const NAMES: [&str; 2] = ["alpha", "again"];

/// Time in the trash.
const KEPT_MS: [u64; 3] = [500, 5_000, 60_000];

/// Deed of an operator with a collection in the trash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Restore(Option<&'static str>),
    Purge,
}

/// Time by which the planted bug empties the trash too early.
const TOO_EARLY: Duration = Duration::from_secs(30);

impl World {
    /// Wall time, which begins with the history.
    pub(super) fn wall_time(&self) -> WallTime {
        WallTime(self.now / 1_000)
    }

    /// Has policy put some collections into the trash that a client deletes.
    pub(super) fn may_be_trash(
        &mut self,
        proxy: &Proxy,
        operation: usize,
        permit: Permit,
    ) -> Result<Permit, Reply> {
        let deletes = matches!(permit.entry().verb, Verb::DeleteCollection { .. });
        let is_for_trash = deletes && self.of_trash.chance(self.plan.odds.trash);
        self.operations[operation].is_for_trash = is_for_trash;
        if !is_for_trash {
            return Ok(permit);
        }
        let kept = *self.of_trash.pick(&KEPT_MS);
        let until = WallTime(self.wall_time().0 + kept);
        permit.into_trash(&proxy.view.catalog, until)
    }

    /// Whether a client is the one that empties the trash, or the operator who gets collections back.
    pub(super) fn is_operator(&self, client: usize) -> bool {
        client >= self.plan.clients
    }

    /// Their turn.
    pub(super) fn operator_turn(&mut self, client: usize) {
        if self.is_healed || self.operations.len() >= self.plan.operations {
            return;
        }
        let pause = Duration::from_millis(self.of_trash.between(20, 1_500));
        let found = self
            .serving()
            .and_then(|number| self.proxies.remove(&number));
        let Some(mut proxy) = found else {
            self.after(pause, Happening::Turn(client));
            return;
        };
        let empties = client == self.plan.clients;
        match self.next_act(&proxy, empties) {
            Some((id, act)) => self.act(&mut proxy, (client, id), act),
            None => self.after(pause, Happening::Turn(client)),
        }
        self.proxies.insert(proxy.number, proxy);
    }

    fn next_act(&mut self, proxy: &Proxy, empties: bool) -> Option<(CollectionId, Act)> {
        let catalog = &proxy.view.catalog;
        if empties {
            let is_early = self.options.planting == Some(Planting::PurgesEarly);
            let early = if is_early { TOO_EARLY } else { Duration::ZERO };
            let id = due(catalog, self.wall_time() + early).next()?;
            return Some((id, Act::Purge));
        }
        let all: Vec<_> = achromat_core::trash::contents(catalog).collect();
        if all.is_empty() || self.of_trash.chance(400) {
            return None;
        }
        let (collection, Trashed { .. }) = self.of_trash.pick(&all);
        let act = match self.of_trash.below(5) {
            0 => return None,
            1 => Act::Restore(Some(*self.of_trash.pick(&NAMES))),
            _ => Act::Restore(None),
        };
        Some((collection.id, act))
    }

    fn act(&mut self, proxy: &mut Proxy, (client, id): (usize, CollectionId), act: Act) {
        let fresh = Fresh {
            entry: EntryId(self.of_trash.uuid()),
            collection: CollectionId(self.of_trash.uuid()),
            database: DatabaseId(self.of_trash.uuid()),
            logged_at: self.wall_time(),
        };
        let (catalog, level) = (&proxy.view.catalog, self.plan.levels.schema);
        let database = catalog
            .get(id)
            .map_or("", |collection| &collection.database);
        let database = known_database(database);
        let permit = match act {
            Act::Restore(name) => permit_restore(catalog, level, id, name, fresh),
            Act::Purge => permit_purge(catalog, level, id, fresh),
        };
        if act == Act::Purge {
            let now = self.wall_time();
            self.oracle.purging(id, fresh.entry, now);
        }
        self.mark(match act {
            Act::Restore(_) => Mark::TrashRestored,
            Act::Purge => Mark::TrashPurged,
        });
        let operation = self.operations.len();
        self.say(|| format!("an operator has {id} in the trash ({operation}): {act:?}"));
        self.operations.push(Operation {
            client,
            draft: Draft {
                about: About::Write,
                method: Method::Post,
                target: format!("{id} in the trash"),
                database,
                reference: String::new(),
                body: String::new(),
                key: None,
            },
            started: self.now,
            ended: None,
            reply: None,
            entry: permit.as_ref().ok().map(|permit| permit.entry().id),
            local: None,
            is_for_trash: false,
            is_closing: false,
        });
        match permit {
            Ok(permit) => {
                let message = Message::Submit {
                    permit: Box::new(permit),
                    operation,
                    answer_by: self.answered_by(operation),
                };
                self.put(proxy, message);
            }
            Err(reply) => self.answer_read(operation, reply),
        }
    }
}
