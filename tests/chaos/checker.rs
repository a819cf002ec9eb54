//! What must hold in the end, read from each instance itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    churn::Names,
    clients::version_of,
    recorder::{Fate, overlaps, sendings},
    schedule::Kind,
    supervisor::{Supervisor, told_instances},
    world::World,
};
use crate::{
    api::DATABASE,
    chroma::Chroma,
    cluster::NAMES,
    proxy::Proxy,
    records::{Contents, contents},
};

/// Within this time after everything is healed nothing may be owed any more.
pub const CONVERGENCE_MAX: Duration = Duration::from_secs(60);

/// How often Achromat is asked meanwhile.
const ASK_PAUSE: Duration = Duration::from_millis(50);

/// Sendings beyond one for each write that a fault may cost an instance: each of its lanes tries
/// again a few times, at growing intervals, as long as the fault lasts.
const SENDINGS_PER_FAULT_MAX: usize = 60;

/// Waits until Achromat says that nothing is owed; returns how long that took.
pub fn converge(supervisor: &Supervisor) -> Duration {
    let (api, began) = (supervisor.api(), Instant::now());
    loop {
        let owed = api.get("/admin/wal_count").ok();
        let told = told_instances(&api).unwrap_or_default();
        let are_up = told.iter().all(|instance| instance["state"] == "up");
        if are_up && owed["pending_writes"] == 0 {
            return began.elapsed();
        }
        if began.elapsed() > CONVERGENCE_MAX {
            let errors = api.get("/admin/wal_errors").body;
            let what = format!(
                "not converged within {CONVERGENCE_MAX:?}: {owed}, {}",
                json!(told)
            );
            let chronicle = &supervisor.chronicle;
            chronicle.violation(&what, &[errors.to_string()]);
            chronicle.violation("the time line", &chronicle.lines());
            return began.elapsed();
        }
        thread::sleep(ASK_PAUSE);
    }
}

/// Checks everything; what does not hold is in the chronicle afterwards.
pub fn check(supervisor: &Supervisor, world: &World, names: &[Names], wipes: bool) {
    let mut all = Vec::new();
    for (chroma, name) in supervisor.instances.iter().zip(NAMES) {
        match contents(&chroma.api(), &[DATABASE]) {
            Ok(held) => {
                check_records(world, name, &held);
                check_names(world, name, chroma, names);
                all.push((name, held));
            }
            Err(error) => world
                .chronicle
                .violation(&format!("{name} can't be read: {error}"), &[]),
        }
    }
    for pair in all.windows(2) {
        if let [(one, held), (other, also_held)] = pair {
            check_equal(world, (one, held), (other, also_held));
        }
    }
    check_calm(supervisor, world, wipes);
    check_traffic(supervisor, world);
}

/// Every acknowledged write is there, nothing refused is, and nothing deleted has come back.
fn check_records(world: &World, instance: &str, held: &Contents) {
    let now = world.ledger.mark();
    for (at, collection) in world.collections.iter().enumerate() {
        let Some((_, records)) = held.get(&format!("{DATABASE} {}", collection.name)) else {
            let what = format!("{} is not on {instance}", collection.name);
            world.chronicle.violation(&what, &world.chronicle.lines());
            continue;
        };
        let mut ids = world.ledger.ids(at);
        ids.extend(records.keys().cloned());
        ids.sort();
        ids.dedup();
        for id in ids {
            let record = records.get(&id);
            let version = record.map(|r| version_of(&json!([r[2], r[1]])).unwrap_or_default());
            if let Err(why) = world.ledger.check(at, &id, now, version) {
                let what = format!(
                    "in the end {id} in {} on {instance}: {why}",
                    collection.name
                );
                world.violation_about(at, &id, &what);
            }
        }
    }
}

