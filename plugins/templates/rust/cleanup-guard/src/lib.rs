//! Collections whose names begin in some way are neither deleted nor renamed.

use achromat_plugin::{Deed, Permission, Permit, Plugin, Question, Wants, host};

struct Policy {
    prefix: String,
}

impl Plugin for Policy {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let prefix = match config.trim() {
            "" => "keep-",
            prefix => prefix,
        };
        let prefix = prefix.to_owned();
        Ok((Self { prefix }, Wants::nothing()))
    }
}

impl Permit for Policy {
    fn permit(&mut self, question: &Question) -> Permission {
        let name = question.collection.as_deref().unwrap_or_default();
        if question.deed == Deed::DeleteRecords || !name.starts_with(&self.prefix) {
            return Permission::Allow;
        }
        let name: String = name.chars().take(100).collect();
        host::log(host::Level::Info, &format!("{name} stays"));
        Permission::Deny(format!("{name} stays: see whoever looks after it"))
    }
}

achromat_plugin::cleanup_guard!(Policy);

#[cfg(test)]
mod tests {
    use achromat_plugin::testing::question;

    use super::*;

    /// `cargo test` asks it as the ordinary type that it is; `achromat plugin test` asks the component.
    #[test]
    fn what_stays_is_not_deleted() {
        let mut policy = Policy::configure("").unwrap().0;
        let mut ask = |name| policy.permit(&question(Deed::DeleteCollection, name));
        assert!(matches!(ask("keep-me"), Permission::Deny(_)));
        assert_eq!(ask("scratch"), Permission::Allow);
    }
}
