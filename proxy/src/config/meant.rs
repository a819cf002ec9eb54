//! The configuration as it is meant: complete and checked.

use std::{
    collections::BTreeSet,
    fmt,
    net::{SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use achromat_core::{
    engine,
    guard::Guard,
    health::HealthRules,
    jobs::copy::Pace,
    lane,
    limits::{COPY_BATCH_BYTES_MAX, INSTANCES_MAX},
    log::Level,
    planted::Planted,
    read::{ReadRules, Strategy},
    write::Levels,
};

use super::{
    ConfigError, Problem,
    edge::{self, OperatorConfig, TlsFiles},
    fleet::{FleetConfig, fleet},
    history::history,
    memory::{Shares, shares},
    policies::policy,
    values::Keys,
    written::{FormatName, LevelName, StrategyName, Written},
};
use crate::{
    history::Keep,
    instances::{Address, Bounds, CredentialFiles, Timing},
    policy::PolicyConfig,
    serve::{ConnectionLimits, Origins, QuotaLimits, ServeLimits, Settings, SpaceLimits},
    store::{check_database, without_credentials},
};

/// Store of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrl {
    /// In a file.
    Sqlite(PathBuf),
    /// In a PostgreSQL database.
    Postgres(DatabaseUrl),
    /// Nowhere.
    Memory,
}

/// Address of a PostgreSQL database, maybe with credentials: they are not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(Arc<str>);

impl DatabaseUrl {
    /// The address with its credentials.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_credentials(&self.0))
    }
}

impl StoreUrl {
    /// Reads what was written; the error says what is wrong with it, without a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("memory", "")) => return Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => {
                return Ok(Self::Sqlite(path.trim_start_matches("//").into()));
            }
            Some(("postgres" | "postgresql", _)) => {
                return match check_database(text) {
                    Ok(()) => Ok(Self::Postgres(DatabaseUrl(text.into()))),
                    Err(why) => Err(format!("it is no address of a database: {why}")),
                };
            }
            _ => {}
        }
        Err(format!(
            "{:?} is none of sqlite:PATH, postgres://USER@HOST/DATABASE and memory:",
            masked(text)
        ))
    }

    /// The word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Memory => "memory",
        }
    }
}

/// Format of the events that the proxy reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// One Chroma server.
#[derive(Clone, Debug)]
pub struct InstanceConfig {
    /// Its name.
    pub name: Arc<str>,
    /// Address of the instance.
    pub address: Address,
    /// Files of its credentials.
    pub credentials: CredentialFiles,
}

/// Everything that there is to decide, decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address that clients connect to.
    pub listen: SocketAddr,
    /// Store of the log.
    pub store: StoreUrl,
    /// The proxy's place in its fleet; none when nobody can share its store.
    pub fleet: Option<FleetConfig>,
    /// The instances, the primary first.
    pub instances: Vec<InstanceConfig>,
    /// Settings for serving requests.
    pub serve: Settings,
    /// The strategy's name.
    pub strategy: &'static str,
    /// Timing of lanes and of health checks.
    pub engine: engine::Settings,
    /// Timing of connections to instances.
    pub timing: Timing,
    /// Bounds of the requests that one instance has at once.
    pub bounds: Bounds,
    /// Origins of pages that may use Chroma's interface.
    pub origins: Origins,
    /// Names that clients may call the server by; none lets any pass.
    pub hosts: Vec<String>,
    /// The file of clients' tokens.
    pub tokens_file: Option<PathBuf>,
    /// Files for the encryption of the clients' address; none when it is not encrypted.
    pub tls: Option<TlsFiles>,
    /// Bounds of clients' connections.
    pub connections: ConnectionLimits,
    /// Quotas of clients.
    pub quotas: QuotaLimits,
    /// Quotas of space.
    pub space: SpaceLimits,
    /// Protection of collections against destruction.
    pub guard: Guard,
    /// Plugins that decide.
    pub policy: PolicyConfig,
    /// Retention of recent writes and audited events.
    pub history: Keep,
    /// Memory in all, in bytes.
    pub memory_bytes_max: usize,
    /// The operator's interface.
    pub operator: OperatorConfig,
    /// Filter of the events that the proxy reports.
    pub log_level: String,
    /// Format of these events.
    pub log_format: LogFormat,
    /// For requests that have begun to end.
    pub drain: Duration,
    /// Everything as it was written.
    pub keys: Keys,
}

