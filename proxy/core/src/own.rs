//! Data on the instances that is Achromat's own, and so does not exist for clients: the tenant in which
//! instances are marked, with all that is in it, and what stands in the trash.
//!
//! A client gets the answers of a Chroma that has no such tenant; what it would make there is refused.
//! Paths by UUID need no rule here: a collection that the catalog lacks is found under no tenant, and
//! the marker is not in it. Names are compared as Chroma compares them, byte by byte.

use crate::{
    log::Verb,
    marker::OWN,
    reply::{self, Reply},
    route::{Action, Captures},
    trash,
    write::not_found,
};

/// Returns true when a tenant is Achromat's own.
pub(crate) fn is_own(tenant: &str) -> bool {
    tenant == OWN
}

/// The answer to a request whose path leads to what is Achromat's own; `None` for any other path.
pub(crate) fn answer(action: Action, captures: &Captures<'_>) -> Option<Reply> {
    if action == Action::CollectionByResourceName {
        return by_resource_name(captures.name.as_deref()?);
    }
    let tenant = captures.tenant.as_deref()?;
    is_own(tenant).then(|| within(action, tenant, captures))
}

/// `TENANT:DATABASE:COLLECTION`.
fn by_resource_name(resource: &str) -> Option<Reply> {
    let tenant = resource.split(':').next().unwrap_or_default();
    let name = resource.rsplit(':').next().unwrap_or_default();
    let is_hidden = is_own(tenant) || trash::holds(name);
    is_hidden.then(|| reply::no_such_collection(resource))
}

/// Answers as Chroma 1.5.9 does for a tenant that it does not have.
fn within(action: Action, tenant: &str, captures: &Captures<'_>) -> Reply {
    let database = captures.database.as_deref().unwrap_or_default();
    match action {
        Action::CreateDatabase => reply::tenant_is_reserved(tenant),
        Action::ListDatabases | Action::ListCollections => Reply::json(200, "[]"),
        Action::CountCollections => Reply::json(200, "0"),
        Action::GetDatabase => {
            let message = format!("Database [{database}] not found. Are you sure it exists?");
            Reply::error(404, "NotFoundError", &message)
        }
        Action::DeleteDatabase => {
            let message = format!("Database [{database}] not found");
            Reply::error(404, "NotFoundError", &message)
        }
        Action::CreateCollection => {
            reply::malformed(&format!("Database [{database}] does not exist"))
        }
        _ => match captures.collection.as_deref() {
            Some(reference) => not_found(action, reference),
            None => reply::no_such_tenant(tenant),
        },
    }
}

/// Refuses a write in, or under the name of, the tenant that is Achromat's own, wherever it came from.
pub(crate) fn check(verb: &Verb) -> Result<(), Reply> {
    let tenant = match verb {
        Verb::CreateTenant { name } => name.as_deref(),
        Verb::UpdateTenant { tenant }
        | Verb::CreateDatabase { tenant, .. }
        | Verb::DeleteDatabase { tenant, .. }
        | Verb::CreateCollection { tenant, .. } => Some(&**tenant),
        Verb::Reset
        | Verb::DeleteCollection { .. }
        | Verb::ModifyCollection { .. }
        | Verb::Fork { .. }
        | Verb::AttachFunction { .. }
        | Verb::DetachFunction { .. }
        | Verb::Record { .. } => None,
    };
    match tenant {
        Some(tenant) if is_own(tenant) => Err(reply::tenant_is_reserved(tenant)),
        _ => Ok(()),
    }
}
