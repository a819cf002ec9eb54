//! Requests to an instance for the entries of a lane.

use bytes::Bytes;

use super::{Effect, Engine};
use crate::ids::{Attempt, InstanceIx, LaneId, Position};

impl Engine {
    pub(super) fn send(
        &mut self,
        id: LaneId,
        instance: InstanceIx,
        (position, last): (Position, Position),
        attempt: Attempt,
        look_up: bool,
    ) {
        match self.wire(id, instance, position, look_up) {
            Ok(wire) => self.effects.push(Effect::Send {
                lane: id,
                instance,
                position,
                attempt,
                wire,
                more: self.bodies(id, position.next(), last),
            }),
            // There is nothing to send: what would come of it is known.
            Err(outcome) => self.unsent.push_back((id, instance, attempt, outcome)),
        }
    }

    fn bodies(&self, id: LaneId, first: Position, last: Position) -> Vec<Option<Bytes>> {
        let body = |position| self.lane(id)?.slot(Position(position))?.body.clone();
        (first.0..=last.0).map(body).collect()
    }
}