/// Time that an idle connection to an instance is kept. Chroma's server keeps it for ever.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);

/// Longest time that makes sense anywhere.
const TIME_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Longest time for which keys can be kept: each costs the store some 200 bytes.
const KEYS_KEPT_MS_MAX: u64 = 30 * TIME_MS_MAX;

#[derive(Default)]
pub(super) struct Checks(Vec<Problem>);

impl Checks {
    pub(super) fn wrong(&mut self, key: &str, message: impl Into<String>) {
        self.0.push(Problem {
            key: key.to_owned(),
            message: message.into(),
        });
    }

    pub(super) fn time(&mut self, key: &str, ms: u64) -> Duration {
        self.time_up_to(key, ms, TIME_MS_MAX)
    }

    pub(super) fn time_up_to(&mut self, key: &str, ms: u64, ms_max: u64) -> Duration {
        if !(1..=ms_max).contains(&ms) {
            self.wrong(
                key,
                format!("{ms} is not between 1 and {ms_max} milliseconds"),
            );
        }
        Duration::from_millis(ms)
    }

    pub(super) fn at_least(&mut self, key: &str, value: usize, min: usize) -> usize {
        if value < min {
            self.wrong(key, format!("{value} is less than {min}"));
        }
        value
    }
}

impl Config {
    /// Checks everything, and tells everything that is wrong.
    pub(super) fn mean(written: &Written) -> Result<Self, ConfigError> {
        let mut checks = Checks::default();
        let listen = listen(&mut checks, "listen", &written.listen);
        let store = store(&mut checks, &written.store);
        let instances = instances(&mut checks, written);
        let (strategy, strategy_name) = strategy(&mut checks, written);
        let shares = shares(&mut checks, &written.limits, instances.len());
        let tls = edge::tls(&mut checks, &written.tls);
        let config = Self {
            fleet: fleet(&mut checks, &written.fleet, &store, (listen, tls.is_some())),
            serve: serve(&mut checks, written, strategy, shares),
            engine: engine(&mut checks, written, instances.len(), shares),
            timing: timing(&mut checks, written),
            bounds: bounds(&mut checks, written, shares),
            origins: origins(&mut checks, written),
            connections: edge::connections(&mut checks, &written.limits),
            quotas: edge::quotas(&written.quotas, written.limits.body_bytes_max),
            space: edge::space(&written.quotas),
            guard: guard(&mut checks, written),
            policy: policy(&mut checks, written),
            history: history(&mut checks, &written.history),
            memory_bytes_max: written.limits.memory_bytes_max,
            operator: edge::operator(&mut checks, &written.admin),
            tokens_file: edge::path(&written.access.tokens_file),
            tls,
            hosts: edge::hosts(&mut checks, &written.http.hosts),
            log_level: log_level(&mut checks, written),
            log_format: match written.log.format {
                FormatName::Text => LogFormat::Text,
                FormatName::Json => LogFormat::Json,
            },
            drain: checks.time("stop.drain_ms", written.stop.drain_ms),
            strategy: strategy_name,
            keys: Keys::of(written),
            listen,
            store,
            instances,
        };
        if checks.0.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Problems(checks.0))
        }
    }
}

pub(super) fn listen(checks: &mut Checks, key: &str, text: &str) -> SocketAddr {
    let found = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next());
    found.unwrap_or_else(|| {
        let message = format!("{text:?} is not an address and a port, such as 127.0.0.1:8000");
        checks.wrong(key, message);
        SocketAddr::from(([127, 0, 0, 1], 0))
    })
}

