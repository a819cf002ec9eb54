//! Real faults on real processes: Chroma servers and Achromat are killed, frozen, starved of disk
//! and cut off from each other by a plan that follows from a seed, while clients that know what
//! must hold check every answer. In the end every instance is read for itself.
//!
//! A seed fixes the plan and each client's choices; the machine's timing is its own, so a run is
//! repeated in kind, not to the microsecond.

pub mod checker;
pub mod chronicle;
pub mod churn;
pub mod clients;
pub mod ledger;
pub mod message;
mod passage;
pub mod recorder;
pub mod registers;
pub mod relay;
pub mod schedule;
pub mod summary;
pub mod supervisor;
pub mod world;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::json;

use self::{
    chronicle::Chronicle,
    churn::{Churn, Names},
    clients::Client,
    registers::RegisterClient,
    relay::Relay,
    schedule::Extras,
    summary::Summary,
    supervisor::Supervisor,
    world::{Collection, World},
};
use crate::{
    chroma::Chroma,
    cluster::{NAMES, folder},
    postgres::Postgres,
    proxy::Proxy,
    registers::Operation,
};

/// Dimensions of the embeddings.
pub const DIMENSION: usize = 4;

/// Milliseconds that Achromat waits for the answer to a sending, and that it then lets a request
/// settle. Much less than its defaults, so that runs are short; faults that leave requests behind
/// end within this time.
pub const ATTEMPT_MS: u64 = 4000;
pub const SETTLE_MS: u64 = 4000;

/// Collections of records, clients that write to them, and clients that make and delete others.
const COLLECTIONS: usize = 3;
const CLIENTS: usize = 4;
const CHURNS: usize = 2;

/// Clients that meet at the same few records.
const REGISTER_CLIENTS: usize = 3;

/// What a run is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seconds: u64,
    pub seed: u64,
    pub instances: usize,
    /// Whether instances lose their data.
    pub wipes: bool,
    /// Whether all instances may be broken at once.
    pub blackouts: bool,
    /// Whether requests are carried out later than Achromat waits for them to settle.
    pub late: bool,
    /// Number of Achromats; more than one are a fleet on one database.
    pub proxies: usize,
}

impl Options {
    /// The command that repeats the run.
    pub fn command(&self) -> String {
        let Self {
            seconds,
            seed,
            instances,
            ..
        } = self;
        let mut command = format!(
            "cargo run -p achromat-tests --release -- chaos --seconds {seconds} --seed {seed} --instances {instances}"
        );
        let flags = [
            (self.wipes, " --wipes"),
            (self.blackouts, " --blackouts"),
            (self.late, " --late"),
        ];
        if self.proxies > 1 {
            command += " --proxies ";
            command += &self.proxies.to_string();
        }
        for (is_set, flag) in flags {
            if is_set {
                command.push_str(flag);
            }
        }
        command
    }
}

