//! Access to Chroma's interface: tokens, the grants that they carry, and the grants that a request needs.
//!
//! A grant names roles and where they hold: a tenant, a database and a collection, each by its name or by
//! a pattern with `*` and `?`. What concerns more than one collection, such as a list, needs a grant for
//! all of them: a part of an answer is never hidden.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use sha2::{Digest as _, Sha256};
use smallvec::{SmallVec, smallvec};

use crate::{
    catalog::Catalog,
    guard::Pattern,
    ids::CollectionId,
    log::Verb,
    route::{Action, Captures, Class, Route},
    time::WallTime,
};

/// A set of actions that a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read records and descriptions.
    Read,
    /// Add, change and delete records.
    Write,
    /// Make, change and delete collections, databases and tenants.
    Collections,
    /// See and do what operators do, and reset.
    Operate,
    /// Change plugins.
    Policy,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Collections,
        Self::Operate,
        Self::Policy,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Collections => "collections",
            Self::Operate => "operate",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name, or a pattern of names.
#[derive(Clone, Debug)]
struct Names {
    text: Arc<str>,
    pattern: Pattern,
}

impl Names {
    fn new(text: &str) -> Self {
        Self {
            text: text.into(),
            pattern: Pattern::new(text),
        }
    }

    /// A name fits, and what has no one name fits only where all do.
    fn fit(&self, name: Option<&str>) -> bool {
        match name {
            Some(name) => self.pattern.matches(name),
            None => self.text.as_ref() == "*",
        }
    }

    fn one(&self) -> Option<&str> {
        (!self.text.contains(['*', '?'])).then_some(self.text.as_ref())
    }
}

/// Roles, and where they hold.
#[derive(Clone, Debug)]
pub struct Grant {
    roles: Vec<Role>,
    tenant: Names,
    database: Names,
    collection: Names,
}

/// Reason why a grant can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// The text has another form.
    #[error(
        "a grant is written `ROLE,ROLE TENANT/DATABASE/COLLECTION`, such as `read,write default_tenant/*/*`"
    )]
    Form,
    /// There is no such role.
    #[error("there is no role {0:?}; there are read, write, collections, operate and policy")]
    Role(String),
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let (roles, place) = text.trim().split_once(' ').ok_or(GrantError::Form)?;
        let role = |word: &str| {
            let found = Role::ALL.into_iter().find(|role| role.as_str() == word);
            found.ok_or_else(|| GrantError::Role(word.to_owned()))
        };
        let mut parts = place.trim().split('/').map(Names::new);
        let (Some(tenant), Some(database), Some(collection), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(GrantError::Form);
        };
        if [&tenant, &database, &collection]
            .iter()
            .any(|names| names.text.is_empty())
        {
            return Err(GrantError::Form);
        }
        Ok(Self {
            roles: roles.split(',').map(role).collect::<Result<_, _>>()?,
            tenant,
            database,
            collection,
        })
    }
}

/// The grant that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need<'a> {
    /// The role; none is enough with any token.
    pub role: Option<Role>,
    /// The place. A request about all tenants, or about all databases or collections of one, has no name
    /// there.
    pub place: Place<'a>,
}

/// Tenant, database and collection in which something is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "one for each level")]
pub struct Place<'a> {
    pub tenant: Option<&'a str>,
    pub database: Option<&'a str>,
    pub collection: Option<&'a str>,
}

/// Holder of a token.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The name, for logs and for plugins.
    pub name: Arc<str>,
    /// The holder's grants.
    pub grants: Vec<Grant>,
    /// Time when the token ends.
    pub expires: Option<WallTime>,
}

impl Identity {
    /// True when one grant covers the need.
    pub fn may(&self, need: Need<'_>) -> bool {
        let Some(role) = need.role else {
            return true;
        };
        self.grants.iter().any(|grant| {
            grant.roles.contains(&role)
                && grant.tenant.fit(need.place.tenant)
                && grant.database.fit(need.place.database)
                && grant.collection.fit(need.place.collection)
        })
    }

