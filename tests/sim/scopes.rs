//! Small scopes, exhaustively: a few fixed requests, and every choice of what goes wrong with each
//! sending, of when a proxy dies or is deposed, and of what becomes of what it had sent, one
//! history for each. Everything else is what it is in the other histories: the world, the engine,
//! and the judge.

use std::time::Duration;

use achromat_core::{ids::InstanceIx, route::Method};

use super::{
    chaos::WIPED_SPAN_MIN,
    faults::Fault,
    plan::{Options, Plan},
    requests::{Draft, writes},
    runner::outcome_of,
    wire::Sender,
    world::{Happening, World},
};

/// The instance whose disk is wiped.
const LOSER: InstanceIx = InstanceIx(1);

/// Moments at which clients come after a copy was begun to be made, one for each millisecond.
const MOMENTS: u32 = 60;

/// What can go wrong with a sending, beside nothing.
const FATES: [Fault; 7] = [
    Fault::LostSilent,
    Fault::AnswerSilent,
    Fault::AnswerReset,
    Fault::AnswerStale,
    Fault::Late,
    Fault::ErrorDone,
    Fault::ErrorNotDone,
];

/// A scope.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What it is about.
    pub name: &'static str,
    /// Requests that are made one after the other before anything goes wrong.
    pub first: Vec<Draft>,
    /// For each client: what it asks for then.
    pub clients: Vec<Vec<Draft>>,
    /// How many sendings something goes wrong with.
    pub fates: u32,
    /// How many proxies die, at any step, or are deposed.
    pub deaths: u32,
    /// Whether an instance has lost its disk, and the clients come when its copies are being made.
    pub rebuilds: bool,
}

/// Choices, in the order in which they come up.
#[derive(Clone, Debug, Default)]
pub struct Chooser {
    /// What was chosen, of how many: given, then found.
    choices: Vec<(u32, u32)>,
    at: usize,
    fates: u32,
    deaths: u32,
}

impl Chooser {
    fn new(scope: &Scope, choices: Vec<(u32, u32)>) -> Self {
        Self {
            choices,
            at: 0,
            fates: scope.fates,
            deaths: scope.deaths,
        }
    }

    /// One of so many; the first one when it was not chosen yet.
    fn choose(&mut self, of: u32) -> u32 {
        if self.at == self.choices.len() {
            self.choices.push((0, of));
        }
        let (chosen, known) = self.choices[self.at];
        assert_eq!(known, of, "the same choices lead to the same choice");
        self.at += 1;
        chosen
    }

    /// The choices of the next history, in depth-first order.
    fn next(mut self) -> Option<Vec<(u32, u32)>> {
        while let Some((chosen, of)) = self.choices.pop() {
            if chosen + 1 < of {
                self.choices.push((chosen + 1, of));
                return Some(self.choices);
            }
        }
        None
    }
}

/// A scope that is being lived through.
pub struct Live {
    /// What is left of it.
    scope: Scope,
    chooser: Chooser,
    /// Whether all the first requests have been answered.
    has_begun: bool,
    /// Whether the disk was wiped.
    has_wiped: bool,
    /// When the first copy was begun to be made then.
    rebuild_began: Option<u64>,
}

/// What a client does next.
pub enum Next {
    /// It asks for this.
    Ask(Draft),
    /// It waits for the others, or for a moment.
    Wait,
    /// Nothing.
    Nothing,
}

/// What became of a scope.
#[derive(Debug)]
pub struct Explored {
    /// How many histories it has.
    pub histories: u64,
    /// What was broken first, and by which choices.
    pub violation: Option<(String, Vec<u32>)>,
}

/// Lives through every history of a scope, up to so many.
pub fn explore(scope: &Scope, options: &Options, most: u64) -> Explored {
    let mut histories = 0;
    let mut next = Some(Vec::new());
    while let Some(choices) = next.take().filter(|_| histories < most) {
        histories += 1;
        let mut world = World::new(Plan::of_scope(scope, options), options);
        world.scope = Some(Live {
            scope: scope.clone(),
            chooser: Chooser::new(scope, choices),
            has_begun: false,
            has_wiped: false,
            rebuild_began: None,
        });
        let outcome = outcome_of(&mut world, options.trace);
        let chooser = world.scope.take().expect("it has one").chooser;
        if let Some(violation) = outcome.violation {
            let choices = chooser.choices.iter().map(|(chosen, _)| *chosen);
            let violation = Some((violation, choices.collect()));
            return Explored {
                histories,
                violation,
            };
        }
        next = chooser.next();
    }
    Explored {
        histories,
        violation: None,
    }
}

impl Live {
    fn waits_for_rebuild(&self) -> bool {
        self.scope.rebuilds && self.rebuild_began.is_none()
    }
}

impl World {
    /// Whether choices are made now: the first requests have been answered.
    fn choices(&mut self) -> Option<&mut Chooser> {
        let is_over = self.is_healed;
        let live = self.scope.as_mut()?;
        let is_on = live.scope.first.is_empty() && !live.waits_for_rebuild();
        (is_on && !is_over).then_some(&mut live.chooser)
    }

