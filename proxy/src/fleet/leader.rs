//! The proxy that leads, as the others reach it.

use std::sync::Arc;

use crate::{
    instances::{
        Address, AddressError, Bounds, CredentialError, CredentialFiles, Credentials, Instances,
        Timing,
    },
    store::Holder,
};

/// Settings of the connections to the leader.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// Limits of time.
    pub timing: Timing,
    /// Bounds of requests at once.
    pub bounds: Bounds,
    /// Files by which its certificate is judged.
    pub credentials: CredentialFiles,
}

/// The leader, and connections to it.
pub struct Leader {
    /// Its entry in the lease.
    pub holder: Holder,
    /// Connections to it: it is the only one there.
    pub link: Instances,
}

/// A leader that can't be reached.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaderError {
    /// Its address.
    #[error("its address {address:?}: {source}")]
    Address {
        /// The address.
        address: String,
        /// The fault.
        source: AddressError,
    },
    /// The files by which its certificate is judged.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

impl Leader {
    /// Nothing is connected yet.
    pub(super) fn new(holder: Holder, link: &LinkConfig) -> Result<Self, LeaderError> {
        let address = Address::parse(&holder.address).map_err(|source| LeaderError::Address {
            address: holder.address.clone(),
            source,
        })?;
        let name: Arc<str> = holder.name.as_str().into();
        let credentials = Credentials::start(Arc::clone(&name), link.credentials.clone())?;
        let link = Instances::new(vec![(name, address, credentials)], link.timing, link.bounds);
        Ok(Self { holder, link })
    }
}