fn store(checks: &mut Checks, text: &str) -> StoreUrl {
    StoreUrl::parse(text).unwrap_or_else(|message| {
        checks.wrong("store", message);
        StoreUrl::Memory
    })
}

fn instances(checks: &mut Checks, written: &Written) -> Vec<InstanceConfig> {
    let key = "instances";
    if written.instances.is_empty() {
        checks.wrong(
            key,
            "there is none; name at least one, such as --instance a=http://127.0.0.1:8001",
        );
    }
    if written.instances.len() > INSTANCES_MAX {
        checks.wrong(key, format!("there are more than {INSTANCES_MAX}"));
    }
    let (mut names, mut urls) = (BTreeSet::new(), BTreeSet::new());
    let mut instances = Vec::new();
    for instance in &written.instances {
        let name = instance.name.as_str();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
            let message = format!("{name:?} is no name: 1 to 64 of a-z, A-Z, 0-9, -, _ and .");
            checks.wrong(key, message);
        }
        if !names.insert(name) {
            checks.wrong(key, format!("the name {name:?} is there twice"));
        }
        match Address::parse(&instance.url) {
            Ok(address) => {
                if !urls.insert(address.to_string()) {
                    checks.wrong(
                        key,
                        format!(
                            "{address} is there twice; two instances on one server would be one"
                        ),
                    );
                }
                let is_encrypted = address.is_tls();
                instances.push(InstanceConfig {
                    name: name.into(),
                    address,
                    credentials: edge::credentials(checks, instance, is_encrypted),
                });
            }
            Err(error) => checks.wrong(
                key,
                format!("the URL {:?} of {name:?}: {error}", masked(&instance.url)),
            ),
        }
    }
    instances
}

fn strategy(checks: &mut Checks, written: &Written) -> (Strategy, &'static str) {
    let ratio = written.reads.replica_ratio;
    if !(0.0..=1.0).contains(&ratio) {
        checks.wrong(
            "reads.replica_ratio",
            format!("{ratio} is not between 0 and 1"),
        );
    }
    match written.reads.strategy {
        StrategyName::RoundRobin => (Strategy::RoundRobin, "round_robin"),
        StrategyName::PrimaryOnly => (Strategy::PrimaryOnly, "primary_only"),
        StrategyName::ReadReplica => (Strategy::ReadReplica { ratio }, "read_replica"),
    }
}

fn bounds(checks: &mut Checks, written: &Written, shares: Shares) -> Bounds {
    let limits = &written.limits;
    Bounds {
        reads_max: checks.at_least("limits.instance_reads_max", limits.instance_reads_max, 1),
        writes_max: checks.at_least("limits.instance_writes_max", limits.instance_writes_max, 1),
        bodies_bytes_max: shares.instance,
    }
}

fn serve(checks: &mut Checks, written: &Written, strategy: Strategy, shares: Shares) -> Settings {
    let (reads, limits) = (&written.reads, &written.limits);
    let level = |name| match name {
        LevelName::Logged => Level::Logged,
        LevelName::One => Level::One,
        LevelName::Majority => Level::Majority,
        LevelName::All => Level::All,
    };
    Settings {
        limits: ServeLimits {
            body_bytes_max: checks.at_least("limits.body_bytes_max", limits.body_bytes_max, 1024),
            bodies_bytes_max: shares.served,
            requests_max: checks.at_least("limits.requests_max", limits.requests_max, 1),
            queue_max: limits.queue_max,
            queue_wait: checks.time("limits.queue_wait_ms", limits.queue_wait_ms),
        },
        patience: edge::patience(checks, limits),
        streams_max: limits.http2_streams_max.max(1),
        reads: ReadRules {
            hedge: checks.time("reads.hedge_delay_ms", reads.hedge_delay_ms),
            deadline: checks.time("reads.deadline_ms", reads.deadline_ms),
            eligible_wait: checks.time("reads.eligible_wait_ms", reads.eligible_wait_ms),
        },
        strategy,
        levels: Levels {
            records: level(written.writes.records_level),
            schema: level(written.writes.schema_level),
        },
        write_deadline: checks.time("writes.deadline_ms", written.writes.deadline_ms),
    }
}

