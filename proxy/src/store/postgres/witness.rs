//! What this process has seen of the age of its database.

use achromat_core::fleet::{Age, Loss};
use parking_lot::Mutex;

/// The highest age that was seen, and the loss that was found.
#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    seen: Age,
    loss: Option<Loss>,
}

impl Witness {
    /// The highest age that was seen. Whoever asks the database for its age takes this before: later, the answer
    /// may be the older one.
    pub(super) fn seen(&self) -> Age {
        self.0.lock().seen
    }

    /// The loss, as long as the database has gone back.
    pub(super) fn loss(&self) -> Option<Loss> {
        self.0.lock().loss
    }

    /// The database has this age.
    pub(super) fn learn(&self, age: Age) {
        self.0.lock().seen.learn(age);
    }

    /// The database has gone back.
    pub(super) fn lose(&self, loss: Loss) {
        let before = self.0.lock().loss.replace(loss);
        if before.is_none() {
            tracing::error!("{loss}");
        }
    }

    /// The database lacks nothing that was seen.
    pub(super) fn find_whole(&self) {
        let before = self.0.lock().loss.take();
        if before.is_some() {
            tracing::info!("the database is used again");
        }
    }
}
