//! Authorization of calls about Achromat itself.

use achromat_core::{
    access::{Need, Place, TokenError},
    reply::Reply,
};

use super::{
    Admin, Question, problem,
    rows::{For, Row},
};
use crate::access::{Caller, Denial, challenge};

impl Admin {
    /// Changing calls need the operator's token, or one that is granted the role. So do the others when there
    /// are tokens; what load balancers ask does not.
    pub(super) fn authorise(&self, row: &Row, question: &Question<'_, '_>) -> Result<(), Reply> {
        let access = &self.facts.access;
        let is_needed = match row.access {
            For::Everybody => false,
            For::Readers => access.is_confidential(),
            For::Confidants | For::Changers => true,
        };
        if !is_needed {
            return Ok(());
        }
        let need = Need {
            role: Some(row.role),
            place: Place::default(),
        };
        let (name, why, refusal) = match question.caller {
            Ok(caller) if caller.may(need) => return Ok(()),
            Ok(Caller::Known(identity)) => (
                identity.name.as_ref(),
                "it is not granted".to_owned(),
                problem(
                    403,
                    "Not granted",
                    &format!(
                        "The token of {:?} has no grant `{} */*/*`",
                        identity.name, row.role
                    ),
                ),
            ),
            Ok(_) => (
                "",
                TokenError::Missing.to_string(),
                no_token(&TokenError::Missing),
            ),
            Err(error) => ("", error.to_string(), no_token(error)),
        };
        let denial = Denial {
            client: question.asker.client,
            name,
            what: &format!("{} {}", question.method, question.target.path),
            why: &why,
            status: refusal.status,
        };
        self.facts.history.note_denial(access, &denial);
        Err(refusal)
    }
}

fn no_token(error: &TokenError) -> Reply {
    let detail = format!(
        "{error}. It is the operator's: the configured admin.token, or the one in the file that was told at the first start"
    );
    Reply {
        headers: vec![challenge()],
        ..problem(401, "A token is needed", &detail)
    }
}
