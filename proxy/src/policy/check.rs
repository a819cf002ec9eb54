//! From bytes to a component that may run: what it is, what it needs, what it offers. Each refusal
//! says what is wrong and how to mend it.

use std::{borrow::Cow, time::Duration};

use achromat_core::policy::Slot;
use wasmtime::component::{Component, types::ComponentItem};
use wit_component::ComponentEncoder;

use super::{
    engine::Plugins,
    limits::{COMPONENT_BYTES_MAX, CONFIG_BYTES_MAX, HEADER_NAME_BYTES_MAX, WANTED_HEADERS_MAX},
    trouble::Trouble,
    world::{GuardSlot, RoutingSlot, WalSlot, World},
};

/// The reason why a version can't be taken into service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is too large.
    #[error(
        "it has {bytes} bytes, and may have {COMPONENT_BYTES_MAX}: strip it, or build it optimised for size"
    )]
    TooLarge {
        /// Its size, in bytes.
        bytes: usize,
    },
    /// It is not WebAssembly.
    #[error(
        "it is not WebAssembly: a component begins with the bytes 00 61 73 6d, this with {first:02x?}; name the .wasm file that the build has written"
    )]
    NotWasm {
        /// Its first bytes.
        first: Vec<u8>,
    },
    /// A core module that says nothing of a world.
    #[error(
        "it is a core module that no component can be made of: {why}. It may import what wit/ offers and nothing else: build it with bindings made from wit/, for wasm32-unknown-unknown"
    )]
    NoComponent {
        /// The encoder's message.
        why: String,
    },
    /// It can't be compiled.
    #[error("it can't be compiled: {why}. `wasm-tools validate` says where it is broken")]
    Broken {
        /// The compiler's message.
        why: String,
    },
    /// Compiling it takes more than it may.
    #[error(
        "compiling it takes more {what} than policy.compile_memory_bytes_max ({memory_mib} MiB) and policy.compile_deadline_ms ({deadline:?}) allow: build it optimised for size, or raise them"
    )]
    TooCostly {
        /// Memory or time.
        what: &'static str,
        /// The allowed memory, in MiB.
        memory_mib: u64,
        /// The allowed time.
        deadline: Duration,
    },
    /// The process that compiles can't be used.
    #[error("the process that compiles plugins has failed: {why}")]
    NoCompiler {
        /// Its last message, or the error of running it.
        why: String,
    },
    /// It wants something from outside.
    #[error(
        "it imports {import}, and a plugin may import achromat:policy/host and nothing else{}",
        mend_import(.import)
    )]
    Import {
        /// The name of the import.
        import: String,
    },
    /// It is a plugin of another slot.
    #[error("it is a plugin for the slot {}, not for {}", .is.as_str(), .wanted.as_str())]
    OtherSlot {
        /// The slot that the plugin is for.
        is: Slot,
        /// The slot that was wanted.
        wanted: Slot,
    },
    /// It is no plugin of ours.
    #[error(
        "it exports no {interface}: build it with bindings for the world {} of wit/ (the SDK's macro, or wit-bindgen), for wasm32-unknown-unknown", .wanted.as_str()
    )]
    NoPlugin {
        /// The slot that was wanted.
        wanted: Slot,
        /// The interface that the slot wants exported.
        interface: &'static str,
    },
    /// It is no plugin of any slot.
    #[error(
        "it exports nothing of achromat:policy: build it with bindings for one of the worlds routing, lean-routing, wal-eligibility and cleanup-guard of wit/, for wasm32-unknown-unknown"
    )]
    NoWorld,
    /// It uses the names of the contract, with other types.
    #[error(
        "it is built against {found}, and another text of the contract than wit/ of this Achromat, achromat:policy@{CONTRACT}: {why}. Build it against that one"
    )]
    OtherContract {
        /// The contract that it names, with its version.
        found: String,
        /// The mismatch.
        why: String,
    },
    /// Its configuration is too large.
    #[error("its configuration has {bytes} bytes, and may have {CONFIG_BYTES_MAX}")]
    ConfigTooLarge {
        /// Its size, in bytes.
        bytes: usize,
    },
    /// It does not take its configuration.
    #[error("it refuses its configuration: {why}")]
    Config {
        /// The plugin's own message.
        why: String,
    },
    /// It wants too much of each request.
    #[error("it wants {why}")]
    Wants {
        /// The wish that is refused.
        why: String,
    },
    /// It does not start.
    #[error("it does not start: {0}")]
    Start(Trouble),
    /// It has no answer to a plain question.
    #[error("it starts, but has no answer to a plain question: {0}")]
    SelfTest(Trouble),
}

fn mend_import(import: &str) -> &'static str {
    if import.starts_with("wasi:") {
        "; there is no WASI here: build for wasm32-unknown-unknown, or have it stubbed (componentize-py --stub-wasi)"
    } else {
        ""
    }
}

/// The version of the contract in `wit/`. Components of earlier ones of 0.1 fit, too.
pub(super) const CONTRACT: &str = "0.1.1";

/// The start of every WebAssembly binary; the next two bytes say its version, then comes its layer.
const MAGIC: &[u8] = b"\0asm";

/// A core module of version 1.
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// A component's slot and imports, as it declares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The slot that it is for.
    pub slot: Slot,
    /// Its imports. Types are left out, because they do nothing.
    pub imports: Vec<String>,
}

