//! One proxy from start to stop: the rooms put together.

mod base;
mod opening;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use achromat_core::{fleet::Teller, health::Standing, read::Strategy};
use parking_lot::Mutex;

pub use self::base::Base;
use self::opening::open;
use crate::{
    access::{Access, OperatorTokenError, TokenFile, TokenFileError, operator_token},
    admin::{Admin, Capacity, Facts, Meter, Retrying},
    clock::Clock,
    config::{Config, FleetConfig, InstanceConfig, Keys, OperatorConfig},
    fleet::{JoinError, Tenure},
    history::{History, Recording},
    instances::{Address, CredentialError, Credentials, Instances},
    leave::Leave,
    plugins::{LifeError, Lifecycle, Watching},
    policy::{Member, Policies},
    replicate::{self, Parts, Replicator, Running},
    serve::{App, Edge, Encryption, Lead, Quotas, Server, Settings, SocketError, TlsError},
    store::{InstanceNames, MemoryStore, StoreError},
    trash::{Purge, Purging},
};

/// Failure to start a proxy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address can't be listened to.
    #[error(
        "{address} can't be listened to: {source}. Is another server there? Choose another address with --listen"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The operators' Unix socket can't be listened to.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The log can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The proxies that share the log are others.
    #[error(transparent)]
    Fleet(#[from] JoinError),
    /// There is no operator's token.
    #[error(transparent)]
    OperatorToken(#[from] OperatorTokenError),
    /// The clients' tokens can't be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// Connections can't be encrypted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An instance's credentials can't be used.
    #[error("the credentials of the instance {name:?} can't be used: {source}")]
    Credentials {
        /// Name of the instance.
        name: Arc<str>,
        /// Their fault.
        source: CredentialError,
    },
    /// A policy plugin can't be used.
    #[error(transparent)]
    Policy(#[from] LifeError),
}

impl StartError {
    /// The error of the store that it comes from, if it does.
    pub fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) | Self::Fleet(JoinError::Store(error)) => Some(error),
            Self::Policy(error) => error.of_store(),
            _ => None,
        }
    }
}

/// A proxy at work.
pub struct Achromat {
    address: SocketAddr,
    app: Arc<App>,
    running: Running,
    drain: Duration,
    lifecycle: Arc<Lifecycle>,
    keys: Keys,
    recording: Recording,
    tenure: Option<Tenure>,
    _watching: Watching,
    _purging: Purging,
}

/// Longest time that requests which a leader has begun may take to end before another proxy leads: everybody
/// else waits meanwhile.
pub const HAND_OVER: Duration = Duration::from_secs(2);

/// Starts a proxy: opens the log, goes on where it stopped, and serves. One of a fleet follows until it leads.
pub async fn start(config: Config, base: &mut Base) -> Result<Achromat, StartError> {
    let clock = Clock::start();
    let address = base.address;
    let capacity = capacity(&config);
    let access = access(&config.operator, config.tokens_file.clone(), address)?;
    warn_of_openness(address, &access, base.addresses.is_encrypted());
    let names = names(&config.instances);
    let policies = Arc::new(Policies::native(members(&names)));
    let (stores, tenure) = open(&config, names, (base, &access)).await?;
    let (store, versions, records) = stores;
    let (history, recording) = History::start(records, config.history);
    let list = with_credentials(config.instances)?;
    let instances = Instances::new(list, config.timing, config.bounds);
    let instances = Arc::new(instances.under(leave(tenure.as_ref())));
    let started = Lifecycle::start(config.policy, versions, Arc::clone(&policies));
    let (lifecycle, watching) = started.await?;
    let guard = Arc::new(config.guard);
    let running = replicate::start(Parts {
        settings: config.engine,
        guard: Arc::clone(&guard),
        store,
        instances: Arc::clone(&instances),
        clock,
    })
    .await?;
    let replicator = running.replicator();
    see_instances(&replicator, &instances, config.timing.probe).await;
    policies.wal.follow(Box::new(replicator.policy_follower()));
    let quotas = Arc::new(Quotas::new(config.quotas, config.space));
    let (fleet, teller) = (base.fleet(), tenure.as_ref().map(teller));
    let facts = Facts {
        history: history.clone(),
        door: base.addresses.door(),
        quotas: Arc::clone(&quotas),
        strategy: config.strategy,
        replica_ratio: replica_ratio(config.serve.strategy),
        policies: Arc::clone(&policies),
        lifecycle: Arc::clone(&lifecycle),
        access: Arc::clone(&access),
        requests_max: config.serve.limits.requests_max,
        capacity,
        meter: Arc::new(Meter::new(config.memory_bytes_max)),
        retrying: retrying(&config.serve),
        started: Instant::now(),
        fleet: fleet.clone(),
        teller: teller.clone(),
    };
    let purging = purge(&replicator, &config.serve);
    let admin = Admin::new(
        facts,
        Arc::clone(&instances),
        replicator.clone(),
        Arc::clone(&guard),
    );
    let app = App::new(
        config.serve,
        guard,
        instances,
        replicator,
        admin,
        policies,
        (
            Edge {
                access,
                origins: config.origins,
                hosts: config.hosts,
                history,
                voucher: fleet.map(|fleet| fleet.voucher()),
                quotas,
                is_operated_on_main: config.operator.on_main,
            },
            lead(config.fleet.as_ref(), tenure.as_ref(), (base, teller)),
        ),
    );
    let app = Arc::new(app);
    base.serve(Server::App(Arc::clone(&app)))?;
    if let Some(member) = &base.member {
        member.fleet.serves_itself();
    }
    tracing::info!(%address, "serving");
    Ok(Achromat {
        address,
        app,
        running,
        drain: config.drain,
        lifecycle,
        keys: config.keys,
        recording,
        tenure,
        _watching: watching,
        _purging: purging,
    })
}