    /// True when a role is granted anywhere.
    pub fn has(&self, role: Role) -> bool {
        self.grants.iter().any(|grant| grant.roles.contains(&role))
    }

    /// The one tenant that all grants name, and the databases that they name.
    pub fn home(&self) -> (Option<&str>, Vec<&str>) {
        let mut tenants: Vec<_> = self.grants.iter().map(|grant| grant.tenant.one()).collect();
        tenants.dedup();
        let tenant = match tenants.as_slice() {
            [one] => *one,
            _ => None,
        };
        let mut databases: Vec<_> = self
            .grants
            .iter()
            .filter_map(|g| g.database.one())
            .collect();
        databases.sort_unstable();
        databases.dedup();
        (tenant, databases)
    }
}

/// Reason why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The request has no token.
    #[error("a token is needed: send `Authorization: Bearer TOKEN` or `X-Chroma-Token: TOKEN`")]
    Missing,
    /// Nobody has the token.
    #[error("the token is not known, or was revoked")]
    Unknown,
    /// The token has expired.
    #[error("the token of {0:?} has expired")]
    Expired(Arc<str>),
}

/// SHA-256 of a token: what is kept of it.
pub type TokenDigest = [u8; 32];

/// The digest of a token. Tokens are random, so that a plain hash can't be turned back.
pub fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token).into()
}

/// All tokens.
#[derive(Clone, Debug, Default)]
pub struct Tokens(BTreeMap<TokenDigest, Arc<Identity>>);

impl FromIterator<(TokenDigest, Identity)> for Tokens {
    fn from_iter<I: IntoIterator<Item = (TokenDigest, Identity)>>(tokens: I) -> Self {
        let tokens = tokens.into_iter();
        Self(
            tokens
                .map(|(digest, identity)| (digest, Arc::new(identity)))
                .collect(),
        )
    }
}

