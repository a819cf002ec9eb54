//! Authorization of a request: by the name that it calls the server, and by the token that it shows.

use achromat_core::{
    access::{Need, TokenError, needs},
    head::host_name,
    reply::{self, Reply},
    route::{Captures, Route},
};
use http::header;
use pingora_core::protocols::http::ServerSession;

use super::{App, Kind, follow::unvouched, intake::Intake};
use crate::{
    access::{Caller, Denial, forbidden, unauthorized},
    fleet::{CameTo, PASSED_ON, Vouched},
};

/// True when the request calls the server by a name that it may be called by.
pub(super) fn is_called_rightly(hosts: &[String], session: &ServerSession) -> bool {
    if hosts.is_empty() {
        return true;
    }
    let head = session.req_header();
    let host = head
        .headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.or_else(|| head.uri.host());
    host.is_some_and(|host| hosts.contains(&host_name(host).to_ascii_lowercase()))
}

impl App {
    /// Takes in the head of a request, and what another proxy of the fleet says about it when that one has
    /// passed it on: whom it comes from, and for whom the address is to which it came.
    pub(super) fn take_in(
        &self,
        session: &ServerSession,
        kind: Kind,
    ) -> Result<(Intake, Kind), Reply> {
        let mut intake = Intake::read_head(session, &self.edge.access)?;
        if kind == Kind::Socket {
            intake.caller = Ok(Caller::Operator);
            return Ok((intake, Kind::Operators));
        }
        let Some(vouched) = self.vouched(&mut intake)? else {
            if !is_called_rightly(&self.edge.hosts, session) {
                return Err(reply::misdirected());
            }
            return Ok((intake, kind));
        };
        intake.client = vouched.client;
        if vouched.is_operator {
            intake.caller = Ok(Caller::Operator);
        }
        let kind = match vouched.came_to {
            CameTo::Clients => Kind::Clients,
            CameTo::Operators => Kind::Operators,
            CameTo::Nobody => Kind::Followers,
        };
        Ok((intake, kind))
    }

    fn vouched(&self, intake: &mut Intake) -> Result<Option<Vouched>, Reply> {
        let Some(voucher) = &self.edge.voucher else {
            return Ok(None);
        };
        let Some(word) = intake.headers.remove(&PASSED_ON) else {
            return Ok(None);
        };
        let target = std::str::from_utf8(&intake.target).unwrap_or_default();
        let word = word.to_str().unwrap_or_default();
        let checked = voucher.check(word, intake.method.as_str(), target);
        checked.map(Some).map_err(unvouched)
    }

    /// Judges a request to Chroma's interface by the token that it shows.
    pub(super) fn authorise(
        &self,
        intake: &Intake,
        route: &Route,
        captures: &Captures<'_>,
    ) -> Result<(), Reply> {
        if !self.edge.access.is_required() || ALIVE.contains(&route.path) {
            return Ok(());
        }
        let caller = intake.caller.as_ref().map_err(|error| {
            self.note_denial(intake, "", route, (401, &error.to_string()));
            unauthorized(error)
        })?;
        let view = self.replicator.view();
        for need in needs(route, captures, &view.catalog) {
            self.grant(intake, caller, need, route)?;
        }
        Ok(())
    }

    /// Lets a caller do what is granted.
    pub(super) fn grant(
        &self,
        intake: &Intake,
        caller: &Caller,
        need: Need<'_>,
        route: &Route,
    ) -> Result<(), Reply> {
        if caller.may(need) {
            return Ok(());
        }
        self.note_denial(intake, caller.name(), route, (403, "it is not granted"));
        Err(forbidden(caller, need))
    }

    fn note_denial(&self, intake: &Intake, name: &str, route: &Route, (status, why): (u16, &str)) {
        let denial = Denial {
            client: intake.client,
            name,
            what: &format!("{} {}", route.method, route.path),
            why,
            status,
        };
        let edge = &self.edge;
        edge.history.note_denial(&edge.access, &denial);
    }
}

/// Paths of Chroma's that only tell whether it is there, and which forms it takes.
const ALIVE: [&str; 4] = [
    "/api/v2/heartbeat",
    "/api/v2/healthcheck",
    "/api/v2/pre-flight-checks",
    "/api/v2/version",
];

/// Answer to a client that asks for the identity of its token. Chroma answers a client without a token.
pub(super) fn identity(caller: &Result<Caller, TokenError>, path: &str) -> Option<Reply> {
    let Ok(Caller::Known(identity)) = caller else {
        return None;
    };
    (path == "/api/v2/auth/identity").then(|| {
        let (tenant, databases) = identity.home();
        let databases = match databases.as_slice() {
            [] => &["default_database"],
            named => named,
        };
        let body = serde_json::json!({
            "user_id": identity.name,
            "tenant": tenant.unwrap_or("default_tenant"),
            "databases": databases,
        });
        Reply::json(200, body.to_string())
    })
}
