//! Plugins that behave badly in every way that they can. What they do is their configuration.

use achromat_plugin::{Parts, Plugin, Wants, host};

/// A plugin that does one bad thing.
struct Hostile {
    deed: String,
    /// What it remembers, although it should not.
    asked: u64,
}

impl Plugin for Hostile {
    fn configure(config: &str) -> Result<(Self, Wants), String> {
        let plugin = Self {
            deed: config.to_owned(),
            asked: 0,
        };
        match config {
            "refuse" => return Err("this plugin takes no configuration".to_owned()),
            "trap-at-start" => std::process::abort(),
            "loop-at-start" => spin(),
            "many-headers" => {
                let names: Vec<String> = (0..17).map(|n| format!("x-{n}")).collect();
                let names = names.iter().map(String::as_str);
                return Ok((plugin, Wants::nothing().and_headers(names)));
            }
            "by-header" => return Ok((plugin, Wants::nothing().and_headers(["x-deed"]))),
            say if say.starts_with("say:") => {
                return Ok((plugin, Wants::parts(Parts::COLLECTION)));
            }
            "bad-header" => return Ok((plugin, Wants::nothing().and_headers(["x y"]))),
            _ => {}
        }
        Ok((plugin, Wants::nothing()))
    }
}

fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    recurse(depth.wrapping_add(1)).wrapping_add(frame.iter().sum::<u64>())
}

impl Hostile {
    /// Does what it is there for; comes back when that is in the answer. At the self-test it
    /// behaves, lest it never be asked again.
    fn misbehave(&mut self, is_self_test: bool) {
        if is_self_test && self.deed != "fail-self-test" {
            return;
        }
        self.asked += 1;
        match self.deed.as_str() {
            "loop" => spin(),
            "trap" | "fail-self-test" => std::process::abort(),
            "panic" => panic!("on purpose"),
            "recurse" => {
                std::hint::black_box(recurse(0));
            }
            "hog" => loop {
                std::hint::black_box(core::arch::wasm32::memory_grow(0, 16));
            },
            "flood" => loop {
                host::count("calls", 1);
            },
            "log" => (0..500).for_each(|n| host::log(host::Level::Info, &format!("line {n}"))),
            "giant-log" => host::log(host::Level::Info, &"x".repeat(1 << 20)),
            "giant-key" => {
                for n in 0..100 {
                    let _kept = host::set(&format!("{n}"), &[0; 8192]);
                }
            }
            // Every other answer is a trap: what is thrown away is asked no more.
            "flaky" if self.asked > 1 => std::process::abort(),
            _ => {}
        }
    }
}

#[cfg(feature = "routing")]
mod routing {
    use achromat_plugin::{
        Choice, Class, InstanceState, Operation, Order, Refusal, RefusalStatus, Route, Standing,
    };

    use super::Hostile;

    impl Route for Hostile {
        fn route(&mut self, operation: &Operation, states: &[InstanceState]) -> Choice {
            let is_self_test = operation.number == 0;
            let configured = self.deed.clone();
            if configured == "by-header" {
                self.deed = operation.header(0).unwrap_or("well").to_owned();
            }
            self.misbehave(is_self_test);
            let deed = std::mem::replace(&mut self.deed, configured);
            match deed.as_str() {
                _ if is_self_test => Choice::Native,
                "no-such-instance" => Choice::First(Order::of([9])),
                "twice" => Choice::First(Order::of([0, 0])),
                "nowhere" => Choice::First(Order::only([])),
                "giant-message" => refuse("x".repeat(64 << 10)),
                "beyond-message" => refuse("x".repeat(1 << 20)),
                "no-message" => refuse(String::new()),
                // One that keeps state says how often this instance of it was asked.
                "state" => refuse(self.asked.to_string()),
                // What is read of one collection is answered with what the configuration says,
                // so that a client can see which version has decided.
                say if say.starts_with("say:") => match operation.collection.as_deref() {
                    Some("marker") if operation.class == Class::Read => {
                        refuse(say.trim_start_matches("say:").to_owned())
                    }
                    _ => Choice::Native,
                },
                "shared-state" => {
                    let sum = achromat_plugin::host::add("asked", 1).unwrap_or(-1);
                    refuse(sum.to_string())
                }
                // One instance that is up, and no other.
                "only-up" => {
                    let up = states
                        .iter()
                        .filter(|s| s.eligible && s.standing == Standing::Up);
                    Choice::First(Order::only(up.take(1).map(|state| state.index)))
                }
                "only-first" => Choice::First(Order::only([0])),
                "sometimes" if operation.number % 2 == 1 => std::process::abort(),
                _ => Choice::First(Order::of(states.iter().rev().map(|state| state.index))),
            }
        }
    }

