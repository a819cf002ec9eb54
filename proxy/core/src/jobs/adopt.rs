//! Taking over what an instance already holds when it is met for the first time.
//!
//! A collection whose name nobody knows becomes known, under the instance's own UUID; the others
//! get it by being rebuilt. One whose name is known becomes a copy that is not read until it was
//! compared. Nothing that an instance holds is changed here.
//!
//! The marker is made first: who has one at the start may have been taken over by half before, and then
//! an empty database that nobody knows is one that was made there and has been deleted since.

use std::{collections::BTreeSet, sync::Arc};

use smallvec::SmallVec;

use super::{
    Finding, Places, Port, Stopped,
    chroma::{Address, Described, Listed},
    copy::lost,
    discover::NOT_LOOKED_FOR,
    mark::{is_marked, mark},
    restore::tenants,
};
use crate::{
    catalog::{Catalog, Change, Collection, Copy, InstanceRecord},
    ids::{CollectionId, DatabaseId, InstanceIx, LaneId, Position},
    marker::OWN,
    route::Action,
};

/// Reason for not reading a copy that was found: it is compared first, which happens by itself.
pub const NOT_COMPARED: &str = "it was not compared with the others yet";

/// Reason for not reading a copy whose collection has other metadata, or another configuration.
pub(crate) const MADE_DIFFERENTLY: &str = "it is made differently there";

/// Collections of an instance, as a job has found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Collections that nobody knew, by name.
    pub new: Vec<String>,
    /// Collections that others have too, to be compared.
    pub known: Vec<String>,
    /// Collections that this instance lacks, to be built there.
    pub lacking: Vec<String>,
    /// Collections that are made differently here.
    pub unlike: Vec<String>,
}

/// Looks at everything that `target` holds. `source` is an instance in service, if there is one.
pub(crate) async fn adopt(
    port: Port,
    source: Option<InstanceIx>,
    target: InstanceIx,
    count: usize,
) -> Result<Finding, Stopped> {
    port.stage(|stage| stage.doing = "looking at what is there");
    let held: SmallVec<[InstanceIx; 1]> = source.into_iter().collect();
    let head = port.hold(LaneId::Schema, &held).await;
    let was_met = is_marked(&port, target).await?;
    let marker = mark(&port, target).await?;
    let mut round = Round::new(&port, port.catalog(), (source, target), (count, head));
    round.was_met = was_met;
    for tenant in tenants(&round.catalog) {
        round.whole_tenant(&tenant).await?;
    }
    round.what_is_lacking();
    let Round {
        mut changes,
        adopted,
        ..
    } = round;
    changes.push(Change::Instance {
        instance: target,
        record: InstanceRecord {
            marker: Some(marker),
            quarantine: None,
        },
    });
    port.settle(vec![(LaneId::Schema, target, head)], changes)
        .await;
    port.release(LaneId::Schema).await;
    Ok(Finding::Adopted(adopted))
}

pub(super) struct Round<'a> {
    port: &'a Port,
    catalog: Catalog,
    source: Option<InstanceIx>,
    target: InstanceIx,
    /// True when the target had a marker before.
    was_met: bool,
    /// Number of instances.
    count: usize,
    head: Position,
    /// The instances that may have collections of their own under the names that are found.
    pub(super) away: Places,
    /// The known collections that were found.
    found: BTreeSet<CollectionId>,
    pub(super) changes: Vec<Change>,
    pub(super) adopted: Adopted,
}

impl<'a> Round<'a> {
    /// Nothing is looked at yet. `head` is where the schema lane is held, `count` the number of instances.
    pub(super) fn new(
        port: &'a Port,
        catalog: Catalog,
        (source, target): (Option<InstanceIx>, InstanceIx),
        (count, head): (usize, Position),
    ) -> Self {
        Self {
            port,
            catalog,
            source,
            target,
            was_met: false,
            count,
            head,
            away: Places::new(),
            found: BTreeSet::new(),
            changes: Vec::new(),
            adopted: Adopted::default(),
        }
    }

