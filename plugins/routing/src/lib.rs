//! The default policy for routing: reads are spread over the instances by a strategy.
//!
//! Its configuration is JSON, all of it optional:
//!
//! ```json
//! { "strategy": "read_replica", "replica_ratio": 0.8, "among_equals": "in_turn" }
//! ```
//!
//! | key | means |
//! |---|---|
//! | `strategy` | `round_robin`: all eligible instances alike; `read_replica`: the replicas get a share of the reads, the primary the rest; `primary_only`: the primary, as long as it is eligible |
//! | `replica_ratio` | the share, from 0 to 1 |
//! | `among_equals` | which of several alike is asked first: each `in_turn`, or the `least_loaded` one, by the requests that it has not answered yet |
//!
//! It decides as Achromat's native routing does (`reads.strategy`), which stands in when it fails.

use achromat_plugin::{
    Action,
    lean::{Choice, Line, Places, Request, Route, States},
};
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    RoundRobin,
    #[default]
    ReadReplica,
    PrimaryOnly,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AmongEquals {
    #[default]
    InTurn,
    LeastLoaded,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    strategy: Strategy,
    replica_ratio: f64,
    among_equals: AmongEquals,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            replica_ratio: 0.8,
            among_equals: AmongEquals::default(),
        }
    }
}

/// The policy.
#[derive(Debug)]
pub struct DefaultRouting {
    config: Config,
    /// The primary's place.
    primary: u8,
}

impl Route for DefaultRouting {
    fn configure(config: &str) -> Result<Self, String> {
        let config: Config = match config.trim() {
            "" => Config::default(),
            text => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        if !(0.0..=1.0).contains(&config.replica_ratio) {
            return Err("replica_ratio is a share: a number from 0 to 1".to_owned());
        }
        Ok(Self { config, primary: 0 })
    }

    fn instances(&mut self, _names: Vec<String>, primary: Places) {
        self.primary = primary.first().unwrap_or(0);
    }

    fn route(&mut self, request: Request, states: &States) -> Choice {
        let mut line = Line::of(states.usable());
        if is_spread(request.action) {
            self.spread(&mut line, request.number, states);
        }
        line.extend(states.doubtful());
        Choice::First(line.order())
    }
}

impl DefaultRouting {
    fn spread(&self, line: &mut [u8], number: u64, states: &States) {
        match self.config.strategy {
            Strategy::PrimaryOnly => {}
            Strategy::RoundRobin => self.arrange(line, number, states),
            Strategy::ReadReplica => {
                let Some(at) = line.iter().position(|place| *place == self.primary) else {
                    self.arrange(line, number, states);
                    return;
                };
                // The primary first, the others in their order.
                if let Some(head) = line.get_mut(..=at) {
                    head.rotate_right(1);
                }
                if let Some((_primary, replicas)) = line.split_first_mut() {
                    self.arrange(replicas, number, states);
                }
                if is_replicas_turn(self.config.replica_ratio, number) {
                    line.rotate_left(1);
                }
            }
        }
    }

    fn arrange(&self, equals: &mut [u8], number: u64, states: &States) {
        let alike = match self.config.among_equals {
            AmongEquals::InTurn => equals.len(),
            AmongEquals::LeastLoaded => {
                let load = |place: &u8| states.in_flight_of(*place);
                equals.sort_by_key(load);
                let least = equals.first().map(load);
                equals.partition_point(|place| Some(load(place)) <= least)
            }
        };
        if let Some(alike) = equals.get_mut(..alike) {
            let count = u64::try_from(alike.len()).unwrap_or(1).max(1);
            alike.rotate_left(usize::try_from(number % count).unwrap_or(0));
        }
    }
}

/// Whether reads of this kind go round. Descriptions of collections do not: what Chroma works out
/// in the background differs between instances for a while, and who polls for it shall see one of
/// them and not each in turn.
fn is_spread(action: Action) -> bool {
    matches!(
        action,
        Action::System
            | Action::CollectionByResourceName
            | Action::Get
            | Action::Query
            | Action::Search
            | Action::Count
            | Action::IndexingStatus
            | Action::ForkCount
            | Action::GetFunction
    )
}

/// Spreads a share evenly over the turns, as Bresenham's line spreads its steps: of any n turns in
/// a row, n × ratio are the replicas', to within one.
fn is_replicas_turn(ratio: f64, number: u64) -> bool {
    // 2^32 turns are exact in f64; the spread repeats after that.
    let turn = f64::from(u32::try_from(number & 0xffff_ffff).unwrap_or(0));
    ((turn + 1.0) * ratio).floor() > (turn * ratio).floor()
}

/// It is asked for each request, and does nothing but take and give back small pieces.
#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: achromat_plugin::Allocator = achromat_plugin::Allocator::new();

achromat_plugin::lean_routing!(DefaultRouting);

#[cfg(test)]
mod tests {
    use achromat_plugin::testing::{lean_query, lean_states};

