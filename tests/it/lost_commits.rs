//! A database that has lost commits: a standby that was promoted too early, or an old copy. It is recognised, and
//! refused until an operator accepts it.

use std::time::Duration;

use achromat_tests::{
    api::{Answer, Api, DATABASE},
    chroma::Chroma,
    cluster::NAMES,
    proxy::Proxy,
    records::{Records, contents, difference, records},
    wait::eventually,
};
use serde_json::{Value, json};

use crate::fleet::Fleet;

const PATIENCE: Duration = Duration::from_secs(30);

/// A fleet whose database goes back.
struct GoingBack {
    fleet: Fleet,
    kept: String,
}

fn upsert(id: &str, version: u32) -> Value {
    json!({ "ids": [id], "embeddings": [[version, 1]], "metadatas": [{ "version": version }] })
}

/// The reasons of `/health`, whatever its status.
fn reasons(api: &Api) -> String {
    let answer = api.try_call("GET", "/health", &Value::Null);
    answer.map_or_else(|error| error.to_string(), |a| a.body["reasons"].to_string())
}

fn wait_recognised(api: &Api) {
    eventually("the loss is recognised", PATIENCE, || {
        let told = reasons(api);
        if told.contains("the database has gone back") {
            Ok(())
        } else {
            Err(told)
        }
    });
}

#[track_caller]
fn assert_refused(answer: Answer) {
    let words = answer.refused(503);
    assert!(words.contains("The database has gone back"), "{words}");
    assert!(words.contains("achromat fleet accept-database"), "{words}");
}

impl GoingBack {
    /// A fleet of two with one record in a collection.
    fn start() -> Self {
        let fleet = Fleet::start(2);
        let api = fleet.proxies[0].api();
        let kept = api.create("kept");
        for id in ["r0", "r1", "r2"] {
            api.records(&kept, "upsert", &upsert(id, 1)).ok();
        }
        api.wait_nothing_owed(PATIENCE);
        Self { fleet, kept }
    }

    /// Copies the database.
    fn back_up(&mut self) {
        let to = self.fleet.folder().join("old");
        self.fleet.postgres.back_up(&to);
        let api = self.api();
        eventually("writes go on", PATIENCE, || {
            let answer = api.records(&self.kept, "upsert", &upsert("r0", 2));
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer.body)
            }
        });
        api.wait_nothing_owed(PATIENCE);
    }

    /// Puts the copy in the place of the database.
    fn lose(&mut self) {
        let [from, own] = ["old", "newest"].map(|name| self.fleet.folder().join(name));
        self.fleet.postgres.put_back(&from, &own);
    }

    fn api(&self) -> Api {
        self.fleet.proxies[0].api()
    }

    fn write(&self, id: &str, version: u32) -> Answer {
        self.api()
            .records(&self.kept, "upsert", &upsert(id, version))
    }

    /// The version of a record through each proxy.
    fn versions(&self, id: &str) -> Vec<Value> {
        let read = |api: &Api| {
            let got = api.records(&self.kept, "get", &json!({ "ids": [id] })).ok();
            got["metadatas"][0]["version"].clone()
        };
        self.fleet.apis().iter().map(read).collect()
    }

    /// The records of each instance, under its own UUID.
    fn held(&self) -> Vec<Records> {
        let held = |chroma: &Chroma| {
            let id = chroma.own_id("kept");
            records(&chroma.api(), DATABASE, &id).expect("its records")
        };
        self.fleet.instances.iter().map(held).collect()
    }

    fn assert_equal(&self) {
        let all: Vec<_> = self
            .fleet
            .instances
            .iter()
            .map(|chroma| contents(&chroma.api(), &[DATABASE]).expect("it can be read"))
            .collect();
        assert_eq!(difference(&all[0], &all[1]), None);
    }
}

/// Waits until a proxy takes writes again and all copies were compared.
fn wait_whole(api: &Api) {
    eventually("all copies were compared", 3 * PATIENCE, || {
        let status = api.get("/status");
        let due = &status.body["instances"];
        let is_done = |n: usize| due[n]["copies_due"] == 0 && due[n]["pending_writes"] == 0;
        if status.status == 200 && is_done(0) && is_done(1) {
            Ok(())
        } else {
            Err(status.body.to_string())
        }
    });
}