fn engine(
    checks: &mut Checks,
    written: &Written,
    instances: usize,
    shares: Shares,
) -> engine::Settings {
    let (writes, health) = (&written.writes, &written.health);
    let silent_max = usize::try_from(health.silent_probes_max).unwrap_or(0);
    checks.at_least("health.silent_probes_max", silent_max, 1);
    engine::Settings {
        instances,
        lanes: lane::Rules {
            hedge: checks.time("writes.hedge_delay_ms", writes.hedge_delay_ms),
            settle: checks.time("writes.settle_ms", writes.settle_ms),
            all_wait: checks.time("writes.all_wait_ms", writes.all_wait_ms),
            planted: Planted::NONE,
        },
        replication_max: checks.at_least(
            "limits.instance_replication_max",
            written.limits.instance_replication_max,
            1,
        ),
        kept_bytes_max: shares.kept,
        health: HealthRules {
            interval: checks.time("health.probe_interval_ms", health.probe_interval_ms),
            silent_max: health.silent_probes_max,
        },
        keys_kept: checks.time_up_to("writes.keys_kept_ms", writes.keys_kept_ms, KEYS_KEPT_MS_MAX),
        keys_max: writes.keys_max,
        pace: Pace {
            records_per_s: written.copies.records_per_s.max(1),
            batch_bytes_max: COPY_BATCH_BYTES_MAX,
        },
        verify_interval: checks.time(
            "copies.verify_interval_ms",
            written.copies.verify_interval_ms,
        ),
        token_interval: checks.time("health.token_interval_ms", health.token_interval_ms),
    }
}

fn timing(checks: &mut Checks, written: &Written) -> Timing {
    let health = &written.health;
    Timing {
        connect: checks.time("health.connect_timeout_ms", health.connect_timeout_ms),
        probe: checks.time("health.probe_timeout_ms", health.probe_timeout_ms),
        write: checks.time(
            "writes.attempt_deadline_ms",
            written.writes.attempt_deadline_ms,
        ),
        idle: IDLE_CONNECTION,
    }
}

/// A URL without what may be a password in it.
fn masked(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => url.to_owned(),
    }
}

fn guard(checks: &mut Checks, written: &Written) -> Guard {
    let protected = &written.guard.protected;
    if protected.iter().any(|pattern| pattern.trim().is_empty()) {
        checks.wrong("guard.protected", "an empty pattern protects nothing");
    }
    let cleanup = &written.guard.cleanup;
    if cleanup.iter().any(|pattern| pattern.trim().is_empty()) {
        checks.wrong("guard.cleanup", "an empty pattern fits nothing");
    }
    let (kept, frozen) = (&written.guard.keep_records, &written.guard.freeze_records);
    for (key, patterns) in [("keep_records", kept), ("freeze_records", frozen)] {
        if patterns.iter().any(|pattern| pattern.trim().is_empty()) {
            checks.wrong(&format!("guard.{key}"), "an empty pattern protects nothing");
        }
    }
    Guard::new(protected.iter().map(String::as_str))
        .keeping(kept.iter().map(String::as_str))
        .freezing(frozen.iter().map(String::as_str))
        .cleaning(cleanup.iter().map(String::as_str))
}

fn origins(checks: &mut Checks, written: &Written) -> Origins {
    let origins = Origins::new(&written.http.cors_allow_origins);
    origins.unwrap_or_else(|wrong| {
        checks.wrong("http.cors_allow_origins", wrong);
        Origins::None
    })
}

fn log_level(checks: &mut Checks, written: &Written) -> String {
    let level = &written.log.level;
    if let Err(error) = level.parse::<tracing_subscriber::EnvFilter>() {
        checks.wrong("log.level", error.to_string());
    }
    level.clone()
}