/// Looks at what may be a plugin of any slot. It compiles it, as [`Version::load`] does.
///
/// [`Version::load`]: super::Version::load
pub fn inspect(plugins: &Plugins, bytes: &[u8]) -> Result<Inspection, Unfit> {
    let component = compile_any(plugins, bytes)?;
    check_imports(plugins, &component)?;
    let ty = component.component_type();
    let imports = ty.imports(plugins.engine());
    let imports = imports.filter(|(name, _)| !name.starts_with("achromat:policy/types"));
    Ok(Inspection {
        slot: slot_of(&component).ok_or(Unfit::NoWorld)?,
        imports: imports.map(|(name, _)| name.to_owned()).collect(),
    })
}

/// Compiles what may be a plugin of this world. It takes from some milliseconds to seconds.
pub(super) fn compile<W: World>(plugins: &Plugins, bytes: &[u8]) -> Result<Component, Unfit> {
    let component = compile_any(plugins, bytes)?;
    check_imports(plugins, &component)?;
    let wanted = W::SLOT;
    if exports(&component, W::INTERFACES) {
        return Ok(component);
    }
    Err(match slot_of(&component) {
        Some(is) => Unfit::OtherSlot { is, wanted },
        None => Unfit::NoPlugin {
            wanted,
            interface: W::INTERFACES.first().copied().unwrap_or_default(),
        },
    })
}

/// Compiles it where the engine says: in a process with limits, or here.
fn compile_any(plugins: &Plugins, bytes: &[u8]) -> Result<Component, Unfit> {
    check_bytes(bytes)?;
    match plugins.compiler() {
        Some(compiler) => compiler.compile(plugins.engine(), bytes),
        None => compile_here(plugins, bytes),
    }
}

/// Compiles it in this process.
pub(super) fn compile_here(plugins: &Plugins, bytes: &[u8]) -> Result<Component, Unfit> {
    let component = component_of(bytes)?;
    let component = Component::from_binary(plugins.engine(), &component);
    component.map_err(|error| Unfit::Broken {
        why: format!("{error:#}"),
    })
}

/// A component as it is, or the one that a core module with its world inside makes.
pub fn component_of(bytes: &[u8]) -> Result<Cow<'_, [u8]>, Unfit> {
    let rest = check_bytes(bytes)?;
    if rest.starts_with(CORE_MODULE) {
        return encode(bytes).map(Cow::Owned);
    }
    Ok(Cow::Borrowed(bytes))
}

/// Checks size and magic number. Returns the bytes that follow the magic number.
fn check_bytes(bytes: &[u8]) -> Result<&[u8], Unfit> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Unfit::TooLarge { bytes: bytes.len() });
    }
    bytes.strip_prefix(MAGIC).ok_or_else(|| Unfit::NotWasm {
        first: bytes.iter().take(8).copied().collect(),
    })
}

fn encode(module: &[u8]) -> Result<Vec<u8>, Unfit> {
    let encode = || {
        let mut encoder = ComponentEncoder::default();
        encoder.module(module)?.validate(true);
        encoder.encode()
    };
    encode().map_err(|error| Unfit::NoComponent {
        why: format!("{error:#}"),
    })
}

fn check_imports(plugins: &Plugins, component: &Component) -> Result<(), Unfit> {
    let is_ours = |name: &str| {
        ["host", "types"].into_iter().any(|ours| {
            let rest = name.strip_prefix("achromat:policy/");
            rest.and_then(|rest| rest.split('@').next()) == Some(ours)
        })
    };
    let ty = component.component_type();
    let mut imports = ty.imports(plugins.engine());
    match imports.find(|(name, _)| !is_ours(name)) {
        Some((name, _)) => Err(Unfit::Import {
            import: name.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Returns true when the component exports one of these interfaces, in any version.
pub(super) fn exports(component: &Component, interfaces: &[&str]) -> bool {
    let ty = component.component_type();
    ty.exports(component.engine()).any(|(name, item)| {
        let is_interface = matches!(item.ty, ComponentItem::ComponentInstance(_));
        let name = name.split('@').next();
        is_interface && name.is_some_and(|name| interfaces.contains(&name))
    })
}

/// The contract that a component names in its exports, or else in its imports.
pub(super) fn contract_of(component: &Component) -> String {
    let ty = component.component_type();
    let engine = component.engine();
    let exports = ty.exports(engine).map(|(name, _)| name.to_owned());
    let imports = ty.imports(engine).map(|(name, _)| name.to_owned());
    let mut names = exports.chain(imports);
    let version = names.find_map(|name| {
        let name = name.strip_prefix("achromat:policy/")?.to_owned();
        let (_, version) = name.split_once('@')?;
        Some(version.to_owned())
    });
    version.map_or_else(
        || "achromat:policy without a version".to_owned(),
        |version| format!("achromat:policy@{version}"),
    )
}

fn slot_of(component: &Component) -> Option<Slot> {
    let worlds = [
        (RoutingSlot::SLOT, RoutingSlot::INTERFACES),
        (WalSlot::SLOT, WalSlot::INTERFACES),
        (GuardSlot::SLOT, GuardSlot::INTERFACES),
    ];
    let found = worlds
        .into_iter()
        .find(|(_, interfaces)| exports(component, interfaces));
    found.map(|(slot, _)| slot)
}

/// Which headers a plugin wants, in small letters.
pub(super) fn headers(wanted: &[String]) -> Result<Vec<http::HeaderName>, Unfit> {
    if wanted.len() > WANTED_HEADERS_MAX {
        let why = format!(
            "{} headers, and may have {WANTED_HEADERS_MAX}",
            wanted.len()
        );
        return Err(Unfit::Wants { why });
    }
    let header = |name: &String| {
        let fits = name.len() <= HEADER_NAME_BYTES_MAX;
        let parsed = name.parse().ok().filter(|_| fits);
        parsed.ok_or_else(|| Unfit::Wants {
            why: format!("a header {name:?}, which is not the name of one"),
        })
    };
    wanted.iter().map(header).collect()
}