/// The proxy that leads lives through the loss: it refuses writes and reads go on, until the operator accepts the
/// database; then all copies are compared, and what differs is mended.
#[test]
fn a_leader_recognises_a_database_that_lost_commits() {
    let mut back = GoingBack::start();
    back.back_up();
    let api = back.api();
    // One of the instances misses what is lost.
    back.fleet.instances[1].kill();
    api.wait_state("b", &["down"]);
    for version in 3..8 {
        back.write("r1", version).ok();
    }
    let later = api.create("later");
    api.records(&later, "add", &upsert("x", 1)).ok();
    back.lose();
    for api in back.fleet.apis() {
        wait_recognised(&api);
    }
    let status = api.get("/status").ok();
    assert!(status["degraded_because"].to_string().contains("gone back"));
    for api in back.fleet.apis() {
        assert_refused(api.records(&back.kept, "upsert", &upsert("r2", 9)));
        assert_refused(api.post("$D/collections", &json!({ "name": "more" })));
    }
    assert_eq!(
        back.versions("r1"),
        [7, 7],
        "reads go on with what only the proxies know"
    );
    assert_eq!(back.versions("r2"), [1, 1]);
    back.fleet.instances[1].up();

    let (is_good, told) = back.fleet.command(1, &["fleet", "accept-database"]);
    assert!(is_good && told.contains("1 collection"), "{told}");
    eventually("writes go on", PATIENCE, || {
        let answer = back.write("r2", 10);
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.body)
        }
    });
    // The instance that was away lacks what the log does not know any more.
    eventually("the copies were compared", 3 * PATIENCE, || {
        let (_, told) = back.fleet.command(0, &["verify", "--collection", "kept"]);
        if told.contains("1 different: r1") {
            Ok(())
        } else {
            Err(told)
        }
    });
    let repair = ["repair", "--collection", "kept", "--source", "a"];
    let (is_good, told) = back.fleet.command(0, &repair);
    assert!(is_good, "{told}");
    wait_whole(&api);
    assert_eq!(back.versions("r1"), [7, 7]);
    let held = back.held();
    assert_eq!(held[0], held[1]);
    assert_eq!(held[0]["r2"][2]["version"], 10);
    // A collection of which the log has lost all is on one instance still, and an operator makes it known.
    api.post("$D/collections", &json!({ "name": "later" }))
        .refused(409);
    let own = back.fleet.instances[0].own_id("later");
    let mapping = json!({ "collection_name": "later", "instances": { "a": own } });
    api.post("/admin/create_mapping", &mapping).ok();
    let id = api.get("$D/collections/later").ok()["id"].clone();
    let id = id.as_str().expect("an id");
    api.records(id, "upsert", &upsert("y", 1)).ok();
    api.wait_nothing_owed(PATIENCE);
    wait_whole(&api);
    back.assert_equal();
    assert_eq!(
        api.records(id, "get", &json!({})).ok()["ids"],
        json!(["x", "y"])
    );
    let (is_accepted_again, told) = back.fleet.command(0, &["fleet", "accept-database"]);
    assert!(
        !is_accepted_again && told.contains("lacks nothing"),
        "{told}"
    );
}

/// A proxy that is started anew knows from the others that the database has gone back, also when they are gone: it
/// does not lead, and says why, until an operator has it accept the database.
#[test]
fn a_new_proxy_refuses_what_the_others_have_refused() {
    let mut back = GoingBack::start();
    back.back_up();
    for version in 3..8 {
        back.write("r1", version).ok();
    }
    back.api().wait_nothing_owed(PATIENCE);
    back.lose();
    for api in back.fleet.apis() {
        wait_recognised(&api);
    }
    for proxy in &mut back.fleet.proxies {
        proxy.kill();
    }
    let instances = back.fleet.instances.iter().map(Chroma::url);
    let named: Vec<_> = NAMES.into_iter().zip(instances).collect();
    let place = (back.fleet.folder(), "proxy-2");
    let proxy = Proxy::join(place, &back.fleet.postgres.url(), &named, &[]);
    let api = proxy.api();
    wait_recognised(&api);
    assert_refused(api.records(&back.kept, "upsert", &upsert("r2", 9)));
    assert_refused(api.records(&back.kept, "get", &json!({})));
    let status = api
        .try_call("GET", "/status", &Value::Null)
        .expect("an answer");
    assert!(
        status.body["degraded_because"]
            .to_string()
            .contains("gone back")
    );
    let anybody = api.as_anybody();
    anybody
        .post("/admin/fleet/accept-database", &json!({}))
        .refused(403);

    let api = proxy.api();
    let (code, told) = proxy.command(&["fleet", "accept-database"]);
    assert!(code == Some(0) && told.contains("1 collection"), "{told}");
    proxy.wait_ready();
    wait_whole(&api);
    api.records(&back.kept, "upsert", &upsert("r2", 9)).ok();
    api.wait_nothing_owed(PATIENCE);
    back.assert_equal();
    for held in back.held() {
        assert_eq!(
            held["r1"][2]["version"], 7,
            "the instances have what the log lost"
        );
        assert_eq!(held["r2"][2]["version"], 9);
    }
}

/// Another proxy has come to lead since the copy: the epoch goes back. When the newest database comes back all
/// goes on, and no operator is asked.
#[test]
fn the_right_database_is_used_again_by_itself() {
    let mut back = GoingBack::start();
    back.back_up();
    let before = back.fleet.leader();
    let (is_good, told) = back.fleet.command(0, &["fleet", "hand-over"]);
    assert!(is_good, "{told}");
    let leader = back.fleet.wait_for_another(before);
    back.write("r1", 3).ok();
    back.lose();
    for api in back.fleet.apis() {
        wait_recognised(&api);
    }
    assert_refused(back.write("r1", 4));
    assert_eq!(back.versions("r1"), [3, 3]);
    let [from, own] = ["newest", "old-again"].map(|name| back.fleet.folder().join(name));
    back.fleet.postgres.put_back(&from, &own);
    eventually("writes go on", PATIENCE, || {
        let answer = back.write("r1", 5);
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.body)
        }
    });
    assert_eq!(back.fleet.leader(), leader);
    assert_eq!(back.versions("r1"), [5, 5]);
    for api in back.fleet.apis() {
        eventually("it is healthy", PATIENCE, || match reasons(&api).as_str() {
            "[]" => Ok(()),
            told => Err(told.to_owned()),
        });
        api.wait_nothing_owed(PATIENCE);
    }
    back.assert_equal();
}
