//! A client that makes, renames and deletes collections in a namespace of its own, and checks what
//! it is told of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{
    ledger::Outcome,
    world::{Asked, Asker, Sort, World},
};

/// What must hold of the collections in the end.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// All names of the namespace begin so.
    pub prefix: String,
    /// Those that must be there, and the marker in their metadata: a name that was deleted and
    /// made again is another collection.
    pub present: BTreeMap<String, u64>,
    /// Those that must not be there.
    pub absent: BTreeSet<String>,
    /// Those of which it is not known.
    pub unsure: BTreeSet<String>,
    /// What was done to each, for people.
    pub told: BTreeMap<String, Vec<String>>,
}

/// Collections that are there at a time, at most.
const PRESENT_MAX: usize = 8;

/// The client.
pub struct Churn {
    asker: Asker,
    names: Names,
    ids: BTreeMap<String, String>,
    fresh: u64,
}

impl Churn {
    /// Nothing is there yet.
    pub fn new(world: Arc<World>, number: usize, seed: u64) -> Self {
        Self {
            asker: Asker::new(world, number, seed),
            names: Names {
                prefix: format!("churn{number}-"),
                ..Names::default()
            },
            ids: BTreeMap::new(),
            fresh: 0,
        }
    }

    /// Goes on until the world stops; returns what must hold then.
    pub fn run(mut self) -> Names {
        while self.asker.world.goes_on() {
            let choice = self.asker.random.random_range(0..100);
            match (choice, self.any_present()) {
                (0..25, _) | (_, None) if self.names.present.len() < PRESENT_MAX => self.create(),
                (25..35, Some(name)) => self.rename(&name),
                (35..55, Some(name)) => self.delete(&name),
                (55..70, Some(name)) => self.use_records(&name),
                (70..85, Some(name)) => self.look_at(&name),
                (85..92, _) => self.look_for_absent(),
                _ => self.list(),
            }
            self.asker.think();
        }
        self.names
    }

    fn any_present(&mut self) -> Option<String> {
        let names: Vec<_> = self.names.present.keys().cloned().collect();
        let at = self.asker.random.random_range(0..names.len().max(1));
        names.get(at).cloned()
    }

    fn fresh_name(&mut self) -> String {
        self.fresh += 1;
        format!("{}{:04}", self.names.prefix, self.fresh)
    }

    /// A new name, or one that was deleted.
    fn free_name(&mut self) -> String {
        let used = self.names.absent.iter().next_back().cloned();
        match used {
            Some(name) if self.asker.random.random_range(0..2) == 0 => name,
            _ => self.fresh_name(),
        }
    }

    fn ask(&mut self, name: &str, sort: Sort, method: &str, path: &str, body: &Value) -> Asked {
        let asked = self.asker.ask(sort, method, path, body);
        let told = format!("{} {body}", asked.told);
        self.names
            .told
            .entry(name.to_owned())
            .or_default()
            .push(told);
        asked
    }

    fn violation(&self, name: &str, what: &str) {
        let mut lines = self.asker.world.chronicle.lines();
        lines.extend(self.names.told.get(name).into_iter().flatten().cloned());
        lines.sort();
        self.asker.world.chronicle.violation(what, &lines);
    }

    fn forget(&mut self, name: &str) {
        self.names.present.remove(name);
        self.names.absent.remove(name);
        self.ids.remove(name);
    }

    fn is_unsure_of(&mut self, name: &str) {
        self.forget(name);
        self.names.unsure.insert(name.to_owned());
    }

    fn create(&mut self) {
        let (name, marker) = (self.free_name(), self.asker.world.version());
        let or_get = self.asker.random.random_range(0..2) == 0;
        let body =
            json!({ "name": name, "metadata": { "marker": marker }, "get_or_create": or_get });
        let asked = self.ask(&name, Sort::SchemaWrite, "POST", "$D/collections", &body);
        match asked.outcome {
            Outcome::Done => {
                self.forget(&name);
                self.expect_marker(&name, marker, &asked.body);
                let id = asked.body["id"].as_str().unwrap_or_default();
                self.ids.insert(name.clone(), id.to_owned());
                self.names.present.insert(name, marker);
            }
            Outcome::NotDone => {
                self.names.absent.insert(name);
            }
            Outcome::Unknown => self.is_unsure_of(&name),
        }
    }

