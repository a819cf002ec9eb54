//! Signs of life of a fleet's proxies, for operators and for whoever hands the lease over.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::ANSWER_MAX;
use crate::store::{Database, Holder, Seen};

/// Time from one sign of life of a proxy to the next.
const PRESENCE_INTERVAL: Duration = Duration::from_secs(1);

/// Age of a proxy's last sign of life up to which it is taken to be there.
const PRESENCE_MAX: Duration = Duration::from_secs(5);

impl Seen {
    /// True for a proxy that has just given a sign of life.
    pub fn is_there(&self) -> bool {
        self.ago <= PRESENCE_MAX
    }
}

/// Says again and again that a proxy is there.
pub(super) async fn be_present(database: Arc<Database>, me: Holder, instances: String) {
    let mut ticks = interval(PRESENCE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let announced = database.announce(&me, env!("CARGO_PKG_VERSION"), &instances);
        let said = timeout(ANSWER_MAX, announced).await;
        if let Ok(Err(error)) = said {
            tracing::debug!(%error, "the fleet can't be told that this proxy is there");
        }
    }
}
