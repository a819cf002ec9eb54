//! From bytes to a component that may run: what it is, what it needs, what it offers. Each refusal
//! says what is wrong and how to mend it.

use achromat_core::policy::Slot;
use wasmtime::component::{Component, types::ComponentItem};
use wit_component::ComponentEncoder;

use super::{
    engine::Plugins,
    limits::{COMPONENT_BYTES_MAX, CONFIG_BYTES_MAX, HEADER_NAME_BYTES_MAX, WANTED_HEADERS_MAX},
    trouble::Trouble,
    world::{GuardSlot, RoutingSlot, WalSlot, World},
};

/// Why a version can't be taken into service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is too large.
    #[error(
        "it has {bytes} bytes, and may have {COMPONENT_BYTES_MAX}: strip it, or build it optimised for size"
    )]
    TooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// It is something else.
    #[error(
        "it is not WebAssembly: a component begins with the bytes 00 61 73 6d, this with {first:02x?}; name the .wasm file that the build has written"
    )]
    NotWasm {
        /// How it begins.
        first: Vec<u8>,
    },
    /// A core module that says nothing of a world.
    #[error(
        "it is a core module that no component can be made of: {why}. It may import what wit/ offers and nothing else: build it with bindings made from wit/, for wasm32-unknown-unknown"
    )]
    NoComponent {
        /// What the encoder says.
        why: String,
    },
    /// It can't be compiled.
    #[error("it can't be compiled: {why}. `wasm-tools validate` says where it is broken")]
    Broken {
        /// What the compiler says.
        why: String,
    },
    /// It wants something from outside.
    #[error(
        "it imports {import}, and a plugin may import achromat:policy/host and nothing else{}",
        mend_import(.import)
    )]
    Import {
        /// What it imports.
        import: String,
    },
    /// It is a plugin of another slot.
    #[error("it is a plugin for the slot {}, not for {}", .is.as_str(), .wanted.as_str())]
    OtherSlot {
        /// Whose it is.
        is: Slot,
        /// Whose it should be.
        wanted: Slot,
    },
    /// It is no plugin of ours.
    #[error(
        "it exports no {interface}: build it with bindings for the world {} of wit/ (the SDK's macro, or wit-bindgen), for wasm32-unknown-unknown", .wanted.as_str()
    )]
    NoPlugin {
        /// What is wanted.
        wanted: Slot,
        /// What it should export.
        interface: &'static str,
    },
    /// It knows the names, but not what they mean here.
    #[error("it is built against another text of the contract than wit/: {why}")]
    OtherContract {
        /// What does not fit.
        why: String,
    },
    /// Its configuration is too large.
    #[error("its configuration has {bytes} bytes, and may have {CONFIG_BYTES_MAX}")]
    ConfigTooLarge {
        /// How large it is.
        bytes: usize,
    },
    /// It does not take its configuration.
    #[error("it refuses its configuration: {why}")]
    Config {
        /// In its own words.
        why: String,
    },
    /// It wants too much of each request.
    #[error("it wants {why}")]
    Wants {
        /// What it wants.
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

/// The start of every WebAssembly binary; the next two bytes say its version, then comes its layer.
const MAGIC: &[u8] = b"\0asm";

/// A core module of version 1.
const CORE_MODULE: &[u8] = &[1, 0, 0, 0];

/// Compiles what may be a plugin of this world. It takes from some milliseconds to seconds.
pub(super) fn compile<W: World>(plugins: &Plugins, bytes: &[u8]) -> Result<Component, Unfit> {
    if bytes.len() > COMPONENT_BYTES_MAX {
        return Err(Unfit::TooLarge { bytes: bytes.len() });
    }
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        let first = bytes.iter().take(8).copied().collect();
        return Err(Unfit::NotWasm { first });
    };
    let made;
    let component = if rest.starts_with(CORE_MODULE) {
        made = encode(bytes)?;
        &made
    } else {
        bytes
    };
    let component = Component::from_binary(plugins.engine(), component);
    let component = component.map_err(|error| Unfit::Broken {
        why: format!("{error:#}"),
    })?;
    check_world::<W>(plugins, &component)?;
    Ok(component)
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

fn check_world<W: World>(plugins: &Plugins, component: &Component) -> Result<(), Unfit> {
    let engine = plugins.engine();
    let ty = component.component_type();
    for (name, _) in ty.imports(engine) {
        let is_ours = ["host", "types"].into_iter().any(|ours| {
            let rest = name.strip_prefix("achromat:policy/");
            rest.and_then(|rest| rest.split('@').next()) == Some(ours)
        });
        if !is_ours {
            let import = name.to_owned();
            return Err(Unfit::Import { import });
        }
    }
    let exports = |interface: &str| {
        ty.exports(engine).any(|(name, item)| {
            let is_interface = matches!(item.ty, ComponentItem::ComponentInstance(_));
            is_interface && name.split('@').next() == Some(interface)
        })
    };
    if exports(W::INTERFACE) {
        return Ok(());
    }
    let worlds = [
        (RoutingSlot::SLOT, RoutingSlot::INTERFACE),
        (WalSlot::SLOT, WalSlot::INTERFACE),
        (GuardSlot::SLOT, GuardSlot::INTERFACE),
    ];
    let wanted = W::SLOT;
    match worlds.into_iter().find(|(_, interface)| exports(interface)) {
        Some((is, _)) => Err(Unfit::OtherSlot { is, wanted }),
        None => Err(Unfit::NoPlugin {
            wanted,
            interface: W::INTERFACE,
        }),
    }
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