/// The part of a fleet's leader.
fn lead(
    config: Option<&FleetConfig>,
    tenure: Option<&Tenure>,
    (base, teller): (&Base, Option<Arc<Mutex<Teller>>>),
) -> Option<Lead> {
    Some(Lead {
        leave: tenure?.leave(),
        teller: teller?,
        fleet: base.fleet()?,
        follower: Arc::clone(&base.member.as_ref()?.follower),
        reads_when_blind: config?.reads_when_blind,
    })
}

/// Teller of the leader's view to its followers.
fn teller(tenure: &Tenure) -> Arc<Mutex<Teller>> {
    Arc::new(Mutex::new(Teller::new(tenure.epoch())))
}

/// Leave to send, which a fleet's leader has only as long as it leads.
fn leave(tenure: Option<&Tenure>) -> Leave {
    tenure.map_or_else(Leave::always, Tenure::leave)
}

fn retrying(settings: &Settings) -> Retrying {
    Retrying {
        levels: settings.levels,
        deadline: settings.write_deadline,
    }
}

fn purge(replicator: &Replicator, settings: &Settings) -> Purging {
    let purge = Purge {
        replicator: replicator.clone(),
        level: settings.levels.schema,
        deadline: settings.write_deadline,
    };
    purge.start()
}

/// Reads every file that a start would read, and compiles the plugins, without listening to anything or
/// opening the log.
pub async fn check(config: Config) -> Result<(), StartError> {
    for instance in &config.instances {
        Credentials::check(&instance.credentials).map_err(unusable(&instance.name))?;
    }
    if let Some(tokens) = &config.tokens_file {
        TokenFile::read(tokens)?.tokens()?;
    }
    config.tls.as_ref().map(Encryption::start).transpose()?;
    let members = members(&names(&config.instances));
    let policies = Arc::new(Policies::native(members));
    let nothing_kept = Arc::new(MemoryStore::new(1));
    Lifecycle::start(config.policy, nothing_kept, policies).await?;
    Ok(())
}

fn names(instances: &[InstanceConfig]) -> InstanceNames {
    let instances = instances.iter();
    instances
        .map(|instance| Arc::clone(&instance.name))
        .collect()
}

/// Name, address and credentials of an instance.
type Reachable = (Arc<str>, Address, Arc<Credentials>);

/// Reads what the instances are shown, and goes on looking at it.
fn with_credentials(instances: Vec<InstanceConfig>) -> Result<Vec<Reachable>, StartError> {
    let each = |instance: InstanceConfig| {
        let name = instance.name;
        let started = Credentials::start(Arc::clone(&name), instance.credentials);
        let credentials = started.map_err(unusable(&name))?;
        Ok((name, instance.address, credentials))
    };
    instances.into_iter().map(each).collect()
}

fn unusable(name: &Arc<str>) -> impl FnOnce(CredentialError) -> StartError {
    let name = Arc::clone(name);
    |source| StartError::Credentials { name, source }
}

fn replica_ratio(strategy: Strategy) -> Option<f64> {
    match strategy {
        Strategy::ReadReplica { ratio } => Some(ratio),
        Strategy::RoundRobin | Strategy::PrimaryOnly => None,
    }
}

