//! The lean world of the routing slot, for those who count nanoseconds: nothing crosses but numbers.
//!
//! ```
//! use achromat_plugin::lean::{Choice, Line, Places, Request, Route, States};
//!
//! /// Sends large requests to the instance with the fewest requests in flight.
//! struct LargeToIdle;
//!
//! impl Route for LargeToIdle {
//!     fn configure(_config: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!
//!     fn route(&mut self, request: Request, states: &States) -> Choice {
//!         if request.body_bytes < 1_000_000 {
//!             return Choice::Native;
//!         }
//!         let mut line = Line::of(states.usable());
//!         line.sort_by_key(|place| states.in_flight_of(*place));
//!         Choice::First(line.order())
//!     }
//! }
//!
//! achromat_plugin::lean_routing!(LargeToIdle);
//! # use achromat_plugin::testing::lean_states;
//! # let request = Request { body_bytes: 2_000_000, ..achromat_plugin::testing::lean_query() };
//! # let mut states = lean_states(2);
//! # states.in_flight.0 = 7;
//! # let line = Line::of(Places::from_iter([1])).order();
//! # let Choice::First(order) = LargeToIdle.route(request, &states) else { panic!() };
//! # assert_eq!((order.instances & 15, order.count), (1, 2));
//! # assert_eq!(line.instances, 1);
//! ```

use std::ops::{Deref, DerefMut};

use crate::{Action, Class, Refusal, RefusalStatus};

pub use crate::bindings::lean::exports::achromat::policy::lean_route_policy::{
    Choice, Order, States,
};

/// As many instances as there can be.
const MAX: usize = 16;

/// A plugin of the routing slot that decides by numbers alone.
pub trait Route: Sized + 'static {
    /// Takes the configuration as the operator wrote it; the empty text when there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what would be right: the operator reads it.
    fn configure(config: &str) -> Result<Self, String>;

    /// The names of all instances, in the order of the configuration, and which of them are
    /// primary; told before the first decision, and when they have changed.
    fn instances(&mut self, names: Vec<String>, primary: Places) {
        drop(names);
        let _ = primary;
    }

    /// Where a request goes.
    fn route(&mut self, request: Request, states: &States) -> Choice;

    /// What the client is told whose request was just refused.
    fn explain(&mut self) -> Refusal {
        Refusal::new(RefusalStatus::Denied, "refused by policy")
    }
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Counts the reads, or the writes, of this Achromat.
    pub number: u64,
    /// What it does.
    pub action: Action,
    /// What it asks of Achromat.
    pub class: Class,
    /// Bytes of the body.
    pub body_bytes: u32,
}

/// A set of instances, by their places from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places(u16);

impl Places {
    /// A set as it crosses.
    pub fn new(bits: u16) -> Self {
        Self(bits)
    }

    /// As it crosses.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// Whether an instance is among them.
    pub fn contains(self, place: u8) -> bool {
        self.0.checked_shr(place.into()).unwrap_or(0) & 1 == 1
    }

    /// The first of them.
    pub fn first(self) -> Option<u8> {
        self.into_iter().next()
    }
}

impl IntoIterator for Places {
    type Item = u8;
    type IntoIter = InOrder;

    fn into_iter(self) -> InOrder {
        InOrder(self.0)
    }
}

/// The places of a set, in their order.
#[derive(Clone, Debug)]
pub struct InOrder(u16);

impl Iterator for InOrder {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let first = u8::try_from(self.0.trailing_zeros()).ok()?;
        let without_first = self.0.checked_sub(1)? & self.0;
        self.0 = without_first;
        Some(first)
    }
}

impl FromIterator<u8> for Places {
    fn from_iter<I: IntoIterator<Item = u8>>(places: I) -> Self {
        let bit = |place: u8| 1_u16.checked_shl(place.into()).unwrap_or(0);
        Self(places.into_iter().fold(0, |set, place| set | bit(place)))
    }
}

impl States {
    /// Those that are up and may answer.
    pub fn usable(&self) -> Places {
        Places(self.up & self.eligible)
    }

    /// Those that may answer, although something failed there just now: for the end of an order.
    pub fn doubtful(&self) -> Places {
        Places(self.suspect & self.eligible)
    }

    /// Requests that an instance has not answered yet, up to 65,535.
    pub fn in_flight_of(&self, place: u8) -> u16 {
        let four = match place / 4 {
            0 => self.in_flight.0,
            1 => self.in_flight.1,
            2 => self.in_flight.2,
            _ => self.in_flight.3,
        };
        u16::try_from(four >> (16 * u32::from(place % 4)) & 0xffff).unwrap_or(u16::MAX)
    }
}

/// Instances in an order that is being made: a slice of places, which can be sorted and turned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    places: [u8; MAX],
    count: usize,
}

impl Line {
    /// These instances in this order.
    pub fn of(places: impl IntoIterator<Item = u8>) -> Self {
        let mut line = Self::default();
        line.extend(places);
        line
    }

    /// As an answer: these first, then the others.
    pub fn order(&self) -> Order {
        let pack = |packed: u64, place: &u8| packed << 4 | u64::from(*place & 15);
        Order {
            instances: self.iter().rev().fold(0, pack),
            count: u8::try_from(self.count).unwrap_or(u8::MAX),
            then_others: true,
            allow_stale: false,
        }
    }
}

impl Extend<u8> for Line {
    /// Adds instances behind the others. There is room for as many as there can be.
    fn extend<I: IntoIterator<Item = u8>>(&mut self, places: I) {
        for place in places {
            if let Some(free) = self.places.get_mut(self.count) {
                *free = place;
                self.count += 1;
            }
        }
    }
}

impl Deref for Line {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.places.get(..self.count).unwrap_or_default()
    }
}

impl DerefMut for Line {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.places.get_mut(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lean_states;

    #[test]
    fn a_set_goes_through_its_places() {
        let set = Places::from_iter([0, 3, 15]);
        assert_eq!(set.bits(), 0b1000_0000_0000_1001);
        assert_eq!(set.into_iter().collect::<Vec<_>>(), [0, 3, 15]);
        assert!(set.contains(15) && !set.contains(1) && !set.contains(200));
        assert_eq!((set.first(), Places::default().first()), (Some(0), None));
    }

    #[test]
    fn an_order_has_four_bits_for_each() {
        let mut line = Line::of([2, 0]);
        line.extend([15]);
        line.swap(0, 1);
        let order = line.order();
        assert_eq!((order.instances, order.count), (0xf20, 3));
        assert_eq!(Line::of(0..20).order().count, 16);
        assert_eq!(Line::of(0..16).order().instances, 0xfedc_ba98_7654_3210);
    }

    #[test]
    fn loads_stand_four_in_a_number() {
        let mut states = lean_states(16);
        states.in_flight = (7 << 48 | 5, 0, 0, 0xffff << 48);
        let loads: Vec<_> = [0, 1, 3, 15].map(|place| states.in_flight_of(place)).into();
        assert_eq!(loads, [5, 0, 7, 65_535]);
    }
}
