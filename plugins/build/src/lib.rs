//! Makes components of plugins that are crates of this workspace: builds them for WebAssembly, and
//! components of what comes out. For build scripts.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use wit_component::ComponentEncoder;

/// What plugins are built for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A component to be made.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// The crate.
    pub package: &'static str,
    /// Its features.
    pub features: &'static str,
    /// The component's file in `OUT_DIR`.
    pub file: &'static str,
}

/// Makes components in the build script's `OUT_DIR`.
///
/// `root` is the workspace's folder; `watched` are the places in it whose change makes them anew.
///
/// # Errors
///
/// What is missing, in one line for the person who builds.
pub fn components(root: &Path, watched: &[&str], guests: &[Guest]) -> Result<(), String> {
    for place in watched {
        println!("cargo::rerun-if-changed={}", root.join(place).display());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    have_target()?;
    for guest in guests {
        let built = compile(root, &out, *guest)?;
        encode(&built, &out.join(guest.file))?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

/// Adds the target to the toolchain when it is missing and rustup is there.
fn have_target() -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let print = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let is_there = print.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && Path::new(&folder).is_dir()
    });
    if is_there {
        return Ok(());
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .output();
    if added.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    Err(format!(
        "policy plugins are WebAssembly, and this Rust can't build it yet: run `rustup target add {TARGET}`"
    ))
}

/// Builds a crate in a target folder of its own: cargo holds the lock on its usual one while it
/// runs a build script. Returns the module.
fn compile(root: &Path, out: &Path, guest: Guest) -> Result<PathBuf, String> {
    let target = out.join("guests");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(root)
        .args([
            "build",
            "--locked",
            "--profile",
            "plugin",
            "--target",
            TARGET,
        ])
        .args(["--package", guest.package, "--features", guest.features])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root)?);
    // What is meant for the outer build: its flags, its lints, its coverage.
    for name in [
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CLIPPY_ARGS",
    ] {
        cargo.env_remove(name);
    }
    let output = cargo
        .output()
        .map_err(|error| format!("cargo can't be run: {error}"))?;
    if output.status.success() {
        let module = format!("{}.wasm", guest.package.replace('-', "_"));
        return Ok(target.join(TARGET).join("plugin").join(module));
    }
    let told = String::from_utf8_lossy(&output.stderr);
    for line in told
        .lines()
        .filter(|line| !line.trim_start().starts_with("Compiling"))
    {
        println!("cargo::warning={line}");
    }
    Err(format!(
        "{} can't be built for {TARGET}; see above",
        guest.package
    ))
}

/// The same source gives the same bytes in every folder.
fn flags(root: &Path) -> Result<String, String> {
    let root = root.canonicalize().map_err(|error| error.to_string())?;
    let mut flags = vec![format!("--remap-path-prefix={}=/achromat", root.display())];
    let home = env::var("CARGO_HOME").ok().map(PathBuf::from);
    if let Some(home) = home.or_else(|| Some(env::home_dir()?.join(".cargo"))) {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    Ok(flags.join("\u{1f}"))
}

fn encode(module: &Path, component: &Path) -> Result<(), String> {
    let encode = || -> Result<(), Box<dyn std::error::Error>> {
        let bytes = fs::read(module)?;
        let mut encoder = ComponentEncoder::default();
        encoder.module(&bytes)?.validate(true);
        fs::write(component, encoder.encode()?)?;
        Ok(())
    };
    encode().map_err(|error| format!("no component can be made of {}: {error}", module.display()))
}
