//! The proxies of a fleet, as each of them last said that it is there.

use std::time::Duration;

use achromat_core::ids::Epoch;
use sqlx::{Row as _, postgres::PgRow};

use super::{
    super::{StoreError, words::unsigned},
    lease::{Database, Holder, no_row},
    load::text,
    script::Script,
};

/// A proxy, as the database knows it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its entry.
    pub proxy: Holder,
    /// Its version.
    pub version: String,
    /// The names of its instances, in order.
    pub instances: String,
    /// Time since it said that it is there, by the database's clock.
    pub ago: Duration,
    /// True for the one that holds the lease.
    pub leads: bool,
}

impl Database {
    /// The secret by which the proxies know each other.
    pub async fn secret(&self) -> Result<String, StoreError> {
        let script = Script::of("SELECT secret FROM fleet", &[]);
        let rows = self.connections.read(script).await?;
        let secret = rows.first().map(|row| text(row, "secret"));
        secret.ok_or_else(no_row)
    }

    /// Says that a proxy is there. Those that were not seen for an hour are forgotten.
    pub async fn announce(
        &self,
        me: &Holder,
        version: &str,
        instances: &str,
    ) -> Result<(), StoreError> {
        let mut script = Script::of(
            "INSERT INTO proxies (proxy, name, address, version, instances, seen_at)
             VALUES (?, ?, ?, ?, ?, clock_timestamp())
             ON CONFLICT (proxy) DO UPDATE SET seen_at = excluded.seen_at",
            &[
                me.id.into(),
                me.name.as_str().into(),
                me.address.as_str().into(),
                version.into(),
                instances.into(),
            ],
        );
        script.add(
            "DELETE FROM proxies WHERE seen_at < clock_timestamp() - interval '1 hour'",
            &[],
        );
        self.connections.write(script, Epoch(0)).await?;
        Ok(())
    }

    /// Says that a proxy is there no more.
    pub async fn withdraw(&self, me: &Holder) -> Result<(), StoreError> {
        let script = Script::of("DELETE FROM proxies WHERE proxy = ?", &[me.id.into()]);
        self.connections.write(script, Epoch(0)).await?;
        Ok(())
    }

    /// The proxies that were there in the last hour, by name.
    pub async fn members(&self) -> Result<Vec<Seen>, StoreError> {
        let script = Script::of(
            "SELECT proxies.*, coalesce(proxies.proxy = lease.holder, false) AS leads,
                    (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint AS ago
             FROM proxies, lease ORDER BY proxies.name, proxies.seen_at DESC",
            &[],
        );
        let rows = self.connections.read(script).await?;
        Ok(rows.iter().map(seen).collect())
    }
}

fn seen(row: &PgRow) -> Seen {
    Seen {
        proxy: Holder {
            id: row.get("proxy"),
            name: text(row, "name"),
            address: text(row, "address"),
        },
        version: text(row, "version"),
        instances: text(row, "instances"),
        ago: Duration::from_millis(unsigned(row.get("ago"))),
        leads: row.get("leads"),
    }
}
