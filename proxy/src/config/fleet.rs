//! Configuration of a proxy's place in its fleet.

use std::{net::SocketAddr, path::PathBuf};

use rustix::system::uname;

use super::{
    meant::{Checks, StoreUrl},
    written::{BlindReads, Fleet},
};
use crate::instances::Address;

/// A proxy as the others of its fleet know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FleetConfig {
    /// Its name, for people.
    pub name: String,
    /// URL at which it serves.
    pub advertised: String,
    /// File of certificates by which the others' are judged.
    pub ca_file: Option<PathBuf>,
    /// True when it serves reads while it leads and the database can't be reached.
    pub reads_when_blind: bool,
}

/// The place of a proxy whose store others can share; none for every other store.
pub(super) fn fleet(
    checks: &mut Checks,
    fleet: &Fleet,
    store: &StoreUrl,
    (listen, is_encrypted): (SocketAddr, bool),
) -> Option<FleetConfig> {
    if !matches!(store, StoreUrl::Postgres(_)) {
        return None;
    }
    let advertised = if fleet.advertise.is_empty() {
        if listen.ip().is_unspecified() {
            let message =
                format!("it must be set, because nobody else can reach this proxy at {listen}");
            checks.wrong("fleet.advertise", message);
        }
        let scheme = if is_encrypted { "https" } else { "http" };
        format!("{scheme}://{listen}")
    } else {
        if let Err(error) = Address::parse(&fleet.advertise) {
            checks.wrong("fleet.advertise", format!("{:?}: {error}", fleet.advertise));
        }
        fleet.advertise.clone()
    };
    let name = if fleet.name.is_empty() {
        format!("{}:{}", uname().nodename().to_string_lossy(), listen.port())
    } else {
        fleet.name.clone()
    };
    let ca_file = (!fleet.ca_file.is_empty()).then(|| PathBuf::from(&fleet.ca_file));
    Some(FleetConfig {
        name,
        advertised,
        ca_file,
        reads_when_blind: fleet.reads_when_blind == BlindReads::Serve,
    })
}