    /// Has a tenant with the databases of the source, and looks at what is there of it.
    async fn whole_tenant(&mut self, tenant: &str) -> Result<(), Stopped> {
        let port = self.port;
        port.ensure(
            self.target,
            Action::CreateTenant,
            &Address::default(),
            tenant,
        )
        .await?;
        let databases = port.databases(self.target, tenant).await?;
        if let Some(source) = self.source {
            for missing in port.databases(source, tenant).await? {
                if databases.iter().all(|here| here.name != missing.name) {
                    let within = Address::tenant(tenant);
                    port.ensure(self.target, Action::CreateDatabase, &within, &missing.name)
                        .await?;
                }
            }
        }
        self.databases(tenant, &databases).await
    }

    /// Looks at what is there of a tenant.
    pub(super) async fn tenant(&mut self, tenant: &str) -> Result<(), Stopped> {
        let databases = self.port.databases(self.target, tenant).await?;
        self.databases(tenant, &databases).await
    }

    async fn databases(&mut self, tenant: &str, databases: &[Listed]) -> Result<(), Stopped> {
        let port = self.port;
        for database in databases.iter().filter(|_| tenant != OWN) {
            let found = port.list(self.target, tenant, &database.name).await?;
            if self.catalog.database(tenant, &database.name).is_none() {
                if self.source.is_some() && self.was_met && found.is_empty() {
                    let left = Address::database(tenant, &database.name);
                    port.remove(self.target, Action::DeleteDatabase, &left)
                        .await?;
                    continue;
                }
                self.changes.push(Change::DatabaseMade {
                    namespace: (tenant.into(), database.name.as_str().into()),
                    id: DatabaseId(database.id),
                });
            }
            self.database(tenant, &database.name, found).await?;
        }
        Ok(())
    }

    async fn database(
        &mut self,
        tenant: &str,
        database: &str,
        all: Vec<Described>,
    ) -> Result<(), Stopped> {
        for found in all {
            match self.catalog.named(tenant, database, &found.name).cloned() {
                Some(known) => self.known(&known, found).await?,
                None => self.strange(tenant, database, &found),
            }
        }
        Ok(())
    }

    fn strange(&mut self, tenant: &str, database: &str, found: &Described) {
        self.adopted.new.push(found.name.clone());
        let copies = InstanceIx::all(self.count).map(|instance| {
            let is_here = instance == self.target;
            let reason = if self.away.contains(&instance) {
                NOT_LOOKED_FOR
            } else {
                "it is missing there"
            };
            Copy {
                id: is_here.then_some(found.id),
                quarantine: (!is_here).then(|| reason.into()),
                ..Copy::default()
            }
        });
        self.changes.push(Change::Made(Arc::new(Collection {
            id: CollectionId(found.id.0),
            tenant: tenant.into(),
            database: database.into(),
            name: found.name.as_str().into(),
            made_at: self.head,
            gone_at: None,
            home: None,
            copies: copies.collect(),
        })));
    }

    async fn known(&mut self, known: &Collection, found: Described) -> Result<(), Stopped> {
        let named = Address::named(&known.tenant, &known.database, &known.name);
        let model = match self.source {
            Some(source) => self.port.describe(source, &named).await?,
            None => None,
        };
        let is_like = model.is_none_or(|model| model.is_like(&found));
        let (list, reason) = if is_like {
            (&mut self.adopted.known, NOT_COMPARED)
        } else {
            (&mut self.adopted.unlike, MADE_DIFFERENTLY)
        };
        list.push(found.name.clone());
        self.found.insert(known.id);
        let (collection, instance) = (known.id, self.target);
        self.changes.extend([
            Change::Copied {
                collection,
                instance,
                id: found.id,
            },
            Change::Healed {
                collection,
                instance,
            },
            Change::Distrusted {
                collection,
                instance,
                reason: reason.into(),
            },
        ]);
        Ok(())
    }

    fn what_is_lacking(&mut self) {
        for collection in self.catalog.collections() {
            if !self.found.contains(&collection.id) {
                self.adopted.lacking.push(collection.name.to_string());
                self.changes.push(lost(collection.id, self.target));
            }
        }
    }
}
