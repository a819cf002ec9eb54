//! Compiling in a process of its own, with limits of memory and time.
//!
//! A component of 118 KB can be made so that compiling it takes gigabytes. Such a one ends its own process,
//! and not the one that serves.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, ExitCode, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, setrlimit};
use wasmtime::{Engine, component::Component};

use super::{
    check::{self, Unfit},
    engine::Plugins,
    limits::{COMPILED_BYTES_MAX, COMPONENT_BYTES_MAX},
};
use crate::program;

/// The name of the command that compiles; it is not for people.
pub const COMMAND: &str = "compile-plugin";

/// The exit code after a component that is not well-formed.
const BROKEN: u8 = 3;

/// The exit code after a core module that no component can be made of.
const NO_COMPONENT: u8 = 4;

/// Bytes of what the compiling process says of an error.
const COMPLAINT_BYTES_MAX: u64 = 4096;

/// Bounds on compiling one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Time.
    pub deadline: Duration,
}

/// Compiles one component at a time, each in a process of its own.
pub(super) struct Compiler {
    limits: CompileLimits,
    cache: Option<PathBuf>,
    turn: Mutex<()>,
}

/// The result of a compiling process that has ended.
struct Ended {
    status: ExitStatus,
    compiled: Vec<u8>,
    complaint: String,
    is_late: bool,
}

impl Compiler {
    pub(super) fn new(limits: CompileLimits, cache: Option<PathBuf>) -> Self {
        Self {
            limits,
            cache,
            turn: Mutex::new(()),
        }
    }

    /// Compiles a component, or a core module with its world inside. It may take as long as the limit says:
    /// not for a thread that serves.
    pub(super) fn compile(&self, engine: &Engine, bytes: &[u8]) -> Result<Component, Unfit> {
        let _turn = self.turn.lock();
        let ended = self.run(bytes).map_err(|error| Unfit::NoCompiler {
            why: error.to_string(),
        })?;
        let why = ended.complaint;
        if ended.is_late {
            return Err(self.too_costly("time"));
        }
        match ended.status.code().map(u8::try_from) {
            Some(Ok(0)) => load(engine, &ended.compiled),
            Some(Ok(BROKEN)) => Err(Unfit::Broken { why }),
            Some(Ok(NO_COMPONENT)) => Err(Unfit::NoComponent { why }),
            // A lack of memory ends it by a signal, or by a panic where the compiler has noticed it first.
            Some(_) | None
                if why.contains("memory allocation") || why.contains("out of memory") =>
            {
                Err(self.too_costly("memory"))
            }
            Some(_) => Err(Unfit::NoCompiler { why }),
            // So does the limit of processor time.
            None => {
                tracing::warn!(status = %ended.status, why, "compiling a plugin has ended its process");
                Err(self.too_costly("memory or time"))
            }
        }
    }

    fn too_costly(&self, what: &'static str) -> Unfit {
        Unfit::TooCostly {
            what,
            memory_mib: self.limits.memory_bytes / (1024 * 1024),
            deadline: self.limits.deadline,
        }
    }

    fn run(&self, bytes: &[u8]) -> io::Result<Ended> {
        let mut arguments = vec![
            OsString::from(COMMAND),
            self.limits.memory_bytes.to_string().into(),
            self.limits.deadline.as_secs().max(1).to_string().into(),
        ];
        arguments.extend(
            self.cache
                .as_ref()
                .map(|cache| cache.clone().into_os_string()),
        );
        let unknown = || io::Error::other("how this program was started is not known");
        let mut command = program::again(&arguments).ok_or_else(unknown)?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        attend(child, bytes, self.limits.deadline)
    }
}

/// Hands the bytes over and takes in the answer, until the process ends or its time is over.
fn attend(mut child: Child, bytes: &[u8], deadline: Duration) -> io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (said, answer) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A process that has ended takes no more; its status says why.
            let _broken_pipe = stdin.map(|mut stdin| stdin.write_all(bytes));
            said.send(take(stdout, COMPILED_BYTES_MAX))
        });
        let compiled = answer.recv_timeout(deadline);
        let is_late = compiled.is_err();
        if is_late {
            child.kill()?;
        }
        let status = child.wait()?;
        // It has ended: what it complained of stands in the pipe.
        let complaint = take(stderr, COMPLAINT_BYTES_MAX);
        Ok(Ended {
            status,
            compiled: compiled.unwrap_or_default(),
            complaint: String::from_utf8_lossy(&complaint).trim().to_owned(),
            is_late,
        })
    })
}

/// Reads to the end, and keeps as much as may be kept.
fn take(source: Option<impl Read>, bytes_max: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut source) = source {
        let kept = source.by_ref().take(bytes_max).read_to_end(&mut bytes);
        // What could not be read is missing from what was read, which is noticed.
        let _dropped = kept.and_then(|_| io::copy(&mut source, &mut io::sink()));
    }
    bytes
}

fn load(engine: &Engine, compiled: &[u8]) -> Result<Component, Unfit> {
    #[expect(
        unsafe_code,
        reason = "machine code can't be checked. It comes from this same program by a pipe that nobody else holds, \
                  and wasmtime refuses what another version, or other settings, have made"
    )]
    // SAFETY: `compiled` is what `Component::serialize` has written in `compile_for_parent`.
    let component = unsafe { Component::deserialize(engine, compiled) };
    component.map_err(|error| Unfit::NoCompiler {
        why: format!("{error:#}"),
    })
}

/// The compiling process: takes a component from standard input, writes machine code to standard output.
pub fn compile_for_parent(limits: CompileLimits, cache: Option<&Path>) -> ExitCode {
    match try_compile(limits, cache) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match &error {
                Failure::Unfit(Unfit::Broken { why }) => (BROKEN, why.clone()),
                Failure::Unfit(Unfit::NoComponent { why }) => (NO_COMPONENT, why.clone()),
                Failure::Unfit(_) | Failure::Io(_) | Failure::Engine(_) => (1, error.to_string()),
            };
            eprintln!("{}", code.1);
            ExitCode::from(code.0)
        }
    }
}

/// The reason why the compiling process returns no component.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Engine(#[from] super::EngineError),
}

fn try_compile(limits: CompileLimits, cache: Option<&Path>) -> Result<(), Failure> {
    limit(Resource::Data, limits.memory_bytes)?;
    // The parent keeps the time; this is for one that is no more.
    limit(Resource::Cpu, limits.deadline.as_secs().saturating_add(1))?;
    limit(Resource::Core, 0)?;
    let bytes_max = u64::try_from(COMPONENT_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = take(Some(io::stdin()), bytes_max.saturating_add(1));
    let plugins = Plugins::compiling(cache.map(Path::to_owned))?;
    let component = check::compile_here(&plugins, &bytes)?;
    let compiled = component.serialize().map_err(|error| Unfit::Broken {
        why: format!("{error:#}"),
    })?;
    io::stdout().write_all(&compiled)?;
    Ok(())
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}
