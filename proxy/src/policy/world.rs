//! The three worlds: how each is started, asked, and its answer judged.

use std::sync::Arc;

use achromat_core::{
    log::Level,
    policy::{Eligibility, Nonsense, Permission, Preference, Refusal, Routing, Slot},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wasmtime::{Store, component::InstancePre};

use super::{
    asked::Asked,
    contract::{
        guard::{CleanupGuard, CleanupGuardPre, exports::achromat::policy::guard_policy},
        routing::{
            achromat::policy::types::{self, Operation, RefusalStatus, Wants},
            exports::achromat::policy::route_policy,
        },
        wal::{WalEligibility, WalEligibilityPre, exports::achromat::policy::wal_policy},
    },
    host::State,
    lean::{self, LEAN_INTERFACE, RoutingExports, RoutingPrepared},
    recorded::{RecordedConcern, RecordedOperation, RecordedRouting},
};

pub(super) type Answered<T> = wasmtime::Result<Result<T, Nonsense>>;

/// A slot's side of the contract.
pub trait World: Sized + Send + Sync + 'static {
    /// The slot.
    const SLOT: Slot;
    /// The interfaces of which a component must export one, without the contract's version.
    const INTERFACES: &[&str];
    /// Facts that a plugin's instance gets before its first decision, and again after each change.
    type Facts: Clone + PartialEq + Send + Sync + Serialize + DeserializeOwned;
    /// The question.
    type Question<'a>;
    /// The answer, judged.
    type Answer: Clone + PartialEq + Send;
    /// The question as it is recorded.
    type Recorded: Asked<Self> + Clone + Send + Serialize + DeserializeOwned;
    /// A component that is ready to be instantiated.
    type Prepared: Send + Sync;
    /// An instance's exports.
    type Exports: Send;

    /// Prepares a component. Fails when it is not of this world.
    fn prepare(component: InstancePre<State>) -> wasmtime::Result<Self::Prepared>;
    /// Makes an instance.
    fn instantiate(
        prepared: &Self::Prepared,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports>;
    /// Hands over the configuration.
    fn configure(
        exports: &Self::Exports,
        store: &mut Store<State>,
        config: &str,
    ) -> wasmtime::Result<Result<Wants, String>>;
    /// Tells what is to be known.
    fn tell(
        exports: &Self::Exports,
        store: &mut Store<State>,
        facts: &Self::Facts,
    ) -> wasmtime::Result<()>;
    /// Asks.
    fn ask(
        exports: &Self::Exports,
        store: &mut Store<State>,
        question: Self::Question<'_>,
    ) -> Answered<Self::Answer>;
    /// Asks something plain, to see whether it has answers at all. The request is the first, of
    /// number 0; the deed an operator's, about no collection.
    fn self_test(
        exports: &Self::Exports,
        store: &mut Store<State>,
        facts: &Self::Facts,
    ) -> Answered<Self::Answer>;
    /// The answer that holds when the plugin has none.
    fn safe() -> Self::Answer;
    /// The answer that stands for Achromat's own rules, where there is no plugin.
    fn native() -> Self::Answer;
    /// Returns true when a canary's answer may be carried out instead of the active version's. It
    /// may not when its effect couldn't be taken back with the canary.
    fn may_be_tried(_active: &Self::Answer, _tried: &Self::Answer) -> bool {
        true
    }
    /// An answer in words, for people. Answers that differ have different words.
    fn words(answer: &Self::Answer) -> String;
    /// The kinds of answers, for figures.
    const KINDS: &[&str];
    /// The kind of an answer: its place among [`Self::KINDS`].
    fn kind(answer: &Self::Answer) -> usize;
}

pub(super) fn refusal(refusal: types::Refusal) -> Result<Refusal, Nonsense> {
    let status = match refusal.status {
        RefusalStatus::Invalid => 400,
        RefusalStatus::Denied => 403,
        RefusalStatus::TooLarge => 413,
        RefusalStatus::TooMany => 429,
        RefusalStatus::Unavailable => 503,
    };
    Refusal::new(status, refusal.message, refusal.retry_after_s)
}

/// A request without any of the parts that may be wanted, of number 0.
pub fn plain(action: types::Action, class: types::Class) -> Operation<'static> {
    Operation {
        number: 0,
        action,
        class,
        body_bytes: 0,
        tenant: None,
        database: None,
        collection: None,
        collection_id: None,
        client: None,
        sizes: None,
        headers: None,
    }
}

/// The slot that says where requests go.
pub struct RoutingSlot;

/// An instance as routing plugins know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// True for the primary.
    pub is_primary: bool,
}

impl Member {
    fn instance(&self) -> route_policy::Instance<'_> {
        route_policy::Instance {
            name: &self.name,
            role: if self.is_primary {
                route_policy::Role::Primary
            } else {
                route_policy::Role::Replica
            },
        }
    }
}