/// Runs it, and tells what came of it.
pub fn run(options: Options) -> Summary {
    let folder = folder();
    let instances = start_instances(folder.path(), options.instances);
    let chronicle = Arc::new(Chronicle::new(options.instances, options.proxies));
    let relays = start_relays(&instances, &chronicle, options.seed);
    let named: Vec<_> = NAMES
        .into_iter()
        .zip(relays.iter().map(Relay::url))
        .collect();
    let flags = [
        format!("--writes-attempt-deadline-ms={ATTEMPT_MS}"),
        format!("--writes-settle-ms={SETTLE_MS}"),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let achromats = start_achromats(folder.path(), options.proxies, &named, &flags);
    let mut supervisor = Supervisor::new(
        instances,
        relays,
        achromats,
        Arc::clone(&chronicle),
        options.blackouts,
    );
    let world = Arc::new(make_world(&supervisor));
    let registers = supervisor.api().create(registers::NAME);
    let clients = start_clients(&world, options.seed);
    let churns = start_churns(&world, options.seed);
    let registers = start_register_clients(&world, options.seed, &registers);

    let length = Duration::from_secs(options.seconds);
    let extras = Extras {
        wipes: options.wipes,
        late: options.late,
        proxies: options.proxies,
    };
    let plan = schedule::plan(options.seed, length, options.instances, extras);
    supervisor.run(plan, length);
    supervisor.heal();
    world.signals.stop.store(true, Relaxed);
    join(clients);
    let churned: Vec<Names> = join(churns);
    let registers = registers::judge(&world, &join(registers));
    let converged = checker::converge(&supervisor);
    checker::check(&supervisor, &world, &churned, options.wipes);
    Summary::new(options, &supervisor, &world, (converged, registers))
}

fn start_instances(folder: &Path, count: usize) -> Vec<Chroma> {
    let start = |name| {
        let folder = folder.join(name);
        thread::spawn(move || Chroma::start(&folder))
    };
    join(NAMES.into_iter().take(count).map(start).collect())
}

/// Starts one Achromat, or a fleet and its database.
fn start_achromats(
    folder: &Path,
    count: usize,
    named: &[(&str, String)],
    flags: &[&str],
) -> (Vec<Proxy>, Option<Postgres>) {
    if count == 1 {
        return (vec![Proxy::before(folder, named, flags)], None);
    }
    let database = Postgres::start().expect("PostgreSQL runs here");
    let start = |number| {
        let name = format!("proxy-{number}");
        let proxy = Proxy::join((folder, &name), &database.url(), named, flags);
        proxy.wait_ready();
        proxy
    };
    let proxies = (0..count).map(start).collect();
    (proxies, Some(database))
}

fn start_relays(instances: &[Chroma], chronicle: &Chronicle, seed: u64) -> Vec<Relay> {
    let start = |(number, chroma): (u64, &Chroma)| {
        Relay::start(chroma.port, chronicle.begun(), seed ^ number)
    };
    (0..).zip(instances).map(start).collect()
}

/// Makes the collections of records. Each gets one record at once, which fixes its dimension.
fn make_world(supervisor: &Supervisor) -> World {
    let api = supervisor.api();
    let make = |number| {
        let name = format!("records-{number}");
        let id = api.create(&name);
        let first = json!({
            "ids": ["first"],
            "embeddings": [vec![1; DIMENSION]],
            "metadatas": [{ "owner": "nobody", "version": 0 }],
            "documents": ["version 0 "],
        });
        api.records(&id, "add", &first).ok();
        api.records(&id, "delete", &json!({ "ids": ["first"] }))
            .ok();
        Collection { name, id }
    };
    World::new(
        supervisor.proxies.iter().map(|proxy| proxy.port).collect(),
        Arc::clone(&supervisor.chronicle),
        Arc::clone(&supervisor.signals),
        (0..COLLECTIONS).map(make).collect(),
    )
}

fn start_clients(world: &Arc<World>, seed: u64) -> Vec<JoinHandle<()>> {
    let start = |number| {
        let client = Client::new(Arc::clone(world), number, CLIENTS, seed);
        thread::spawn(move || client.run())
    };
    (0..CLIENTS).map(start).collect()
}

fn start_churns(world: &Arc<World>, seed: u64) -> Vec<JoinHandle<Names>> {
    let start = |number| {
        let churn = Churn::new(Arc::clone(world), CLIENTS + number, seed);
        thread::spawn(move || churn.run())
    };
    (0..CHURNS).map(start).collect()
}

fn start_register_clients(
    world: &Arc<World>,
    seed: u64,
    collection: &str,
) -> Vec<JoinHandle<Vec<Operation>>> {
    let start = |number| {
        let number = CLIENTS + CHURNS + number;
        let client = RegisterClient::new(Arc::clone(world), number, seed, collection);
        thread::spawn(move || client.run())
    };
    (0..REGISTER_CLIENTS).map(start).collect()
}

fn join<T>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    let ended = threads.into_iter().map(JoinHandle::join);
    ended.map(|ended| ended.expect("it ends well")).collect()
}
