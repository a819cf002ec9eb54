//! Requests that name a tenant which nobody knows: they wait until the instances were asked for it, since
//! Chroma lists no tenants and one of them may have held it before it was taken over.

use std::{sync::Arc, time::Duration};

use achromat_core::{
    jobs::Task,
    reply::{self, Reply},
};
use tokio::time::Instant;

use super::App;

/// For the instances to be asked.
const DEADLINE: Duration = Duration::from_secs(10);

/// Pause before it is asked for again: the job may have been given up.
const PAUSE: Duration = Duration::from_millis(500);

impl App {
    /// Waits until it is known what the instances have of a tenant.
    pub(super) async fn know_tenant(&self, tenant: Option<&str>) -> Result<(), Reply> {
        match tenant.filter(|tenant| !self.replicator.view().has_looked_for(tenant)) {
            Some(unknown) => Box::pin(self.discover(unknown)).await,
            None => Ok(()),
        }
    }

    async fn discover(&self, tenant: &str) -> Result<(), Reply> {
        let until = Instant::now() + DEADLINE;
        let name: Arc<str> = tenant.into();
        while Instant::now() < until {
            self.replicator.want(Task::Discover(Arc::clone(&name)));
            let looked = self
                .replicator
                .wait_for(PAUSE, |view| view.has_looked_for(tenant).then_some(()));
            if looked.await.is_some() {
                return Ok(());
            }
        }
        let message = "The instances could not be asked yet for what they hold of this tenant";
        Err(reply::unavailable(message, 1))
    }
}
