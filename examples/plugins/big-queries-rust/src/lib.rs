//! Big queries go to one instance, so that the small ones of the others do not wait behind them.
//!
//! Its configuration is two words: from how many results on a query is big, and the name of the
//! instance, such as `100 c`. Results count for each query of a request.

use achromat_plugin::{
    Choice, Class, Instance, InstanceState, Operation, Order, Parts, Plugin, Route, Wants,
};

struct BigQueries {
    results_min: u64,
    name: String,
    place: Option<usize>,
}

impl Plugin for BigQueries {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let usage = "say how many results make a query big, and where big ones go, such as: 100 c";
        let (results, name) = config.trim().split_once(' ').ok_or(usage)?;
        let policy = Self {
            results_min: results.parse().map_err(|_| usage)?,
            name: name.trim().to_owned(),
            place: None,
        };
        Ok((policy, Wants::parts(Parts::SIZES)))
    }
}

impl Route for BigQueries {
    fn instances(&mut self, instances: Vec<Instance>) {
        self.place = instances
            .iter()
            .position(|instance| instance.name == self.name);
    }

    fn route(&mut self, operation: &Operation, states: &[InstanceState]) -> Choice {
        let results = operation.sizes.map_or(0, |sizes| {
            u64::from(sizes.queries) * u64::from(sizes.results)
        });
        if operation.class != Class::Read || results < self.results_min {
            return Choice::Native;
        }
        match self.place.and_then(|place| states.get(place)) {
            Some(state) if state.eligible => Choice::First(Order::of([state.index])),
            _ => Choice::Native,
        }
    }
}

achromat_plugin::routing!(BigQueries);
