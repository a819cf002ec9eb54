//! From a plugin's traits to a component's exports.

use std::marker::PhantomData;

use crate::{
    Action, Choice, Class, Eligibility, Instance, InstanceState, Judge, Operation, Permission,
    Permit, Plugin, Question, Refusal, Route, Wants, bindings, lean,
};

/// Where the one plugin of a component is kept.
pub trait Held: Sized {
    /// Hands it out; there is none before `configure`.
    fn with<R>(use_it: impl FnOnce(&mut Option<Self>) -> R) -> R;
}

/// A plugin as a component.
pub struct Component<P>(PhantomData<P>);

fn keep<P: Held>(plugin: P) {
    P::with(|held| *held = Some(plugin));
}

/// Tells a panic, with its file and line, before it ends the call: WebAssembly itself says only that
/// there was one.
fn tell_panics() {
    #[cfg(all(target_arch = "wasm32", feature = "panics"))]
    std::panic::set_hook(Box::new(|panic| {
        crate::host::log(crate::host::Level::Error, &panic.to_string());
    }));
}

fn configure<P: Held + Plugin>(config: &str) -> Result<Wants, String> {
    tell_panics();
    let (plugin, wants) = P::configure(config)?;
    keep(plugin);
    Ok(wants)
}

/// Achromat configures before it asks; what is not configured has no answer, which is a trap.
fn decide<P: Held, R>(ask: impl FnOnce(&mut P) -> R) -> R {
    P::with(|held| match held {
        Some(plugin) => ask(plugin),
        None => std::process::abort(),
    })
}

impl<P: Held + Route> bindings::routing::exports::achromat::policy::route_policy::Guest
    for Component<P>
{
    fn configure(config: String) -> Result<Wants, String> {
        configure::<P>(&config)
    }

    fn instances(instances: Vec<Instance>) {
        decide(|plugin: &mut P| plugin.instances(instances));
    }

    fn route(operation: Operation, states: Vec<InstanceState>) -> Choice {
        decide(|plugin: &mut P| plugin.route(&operation, &states))
    }
}

impl<P: Held + lean::Route> bindings::lean::exports::achromat::policy::lean_route_policy::Guest
    for Component<P>
{
    fn configure(config: String) -> Result<(), String> {
        tell_panics();
        keep(P::configure(&config)?);
        Ok(())
    }

    fn instances(names: Vec<String>, primary: u16) {
        let primary = lean::Places::new(primary);
        decide(|plugin: &mut P| plugin.instances(names, primary));
    }

    fn route(
        number: u64,
        action: Action,
        class: Class,
        body_bytes: u32,
        states: lean::States,
    ) -> lean::Choice {
        let request = lean::Request {
            number,
            action,
            class,
            body_bytes,
        };
        decide(|plugin: &mut P| plugin.route(request, &states))
    }

    fn explain() -> Refusal {
        decide(<P as lean::Route>::explain)
    }
}

impl<P: Held + Judge> bindings::wal::exports::achromat::policy::wal_policy::Guest for Component<P> {
    fn configure(config: String) -> Result<Wants, String> {
        configure::<P>(&config)
    }

    fn judge(operation: Operation) -> Eligibility {
        decide(|plugin: &mut P| plugin.judge(&operation))
    }
}

impl<P: Held + Permit> bindings::guard::exports::achromat::policy::guard_policy::Guest
    for Component<P>
{
    fn configure(config: String) -> Result<Wants, String> {
        configure::<P>(&config)
    }

    fn permit(question: Question) -> Permission {
        decide(|plugin: &mut P| plugin.permit(&question))
    }
}

/// Keeps a plugin in the one thread that a component has.
#[doc(hidden)]
#[macro_export]
macro_rules! held {
    ($plugin:ty) => {
        ::std::thread_local! {
            static PLUGIN: ::std::cell::RefCell<Option<$plugin>> =
                const { ::std::cell::RefCell::new(None) };
        }

        impl $crate::Held for $plugin {
            fn with<R>(use_it: impl FnOnce(&mut Option<Self>) -> R) -> R {
                PLUGIN.with(|plugin| use_it(&mut plugin.borrow_mut()))
            }
        }

        type Exported = $crate::Component<$plugin>;
    };
}

/// Exports a plugin in one of the worlds.
#[doc(hidden)]
#[macro_export]
macro_rules! exported {
    ($plugin:ty, $plugins:path, $world:ident, $export:ident) => {
        // Elsewhere than in WebAssembly nobody else names it, and the compiler would warn of code that
        // nobody uses.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            let _ = <$plugin as $plugins>::configure;
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(
            unsafe_code,
            reason = "generated: a component's exports are C functions"
        )]
        const _: () = {
            $crate::held!($plugin);
    $crate::bindings::$world::$export!(Exported with_types_in $crate::bindings::$world);
        };
    };
}

/// Makes a component of a plugin of the routing slot.
#[macro_export]
macro_rules! routing {
    ($plugin:ty) => {
        $crate::exported!($plugin, $crate::Plugin, routing, export_routing);
    };
}

/// Makes a component of a plugin of the routing slot that decides by numbers alone.
#[macro_export]
macro_rules! lean_routing {
    ($plugin:ty) => {
        $crate::exported!($plugin, $crate::lean::Route, lean, export_lean_routing);
    };
}

/// Makes a component of a plugin of the WAL eligibility slot.
#[macro_export]
macro_rules! wal_eligibility {
    ($plugin:ty) => {
        $crate::exported!($plugin, $crate::Plugin, wal, export_wal);
    };
}

/// Makes a component of a plugin of the clean-up guard's slot.
#[macro_export]
macro_rules! cleanup_guard {
    ($plugin:ty) => {
        $crate::exported!($plugin, $crate::Plugin, guard, export_guard);
    };
}
