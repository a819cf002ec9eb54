//! Nothing is destroyed without a ticket: a delete must carry its number in a header.
//!
//! Its configuration is two words: the header's name, and how a ticket looks, in which `#` stands for
//! one or more digits, such as `x-ticket OPS-#`. Records may be deleted without a ticket, as long as
//! it is known that some are left; so may what an operator deletes of Achromat's own.

use achromat_plugin::{Deed, Permission, Permit, Plugin, Question, Records, Wants};

struct TicketGuard {
    header: String,
    before: String,
    after: String,
}

impl Plugin for TicketGuard {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let usage =
            "say which header carries the ticket, and how it looks, such as: x-ticket OPS-#";
        let (header, ticket) = config.trim().split_once(' ').ok_or(usage)?;
        let (before, after) = ticket.trim().split_once('#').ok_or(usage)?;
        let guard = Self {
            header: header.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        Ok((guard, Wants::nothing().and_headers([header])))
    }
}

impl TicketGuard {
    fn is_ticket(&self, text: &str) -> bool {
        let rest = text.trim().strip_prefix(self.before.as_str());
        let digits = rest.and_then(|rest| rest.strip_suffix(self.after.as_str()));
        digits.is_some_and(|digits| {
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        })
    }
}

impl Permit for TicketGuard {
    fn permit(&mut self, question: &Question) -> Permission {
        let is_small = match question.deed {
            Deed::DeleteRecords => question.records.as_ref().is_some_and(leaves_some),
            Deed::Trim | Deed::AdminDelete => true,
            _ => false,
        };
        if is_small
            || question
                .header(0)
                .is_some_and(|value| self.is_ticket(value))
        {
            return Permission::Allow;
        }
        let Self {
            header,
            before,
            after,
        } = self;
        Permission::Deny(format!(
            "this needs a ticket: send its number as `{header}: {before}123{after}`"
        ))
    }
}

fn leaves_some(records: &Records) -> bool {
    matches!((records.count, records.held), (Some(count), Some(held)) if count < held)
}

achromat_plugin::cleanup_guard!(TicketGuard);