/// A request, and how the instances are.
#[derive(Clone)]
pub struct RoutingQuestion<'a> {
    /// The request.
    pub operation: Operation<'a>,
    /// Every instance, in the order of the configuration.
    pub states: &'a [route_policy::InstanceState],
}

impl World for RoutingSlot {
    const SLOT: Slot = Slot::Routing;
    const INTERFACES: &[&str] = &["achromat:policy/route-policy", LEAN_INTERFACE];
    type Facts = Vec<Member>;
    type Question<'a> = RoutingQuestion<'a>;
    type Answer = Routing;
    type Recorded = RecordedRouting;
    type Prepared = RoutingPrepared;
    type Exports = RoutingExports;

    fn prepare(component: InstancePre<State>) -> wasmtime::Result<Self::Prepared> {
        RoutingPrepared::new(component)
    }

    fn instantiate(
        prepared: &Self::Prepared,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        prepared.instantiate(store)
    }

    fn configure(
        exports: &Self::Exports,
        store: &mut Store<State>,
        config: &str,
    ) -> wasmtime::Result<Result<Wants, String>> {
        match exports {
            RoutingExports::Full(exports) => {
                let policy = exports.achromat_policy_route_policy();
                policy.call_configure(store, config)
            }
            RoutingExports::Lean(exports) => lean::configure(exports, store, config),
        }
    }

    fn tell(
        exports: &Self::Exports,
        store: &mut Store<State>,
        members: &Vec<Member>,
    ) -> wasmtime::Result<()> {
        match exports {
            RoutingExports::Full(exports) => {
                let names: Vec<_> = members.iter().map(Member::instance).collect();
                let policy = exports.achromat_policy_route_policy();
                policy.call_instances(store, &names)
            }
            RoutingExports::Lean(exports) => lean::tell(exports, store, members),
        }
    }

    fn ask(
        exports: &Self::Exports,
        store: &mut Store<State>,
        question: RoutingQuestion<'_>,
    ) -> Answered<Routing> {
        let exports = match exports {
            RoutingExports::Full(exports) => exports,
            RoutingExports::Lean(exports) => return lean::ask(exports, store, &question),
        };
        let policy = exports.achromat_policy_route_policy();
        let choice = policy.call_route(store, question.operation, question.states)?;
        Ok(match choice {
            route_policy::Choice::Native => Ok(Routing::Native),
            route_policy::Choice::First(order) => Preference::new(
                &order.instances,
                order.then_others,
                order.allow_stale,
                question.states.len(),
            )
            .map(Routing::Prefer),
            route_policy::Choice::Refuse(refused) => refusal(refused).map(Routing::Refuse),
        })
    }

    fn self_test(
        exports: &Self::Exports,
        store: &mut Store<State>,
        members: &Vec<Member>,
    ) -> Answered<Routing> {
        let state = |index| route_policy::InstanceState {
            index,
            standing: route_policy::Standing::Up,
            eligible: true,
            in_flight: 0,
            latency_us: 0,
            lag_entries: 0,
        };
        let states: Vec<_> = (0..).zip(members).map(|(index, _)| state(index)).collect();
        let question = RoutingQuestion {
            operation: plain(types::Action::Query, types::Class::Read),
            states: &states,
        };
        Self::ask(exports, store, question)
    }

    fn safe() -> Routing {
        Routing::Native
    }

    fn native() -> Routing {
        Routing::Native
    }

    fn words(answer: &Routing) -> String {
        answer.to_string()
    }

    const KINDS: &[&str] = &["native", "first", "refuse"];

    fn kind(answer: &Routing) -> usize {
        match answer {
            Routing::Native => 0,
            Routing::Prefer(_) => 1,
            Routing::Refuse(_) => 2,
        }
    }
}

/// Which writes are logged, and when they are answered.
pub struct WalSlot;

impl World for WalSlot {
    const SLOT: Slot = Slot::WalEligibility;
    const INTERFACES: &[&str] = &["achromat:policy/wal-policy"];
    type Facts = ();
    type Question<'a> = Operation<'a>;
    type Answer = Eligibility;
    type Recorded = RecordedOperation;
    type Prepared = WalEligibilityPre<State>;
    type Exports = WalEligibility;

    fn prepare(component: InstancePre<State>) -> wasmtime::Result<Self::Prepared> {
        WalEligibilityPre::new(component)
    }

    fn instantiate(
        prepared: &Self::Prepared,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        prepared.instantiate(store)
    }

    fn configure(
        exports: &Self::Exports,
        store: &mut Store<State>,
        config: &str,
    ) -> wasmtime::Result<Result<Wants, String>> {
        let policy = exports.achromat_policy_wal_policy();
        policy.call_configure(store, config)
    }

