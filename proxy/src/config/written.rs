//! The configuration as it is written: every key, its documentation and its default.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! section {
    (
        $(#[$about:meta])* $name:ident {
            $($(#[$doc:meta])* $key:ident: $type:ty = $default:expr),* $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub(super) struct $name {
            $($(#[$doc])* pub(super) $key: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }
    };
}

section! {
    /// Achromat's configuration. Times are in milliseconds, sizes in bytes.
    Written {
        /// Address and port that clients connect to.
        listen: String = "127.0.0.1:8000".to_owned(),
        /// Store of the log: `sqlite:PATH`, `postgres://USER@HOST/DATABASE` with the password in the file that `PGPASSFILE` names or in `PGPASSWORD`, or `memory:` to try things out, which forgets every write at the end.
        store: String = "sqlite:achromat.sqlite".to_owned(),
        /// This proxy's place among those that share a PostgreSQL database.
        fleet: Fleet = Fleet::default(),
        /// The Chroma servers. The first is the primary.
        instances: Vec<WrittenInstance> = Vec::new(),
        /// Reads.
        reads: Reads = Reads::default(),
        /// Writes.
        writes: Writes = Writes::default(),
        /// Comparing copies of collections, and making them anew.
        copies: Copies = Copies::default(),
        /// Watching of instances.
        health: Health = Health::default(),
        /// Needs of HTTP clients other than Chroma's own.
        http: Http = Http::default(),
        /// Permissions of clients.
        access: Access = Access::default(),
        /// Quotas of each client.
        quotas: Quotas = Quotas::default(),
        /// Encryption of the clients' address.
        tls: Tls = Tls::default(),
        /// Bounds of what is served.
        limits: Limits = Limits::default(),
        /// Protection of collections against destruction.
        guard: Guard = Guard::default(),
        /// Plugins that decide.
        policy: Policy = Policy::default(),
        /// Records of writes and of operators' changes.
        history: History = History::default(),
        /// The operator's interface.
        admin: Admin = Admin::default(),
        /// Reports of Achromat while it runs.
        log: Log = Log::default(),
        /// Stopping of Achromat.
        stop: Stop = Stop::default(),
    }
}

/// One Chroma server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenInstance {
    /// A name of your choice. The log remembers instances by it: a renamed one is a new one.
    pub(super) name: String,
    /// Its URL, such as `http://127.0.0.1:8001` or, behind a gateway, `https://gateway.example/chroma-a`.
    pub(super) url: String,
    /// File with the authorities that its certificate must be from, in PEM. When it is empty, those that the system trusts.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) ca: String,
    /// File with the certificate that Achromat shows it, in PEM, the chain after it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) certificate: String,
    /// File with that certificate's key, in PEM.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) key: String,
    /// File with a token that goes with each request to it, in place of the client's own.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) token_file: String,
    /// The header that the token goes in: `authorization` (`Authorization: Bearer TOKEN`) or `x_chroma_token`.
    #[serde(default)]
    pub(super) token_header: TokenHeaderName,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TokenHeaderName {
    #[default]
    Authorization,
    XChromaToken,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StrategyName {
    RoundRobin,
    ReadReplica,
    PrimaryOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BlindReads {
    Serve,
    Refuse,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LevelName {
    Logged,
    One,
    Majority,
    All,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FormatName {
    Text,
    Json,
}

section! {
    /// Reads.
    Reads {
        /// Spread of reads over the instances that have every acknowledged write: `round_robin`, `read_replica` or `primary_only`. A search or a `get` that is repeated goes to the same instance as before, so that it gets the same answer; the shares hold over many different ones.
        strategy: StrategyName = StrategyName::ReadReplica,
        /// The replicas' share of the reads under `read_replica`, from 0 to 1.
        replica_ratio: f64 = 0.8,
        /// Silence after which the next instance is asked as well.
        hedge_delay_ms: u64 = 150,
        /// For an answer to begin. A body of 256 KiB or more adds half a second for each MiB.
        deadline_ms: u64 = 60_000,
        /// Time that a read waits for an instance that has every acknowledged write.
        eligible_wait_ms: u64 = 10_000,
    }
}

section! {
    /// Writes.
    Writes {
        /// Silence after which a write is sent to the next instance as well. A body of 256 KiB or more is given 4 s more for each MiB, unless the instance that has it is down.
        hedge_delay_ms: u64 = 150,
        /// Longest time until a write is answered. Heavy bodies (256 KiB or more), the write's own and those before it in its collection, add 4 s for each MiB.
        deadline_ms: u64 = 60_000,
        /// For one sending of a write to be answered by an instance; 4 s are added for each MiB of a body of 256 KiB or more. It may be long: clients do not wait for it.
        attempt_deadline_ms: u64 = 60_000,
        /// For how long an instance must have been awake after a sending that was never answered, before that lane sends it anything more, unless it is seen to restart. Time in which it does not answer probes does not count.
        settle_ms: u64 = 30_000,
        /// Number of instances that must have done a write of records before it is answered: `one`, `majority` (more than half of those in service), `all` (those in service), or none: `logged` answers when it is in the log, also while no instance is in service.
        records_level: LevelName = LevelName::One,
        /// The same for tenants, databases and collections; `logged` counts as `one`.
        schema_level: LevelName = LevelName::All,
        /// Time that the levels `majority` and `all` wait for instances beyond the first; after that the write is answered as done, since the log has it for the others.
        all_wait_ms: u64 = 2_000,
        /// Time that the outcome of a write with a key (`Idempotency-Key`) is kept for clients that repeat the write.
        keys_kept_ms: u64 = 86_400_000,
        /// Number of keys that are kept; beyond that the oldest are forgotten sooner, once a minute.
        keys_max: u64 = 1_000_000,
    }
}

section! {
    /// Comparing copies of collections, and making them anew.
    Copies {
        /// Records compared, or copied from one instance to another, in a second.
        records_per_s: u32 = 5_000,
        /// From the comparison of one collection's copies to that of the next one's.
        verify_interval_ms: u64 = 60_000,
    }
}

section! {
    /// Watching of instances.
    Health {
        /// From one probe to the next.
        probe_interval_ms: u64 = 1_000,
        /// For a probe to be answered.
        probe_timeout_ms: u64 = 1_000,
        /// Silent probes in a row that make an instance down. One that has answered something else meanwhile is only suspect, and so is one that works on heavy bodies, for 4 s for each MiB and a minute at most.
        silent_probes_max: u32 = 2,
        /// For a connection to be made.
        connect_timeout_ms: u64 = 1_000,
        /// Interval at which each instance gets another token, by which data from an old backup is known: a backup that was made after the last token was written is not noticed at once.
        token_interval_ms: u64 = 60_000,
    }
}

section! {
    /// Needs of HTTP clients other than Chroma's own.
    Http {
        /// Origins of pages that browsers may let use Chroma's interface here, such as `https://app.example`, or `*` for any. By default there is none. It is answered as Chroma's own `cors_allow_origins` has it; what the servers themselves allow does not matter. Achromat's own paths are for no page.
        cors_allow_origins: Vec<String> = Vec::new(),
        /// Names by which clients may call this server in `Host`, without a port. Any other is refused, which keeps a page in a browser from reaching it by a name of its own (DNS rebinding). By default any name is taken.
        hosts: Vec<String> = Vec::new(),
    }
}

section! {
    /// Permissions of clients.
    Access {
        /// A file of clients' tokens, as `achromat token` writes it; every request must show one then. It is read again when it changes. When it is empty, no client needs a token.
        tokens_file: String = String::new(),
    }
}

section! {
    /// Quotas of each client on Chroma's interface: of each token where there are tokens, of each tenant otherwise. Past its quota, a client's requests are answered 429 with Retry-After. 0 is no bound.
    Quotas {
        /// Requests in a second, on average; as many may come at once.
        requests_per_s: u32 = 0,
        /// Bytes of bodies in a second, on average. A body of the largest size may always come at once.
        bytes_per_s: u32 = 0,
        /// Requests at once.
        concurrent_max: u32 = 0,
        /// Collections in each database. (Of any client.)
        collections_per_database_max: u64 = 0,
        /// Records in each collection. (Of any client.) Writes under way count as done. While no server can say how many there are, nothing is refused.
        records_per_collection_max: u64 = 0,
    }
}

section! {
    /// Encryption of the clients' address.
    Tls {
        /// The certificate's chain, as PEM. Certificate and key are read again when they change. When it is empty, connections are not encrypted.
        certificate: String = String::new(),
        /// The certificate's key, as PEM.
        key: String = String::new(),
        /// Certificates of authorities, as PEM: clients must have a certificate of one of them. When it is empty, they need none.
        client_ca: String = String::new(),
    }
}

section! {
    /// Bounds of what is served. Past them requests are answered 503 with Retry-After.
    Limits {
        /// Bytes of one request's body. The default is Chroma's own.
        body_bytes_max: usize = 40 * 1024 * 1024,
        /// Bytes of memory in all, whatever is owed to whom. What the program itself needs comes first; the rest is shared out to bodies that are being served, on their way to the servers, or kept for one that is a moment behind. Past that, requests wait for as long as for a place.
        memory_bytes_max: usize = 400 * 1024 * 1024,
        /// Connections at once. One more is answered 503 and closed.
        connections_max: usize = 8192,
        /// Connections at once from one address.
        connections_per_address_max: usize = 4096,
        /// Requests of one HTTP/2 connection at once.
        http2_streams_max: u32 = 100,
        /// Bytes of a request's head. A larger one is answered 431.
        head_bytes_max: usize = 16 * 1024,
        /// Fields of a request's head.
        head_fields_max: usize = 100,
        /// For a head to come whole, from the connection on, or from its first byte. A slower one is answered 408.
        head_deadline_ms: u64 = 10_000,
        /// For the next request of a connection to begin.
        idle_ms: u64 = 75_000,
        /// For a body, before it must have come with `rate_bytes_per_s_min`. A slower one is answered 408.
        grace_ms: u64 = 15_000,
        /// Bytes in a second with which a body must come, on average after `grace_ms`, and with which an answer must be taken.
        rate_bytes_per_s_min: u32 = 4 * 1024,
        /// Requests that are served at once.
        requests_max: usize = 1024,
        /// Requests that wait to be served.
        queue_max: usize = 1024,
        /// Time that a request waits to be served.
        queue_wait_ms: u64 = 2_000,
        /// Reads that one server has at once; one more goes to another server.
        instance_reads_max: usize = 256,
        /// Writes that one server has at once; one more waits, in the log.
        instance_writes_max: usize = 64,
        /// Of these, how many bring one server what others have done already. Lanes take turns when there are more.
        instance_replication_max: usize = 16,
    }
}

section! {
    /// This proxy's place among those that share a PostgreSQL database: one of them leads, and the others pass requests on to it.
    Fleet {
        /// Its name in logs. When it is empty, the machine's name and the port.
        name: String = String::new(),
        /// URL at which the other proxies reach this one, such as `http://10.0.0.5:8000`. When it is empty, made of `listen`, which must name an address then.
        advertise: String = String::new(),
        /// A file of certificates (PEM) by which the others' certificates are judged, when they serve encrypted. When it is empty, the system's.
        ca_file: String = String::new(),
        /// Reads while the leader can't reach the database, and so can't know if another proxy leads: `serve` them, although another one may know of newer writes, or `refuse` them.
        reads_when_blind: BlindReads = BlindReads::Serve,
    }
}

section! {
    /// Protection of collections against destruction.
    Guard {
        /// Names, or patterns with `*` and `?`, of collections that can't be deleted, emptied, renamed or reset through Achromat.
        protected: Vec<String> = vec!["global".to_owned()],
        /// Names, or patterns with `*` and `?`, of collections whose records can't be deleted either: they are protected as by `protected`, and every delete of records is refused.
        keep_records: Vec<String> = Vec::new(),
        /// Names, or patterns with `*` and `?`, of collections to which records can be added, and nothing else: they are protected as by `keep_records`, and every update, upsert, and change of the collection is refused.
        freeze_records: Vec<String> = Vec::new(),
        /// Names, or patterns with `*` and `?`, of collections that `achromat cleanup` deletes.
        cleanup: Vec<String> = ["AUTOTEST_*", "test_*", "DEBUG_*"].map(str::to_owned).to_vec(),
    }
}

section! {
    /// Plugins that decide.
    Policy {
        /// A folder where compiled plugins are kept, so that the next start need not compile them. When it is empty they are not kept. Whoever can write there can run code here.
        cache: String = String::new(),
        /// A folder that is watched for plugins: `routing.wasm`, `wal-eligibility.wasm` and `cleanup-guard.wasm`, each with its configuration beside it (`routing.json`) when it has one. A new file is put into service as soon as it is whole; one that can't be used changes nothing. When it is empty, none is watched. Whoever can write there decides.
        folder: String = String::new(),
        /// Of all decisions, the share that is recorded in memory, with what it was made of, so that it can be asked again of another version (`achromat plugin replay`): from 0 to 1. The last 2000 of each slot are kept, up to 2 MiB.
        record_share: f64 = 0.01,
        /// Record the ids and filters of deletes as well. What documents say is never recorded.
        record_contents: bool = false,
        /// Memory that compiling a plugin may take. It is compiled in a process of its own, which ends beyond that, and the plugin is refused.
        compile_memory_bytes_max: u64 = 1024 * 1024 * 1024,
        /// Time that compiling a plugin may take.
        compile_deadline_ms: u64 = 60_000,
        /// Public keys of minisign, each as the second line of its file: a plugin that is signed (`FILE.minisig` beside it) must be signed by one of them.
        public_keys: Vec<String> = Vec::new(),
        /// Refuse a plugin without a signature: `true` or `false`.
        require_signature: bool = false,
        /// The plugin that says where reads go. The default policy's configuration is JSON: `{"strategy": "read_replica", "replica_ratio": 0.8, "among_equals": "in_turn"}`.
        routing: PolicySlot = PolicySlot::default(),
        /// The plugin that says which writes are logged, and when they are answered. The default policy's configuration is JSON: `{"records_level": "one", "rules": [{"collection": "scratch_*", "local_only": true}]}`.
        wal: PolicySlot = PolicySlot::default(),
        /// The plugin that says what may be destroyed, below `guard`. The default policy's configuration is JSON: `{"protected": ["global"], "cleanup": ["test_*"], "delete_records_max": 1000, "unless_header": "x-confirm-delete"}`.
        guard: PolicySlot = PolicySlot::default(),
    }
}

section! {
    /// A plugin.
    PolicySlot {
        /// `native` for Achromat's own rules alone, `default` for the default policy, the file of a plugin, or one in a registry: `oci://HOST/REPOSITORY@sha256:…`.
        plugin: String = "native".to_owned(),
        /// The plugin's digest, `sha256:…`, as `achromat plugin check` tells it: any other file is refused. When it is empty, none is.
        digest: String = String::new(),
        /// The plugin's configuration, as it wants it. The default policies' is JSON, and stands in `plugins/`.
        config: String = String::new(),
        /// Fuel that one decision may spend; about one unit for each instruction.
        fuel: u64 = 10_000_000,
        /// Memory that one instance of the plugin may have.
        memory_bytes_max: usize = 64 * 1024 * 1024,
        /// Time after which a decision is stopped, whatever fuel it has spent. It is the net under the fuel: on a busy machine, a short time stops innocent decisions.
        deadline_ms: u64 = 1_000,
    }
}

section! {
    /// Records of writes and of operators' changes, for those who ask later. Contents are never kept.
    History {
        /// Time that clients' writes are kept (`achromat wal`): who, when, which collection, which answer.
        writes_kept_ms: u64 = 86_400_000,
        /// Number of writes that are kept; beyond that the oldest go sooner. A write takes some 200 bytes of the store. With 0 none is kept.
        writes_max: u64 = 500_000,
        /// Time that operators' changes, clients' destructive requests and denials are kept (`achromat audit`).
        audit_kept_ms: u64 = 7_776_000_000,
        /// Number of denials that are kept; beyond that the oldest go sooner.
        denials_max: u64 = 100_000,
    }
}

section! {
    /// The operator's interface.
    Admin {
        /// Token that changing calls must show as `Authorization: Bearer TOKEN`. When it is empty, the token in `token_file` is asked for. Rather keep it in that file: arguments and environments of processes can be read.
        token: String = String::new(),
        /// A file with that token, which nobody else may read. It is made at the first start. When it is empty, it is `achromat/operator-PORT.token` in the user's state folder, where Achromat's commands look for it.
        token_file: String = String::new(),
        /// An address and a port of its own for the operator's interface, or a Unix socket: `unix:/run/achromat/operators.sock`. Who may open the socket needs no token; it is for Achromat's own user alone. When it is empty there is none.
        listen: String = String::new(),
        /// Serve the operator's interface on clients' address as well. `/livez`, `/readyz` and `/health` are always served there.
        on_main: bool = true,
    }
}

section! {
    /// Reports of Achromat while it runs, on standard error.
    Log {
        /// Level of the reports: `error`, `warn`, `info`, `debug` or `trace`, or more finely as tracing's filters are written.
        level: String = "info".to_owned(),
        /// For people (`text`) or for machines (`json`).
        format: FormatName = FormatName::Text,
    }
}

section! {
    /// Stopping of Achromat.
    Stop {
        /// For requests that have begun to end, once it is told to stop.
        drain_ms: u64 = 10_000,
    }
}
