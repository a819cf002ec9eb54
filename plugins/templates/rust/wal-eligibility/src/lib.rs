//! Writes of one tenant are answered when all instances in service have done them; all others as
//! Achromat is configured.

use achromat_plugin::{
    Eligibility, Judge, Level, Operation, Parts, Plugin, Replication, Wants, host,
};

struct Policy {
    tenant: String,
}

impl Plugin for Policy {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let tenant = config.trim().to_owned();
        Ok((Self { tenant }, Wants::parts(Parts::TENANT)))
    }
}

impl Judge for Policy {
    fn judge(&mut self, operation: &Operation) -> Eligibility {
        let is_theirs = operation.tenant.as_deref() == Some(self.tenant.as_str());
        if is_theirs {
            host::count("careful_writes", 1);
        }
        Eligibility::Replicate(Replication {
            level: is_theirs.then_some(Level::All),
            accept_when_down: false,
        })
    }
}

achromat_plugin::wal_eligibility!(Policy);

#[cfg(test)]
mod tests {
    use achromat_plugin::{Action, Class, testing::operation};

    use super::*;

    /// `cargo test` asks it as the ordinary type that it is; `achromat plugin test` asks the component.
    #[test]
    fn their_writes_are_done_by_all() {
        let mut policy = Policy::configure("bank").unwrap().0;
        let mut write = operation(Action::Add, Class::Write, "ledger");
        let level = |answer| match answer {
            Eligibility::Replicate(replication) => replication.level,
            other => panic!("{other:?}"),
        };
        assert_eq!(level(policy.judge(&write)), None);
        write.tenant = Some("bank".to_owned());
        assert_eq!(level(policy.judge(&write)), Some(Level::All));
    }
}
