//! An instance as a process: a model server that can crash, freeze, be cut off, be slow, or have a
//! full disk. What it has carried out outlives it; what it only holds does not.

use std::time::Duration;

use achromat_core::{catalog::Marker, health::Probe, ids::InstanceIx, reply::Reply};

use super::{
    faults::Fault,
    marks::Mark,
    model::Server,
    wire::{Stage, Word},
    world::{Happening, World},
};

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It serves.
    Up,
    /// It is dead: connections are refused.
    Crashed,
    /// It accepts and holds requests, and says nothing.
    Frozen,
    /// Nothing gets through to it; what was on its way comes when the way is free again.
    Cut,
}

/// A process.
pub struct Process {
    /// What it has on disk.
    pub server: Server,
    /// What it is doing.
    pub state: State,
    /// How often it has crashed; a connection lives as long as this number.
    pub life: u32,
    /// How many times longer than usual it takes.
    pub slowness: u64,
    /// The life in which it works on a heavy write, and until when: probes and other writes wait.
    pub busy: (u32, u64),
    /// Whether writes fail.
    pub is_full: bool,
    /// An old backup of its disk.
    pub backup: Option<Server>,
    /// Requests that it holds, in the order in which they came.
    pub held: Vec<u64>,
    /// Probes in a row that were lost on their way to it.
    pub lost_probes: u32,
    /// The last answer to a probe, and how it was judged: most are the same.
    pub judged: Option<(Option<Marker>, Reply, Probe)>,
}

impl Process {
    /// A process with nothing on disk.
    pub fn new(seed: u64, instance: InstanceIx) -> Self {
        Self {
            server: server(seed, instance, 0),
            state: State::Up,
            life: 0,
            slowness: 1,
            busy: (0, 0),
            is_full: false,
            backup: None,
            held: Vec::new(),
            lost_probes: 0,
            judged: None,
        }
    }

    /// It has nothing on its disk any more.
    pub fn wipe(&mut self, seed: u64, instance: InstanceIx) {
        self.server = server(seed, instance, self.life);
    }

    /// It has on its disk what it once had.
    pub fn set_back(&mut self, backup: Server, seed: u64, instance: InstanceIx) {
        self.server = backup;
        self.server
            .mint_from(minting_seed(seed, instance, self.life));
    }
}

/// Whether a server is older than 1.5.7: in a quarter of the histories all are, in another quarter all
/// but the first.
pub fn is_old(seed: u64, instance: InstanceIx) -> bool {
    match seed % 4 {
        0 => true,
        1 => instance != InstanceIx(0),
        _ => false,
    }
}

/// An empty server.
fn server(seed: u64, instance: InstanceIx, life: u32) -> Server {
    let is_old = is_old(seed, instance);
    Server::new(minting_seed(seed, instance, life))
        .with_by_id(!is_old)
        .with_functions(!is_old)
}

/// No two servers of a history mint the same UUIDs.
fn minting_seed(seed: u64, instance: InstanceIx, life: u32) -> u64 {
    let server = u64::from(life) * 16 + u64::from(instance.0) + 1;
    seed.wrapping_mul(31).wrapping_add(server << 40)
}

impl World {
    /// The process dies: what it had begun may be done or not, what it only held is lost.
    pub fn crash(&mut self, instance: InstanceIx) {
        self.say(|| format!("instance {} crashes", instance.0));
        let life = self.processes[instance.at()].life;
        let on_it: Vec<_> = self
            .requests
            .iter()
            .filter(|(_, r)| r.instance == instance && r.life == life)
            .filter(|(_, r)| matches!(r.stage, Stage::Serving | Stage::Held))
            .map(|(id, r)| (*id, r.stage))
            .collect();
        for (id, stage) in on_it {
            if stage == Stage::Serving && self.of_chaos.chance(500) && !self.is_poison(id) {
                self.execute(id);
            }
            self.end(id, Word::Closed);
        }
        let process = &mut self.processes[instance.at()];
        process.state = State::Crashed;
        process.life += 1;
        process.held.clear();
    }

    /// A crashed process starts again; a frozen or cut off one carries out what it holds.
    pub fn revive(&mut self, instance: InstanceIx) {
        let process = &mut self.processes[instance.at()];
        if process.state == State::Up {
            return;
        }
        process.state = State::Up;
        let held = std::mem::take(&mut process.held);
        self.say(|| format!("instance {} is back, holding {}", instance.0, held.len()));
        for id in held {
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            request.stage = Stage::Serving;
            let late = Duration::from_micros(self.of_chaos.between(100, 300_000));
            self.after(late, Happening::Serve(id));
        }
    }

    /// Counts the probes in a row that do not reach an instance, and of which the proxy hears nothing
    /// better than that.
    pub(super) fn note_probe(&mut self, instance: InstanceIx, fate: Option<Fault>) {
        let lost = &mut self.processes[instance.at()].lost_probes;
        match fate {
            Some(Fault::Unsent | Fault::LostSilent) => *lost += 1,
            // It is sent again at once.
            Some(Fault::LostStale) => {}
            _ => *lost = 0,
        }
    }

    /// Marks what a request that nobody waits for has done.
    pub(super) fn mark_landing(&mut self, id: u64) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        if !request.is_write() || request.is_awaited {
            return;
        }
        let is_orphan = request
            .proxy()
            .is_some_and(|proxy| !self.proxies.contains_key(&proxy));
        self.mark(if is_orphan {
            Mark::OrphanLanding
        } else {
            Mark::LateLanding
        });
    }
}
