//! A fleet: proxies that share one database. One of them leads and runs the engine; the others follow.
//!
//! A follower passes writes on, and carries out reads itself, by a copy of the leader's view. The copy may be old.
//! So the leader is asked once more after an instance has begun to answer: [`confirms`] says if the answer is one
//! that the leader could have given. This is the read index of Raft (Ongaro, "Consensus: Bridging Theory and
//! Practice", section 6.4), with the leader's lease in place of its round of heartbeats: nothing waits for a
//! follower, and one that dies costs nothing.

mod age;
mod confirm;
mod difference;
mod lease;
mod telling;

pub use self::{
    age::{Age, Loss},
    confirm::confirms,
    difference::Difference,
    lease::{LEASE, LEASE_MARGIN, LOOK_INTERVAL, LeaseState, RENEWAL_INTERVAL, Watch, valid_until},
    telling::{Copy, Question, Reserve, Teller, TellingError, Told, VIEW_PATH},
};