    fn rename(&mut self, name: &str) {
        let new = self.fresh_name();
        let id = self.ids[name].clone();
        let path = format!("$D/collections/{id}");
        let asked = self.ask(
            name,
            Sort::SchemaWrite,
            "PUT",
            &path,
            &json!({ "new_name": new }),
        );
        self.names
            .told
            .insert(new.clone(), self.names.told[name].clone());
        match asked.outcome {
            Outcome::Done => {
                let marker = self.names.present[name];
                self.forget(name);
                self.names.absent.insert(name.to_owned());
                self.names.present.insert(new.clone(), marker);
                self.ids.insert(new, id);
            }
            Outcome::NotDone => {
                self.names.absent.insert(new);
            }
            Outcome::Unknown => {
                self.is_unsure_of(name);
                self.is_unsure_of(&new);
            }
        }
    }

    fn delete(&mut self, name: &str) {
        let path = format!("$D/collections/{name}");
        let asked = self.ask(name, Sort::SchemaWrite, "DELETE", &path, &Value::Null);
        match asked.outcome {
            Outcome::Done => {
                self.forget(name);
                self.names.absent.insert(name.to_owned());
            }
            Outcome::NotDone => {}
            Outcome::Unknown => self.is_unsure_of(name),
        }
    }

    /// Writes a record and reads it.
    fn use_records(&mut self, name: &str) {
        let marker = self.names.present[name];
        let body = json!({
            "ids": ["r"],
            "embeddings": [[1, 2]],
            "metadatas": [{ "marker": marker }],
        });
        let path = format!("$D/collections/{}", self.ids[name]);
        let upsert = format!("{path}/upsert");
        let asked = self.ask(name, Sort::Write, "POST", &upsert, &body);
        if asked.outcome != Outcome::Done {
            return;
        }
        let get = format!("{path}/get");
        let asked = self.ask(name, Sort::Read, "POST", &get, &json!({}));
        if asked.outcome == Outcome::Done
            && asked.body["metadatas"] != json!([{ "marker": marker }])
        {
            self.violation(
                name,
                &format!("the record of {name} is not there: {}", asked.body),
            );
        }
    }

    fn look_at(&mut self, name: &str) {
        let marker = self.names.present[name];
        let path = format!("$D/collections/{name}");
        let asked = self.ask(name, Sort::Read, "GET", &path, &Value::Null);
        match asked.outcome {
            Outcome::Done => self.expect_marker(name, marker, &asked.body),
            Outcome::NotDone if asked.told.contains(": 404 ") => {
                self.violation(name, &format!("{name} should be there"));
            }
            Outcome::NotDone | Outcome::Unknown => {}
        }
    }

    fn expect_marker(&self, name: &str, marker: u64, about: &Value) {
        if about["metadata"]["marker"] != marker {
            let what = format!("{name} should have the marker {marker}, but it is {about}");
            self.violation(name, &what);
        }
    }

    fn look_for_absent(&mut self) {
        let Some(name) = self.names.absent.iter().next_back().cloned() else {
            return;
        };
        let path = format!("$D/collections/{name}");
        let asked = self.ask(&name, Sort::Read, "GET", &path, &Value::Null);
        if asked.outcome == Outcome::Done {
            self.violation(
                &name,
                &format!("{name} should not be there: {}", asked.body),
            );
        }
    }

    fn list(&mut self) {
        let asked = self
            .asker
            .ask(Sort::Read, "GET", "$D/collections?limit=1000", &Value::Null);
        if asked.outcome != Outcome::Done {
            return;
        }
        for (name, what) in self.names.disagreements(&asked.body) {
            self.violation(&name, &format!("a list is wrong, {what}: {}", asked.told));
        }
    }
}

impl Names {
    /// What a list of all collections should say otherwise: which name, and how.
    pub fn disagreements(&self, list: &Value) -> Vec<(String, String)> {
        let list = list.as_array().cloned().unwrap_or_default();
        let marker = |c: &Value| c["metadata"]["marker"].as_u64().unwrap_or_default();
        let name = |c: &Value| c["name"].as_str().unwrap_or_default().to_owned();
        let listed: BTreeMap<String, u64> = list.iter().map(|c| (name(c), marker(c))).collect();
        let missing = self.present.iter().filter_map(|(name, marker)| {
            let found = listed.get(name);
            let what = format!("{name} has the marker {found:?}, not {marker}");
            (found != Some(marker)).then(|| (name.clone(), what))
        });
        let is_known = |name: &String| {
            !name.starts_with(&self.prefix)
                || self.present.contains_key(name)
                || self.unsure.contains(name)
        };
        let zombies = listed.keys().filter(|name| !is_known(name));
        let zombies = zombies.map(|name| (name.clone(), format!("{name} should not be there")));
        missing.chain(zombies).collect()
    }
}
