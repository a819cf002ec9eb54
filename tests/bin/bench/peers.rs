//! What is measured side by side: a real Chroma server itself, and what stands in front of one.

use achromat_tests::{
    api::{Api, DATABASE},
    chroma::Chroma,
    cluster::Cluster,
    ends::Ends,
};
use serde_json::json;

use super::{
    figures::{ACHROMAT, DIRECT},
    fronts::{FRONTS, Front},
};

/// The collection that requests are about.
const NAME: &str = "bench";

/// Records that it has before anything is measured.
pub(super) const RECORDS: usize = 1000;

/// Numbers of each embedding.
pub(super) const DIMENSIONS: usize = 384;

/// One of what is compared.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) port: u16,
    /// The path of the collection's records there.
    pub(super) records: String,
}

/// All that is compared, as long as this is held.
pub(super) struct Peers {
    pub(super) all: Vec<Peer>,
    pub(super) cluster: Cluster,
    _alone: Chroma,
    _fronts: Vec<Ends>,
}

/// An embedding that differs from record to record.
pub(super) fn embedding(number: usize) -> Vec<f64> {
    let part = |at: usize| {
        let mixed = number.wrapping_mul(2_654_435_761).wrapping_add(at * 40_503) % 1000;
        f64::from(u32::try_from(mixed).unwrap_or(0)) / 1000.0
    };
    (0..DIMENSIONS).map(part).collect()
}

/// Makes a collection with some records; returns the path of them.
pub(super) fn fill(api: &Api, name: &str, records: usize) -> String {
    let id = api.create(name);
    for from in (0..records).step_by(100) {
        let numbers = from..from + 100;
        let ids: Vec<_> = numbers.clone().map(|n| format!("r{n}")).collect();
        let embeddings: Vec<_> = numbers.map(embedding).collect();
        let body = json!({ "ids": ids, "embeddings": embeddings });
        api.records(&id, "add", &body).ok();
    }
    format!("{DATABASE}/collections/{id}")
}

impl Peers {
    /// Starts them: a Chroma server by itself, and behind plain reverse proxies; and two
    /// others behind Achromat, which have the same records.
    pub(super) fn start() -> Self {
        Self::with(&FRONTS)
    }

    /// The same without other proxies: a Chroma server by itself, and two others behind Achromat.
    pub(super) fn pair() -> Self {
        Self::with(&[])
    }

    /// The same, and one of the two is dead, so that Achromat owes it all that is written from now on.
    /// The server by itself is the other one, past Achromat.
    pub(super) fn owing() -> Self {
        let mut peers = Self::pair();
        peers.cluster.instances[1].kill();
        peers.cluster.wait_state("b", &["down"]);
        let itself = Peer {
            name: DIRECT,
            port: peers.cluster.instances[0].port,
            records: format!("{DATABASE}/collections/{}", peers.cluster.own_id(0, NAME)),
        };
        peers.all[0] = itself;
        peers
    }

    fn with(fronts: &[Front]) -> Self {
        let cluster = Cluster::with(2, &["--log-level=warn"]);
        let alone = Chroma::start(&cluster.folder().join("alone"));
        let plain = |name, port, records: &String| Peer {
            name,
            port,
            records: records.clone(),
        };
        let records = fill(&alone.api(), NAME, RECORDS);
        let mut all = vec![plain(DIRECT, alone.port, &records)];
        let mut ends = Vec::new();
        for front in fronts {
            if let Some((port, front_ends)) = front.start(cluster.folder(), alone.port) {
                ends.push(front_ends);
                all.push(plain(front.name, port, &records));
            }
        }
        let records = fill(&cluster.api(), NAME, RECORDS);
        all.push(plain(ACHROMAT, cluster.proxy.port, &records));
        cluster.settle();
        Self {
            all,
            cluster,
            _alone: alone,
            _fronts: ends,
        }
    }
}
