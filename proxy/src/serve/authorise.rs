//! Authorization of a request: by the name that it calls the server, and by the token that it shows.

use achromat_core::{
    access::{Need, TokenError, needs},
    head::host_name,
    reply::Reply,
    route::{Captures, Route},
};
use http::header;
use pingora_core::protocols::http::ServerSession;

use super::{App, intake::Intake};
use crate::access::{Caller, Denial, forbidden, unauthorized};

impl App {
    /// True when the request calls the server by a name that it may be called by.
    pub(super) fn is_called_rightly(&self, session: &ServerSession) -> bool {
        let hosts = &self.edge.hosts;
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
