//! Configuration of the clients' side of the network.

use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
    sync::Arc,
};

use achromat_core::head::{HeadLimits, host_name};

use super::{
    meant::{Checks, listen},
    written::{Admin, Limits, Quotas, Tls, TokenHeaderName, WrittenInstance},
};
use crate::{
    instances::{CredentialFiles, TokenHeader},
    serve::{ConnectionLimits, Patience, QuotaLimits, SpaceLimits},
};

/// Bytes below which usual heads would be refused.
const HEAD_BYTES_LEAST: usize = 1024;

/// Bytes of a head that pingora's own parser takes at most.
const HEAD_BYTES_MOST: usize = 1024 * 1024;

/// Fields that pingora's own parser takes at most.
const HEAD_FIELDS_MOST: usize = 256;

/// The operator's interface.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// The token that was chosen.
    pub token: Option<Arc<str>>,
    /// File that keeps the operator's token, when none was chosen.
    pub token_file: Option<PathBuf>,
    /// An address of its own.
    pub listen: Option<OperatorAddress>,
    /// True when the operator's interface is on the clients' address too.
    pub on_main: bool,
}

/// The operators' own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorAddress {
    /// An address of the network.
    Network(SocketAddr),
    /// The path of a Unix socket.
    Socket(PathBuf),
}

/// Files of certificates.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities that clients' certificates must be from.
    pub client_ca: Option<PathBuf>,
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

pub(super) fn operator(checks: &mut Checks, admin: &Admin) -> OperatorConfig {
    let token = admin.token.as_str();
    if !token.is_empty() && token.len() < 16 {
        checks.wrong(
            "admin.token",
            "it has fewer than 16 characters, which can be guessed",
        );
    }
    let own = (!admin.listen.is_empty()).then_some(admin.listen.as_str());
    if own.is_none() && !admin.on_main {
        checks.wrong(
            "admin.on_main",
            "the operator's interface would be nowhere; set admin.listen",
        );
    }
    OperatorConfig {
        token: (!token.is_empty()).then(|| token.into()),
        token_file: path(&admin.token_file),
        listen: own.map(|text| operator_address(checks, text)),
        on_main: admin.on_main,
    }
}

fn operator_address(checks: &mut Checks, text: &str) -> OperatorAddress {
    let key = "admin.listen";
    let Some(path) = text.strip_prefix("unix:") else {
        return OperatorAddress::Network(listen(checks, key, text));
    };
    if !path.starts_with('/') {
        let message =
            format!("{path:?} is not a whole path, such as unix:/run/achromat/operators.sock");
        checks.wrong(key, message);
    }
    OperatorAddress::Socket(path.into())
}

pub(super) fn tls(checks: &mut Checks, tls: &Tls) -> Option<TlsFiles> {
    let files = (path(&tls.certificate), path(&tls.key));
    let client_ca = path(&tls.client_ca);
    match files {
        (Some(certificate), Some(key)) => Some(TlsFiles {
            certificate,
            key,
            client_ca,
        }),
        (None, None) if client_ca.is_none() => None,
        _ => {
            checks.wrong(
                "tls.certificate",
                "tls.certificate and tls.key belong together",
            );
            None
        }
    }
}

/// The files of an instance's credentials. What only encrypted connections have asks for one.
pub(super) fn credentials(
    checks: &mut Checks,
    instance: &WrittenInstance,
    is_encrypted: bool,
) -> CredentialFiles {
    let (key, name) = ("instances", &instance.name);
    let pair = (path(&instance.certificate), path(&instance.key));
    if pair.0.is_some() != pair.1.is_some() {
        let message = format!("certificate and key of {name:?} belong together");
        checks.wrong(key, message);
    }
    let authorities = path(&instance.ca);
    if !is_encrypted && (authorities.is_some() || pair.0.is_some()) {
        let message = format!("{name:?} has ca or certificate, but its URL is not https://");
        checks.wrong(key, message);
    }
    let header = match instance.token_header {
        TokenHeaderName::Authorization => TokenHeader::Authorization,
        TokenHeaderName::XChromaToken => TokenHeader::ChromaToken,
    };
    CredentialFiles {
        authorities,
        identity: pair.0.zip(pair.1),
        token: path(&instance.token_file).map(|path| (path, header)),
    }
}

pub(super) fn hosts(checks: &mut Checks, names: &[String]) -> Vec<String> {
    let has_port = |name: &&String| host_name(name) != name.as_str() || name.is_empty();
    if let Some(name) = names.iter().find(has_port) {
        let message = format!("{name:?} is not a name or an address without a port");
        checks.wrong("http.hosts", message);
    }
    names.iter().map(|name| name.to_ascii_lowercase()).collect()
}

pub(super) fn connections(checks: &mut Checks, limits: &Limits) -> ConnectionLimits {
    ConnectionLimits {
        all_max: checks.at_least("limits.connections_max", limits.connections_max, 1),
        per_address_max: checks.at_least(
            "limits.connections_per_address_max",
            limits.connections_per_address_max,
            1,
        ),
    }
}

/// Bounds of what each client may ask for; a body of the largest size may always come at once.
pub(super) fn quotas(quotas: &Quotas, body_bytes_max: usize) -> QuotaLimits {
    let burst = u32::try_from(body_bytes_max).unwrap_or(u32::MAX);
    let bytes = NonZeroU32::new(quotas.bytes_per_s);
    QuotaLimits {
        requests_per_s: NonZeroU32::new(quotas.requests_per_s),
        bytes_per_s: bytes.and_then(|rate| Some((rate, rate.max(NonZeroU32::new(burst)?)))),
        concurrent_max: NonZeroU32::new(quotas.concurrent_max),
    }
}

/// Bounds of the space that is taken.
pub(super) fn space(quotas: &Quotas) -> SpaceLimits {
    SpaceLimits {
        collections_max: NonZeroU64::new(quotas.collections_per_database_max),
        records_max: NonZeroU64::new(quotas.records_per_collection_max),
    }
}

pub(super) fn patience(checks: &mut Checks, limits: &Limits) -> Patience {
    let bytes = limits.head_bytes_max;
    if bytes > HEAD_BYTES_MOST {
        let message = format!("it may be {HEAD_BYTES_MOST} at most");
        checks.wrong("limits.head_bytes_max", message);
    }
    if limits.head_fields_max > HEAD_FIELDS_MOST {
        let message = format!("it may be {HEAD_FIELDS_MOST} at most");
        checks.wrong("limits.head_fields_max", message);
    }
    if limits.rate_bytes_per_s_min == 0 {
        checks.wrong(
            "limits.rate_bytes_per_s_min",
            "it must be 1 at least, or a client could hold its place for ever",
        );
    }
    Patience {
        head: HeadLimits {
            bytes_max: checks.at_least("limits.head_bytes_max", bytes, HEAD_BYTES_LEAST),
            fields_max: checks.at_least("limits.head_fields_max", limits.head_fields_max, 10),
        },
        head_deadline: checks.time("limits.head_deadline_ms", limits.head_deadline_ms),
        idle: checks.time("limits.idle_ms", limits.idle_ms),
        grace: checks.time("limits.grace_ms", limits.grace_ms),
        rate_min: limits.rate_bytes_per_s_min.max(1),
    }
}