    fn refuse(message: String) -> Choice {
        Choice::Refuse(Refusal::new(RefusalStatus::Denied, message))
    }

    achromat_plugin::routing!(Hostile);
}

#[cfg(feature = "lean")]
mod lean {
    use achromat_plugin::{
        Refusal, RefusalStatus,
        lean::{Choice, Line, Order, Request, Route, States},
    };

    /// What its orders and its words are is its configuration.
    struct HostileLean(String);

    impl Route for HostileLean {
        fn configure(config: &str) -> Result<Self, String> {
            match config {
                "refuse" => Err("this plugin takes no configuration".to_owned()),
                deed => Ok(Self(deed.to_owned())),
            }
        }

        fn route(&mut self, request: Request, states: &States) -> Choice {
            let well = Line::of(states.usable()).order();
            match self.0.as_str() {
                _ if request.number == 0 => Choice::Native,
                "trap" => std::process::abort(),
                "loop" => super::spin(),
                "no-such-instance" => Choice::First(Line::of([9]).order()),
                "twice" => Choice::First(Line::of([1, 1]).order()),
                "too-many" => Choice::First(Order { count: 17, ..well }),
                "nowhere" => Choice::First(Order {
                    count: 0,
                    then_others: false,
                    ..well
                }),
                "no-message" | "trap-in-words" | "say" => Choice::Refuse,
                _ => {
                    let mut line = Line::of(states.usable());
                    line.reverse();
                    Choice::First(line.order())
                }
            }
        }

        fn explain(&mut self) -> Refusal {
            let message = match self.0.as_str() {
                "trap-in-words" => std::process::abort(),
                "no-message" => String::new(),
                _ => "not today".to_owned(),
            };
            Refusal::new(RefusalStatus::TooMany, message)
        }
    }

    achromat_plugin::lean_routing!(HostileLean);
}

#[cfg(feature = "wal")]
mod wal {
    use achromat_plugin::{Eligibility, Judge, Operation, Refusal, RefusalStatus};

    use super::Hostile;

    impl Judge for Hostile {
        fn judge(&mut self, operation: &Operation) -> Eligibility {
            let is_self_test = operation.number == 0;
            self.misbehave(is_self_test);
            match self.deed.as_str() {
                _ if is_self_test => Eligibility::LocalOnly,
                "no-message" => {
                    Eligibility::Refuse(Refusal::new(RefusalStatus::Denied, String::new()))
                }
                _ => Eligibility::LocalOnly,
            }
        }
    }

    achromat_plugin::wal_eligibility!(Hostile);
}

#[cfg(feature = "guard")]
mod guard {
    use achromat_plugin::{Permission, Permit, Question};

    use super::Hostile;

    impl Permit for Hostile {
        fn permit(&mut self, question: &Question) -> Permission {
            let is_self_test = question.subject.is_some();
            self.misbehave(is_self_test);
            match self.deed.as_str() {
                _ if is_self_test => Permission::Allow,
                "no-message" => Permission::Deny(String::new()),
                "forever" => Permission::Trash(u32::MAX),
                _ => Permission::Allow,
            }
        }
    }

    achromat_plugin::cleanup_guard!(Hostile);
}
