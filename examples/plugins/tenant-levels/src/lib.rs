//! Each tenant's writes as it needs them: some must be on all instances before they are answered,
//! some are not worth the log, some come from tenants that are closed.
//!
//! Its configuration is words such as `bank=all scratch=local-only archive=closed`. After a tenant
//! stands a level (`one`, `majority`, `all` or `logged`), or `local-only` for records that one
//! instance may lose, or `closed`. Tenants that are not named are as Achromat is configured.

use std::collections::BTreeMap;

use achromat_plugin::{
    Action, Eligibility, Judge, Level, Operation, Parts, Plugin, Refusal, RefusalStatus,
    Replication, Wants,
};

#[derive(Clone, Copy)]
enum Rule {
    Level(Level),
    LocalOnly,
    Closed,
}

impl Rule {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "one" => Self::Level(Level::One),
            "majority" => Self::Level(Level::Majority),
            "all" => Self::Level(Level::All),
            "logged" => Self::Level(Level::Logged),
            "local-only" => Self::LocalOnly,
            "closed" => Self::Closed,
            _ => return None,
        })
    }
}

struct TenantLevels(BTreeMap<String, Rule>);

impl Plugin for TenantLevels {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let rules = config.split_whitespace().map(|pair| {
            let (tenant, word) = pair.split_once('=')?;
            Some((tenant.to_owned(), Rule::parse(word)?))
        });
        let rules: Option<BTreeMap<_, _>> = rules.collect();
        let rules = rules.ok_or(
            "after a tenant stands one, majority, all, logged, local-only or closed, such as: bank=all",
        )?;
        Ok((Self(rules), Wants::parts(Parts::TENANT)))
    }
}

impl Judge for TenantLevels {
    fn judge(&mut self, operation: &Operation) -> Eligibility {
        let tenant = operation.tenant.as_deref().unwrap_or_default();
        let replicate = |level| {
            let accept_when_down = false;
            Eligibility::Replicate(Replication {
                level,
                accept_when_down,
            })
        };
        match self.0.get(tenant) {
            Some(Rule::Level(level)) => replicate(Some(*level)),
            Some(Rule::LocalOnly) if is_of_records(operation.action) => Eligibility::LocalOnly,
            Some(Rule::Closed) => {
                let message = "this tenant is closed: it can be read, and not written";
                Eligibility::Refuse(Refusal::new(RefusalStatus::Denied, message))
            }
            Some(Rule::LocalOnly) | None => replicate(None),
        }
    }
}

/// Collections themselves are the same everywhere.
fn is_of_records(action: Action) -> bool {
    matches!(
        action,
        Action::Add | Action::Update | Action::Upsert | Action::DeleteRecords
    )
}

achromat_plugin::wal_eligibility!(TenantLevels);