    /// What a client does next in a scope.
    pub(super) fn next_in_scope(&mut self, client: usize) -> Option<Next> {
        let is_idle = self.operations.iter().all(|o| o.ended.is_some());
        let live = self.scope.as_mut()?;
        if !live.scope.first.is_empty() {
            if client > 0 || !is_idle {
                return Some(Next::Wait);
            }
            return Some(Next::Ask(live.scope.first.remove(0)));
        }
        live.has_begun |= is_idle;
        if !live.has_begun {
            return Some(Next::Wait);
        }
        if live.waits_for_rebuild() {
            if is_idle && !live.has_wiped {
                live.has_wiped = true;
                self.wipe(LOSER, WIPED_SPAN_MIN);
            }
            return Some(Next::Wait);
        }
        let drafts = &mut live.scope.clients[client];
        Some(if drafts.is_empty() {
            Next::Nothing
        } else {
            Next::Ask(drafts.remove(0))
        })
    }

    /// In a scope about it: a copy is begun to be made, and the clients come at some moment after.
    pub(super) fn note_rebuild(&mut self, sender: Sender, (method, target): (Method, &str)) {
        let is_making = matches!(sender, Sender::Job { .. })
            && method == Method::Post
            && target.ends_with("/default_database/collections");
        let now = self.now;
        let Some(live) = self.scope.as_mut() else {
            return;
        };
        if is_making && live.waits_for_rebuild() {
            live.rebuild_began = Some(now);
            let late = Duration::from_millis(live.chooser.choose(MOMENTS).into());
            for client in 0..live.scope.clients.len() {
                self.after(late, Happening::Turn(client));
            }
        }
    }

    /// What goes wrong with a sending, in a scope.
    pub(super) fn chosen_fate(&mut self, sender: Sender, method: Method) -> Option<Fault> {
        let is_write = matches!(sender, Sender::Entry { .. } | Sender::Job { .. });
        let chooser = self.choices().filter(|c| c.fates > 0)?;
        if !is_write || method == Method::Get {
            return None;
        }
        let count = u32::try_from(FATES.len()).expect("a count");
        let chosen = chooser.choose(count + 1).checked_sub(1)?;
        chooser.fates -= 1;
        Some(FATES[usize::try_from(chosen).expect("an index")])
    }

    /// Whether a proxy with so many effects before it dies, and before which; the last choice is
    /// that another one takes over.
    pub(super) fn chosen_death(&mut self, effects: usize) -> Option<usize> {
        let chooser = self.choices().filter(|c| c.deaths > 0)?;
        let of = u32::try_from(effects + 3).expect("a count");
        let chosen = chooser.choose(of).checked_sub(1)?;
        chooser.deaths -= 1;
        usize::try_from(chosen).ok()
    }

    /// One of so many things that become of what a dead proxy had under way.
    pub(super) fn chosen_end(&mut self, of: u32) -> Option<u32> {
        self.choices().map(|chooser| chooser.choose(of))
    }
}

fn made(name: &str) -> Draft {
    writes(
        Method::Post,
        "/collections",
        &format!(r#"{{"name":"{name}"}}"#),
    )
}

fn record(tail: &str, id: &str, value: u32) -> Draft {
    let body = format!(
        r#"{{"ids":["{id}"],"embeddings":[[{value},1]],"metadatas":[{{"g":{value}}}],"documents":["text {value}"]}}"#
    );
    writes(Method::Post, &format!("/collections/alpha/{tail}"), &body)
}

fn deleted(id: &str) -> Draft {
    let body = format!(r#"{{"ids":["{id}"]}}"#);
    writes(Method::Post, "/collections/alpha/delete", &body)
}

fn dropped() -> Draft {
    writes(Method::Delete, "/collections/alpha", "")
}

/// The scope in which writes are merged.
pub const MERGED: &str = "merged writes";

/// All scopes.
pub fn all() -> Vec<Scope> {
    let scope = Scope {
        name: "",
        first: vec![made("alpha")],
        clients: Vec::new(),
        fates: 2,
        deaths: 0,
        rebuilds: false,
    };
    let clients = |clients: &[&[Draft]]| clients.iter().map(|drafts| drafts.to_vec()).collect();
    vec![
        // An update of what is not there, then an add of it: the two sent again end elsewhere.
        Scope {
            name: "redelivery",
            clients: clients(&[&[
                record("update", "a", 1),
                record("add", "a", 2),
                deleted("a"),
            ]]),
            ..scope.clone()
        },
        // The old proxy's sendings land when the new one has taken over.
        Scope {
            name: "take-over",
            clients: clients(&[&[
                record("upsert", "a", 1),
                deleted("a"),
                record("add", "a", 2),
            ]]),
            fates: 1,
            deaths: 1,
            ..scope.clone()
        },
        // While the first upsert is under way the others queue up and become one; the add may not.
        Scope {
            name: MERGED,
            clients: clients(&[
                &[record("add", "b", 4)],
                &[record("upsert", "a", 1)],
                &[record("upsert", "b", 2)],
                &[record("upsert", "c", 3)],
            ]),
            fates: 1,
            deaths: 1,
            ..scope.clone()
        },
        Scope {
            name: "drop and recreate",
            first: vec![made("alpha"), record("add", "a", 1)],
            clients: clients(&[
                &[dropped(), made("alpha"), record("add", "b", 2)],
                &[record("upsert", "c", 3)],
            ]),
            ..scope.clone()
        },
        Scope {
            name: "drop and recreate, with a take-over",
            clients: clients(&[&[dropped(), made("alpha"), record("add", "b", 2)]]),
            fates: 1,
            deaths: 1,
            ..scope.clone()
        },
        Scope {
            name: "delete against rebuild",
            first: vec![made("alpha"), record("add", "a", 1), record("add", "b", 2)],
            clients: clients(&[&[deleted("a"), record("upsert", "c", 3)]]),
            fates: 1,
            rebuilds: true,
            ..scope.clone()
        },
    ]
}
