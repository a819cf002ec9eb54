//! Asks an instance what a delete would hit, before the delete is logged.

use std::{borrow::Cow, time::Duration};

use achromat_core::{
    engine::Question,
    guard::Guard,
    ids::InstanceIx,
    reply::{self, Reply},
    resolve::resolution,
    route::{Action, Captures, route_of},
};
use bytes::Bytes;

use crate::instances::Instances;

/// For each of the two questions.
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) async fn resolve(
    guard: &Guard,
    instances: &Instances,
    instance: InstanceIx,
    question: Question,
) -> Result<Bytes, Reply> {
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
) -> Result<Reply, Reply> {
    let captures = Captures {
        tenant: Some(Cow::Borrowed(&question.tenant)),
        database: Some(Cow::Borrowed(&question.database)),
        collection: Some(Cow::Owned(question.id.to_string())),
        name: None,
    };
    let failed = |why: &str| {
        let message =
            format!("What the delete would hit can't be found out ({why}); nothing was done");
        reply::unavailable(&message, 1)
    };
    let route = route_of(action).ok_or_else(|| failed("no such route"))?;
    let target = route.render(&captures, "", None);
    instances
        .ask(instance, route.method, &target, body, DEADLINE)
        .await
        .map_err(|error| failed(&error.to_string()))
}
