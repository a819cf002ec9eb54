//! Emptying of the trash while somebody gets something out of it at the same time.

use super::*;
use crate::{
    trash::{PREFIX, permit_purge, permit_restore},
    write::Fresh,
};

impl World {
    fn fresh(&mut self) -> Fresh {
        self.tickets += 1;
        let id = |kind: u64| Uuid::from_u64_pair(kind, self.tickets);
        Fresh {
            entry: EntryId(id(7)),
            collection: CollectionId(id(8)),
            database: DatabaseId(id(9)),
            logged_at: WallTime(5),
        }
    }

    fn submit_permit(&mut self, permit: Permit) -> u64 {
        let ticket = self.tickets;
        self.step(Event::Submitted(Box::new(Submission {
            ticket: Ticket(ticket),
            permit,
            answer_by: self.now + Duration::from_secs(10),
        })));
        ticket
    }
}

/// A collection that comes back from the trash while that is being emptied is not deleted: its time may be
/// over, but it is not there any more.
#[test]
fn what_comes_back_is_not_purged() {
    let mut world = World::new();
    let name = format!("{PREFIX}5.0123.abc");
    let c = world.collection(1, &name);
    let catalog = world.engine.view().catalog;
    let fresh = world.fresh();
    let restore = permit_restore(&catalog, Level::One, c, None, fresh).unwrap();
    let restored = world.submit_permit(restore);
    let fresh = world.fresh();
    let purge = permit_purge(&catalog, Level::One, c, fresh).unwrap();
    let purged = world.submit_permit(purge);
    let line = "A PUT 00000000-0000-0000-0000-000000000a01";
    assert_eq!(world.lines(), [line]);
    world.reply(line, 200);
    assert_eq!(
        (world.answers[&restored], world.answers[&purged]),
        (200, 404)
    );
    let found = world.engine.view().catalog;
    assert_eq!(&*found.get(c).unwrap().name, "abc");
}
