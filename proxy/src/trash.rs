//! Deletes for good what has been in the trash for its time.

use std::time::Duration;

use achromat_core::{
    ids::CollectionId,
    log::Level,
    trash::{due, permit_purge},
};
use tokio::task::JoinHandle;

use crate::{
    clock,
    replicate::{Replicator, Told},
};

/// Interval at which the trash is checked.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Interval after a deletion that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// The purge of the trash, before it is started.
pub struct Purge {
    /// Receiver of the deletions.
    pub replicator: Replicator,
    /// The acknowledgement level.
    pub level: Level,
    /// Time that the purge waits for a deletion's outcome.
    pub deadline: Duration,
}

/// The purge at work, as long as this is held.
pub struct Purging(JoinHandle<()>);

impl Drop for Purging {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Purge {
    /// Begins.
    pub fn start(self) -> Purging {
        Purging(tokio::spawn(async move {
            loop {
                let pause = match self.purge_due().await {
                    Ok(()) => LOOK_AGAIN,
                    Err(reason) => {
                        tracing::warn!(reason, "what is due in the trash can't be deleted yet");
                        AFTER_FAILURE
                    }
                };
                tokio::time::sleep(pause).await;
            }
        }))
    }

    fn due(&self) -> Vec<CollectionId> {
        let view = self.replicator.view();
        due(&view.catalog, clock::wall_time()).collect()
    }

    async fn purge_due(&self) -> Result<(), String> {
        for id in self.due() {
            let why = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
            let permit = {
                let view = self.replicator.view();
                match permit_purge(&view.catalog, self.level, id, clock::fresh()) {
                    Ok(permit) => permit,
                    // Somebody was quicker.
                    Err(_) => continue,
                }
            };
            match self.replicator.submit(permit, self.deadline).await {
                Told::Reply(reply) if reply.is_success() => {
                    tracing::info!(collection = %id, "its time in the trash is over: it is deleted");
                }
                Told::Reply(reply) => return Err(why(&reply.body)),
                Told::AskAgain => return Err("what became of it is not known".to_owned()),
            }
        }
        Ok(())
    }
}