impl Tokens {
    /// Finds the holder of a token.
    pub fn identify(
        &self,
        shown: Option<&str>,
        now: WallTime,
    ) -> Result<Arc<Identity>, TokenError> {
        let shown = shown.ok_or(TokenError::Missing)?;
        // The time that this takes tells of the digest alone, of which nothing follows for the token.
        let identity = self.0.get(&digest(shown)).ok_or(TokenError::Unknown)?;
        if identity.expires.is_some_and(|end| end <= now) {
            return Err(TokenError::Expired(Arc::clone(&identity.name)));
        }
        Ok(Arc::clone(identity))
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without any token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Grants that a request to Chroma's interface needs, by its target: at the place that the target names, and
/// at the place where the collection is in truth.
pub fn needs<'a>(
    route: &Route,
    captures: &'a Captures<'a>,
    catalog: &'a Catalog,
) -> SmallVec<[Need<'a>; 2]> {
    let role = role(route);
    let named = Place {
        tenant: captures.tenant.as_deref(),
        database: captures.database.as_deref(),
        collection: None,
    };
    let Some(shown) = captures.collection.as_deref() else {
        return smallvec![Need { role, place: named }];
    };
    let by_id = shown
        .parse()
        .ok()
        .and_then(|id| catalog.get(CollectionId(id)));
    match by_id {
        None => smallvec![Need {
            role,
            place: Place {
                collection: Some(shown),
                ..named
            },
        }],
        Some(collection) => {
            let name = Some(collection.name.as_ref());
            let truly = Place {
                tenant: Some(&collection.tenant),
                database: Some(&collection.database),
                collection: name,
            };
            let named = Place {
                collection: name,
                ..named
            };
            [named, truly].map(|place| Need { role, place }).into()
        }
    }
}

/// Grant that a write needs beside [`needs`], for the names that it gives.
pub fn needs_of_verb<'a>(verb: &'a Verb, catalog: &'a Catalog) -> Option<Need<'a>> {
    let place = match verb {
        Verb::CreateTenant { name } => Place {
            tenant: name.as_deref(),
            ..Place::default()
        },
        Verb::CreateDatabase { tenant, name, .. } => Place {
            tenant: Some(tenant),
            database: name.as_deref(),
            collection: None,
        },
        Verb::CreateCollection {
            tenant,
            database,
            name,
            ..
        } => Place {
            tenant: Some(tenant),
            database: Some(database),
            collection: name.as_deref(),
        },
        Verb::ModifyCollection {
            collection,
            new_name: Some(name),
        } => {
            let collection = catalog.get(*collection)?;
            Place {
                tenant: Some(&collection.tenant),
                database: Some(&collection.database),
                collection: Some(name),
            }
        }
        _ => return None,
    };
    Some(Need {
        role: Some(Role::Collections),
        place,
    })
}

/// The role that a route asks for.
fn role(route: &Route) -> Option<Role> {
    match (route.action, route.class) {
        (Action::System | Action::Retired, _) | (_, Class::System) => None,
        (Action::Reset, _) => Some(Role::Operate),
        (_, Class::Read) => Some(Role::Read),
        (Action::Add | Action::Update | Action::Upsert | Action::DeleteRecords, _) => {
            Some(Role::Write)
        }
        // Where it makes something is known when its body is read: see [`needs_of_verb`].
        (Action::CreateTenant | Action::CreateDatabase | Action::CreateCollection, _) => None,
        (_, Class::Write | Class::Destructive) => Some(Role::Collections),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(grants: &[&str]) -> Identity {
        Identity {
            name: "someone".into(),
            grants: grants
                .iter()
                .map(|text| text.parse().expect("a grant"))
                .collect(),
            expires: None,
        }
    }

    fn need(role: Role, names: [&str; 3]) -> Need<'_> {
        let [tenant, database, collection] = names.map(|name| (!name.is_empty()).then_some(name));
        Need {
            role: Some(role),
            place: Place {
                tenant,
                database,
                collection,
            },
        }
    }

    #[test]
    fn a_grant_holds_for_its_roles_at_its_place() {
        let cms = identity(&["read,write acme/db/docs_*", "read acme/*/*"]);
        for (role, names, granted) in [
            (Role::Write, ["acme", "db", "docs_1"], true),
            (Role::Write, ["acme", "db", "other"], false),
            (Role::Write, ["acme", "other", "docs_1"], false),
            (Role::Read, ["acme", "other", "x"], true),
            (Role::Read, ["other", "db", "docs_1"], false),
            // A list of the collections is about all of them.
            (Role::Read, ["acme", "db", ""], true),
            (Role::Write, ["acme", "db", ""], false),
            (Role::Read, ["", "", ""], false),
            (Role::Operate, ["acme", "db", "docs_1"], false),
        ] {
            assert_eq!(cms.may(need(role, names)), granted, "{role} {names:?}");
        }
        assert_eq!(cms.home(), (Some("acme"), vec!["db"]));
        assert!(identity(&["operate */*/*"]).may(need(Role::Operate, ["", "", ""])));
    }

    #[test]
    fn grants_have_one_form() {
        for wrong in [
            "read",
            "read a/b",
            "read a/b/c/d",
            "read a//c",
            "",
            "read  ",
        ] {
            assert_eq!(
                Grant::from_str(wrong).unwrap_err(),
                GrantError::Form,
                "{wrong:?}"
            );
        }
        let role = Grant::from_str("reed a/b/c").unwrap_err();
        assert_eq!(role, GrantError::Role("reed".into()));
    }

    #[test]
    fn tokens_are_known_until_they_end() {
        let mut old = identity(&["read */*/*"]);
        old.expires = Some(WallTime(1000));
        let tokens: Tokens = [(digest("old"), old), (digest("new"), identity(&[]))]
            .into_iter()
            .collect();
        let at = |token, now| {
            tokens
                .identify(token, WallTime(now))
                .map(|found| found.name.to_string())
        };
        assert_eq!(at(None, 0), Err(TokenError::Missing));
        assert_eq!(at(Some("other"), 0), Err(TokenError::Unknown));
        assert_eq!(at(Some("old"), 999), Ok("someone".into()));
        assert_eq!(
            at(Some("old"), 1000),
            Err(TokenError::Expired("someone".into()))
        );
        assert_eq!(at(Some("new"), u64::MAX), Ok("someone".into()));
    }
}
