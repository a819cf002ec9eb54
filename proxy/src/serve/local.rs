//! A write that is not logged: sent once to the instance that alone has its collection's records.

use std::time::Duration;

use achromat_core::{
    embeddings,
    engine::Payload,
    jobs::Task,
    local::{LocalWrite, Whereto, told},
    reply::{self, Reply},
};

use super::App;

/// For a collection to be given its home.
const HOME_DEADLINE: Duration = Duration::from_secs(10);

impl App {
    /// Has a write done by one instance alone.
    pub(super) async fn write_locally(&self, write: &LocalWrite) -> Reply {
        let whereto = write.whereto(&self.replicator.view());
        let whereto = match whereto {
            Whereto::Needs(collection, instance) => {
                self.replicator.want(Task::Home(collection, instance));
                let homed = self.replicator.wait_for(HOME_DEADLINE, |view| {
                    let whereto = write.whereto(view);
                    (!matches!(whereto, Whereto::Needs(..))).then_some(whereto)
                });
                homed.await
            }
            whereto => Some(whereto),
        };
        match whereto {
            Some(Whereto::Home(instance, wire)) => {
                let mut body = write.body().clone();
                if let Payload::Entry {
                    as_arrays: true, ..
                } = wire.body
                {
                    body = embeddings::as_arrays(&body);
                }
                let passage = self.instances.passage(instance).await;
                told(
                    self.instances
                        .send(instance, passage, &wire, Some(body))
                        .await,
                )
            }
            Some(Whereto::Nowhere(reply)) => reply,
            Some(Whereto::Needs(..)) | None => {
                let message = "No instance could be made the one that has this collection's records; nothing was done";
                reply::unavailable(message, 1)
            }
        }
    }
}