    fn tell(_: &Self::Exports, _: &mut Store<State>, (): &()) -> wasmtime::Result<()> {
        Ok(())
    }

    fn ask(
        exports: &Self::Exports,
        store: &mut Store<State>,
        operation: Operation<'_>,
    ) -> Answered<Eligibility> {
        let policy = exports.achromat_policy_wal_policy();
        Ok(match policy.call_judge(store, operation)? {
            wal_policy::Eligibility::Replicate(replication) => Ok(Eligibility::Replicate {
                level: replication.level.map(|level| match level {
                    wal_policy::Level::One => Level::One,
                    wal_policy::Level::Majority => Level::Majority,
                    wal_policy::Level::All => Level::All,
                    wal_policy::Level::Logged => Level::Logged,
                }),
                accept_when_down: replication.accept_when_down,
            }),
            wal_policy::Eligibility::LocalOnly => Ok(Eligibility::LocalOnly),
            wal_policy::Eligibility::Refuse(refused) => refusal(refused).map(Eligibility::Refuse),
        })
    }

    fn self_test(
        exports: &Self::Exports,
        store: &mut Store<State>,
        (): &(),
    ) -> Answered<Eligibility> {
        let operation = plain(types::Action::Add, types::Class::Write);
        Self::ask(exports, store, operation)
    }

    fn safe() -> Eligibility {
        Eligibility::SAFE
    }

    fn native() -> Eligibility {
        Eligibility::SAFE
    }

    fn may_be_tried(active: &Eligibility, tried: &Eligibility) -> bool {
        tried.keeps_place(active)
    }

    fn words(answer: &Eligibility) -> String {
        answer.to_string()
    }

    const KINDS: &[&str] = &["replicate", "local_only", "refuse"];

    fn kind(answer: &Eligibility) -> usize {
        match answer {
            Eligibility::Replicate { .. } => 0,
            Eligibility::LocalOnly => 1,
            Eligibility::Refuse(_) => 2,
        }
    }
}

/// The slot that says what may be destroyed.
pub struct GuardSlot;

impl World for GuardSlot {
    const SLOT: Slot = Slot::CleanupGuard;
    const INTERFACES: &[&str] = &["achromat:policy/guard-policy"];
    type Facts = ();
    type Question<'a> = guard_policy::Question<'a>;
    type Answer = Permission;
    type Recorded = RecordedConcern;
    type Prepared = CleanupGuardPre<State>;
    type Exports = CleanupGuard;

    fn prepare(component: InstancePre<State>) -> wasmtime::Result<Self::Prepared> {
        CleanupGuardPre::new(component)
    }

    fn instantiate(
        prepared: &Self::Prepared,
        store: &mut Store<State>,
    ) -> wasmtime::Result<Self::Exports> {
        prepared.instantiate(store)
    }

    fn configure(
        exports: &Self::Exports,
        store: &mut Store<State>,
        config: &str,
    ) -> wasmtime::Result<Result<Wants, String>> {
        let policy = exports.achromat_policy_guard_policy();
        policy.call_configure(store, config)
    }

    fn tell(_: &Self::Exports, _: &mut Store<State>, (): &()) -> wasmtime::Result<()> {
        Ok(())
    }

    fn ask(
        exports: &Self::Exports,
        store: &mut Store<State>,
        question: guard_policy::Question<'_>,
    ) -> Answered<Permission> {
        let policy = exports.achromat_policy_guard_policy();
        Ok(match policy.call_permit(store, question)? {
            guard_policy::Permission::Allow => Ok(Permission::Allow),
            guard_policy::Permission::Deny(reason) => Permission::deny(reason),
            guard_policy::Permission::Trash(seconds) => Permission::trash(seconds),
        })
    }

    fn self_test(
        exports: &Self::Exports,
        store: &mut Store<State>,
        (): &(),
    ) -> Answered<Permission> {
        let question = guard_policy::Question {
            deed: guard_policy::Deed::AdminDelete,
            tenant: None,
            database: None,
            collection: None,
            collection_id: None,
            new_name: None,
            records: None,
            subject: Some("self-test"),
            client: None,
            is_operator: true,
            headers: &[],
        };
        Self::ask(exports, store, question)
    }

    fn safe() -> Permission {
        Permission::safe()
    }

    fn native() -> Permission {
        Permission::Allow
    }

    fn words(answer: &Permission) -> String {
        answer.to_string()
    }

    const KINDS: &[&str] = &["allow", "deny", "trash"];

    fn kind(answer: &Permission) -> usize {
        match answer {
            Permission::Allow => 0,
            Permission::Deny(_) => 1,
            Permission::Trash(_) => 2,
        }
    }
}
