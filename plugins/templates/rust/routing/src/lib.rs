//! Sends big searches to the last instance that may answer, so that the small ones do not wait
//! behind them.

use achromat_plugin::{
    Choice, InstanceState, Operation, Order, Parts, Plugin, Route, Wants, host,
};

struct Policy {
    results_min: u32,
}

impl Plugin for Policy {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let results_min = match config.trim() {
            "" => 100,
            text => text
                .parse()
                .map_err(|_| format!("{text:?} is not a number of results"))?,
        };
        Ok((Self { results_min }, Wants::parts(Parts::SIZES)))
    }
}

impl Route for Policy {
    fn route(&mut self, operation: &Operation, states: &[InstanceState]) -> Choice {
        let results = operation.sizes.map_or(0, |sizes| sizes.results);
        if results < self.results_min {
            return Choice::Native;
        }
        match states.iter().rev().find(|state| state.eligible) {
            Some(last) => {
                host::count("big_searches", 1);
                Choice::First(Order::of([last.index]))
            }
            None => Choice::Native,
        }
    }
}

achromat_plugin::routing!(Policy);

#[cfg(test)]
mod tests {
    use achromat_plugin::{
        Sizes,
        testing::{query, states},
    };

    use super::*;

    /// `cargo test` asks it as the ordinary type that it is; `achromat plugin test` asks the component.
    #[test]
    fn a_big_search_goes_to_the_last_instance() {
        let mut policy = Policy::configure("10").unwrap().0;
        let mut search = query("notes");
        assert_eq!(policy.route(&search, &states(2)), Choice::Native);
        search.sizes = Some(Sizes {
            records: 0,
            queries: 1,
            results: 10,
        });
        assert_eq!(
            policy.route(&search, &states(2)),
            Choice::First(Order::of([1]))
        );
    }
}