fn check_names(world: &World, instance: &str, chroma: &Chroma, names: &[Names]) {
    let list = chroma.api().get("$D/collections?limit=10000").body;
    for names in names {
        for (name, what) in names.disagreements(&list) {
            let mut lines = world.chronicle.lines();
            lines.extend(names.told.get(&name).into_iter().flatten().cloned());
            lines.sort();
            let what = format!("in the end on {instance}: {what}");
            world.chronicle.violation(&what, &lines);
        }
    }
}

/// A collection as it must be everywhere. Its schema is left out: Chroma works it out in the
/// background.
fn described(about: &Value) -> Value {
    json!([about[0], about[1], about[2]])
}

fn check_equal(world: &World, one: (&str, &Contents), other: (&str, &Contents)) {
    let ((one, held), (other, also_held)) = (one, other);
    for name in held.keys().chain(also_held.keys()) {
        let what = match (held.get(name), also_held.get(name)) {
            (Some((about, a)), Some((also_about, b))) => {
                if described(about) != described(also_about) {
                    format!("is described as {about} and {also_about}")
                } else if a == b {
                    continue;
                } else {
                    let differs = |id: &&String| a.get(*id) != b.get(*id);
                    let ids: Vec<_> = a.keys().chain(b.keys()).filter(differs).take(5).collect();
                    format!("has other records there, such as {ids:?}")
                }
            }
            _ => "is on one of them only".to_owned(),
        };
        let what = format!("{one} and {other} are not equal: {name} {what}");
        world.chronicle.violation(&what, &[]);
    }
}

/// Achromat told of no error, and quarantined nothing without a reason.
fn check_calm(supervisor: &Supervisor, world: &World, wipes: bool) {
    let told: String = supervisor.proxies.iter().map(Proxy::told).collect();
    let lost_database = supervisor.counts.contains_key(&Kind::DatabaseCrash);
    let is_excused = |line: &str| lost_database && line.contains("the store failed");
    let is_bad =
        |line: &&str| line.contains("panicked") || line.contains("ERROR") && !is_excused(line);
    let bad: Vec<_> = told.lines().filter(is_bad).map(str::to_owned).collect();
    if !bad.is_empty() {
        world.chronicle.violation("Achromat told of errors", &bad);
    }
    let told = told_instances(&supervisor.api()).unwrap_or_default();
    let is_quarantined =
        |i: &&Value| i["quarantined_collections"] != 0 || !i["quarantine"].is_null();
    for instance in told.iter().filter(is_quarantined) {
        if !wipes {
            let about = supervisor.api().get("/admin/wal_errors").body;
            let what = format!("quarantined for no fault of its own: {instance}");
            world.chronicle.violation(&what, &[about.to_string()]);
        }
    }
}

/// At each instance a collection's writes came one at a time, and not much more often than they
/// were asked for.
fn check_traffic(supervisor: &Supervisor, world: &World) {
    let faults: u32 = supervisor.counts.values().sum();
    let tally = world.tally().clone();
    let writes = usize::try_from(tally.writes + tally.refused).unwrap_or(usize::MAX);
    let most = writes + usize::try_from(faults).unwrap_or_default() * SENDINGS_PER_FAULT_MAX;
    for (at, (relay, name)) in supervisor.relays.iter().zip(NAMES).enumerate() {
        let seen = relay.recorder().all();
        for overlap in overlaps(&seen) {
            // What a link that suffers still carries of a request that was given up is no longer
            // in Achromat's hands.
            let was_given_up = overlap.earlier.fate == Fate::Broken;
            if !(was_given_up && world.chronicle.suffered(at, overlap.span)) {
                let what = format!("at {name} two writes of a collection at once: {overlap:?}");
                world.chronicle.violation(&what, &world.chronicle.lines());
            }
        }
        let sendings = sendings(&seen);
        if sendings > most {
            let what =
                format!("{name} was sent {sendings} writes for {writes} and {faults} faults");
            world.chronicle.violation(&what, &[]);
        }
    }
}
