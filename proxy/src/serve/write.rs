//! A write: judged, then handed to the log.

use achromat_core::{
    reply::Reply,
    route::{Captures, Route},
    write::{WriteRules, permit},
};
use bytes::Bytes;
use http::header;

use super::{App, intake::Intake};
use crate::clock;

impl App {
    pub(super) async fn write(
        &self,
        intake: &Intake,
        route: &Route,
        captures: &Captures<'_>,
        body: Bytes,
    ) -> Reply {
        let permit = {
            let view = self.replicator.view();
            let rules = WriteRules {
                catalog: &view.catalog,
                guard: &self.guard,
                levels: self.settings.levels,
            };
            let content_type = intake.header(&header::CONTENT_TYPE);
            permit(
                rules,
                route.action,
                captures,
                content_type,
                body,
                clock::fresh(),
            )
        };
        match permit {
            Ok(permit) => {
                let deadline = self.settings.write_deadline;
                self.replicator.submit(permit, deadline).await
            }
            Err(reply) => reply,
        }
    }
}
