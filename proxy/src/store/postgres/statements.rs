//! Writes as SQL.

use achromat_core::{
    catalog::{Change, Collection, InstanceRecord},
    durable::Write,
    ids::{CollectionId, Epoch, InstanceIx, LaneId, Position, Token},
    key::{KeyOutcome, Settled},
    log::{Entry, Verdict},
};
use uuid::Uuid;

use super::{
    super::{
        InstanceNames,
        columns::{Column, Columns, columns_of},
        words::{lane_uuid, name, signed, verdict_word},
    },
    script::{Script, Value},
};

type Result = std::result::Result<(), sqlx::Error>;

/// Writes of one owner.
pub(super) struct Statements<'a> {
    pub(super) script: Script,
    pub(super) names: &'a InstanceNames,
    pub(super) epoch: Epoch,
}

impl Statements<'_> {
    /// Adds one write. An append answers a row with its position.
    pub(super) fn write(&mut self, write: &Write) -> Result {
        match write {
            Write::Append(entry) => return self.append(entry),
            Write::Record {
                lane,
                instance,
                position,
                verdict,
                settled,
                changes,
                letter,
            } => {
                self.settle(*lane, *position, settled.as_deref());
                if let Some(reason) = letter {
                    self.keep_letter(*lane, *position, reason);
                }
                if let Some(verdict) = verdict {
                    self.judge(*lane, *position, *verdict, None);
                }
                self.advance(*lane, *instance, *position)?;
                self.change(changes)?;
            }
            Write::Close {
                lane,
                position,
                verdict,
                reason,
                settled,
                is_letter,
            } => {
                self.settle(*lane, *position, settled.as_deref());
                if *is_letter {
                    self.keep_letter(*lane, *position, reason);
                }
                self.judge(*lane, *position, *verdict, Some(reason));
            }
            Write::Dismiss(letter) => {
                let values = [letter.0.into()];
                self.script
                    .add("DELETE FROM letters WHERE letter = ?", &values);
            }
            Write::Change(changes) => self.change(changes)?,
            Write::Trim {
                lane,
                through,
                instances,
            } => {
                for instance in instances {
                    self.advance(*lane, *instance, *through)?;
                }
                self.trim(*lane, *through);
            }
            Write::ForgetKeys {
                logged_before,
                kept_max,
            } => {
                let values = [signed(logged_before.0).into(), signed(*kept_max).into()];
                self.script.add(
                    "DELETE FROM keys WHERE state IS NOT NULL
                     AND (logged_at_ms < ? OR logged_at_ms <= (
                       SELECT logged_at_ms FROM keys ORDER BY logged_at_ms DESC LIMIT 1 OFFSET ?
                     ))",
                    &values,
                );
            }
            Write::Settle {
                cursors, changes, ..
            } => {
                for (lane, instance, position) in cursors {
                    self.advance(*lane, *instance, *position)?;
                }
                self.change(changes)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result {
        let verb = serde_json::to_string(&entry.verb)
            .map_err(|error| sqlx::Error::Encode(error.into()))?;
        let key = entry.key.as_ref();
        self.script.add(
            "SELECT achromat_append(?, ?, ?, ?, ?, ?, ?, ?, ?, ?) AS appended",
            &[
                lane_uuid(entry.verb.lane()).into(),
                entry.id.0.into(),
                signed(self.epoch.0).into(),
                signed(entry.logged_at.0).into(),
                verb.as_str().into(),
                entry.content_type.as_deref().into(),
                entry.body.as_ref().into(),
                key.map(|keyed| keyed.key.as_str()).into(),
                key.map(|keyed| keyed.fingerprint.0.as_slice()).into(),
                entry.retries.map(|letter| letter.0).into(),
            ],
        );
        Ok(())
    }

    fn settle(&mut self, lane: LaneId, position: Position, settled: Option<&Settled>) {
        let Some(Settled { key, outcome }) = settled else {
            return;
        };
        self.script.add(
            "SELECT achromat_settle(?, ?, ?, ?, ?::integer, ?, ?)",
            &[
                lane_uuid(lane).into(),
                signed(position.0).into(),
                key.as_str().into(),
                outcome.state.as_str().into(),
                i64::from(outcome.status).into(),
                outcome.content_type.as_deref().into(),
                outcome.body.as_ref().into(),
            ],
        );
    }

    fn keep_letter(&mut self, lane: LaneId, position: Position, reason: &str) {
        self.script.add(
            "SELECT achromat_keep_letter(?, ?, ?)",
            &[
                lane_uuid(lane).into(),
                signed(position.0).into(),
                reason.into(),
            ],
        );
    }

    fn judge(&mut self, lane: LaneId, position: Position, verdict: Verdict, reason: Option<&str>) {
        self.script.add(
            "SELECT achromat_judge(?, ?, ?, ?)",
            &[
                lane_uuid(lane).into(),
                signed(position.0).into(),
                verdict_word(verdict).into(),
                reason.into(),
            ],
        );
    }

    fn advance(&mut self, lane: LaneId, instance: InstanceIx, position: Position) -> Result {
        self.script.add(
            "SELECT achromat_advance(?, ?, ?, ?)",
            &[
                lane_uuid(lane).into(),
                name(self.names, instance)?.into(),
                signed(position.0).into(),
                signed(self.epoch.0).into(),
            ],
        );
        Ok(())
    }

    fn trim(&mut self, lane: LaneId, through: Position) {
        let (lane, through) = (lane_uuid(lane), signed(through.0));
        self.script.add(
            "DELETE FROM entries WHERE lane = ? AND position <= ?",
            &[lane.into(), through.into()],
        );
        self.script.add(
            "UPDATE lanes SET trimmed = greatest(trimmed, ?) WHERE lane = ?",
            &[through.into(), lane.into()],
        );
    }

    fn change(&mut self, changes: &[Change]) -> Result {
        for change in changes {
            self.change_one(change)?;
        }
        Ok(())
    }

    fn change_one(&mut self, change: &Change) -> Result {
        match change {
            Change::Made(collection) => self.make(collection)?,
            Change::Renamed { collection, name } => self.script.add(
                "UPDATE collections SET name = ? WHERE collection = ?",
                &[name.as_ref().into(), collection.0.into()],
            ),
            Change::Gone { collection, at } => {
                self.settle_void(*collection);
                self.bury(collection.0, *at);
            }
            Change::Forgotten { collection } => self.forget(collection.0),
            Change::DatabaseMade { namespace, id } => self.script.add(
                "INSERT INTO databases (tenant, name, database) VALUES (?, ?, ?)
                 ON CONFLICT (tenant, name) DO UPDATE SET database = excluded.database",
                &[
                    namespace.0.as_ref().into(),
                    namespace.1.as_ref().into(),
                    id.0.into(),
                ],
            ),
            Change::DatabaseGone { namespace } => self.script.add(
                "DELETE FROM databases WHERE tenant = ? AND name = ?",
                &[namespace.0.as_ref().into(), namespace.1.as_ref().into()],
            ),
            Change::TenantMade { tenant } => self.script.add(
                "INSERT INTO tenants (tenant) VALUES (?) ON CONFLICT (tenant) DO NOTHING",
                &[tenant.as_ref().into()],
            ),
            Change::Instance { instance, record } => self.know_instance(*instance, record)?,
            Change::Token { instance, token } => self.script.add(
                "UPDATE instances SET token = ? WHERE instance = ?",
                &[signed(token.0).into(), name(self.names, *instance)?.into()],
            ),
            Change::Homed { collection, home } => {
                let home = home.map(|home| name(self.names, home)).transpose()?;
                self.script.add(
                    "UPDATE collections SET home = ? WHERE collection = ?",
                    &[home.into(), collection.0.into()],
                );
            }
            Change::Copied {
                collection,
                instance,
                ..
            }
            | Change::Quarantined {
                collection,
                instance,
                ..
            }
            | Change::Distrusted {
                collection,
                instance,
                ..
            }
            | Change::Unsure {
                collection,
                instance,
                ..
            }
            | Change::Healed {
                collection,
                instance,
            }
            | Change::Lost {
                collection,
                instance,
                ..
            } => self.set_copy(*collection, *instance, columns_of(change))?,
        }
        Ok(())
    }

    /// Settles the open keys of a deleted collection.
    fn settle_void(&mut self, collection: CollectionId) {
        let outcome = KeyOutcome::void(collection);
        self.script.add(
            "UPDATE keys SET state = ?, status = ?::integer, content_type = ?, body = ?
             WHERE lane = ? AND state IS NULL",
            &[
                outcome.state.as_str().into(),
                i64::from(outcome.status).into(),
                outcome.content_type.as_deref().into(),
                outcome.body.as_ref().into(),
                collection.0.into(),
            ],
        );
    }

    fn know_instance(&mut self, instance: InstanceIx, record: &InstanceRecord) -> Result {
        let (id, token) = record
            .marker
            .map_or((None, Token(0)), |marker| (Some(marker.id.0), marker.token));
        self.script.add(
            "INSERT INTO instances (instance, marker, token, quarantine) VALUES (?, ?, ?, ?)
             ON CONFLICT (instance) DO UPDATE
             SET marker = excluded.marker, token = excluded.token, quarantine = excluded.quarantine",
            &[
                name(self.names, instance)?.into(),
                id.into(),
                signed(token.0).into(),
                record.quarantine.as_deref().into(),
            ],
        );
        Ok(())
    }

    fn set_copy(
        &mut self,
        collection: CollectionId,
        instance: InstanceIx,
        columns: Columns<'_>,
    ) -> Result {
        let instance = name(self.names, instance)?;
        if matches!(columns.quarantine, Column::Set(_)) {
            // A collection's home is none any more when its copy there is lost.
            self.script.add(
                "UPDATE collections SET home = NULL WHERE collection = ? AND home = ?",
                &[collection.0.into(), instance.into()],
            );
        }
        let Columns {
            id,
            quarantine,
            distrust,
            unsure,
        } = columns;
        let kept = [
            id.is_kept(),
            quarantine.is_kept(),
            distrust.is_kept(),
            unsure.is_kept(),
        ];
        let mut values: Vec<Value<'_>> = vec![
            collection.0.into(),
            instance.into(),
            id.value().map(|id| id.0).into(),
            quarantine.value().into(),
            distrust.value().into(),
            unsure.value().into(),
        ];
        values.extend(kept.map(Value::from));
        self.script.add(
            "INSERT INTO copies AS known (collection, instance, instance_id, quarantine, distrust, unsure)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (collection, instance) DO UPDATE SET
                 instance_id = CASE WHEN ? THEN known.instance_id ELSE excluded.instance_id END,
                 quarantine = CASE WHEN ? THEN known.quarantine ELSE excluded.quarantine END,
                 distrust = CASE WHEN ? THEN known.distrust ELSE excluded.distrust END,
                 unsure = CASE WHEN ? THEN known.unsure ELSE excluded.unsure END",
            &values,
        );
        Ok(())
    }

    fn make(&mut self, collection: &Collection) -> Result {
        let home = collection.home;
        self.script.add(
            "INSERT INTO collections (collection, tenant, database, name, made_at, gone_at, home)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (collection) DO UPDATE
             SET tenant = excluded.tenant, database = excluded.database, name = excluded.name,
                 made_at = excluded.made_at, gone_at = excluded.gone_at, home = excluded.home",
            &[
                collection.id.0.into(),
                collection.tenant.as_ref().into(),
                collection.database.as_ref().into(),
                collection.name.as_ref().into(),
                signed(collection.made_at.0).into(),
                collection.gone_at.map(|at| signed(at.0)).into(),
                home.map(|home| name(self.names, home)).transpose()?.into(),
            ],
        );
        for (instance, copy) in InstanceIx::all(collection.copies.len()).zip(&collection.copies) {
            if *copy == achromat_core::catalog::Copy::default() {
                continue;
            }
            self.script.add(
                "INSERT INTO copies (collection, instance, instance_id, quarantine, distrust, unsure)
                 VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (collection, instance) DO UPDATE
                 SET instance_id = excluded.instance_id, quarantine = excluded.quarantine,
                     distrust = excluded.distrust, unsure = excluded.unsure",
                &[
                    collection.id.0.into(),
                    name(self.names, instance)?.into(),
                    copy.id.map(|id| id.0).into(),
                    copy.quarantine.as_deref().into(),
                    copy.distrust.as_deref().into(),
                    copy.unsure.as_deref().into(),
                ],
            );
        }
        Ok(())
    }

    /// The lane's row stays, so that its positions are never given again.
    fn bury(&mut self, id: Uuid, at: Position) {
        self.script.add(
            "UPDATE collections SET gone_at = ? WHERE collection = ?",
            &[signed(at.0).into(), id.into()],
        );
        let id = [id.into()];
        self.script.add("DELETE FROM entries WHERE lane = ?", &id);
        self.script
            .add("UPDATE lanes SET trimmed = head WHERE lane = ?", &id);
    }

    fn forget(&mut self, id: Uuid) {
        for statement in [
            "DELETE FROM collections WHERE collection = ?",
            "DELETE FROM copies WHERE collection = ?",
            "DELETE FROM entries WHERE lane = ?",
            "DELETE FROM cursors WHERE lane = ?",
            "DELETE FROM lanes WHERE lane = ?",
        ] {
            self.script.add(statement, &[id.into()]);
        }
    }
}
