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
    Action, Choice, Instance, InstanceState, Operation, Order, Plugin, Role, Route, Standing, Wants,
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

impl Plugin for DefaultRouting {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let config: Config = match config.trim() {
            "" => Config::default(),
            text => serde_json::from_str(text).map_err(|error| error.to_string())?,
        };
        if !(0.0..=1.0).contains(&config.replica_ratio) {
            return Err("replica_ratio is a share: a number from 0 to 1".to_owned());
        }
        let policy = Self { config, primary: 0 };
        Ok((policy, Wants::nothing()))
    }
}

impl Route for DefaultRouting {
    fn instances(&mut self, instances: Vec<Instance>) {
        let primary = instances.iter().position(|i| i.role == Role::Primary);
        self.primary = primary.and_then(|at| at.try_into().ok()).unwrap_or(0);
    }

    fn route(&mut self, operation: &Operation, states: &[InstanceState]) -> Choice {
        let eligible = |standing| {
            let fits = move |state: &&InstanceState| state.standing == standing && state.eligible;
            states.iter().filter(fits).map(|state| state.index)
        };
        let mut order = Vec::with_capacity(states.len());
        order.extend(eligible(Standing::Up));
        self.spread(&mut order, operation, states);
        order.extend(eligible(Standing::Suspect));
        Choice::First(Order::of(order))
    }
}

impl DefaultRouting {
    fn spread(&self, order: &mut [u8], operation: &Operation, states: &[InstanceState]) {
        if !is_spread(operation.action) {
            return;
        }
        match self.config.strategy {
            Strategy::PrimaryOnly => {}
            Strategy::RoundRobin => self.arrange(order, operation.number, states),
            Strategy::ReadReplica => {
                let Some(at) = order.iter().position(|index| *index == self.primary) else {
                    self.arrange(order, operation.number, states);
                    return;
                };
                // The primary first, the others in their order.
                if let Some(head) = order.get_mut(..=at) {
                    head.rotate_right(1);
                }
                if let Some((_primary, replicas)) = order.split_first_mut() {
                    self.arrange(replicas, operation.number, states);
                }
                if is_replicas_turn(self.config.replica_ratio, operation.number) {
                    order.rotate_left(1);
                }
            }
        }
    }

    fn arrange(&self, equals: &mut [u8], number: u64, states: &[InstanceState]) {
        let alike = match self.config.among_equals {
            AmongEquals::InTurn => equals.len(),
            AmongEquals::LeastLoaded => {
                let load = |index: &u8| states.get(usize::from(*index)).map(|s| s.in_flight);
                equals.sort_by_key(load);
                let least = equals.first().and_then(load);
                equals.partition_point(|index| load(index) <= least)
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

achromat_plugin::routing!(DefaultRouting);

#[cfg(test)]
mod tests {
    use achromat_plugin::{
        Class,
        testing::{instances, operation, query, states},
    };

    use super::*;

    fn policy(config: &str) -> DefaultRouting {
        let (mut policy, wants) = DefaultRouting::configure(config).unwrap();
        assert_eq!(wants, Wants::nothing());
        policy.instances(instances(3));
        policy
    }

    fn firsts(config: &str, states: &[InstanceState], turns: u64) -> Vec<u64> {
        let mut policy = policy(config);
        let mut counts = vec![0; states.len()];
        for number in 0..turns {
            let mut operation = query("notes");
            operation.number = number;
            let Choice::First(order) = policy.route(&operation, states) else {
                panic!("no order")
            };
            assert!(order.then_others && !order.allow_stale);
            counts[usize::from(order.instances[0])] += 1;
        }
        counts
    }

    /// Each strategy spreads reads as it says, over the instances that are there.
    #[test]
    fn strategies_spread_reads() {
        assert_eq!(firsts("", &states(3), 1000), [200, 400, 400]);
        let round = r#"{"strategy":"round_robin"}"#;
        assert_eq!(firsts(round, &states(3), 300), [100; 3]);
        let primary = r#"{"strategy":"primary_only"}"#;
        assert_eq!(firsts(primary, &states(3), 9), [9, 0, 0]);
        let half = r#"{"strategy":"read_replica","replica_ratio":0.5}"#;
        assert_eq!(firsts(half, &states(2), 100), [50, 50]);
        let mut lacking = states(3);
        lacking[1].eligible = false;
        assert_eq!(firsts("", &lacking, 100), [20, 0, 80]);
        lacking[2].standing = Standing::Suspect;
        assert_eq!(firsts("", &lacking, 100), [100, 0, 0]);
        lacking[0].standing = Standing::Down;
        assert_eq!(firsts("", &lacking, 100), [0, 0, 100]);
    }

    /// Of several alike the least loaded one comes first, and the turn decides among those that
    /// are loaded alike.
    #[test]
    fn the_least_loaded_comes_first() {
        let config = r#"{"strategy":"round_robin","among_equals":"least_loaded"}"#;
        let mut loaded = states(3);
        loaded[0].in_flight = 5;
        assert_eq!(firsts(config, &loaded, 100), [0, 50, 50]);
        loaded[1].in_flight = 5;
        assert_eq!(firsts(config, &loaded, 100), [0, 0, 100]);
    }

    /// Descriptions come from one instance, whatever the turn.
    #[test]
    fn descriptions_do_not_go_round() {
        let mut policy = policy(r#"{"strategy":"round_robin"}"#);
        for number in 0..6 {
            let mut operation = operation(Action::GetCollection, Class::Read, "notes");
            operation.number = number;
            let choice = policy.route(&operation, &states(3));
            assert_eq!(choice, Choice::First(Order::of([0, 1, 2])));
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
