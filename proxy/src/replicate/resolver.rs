//! Asks an instance what a delete would hit, before the delete is logged.

use std::time::Duration;

use achromat_core::{
    engine::Question,
    guard::Guard,
    ids::InstanceIx,
    reply::Reply,
    resolve::{Unresolved, resolution},
    route::{Action, Captures},
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
    let Question {
        tenant,
        database,
        id,
        ..
    } = question;
    let copy = Captures::copy(tenant, database, *id);
    let asked = instances.ask_about(instance, action, &copy, body, DEADLINE);
    asked.await.map_err(|error| Unresolved::of(&error.into()))
}