fn capacity(config: &Config) -> Capacity {
    let limits = config.serve.limits;
    Capacity {
        max_memory_mb: config.memory_bytes_max / (1024 * 1024),
        max_concurrent_requests: limits.requests_max,
        max_queued_requests: limits.queue_max,
        max_body_bytes: limits.body_bytes_max,
        instance_writes_max: config.bounds.writes_max,
        instance_replication_max: config.engine.replication_max,
        database: config.store.kind(),
    }
}

/// Reads the tokens of the operator and of clients. Clients' tokens are read again when they change.
fn access(
    operator: &OperatorConfig,
    tokens: Option<PathBuf>,
    address: SocketAddr,
) -> Result<Arc<Access>, StartError> {
    let token = match &operator.token {
        Some(chosen) => (Arc::clone(chosen), true),
        None => (
            operator_token(operator.token_file.as_deref(), address)?,
            false,
        ),
    };
    Ok(Access::start(token, tokens)?)
}

/// Tells, where others can reach the address, what keeps nobody away.
fn warn_of_openness(address: SocketAddr, access: &Access, is_encrypted: bool) {
    if address.ip().is_loopback() {
        return;
    }
    if !access.is_required() {
        tracing::warn!(
            %address,
            "ANYBODY WHO REACHES THIS ADDRESS CAN READ AND DELETE EVERYTHING: no client needs a token; set access.tokens_file"
        );
    }
    if !is_encrypted {
        tracing::warn!(%address, "clients' tokens and records travel unencrypted; set tls.certificate and tls.key");
    }
}

/// The instances as plugins know them.
fn members(names: &[Arc<str>]) -> Vec<Member> {
    let member = |(place, name): (_, &Arc<str>)| Member {
        name: Arc::clone(name),
        is_primary: place == 0,
    };
    names.iter().enumerate().map(member).collect()
}

/// Gives every instance the chance to be seen before the first request, and tells which are not.
async fn see_instances(replicator: &Replicator, instances: &Instances, patience: Duration) {
    let is_known = |view: &achromat_core::view::View| view.has_seen_all.then_some(());
    let all_known = replicator.wait_for(patience, is_known).await.is_some();
    let view = replicator.view();
    for (place, instance) in instances.iter() {
        let (name, url) = (instance.name.as_ref(), instance.address.to_string());
        match view.standing(place) {
            Standing::Up => tracing::info!(instance = name, url, "instance is up"),
            Standing::Suspect | Standing::Down => {
                tracing::warn!(
                    instance = name,
                    url,
                    all_known,
                    "instance can't be reached; serving without it until it can"
                );
            }
        }
    }
}

impl Achromat {
    /// Address that the proxy listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes in a configuration that was read again: what it says of policy plugins. What else has
    /// changed since the start is told.
    pub async fn reload(&self, config: &Config) {
        let others = self.keys.changed_for_restart(&config.keys);
        if !others.is_empty() {
            tracing::warn!(
                keys = ?others,
                "these keys have changed, and take effect when Achromat is started again"
            );
        }
        let errors = self.lifecycle.reload(&config.policy).await;
        for error in &errors {
            tracing::error!(%error, "the configuration can't be taken in; what decided goes on");
        }
        if errors.is_empty() {
            tracing::info!("what the configuration says of plugins was read again");
        }
    }

    /// Waits until the proxy can't go on by itself.
    pub async fn broken(&mut self) {
        let Some(tenure) = &mut self.tenure else {
            return self.running.ended().await;
        };
        tokio::select! {
            () = self.running.ended() => {}
            () = tenure.over() => {}
        }
    }

    /// Stops: no new requests, those that have begun end, what is under way is made durable. In a fleet,
    /// whoever leads next gets the new ones, and this proxy's addresses go on.
    pub async fn stop(self, base: &mut Base) -> Result<(), StoreError> {
        tracing::info!("stopping: requests that have begun may end");
        let cut_off = match &base.member {
            None => base.addresses.stop(self.drain).await,
            Some(member) => {
                member.fleet.leads_no_more();
                let follower = Server::Follower(Arc::clone(&member.follower));
                if let Err(error) = base.addresses.serve(follower) {
                    tracing::error!(%error, "the addresses can't be served any more");
                }
                self.app.idle(self.drain.min(HAND_OVER)).await
            }
        };
        self.recording.end().await;
        let stopped = self.running.stop().await;
        if let Some(tenure) = self.tenure {
            tenure.give_back().await;
        }
        if cut_off > 0 {
            tracing::warn!(cut_off, "requests did not end in time");
        }
        stopped?;
        tracing::info!("stopped");
        Ok(())
    }
}
