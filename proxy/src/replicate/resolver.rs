//! Asks an instance what a delete would hit, before the delete is logged.

use std::{borrow::Cow, time::Duration};

use achromat_core::{
    engine::Question,
    guard::Guard,
    ids::InstanceIx,
    outcome::Sending,
    reply::Reply,
    resolve::{Unresolved, resolution},
    route::{Action, Captures, route_of},
};
use bytes::Bytes;

use crate::instances::{ExchangeError, Instances};

/// For each of the two questions.
const DEADLINE: Duration = Duration::from_secs(10);

/// Connections from the pool that may turn out to be dead before a fresh one is used.
const STALE_CONNECTIONS_MAX: usize = 8;

pub(super) async fn resolve(
    guard: &Guard,
    instances: &Instances,
    instance: InstanceIx,
    question: Question,
) -> Result<Bytes, Unresolved> {
    let Some(resolution) = resolution(guard, &question.name, &question.body, question.needs_ids)
    else {
        return Ok(question.body);
    };
    let find = Some(resolution.find.clone());
    let found = ask(instances, instance, &question, Action::Get, find).await?;
    let count = if resolution.needs_count {
        let count = ask(instances, instance, &question, Action::Count, None).await?;
        std::str::from_utf8(&count.body)
            .ok()
            .and_then(|count| count.trim().parse().ok())
    } else {
        None
    };
    resolution.settle(guard, &question.name, &question.body, found, count)
}

async fn ask(
    instances: &Instances,
    instance: InstanceIx,
    question: &Question,
    action: Action,
    body: Option<Bytes>,
) -> Result<Reply, Unresolved> {
    let captures = Captures {
        tenant: Some(Cow::Borrowed(&question.tenant)),
        database: Some(Cow::Borrowed(&question.database)),
        collection: Some(Cow::Owned(question.id.to_string())),
        name: None,
    };
    let route = route_of(action)
        .ok_or_else(|| Unresolved::of(&Sending::NotSent("no such route".to_owned())))?;
    let target = route.render(&captures, "", None);
    let mut stale = 0;
    loop {
        let asked = instances.ask(instance, route.method, &target, body.clone(), DEADLINE);
        match asked.await {
            // A connection that was let go says nothing of the server: try the next.
            Err(ExchangeError::Closed { reused: true }) if stale < STALE_CONNECTIONS_MAX => {
                stale += 1;
            }
            Ok(reply) => return Ok(reply),
            Err(error) => return Err(Unresolved::of(&error.into())),
        }
    }
}