    use super::*;

    fn policy(config: &str) -> DefaultRouting {
        let mut policy = DefaultRouting::configure(config).unwrap();
        let names = ["a", "b", "c"].map(str::to_owned).into();
        policy.instances(names, Places::from_iter([0]));
        policy
    }

    fn firsts(config: &str, states: &States, turns: u64) -> [u64; 3] {
        let mut policy = policy(config);
        let mut counts = [0; 3];
        for number in 0..turns {
            let request = Request {
                number,
                ..lean_query()
            };
            let Choice::First(order) = policy.route(request, states) else {
                panic!("no order")
            };
            assert!(order.then_others && !order.allow_stale);
            counts[usize::try_from(order.instances & 15).unwrap()] += 1;
        }
        counts
    }

    /// Each strategy spreads reads as it says, over the instances that are there.
    #[test]
    fn strategies_spread_reads() {
        assert_eq!(firsts("", &lean_states(3), 1000), [200, 400, 400]);
        let round = r#"{"strategy":"round_robin"}"#;
        assert_eq!(firsts(round, &lean_states(3), 300), [100; 3]);
        let primary = r#"{"strategy":"primary_only"}"#;
        assert_eq!(firsts(primary, &lean_states(3), 9), [9, 0, 0]);
        let half = r#"{"strategy":"read_replica","replica_ratio":0.5}"#;
        assert_eq!(firsts(half, &lean_states(2), 100), [50, 50, 0]);
        let mut lacking = lean_states(3);
        lacking.eligible = 0b101;
        assert_eq!(firsts("", &lacking, 100), [20, 0, 80]);
        (lacking.up, lacking.suspect) = (0b011, 0b100);
        assert_eq!(firsts("", &lacking, 100), [100, 0, 0]);
        lacking.up = 0b010;
        assert_eq!(firsts("", &lacking, 100), [0, 0, 100]);
    }

    /// Of several alike the least loaded one comes first, and the turn decides among those that
    /// are loaded alike.
    #[test]
    fn the_least_loaded_comes_first() {
        let config = r#"{"strategy":"round_robin","among_equals":"least_loaded"}"#;
        let mut loaded = lean_states(3);
        loaded.in_flight.0 = 5;
        assert_eq!(firsts(config, &loaded, 100), [0, 50, 50]);
        loaded.in_flight.0 = 5 | 5 << 16;
        assert_eq!(firsts(config, &loaded, 100), [0, 0, 100]);
    }

    /// Descriptions come from one instance, whatever the turn.
    #[test]
    fn descriptions_do_not_go_round() {
        let mut policy = policy(r#"{"strategy":"round_robin"}"#);
        for number in 0..6 {
            let request = Request {
                number,
                action: Action::GetCollection,
                ..lean_query()
            };
            let choice = policy.route(request, &lean_states(3));
            assert_eq!(choice, Choice::First(Line::of([0, 1, 2]).order()));
        }
    }

    /// What is not understood is refused with what is wrong.
    #[test]
    fn a_wrong_configuration_is_refused() {
        let refused = |config| DefaultRouting::configure(config).unwrap_err();
        assert!(refused(r#"{"strategie":1}"#).contains("unknown field `strategie`"));
        assert!(refused(r#"{"strategy":"chance"}"#).contains("unknown variant `chance`"));
        assert!(refused(r#"{"replica_ratio":1.5}"#).contains("from 0 to 1"));
        assert!(refused("{").contains("EOF"));
    }
}
