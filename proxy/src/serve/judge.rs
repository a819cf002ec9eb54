//! Judgement of a write before it is logged: by the native rules, then by the guard's plugin, then by the
//! plugins that say where the write goes and when it is answered.

use std::sync::Arc;

use achromat_core::{
    access::needs_of_verb,
    catalog::Collection,
    local::LocalWrite,
    log::Verb,
    policy::{Eligibility, Routing},
    reply::Reply,
    view::{Scope, View},
    write::{Permit, WriteRules, permit},
};
use bytes::Bytes;
use http::header;

use super::{App, space::Reserved, write::Asked};
use crate::{
    clock,
    policy::{self, Asker, Conditions},
};

/// Outcome of the judgement of a write.
pub(super) enum Judged {
    /// It is logged.
    Logged(Permit),
    /// One instance alone does it.
    Local(LocalWrite),
}

impl App {
    /// Judges a write, in the generation of policies in which it began. The space for it is kept until it is
    /// done.
    pub(super) async fn judge(
        &self,
        asked: &Asked<'_>,
        body: Bytes,
    ) -> Result<(Judged, Option<Reserved>), Reply> {
        let view = Arc::clone(&self.replicator.view());
        let rules = WriteRules {
            catalog: &view.catalog,
            guard: &self.guard,
            levels: self.settings.levels,
        };
        let content_type = asked.intake.header(&header::CONTENT_TYPE);
        let permit = permit(
            rules,
            asked.route.action,
            asked.captures,
            content_type,
            body,
            clock::fresh(),
        )?;
        if let (Ok(caller), Some(need)) = (
            &asked.intake.caller,
            needs_of_verb(&permit.entry().verb, &view.catalog),
        ) {
            self.grant(asked.intake, caller, need, asked.route)?;
        }
        if let Verb::CreateTenant { name: Some(name) } = &permit.entry().verb {
            self.know_tenant(Some(name)).await?;
        }
        let permit = self.ask_guard(asked, &view, permit).await?;
        let space = self.reserve(&view, permit.entry()).await?;
        let judged = self.ask_policies(asked, &view, permit)?;
        Ok((judged, space))
    }

    async fn ask_guard(
        &self,
        asked: &Asked<'_>,
        view: &View,
        permit: Permit,
    ) -> Result<Permit, Reply> {
        let (guard, generation) = (&self.policies.guard, &asked.generations.guard);
        let asker = Asker {
            client: asked.intake.client,
            is_operator: asked.intake.is_operator(),
            headers: &asked.intake.headers,
        };
        let counted = self.count(generation, view, permit.entry()).await;
        guard.pass(generation, &view.catalog, permit, asker, counted)
    }

    /// Asks who says where a write goes first, and who says when it is answered.
    fn ask_policies(
        &self,
        asked: &Asked<'_>,
        view: &View,
        mut permit: Permit,
    ) -> Result<Judged, Reply> {
        let (generations, number) = (&asked.generations, asked.number);
        let routing = &self.policies.routing;
        let wal = &self.policies.wal;
        let is_concerned = routing.is_concerned(&generations.routing, number)
            || wal.is_concerned(&generations.wal, number);
        if !is_concerned {
            return Ok(Judged::Logged(permit));
        }
        let collection = subject(view, &permit);
        let body = permit.entry().body.clone();
        let verb = permit.entry().verb.clone();
        let request = policy::Request {
            number,
            route: asked.route,
            captures: asked.captures,
            collection: collection.as_deref(),
            made: made(&verb),
            body: &body,
            client: asked.intake.client,
            headers: &asked.intake.headers,
        };
        let load = |instance| self.load(instance);
        let conditions = Conditions {
            view,
            scope: collection
                .as_deref()
                .map_or(Scope::Schema, Scope::Collection),
            load: &load,
        };
        match routing.route(&generations.routing, &request, conditions) {
            Routing::Native => {}
            Routing::Prefer(preference) => {
                if let Some(first) = preference.first.first() {
                    permit = permit.first_on(*first);
                }
            }
            Routing::Refuse(refusal) => return Err(refusal.reply()),
        }
        match wal.judge(&generations.wal, &request) {
            Eligibility::Replicate {
                level,
                accept_when_down,
            } => Ok(Judged::Logged(permit.answered(level, accept_when_down))),
            // A version that decides no more makes no collection go local.
            Eligibility::LocalOnly if !wal.is_current(&generations.wal) => {
                Ok(Judged::Logged(permit))
            }
            Eligibility::LocalOnly => Ok(match permit.locally(&self.guard, view) {
                Ok(local) => Judged::Local(local),
                Err(permit) => Judged::Logged(*permit),
            }),
            Eligibility::Refuse(refusal) => Err(refusal.reply()),
        }
    }
}

fn subject(view: &View, permit: &Permit) -> Option<Arc<Collection>> {
    let subject = permit.entry().verb.subject()?;
    view.catalog.get(subject).cloned()
}

/// The name of what a write makes.
fn made(verb: &Verb) -> Option<&str> {
    match verb {
        Verb::CreateCollection { name, .. } => name.as_deref(),
        _ => None,
    }
}
