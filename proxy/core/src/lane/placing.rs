//! Instances that a job places at a position of a lane, and sendings from before, which tell nothing any
//! more.

use super::{Context, Lane, Trouble};
use crate::ids::{InstanceIx, Position};

impl Lane {
    /// A job has made an instance equal to one that has applied everything up to a position. I07: the
    /// instance is sent nothing before that is [recorded](Lane::recorded).
    pub fn placed(&mut self, instance: InstanceIx, position: Position) {
        if let Some(track) = self.track_mut(instance) {
            assert!(
                track.applied <= position,
                "I06: an instance never goes back in a lane"
            );
            track.applied = position;
            track.placed = Some(position);
            track.trouble = None;
        }
    }

    /// A sending has ended about which nobody asks any more: its entry is not kept, because the instance was
    /// quarantined meanwhile, or a job has placed the instance behind it. One that was never answered may
    /// still be carried out.
    pub fn ended_late(&mut self, instance: InstanceIx, is_silent: bool, context: &Context<'_>) {
        let flight = self.track(instance).and_then(|track| track.flight);
        if let Some(flight) = flight {
            // Those that it does not stand behind are sent again, each alone.
            self.note_unknown(instance, (flight.position, flight.last), None);
            self.go_alone(flight.last);
        }
        self.land(instance);
        if let Some(track) = self.track_mut(instance).filter(|_| is_silent) {
            track.trouble = Some(Trouble {
                tries: 1,
                retry_at: context.now,
                settles: Some(context.settled_from(instance)),
            });
        }
    }
}
