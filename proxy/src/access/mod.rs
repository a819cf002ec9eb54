//! Authentication by the operator's token and by clients' tokens, and the log lines about denied requests.

mod operator;
mod tokens;

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use achromat_core::{
    access::{Identity, Need, Role, TokenError, Tokens},
    reply::{self, Reply},
};
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;

pub use self::{
    operator::{OperatorTokenError, default_file, operator_token, token_in},
    tokens::{TokenFile, TokenFileError},
};
use crate::{
    clock::wall_time,
    files::{follow, stamps},
};

/// The header that Chroma's clients can be told to send a token in, beside `Authorization`.
pub const TOKEN_HEADER: &str = "x-chroma-token";

/// Takes out what shows who has sent a request.
pub fn hide_token(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(TOKEN_HEADER);
}

/// Denials that are told in one second, at most.
const LINES_PER_SECOND_MAX: u32 = 5;

/// Sender of a request, as its token tells.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The operator: everything is allowed.
    Operator,
    /// The holder of a token.
    Known(Arc<Identity>),
    /// Somebody, and no token is asked for.
    Anybody,
}

impl Caller {
    /// True when a need is granted. Anybody may do what clients do, and nothing that operators do.
    pub fn may(&self, need: Need<'_>) -> bool {
        match self {
            Self::Operator => true,
            Self::Known(identity) => identity.may(need),
            Self::Anybody => !matches!(need.role, Some(Role::Operate | Role::Policy)),
        }
    }

    /// Name of the caller, for logs and for plugins; empty for a caller without a token.
    pub fn name(&self) -> &str {
        match self {
            Self::Operator => "operator",
            Self::Known(identity) => &identity.name,
            Self::Anybody => "",
        }
    }

    /// True for one who does what operators do.
    pub fn is_operator(&self) -> bool {
        match self {
            Self::Operator => true,
            Self::Known(identity) => identity.has(Role::Operate),
            Self::Anybody => false,
        }
    }
}

/// A request that was turned away.
#[derive(Clone, Copy, Debug)]
pub struct Denial<'a> {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Name of the token that it showed; empty without one.
    pub name: &'a str,
    /// Method and path.
    pub what: &'a str,
    /// The reason.
    pub why: &'a str,
    /// Status of the answer.
    pub status: u16,
}

/// The tokens that are taken.
pub struct Access {
    operator: Arc<str>,
    /// The operator's token was chosen, and not made at the first start.
    is_chosen: bool,
    clients: Option<Clients>,
    denied: AtomicU64,
    lines: Mutex<Lines>,
}

/// Number of denials that were logged in one second.
#[derive(Default)]
struct Lines {
    second: u64,
    told: u32,
}

/// Clients' tokens.
struct Clients {
    file: PathBuf,
    tokens: ArcSwap<Tokens>,
}

impl Access {
    /// Without clients' tokens anybody is served; the operator's is always asked for. The file of tokens is
    /// taken in again whenever it changes; one that can't be read changes nothing.
    pub fn start(
        (operator, is_chosen): (Arc<str>, bool),
        file: Option<PathBuf>,
    ) -> Result<Arc<Self>, TokenFileError> {
        let files: Vec<PathBuf> = file.iter().cloned().collect();
        let read_at = stamps(&files);
        let clients = file.map(|file| -> Result<Clients, TokenFileError> {
            let tokens = ArcSwap::from_pointee(TokenFile::read(&file)?.tokens()?);
            Ok(Clients { file, tokens })
        });
        let access = Arc::new(Self {
            operator,
            is_chosen,
            clients: clients.transpose()?,
            denied: AtomicU64::new(0),
            lines: Mutex::default(),
        });
        if access.is_required() {
            follow((files, read_at), &access, Self::take_in);
        }
        Ok(access)
    }

    /// True when every client must show a token.
    pub fn is_required(&self) -> bool {
        self.clients.is_some()
    }

    /// True when what operators see is not for everybody.
    pub fn is_confidential(&self) -> bool {
        self.is_chosen || self.is_required()
    }

    /// Number of requests that were denied.
    pub fn denied(&self) -> u64 {
        self.denied.load(Relaxed)
    }

    /// Finds the caller to whom the token of a request belongs.
    pub fn caller(&self, headers: &HeaderMap) -> Result<Caller, TokenError> {
        let shown = shown(headers);
        if shown.is_some_and(|shown| self.operator.as_bytes().ct_eq(shown.as_bytes()).into()) {
            return Ok(Caller::Operator);
        }
        match &self.clients {
            None => Ok(Caller::Anybody),
            Some(clients) => {
                let tokens = clients.tokens.load();
                tokens.identify(shown, wall_time()).map(Caller::Known)
            }
        }
    }

    /// True when the token that was shown is for Achromat, and not for the servers behind it.
    pub fn keeps_token(&self, caller: &Result<Caller, TokenError>) -> bool {
        self.is_required() || matches!(caller, Ok(Caller::Operator))
    }

    /// Counts a denial, and tells of it in the log. True when there was room for that.
    pub fn count_denial(&self, denial: &Denial<'_>) -> bool {
        let count = self.denied.fetch_add(1, Relaxed) + 1;
        let may_tell = self.may_tell();
        if may_tell {
            let client = denial.client.map(|address| address.to_string());
            let Denial {
                name, what, why, ..
            } = denial;
            tracing::warn!(client, name, what, why, count, "a request is denied");
        }
        may_tell
    }

    /// A flood of denials must not fill the disk; how many there were, each line says.
    fn may_tell(&self) -> bool {
        let second = wall_time().0 / 1000;
        let mut lines = self.lines.lock();
        if lines.second != second {
            *lines = Lines { second, told: 0 };
        }
        lines.told += 1;
        lines.told <= LINES_PER_SECOND_MAX
    }

    fn take_in(&self) {
        let Some(clients) = &self.clients else {
            return;
        };
        match TokenFile::read(&clients.file).and_then(|file| file.tokens()) {
            Ok(tokens) => {
                tracing::info!(count = tokens.len(), "the tokens were read again");
                clients.tokens.store(Arc::new(tokens));
            }
            Err(error) => {
                tracing::error!(%error, "the tokens can't be read again; those of before hold on");
            }
        }
    }
}

/// The token that a request shows.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let value = headers
        .get(header::AUTHORIZATION)
        .or_else(|| headers.get(TOKEN_HEADER))?
        .to_str()
        .ok()?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        Some(_) => None,
        None => Some(value),
    }
}

/// 401 for one whose token is not taken, in Chroma's form.
pub fn unauthorized(error: &TokenError) -> Reply {
    let mut reply = Reply::error(401, "AuthError", &error.to_string());
    reply.headers.push(challenge());
    reply
}

/// The header by which an answer asks for a token.
pub fn challenge() -> (HeaderName, HeaderValue) {
    let bearer = HeaderValue::from_static("Bearer realm=\"achromat\"");
    (header::WWW_AUTHENTICATE, bearer)
}

/// 403 for one who may not do this.
pub fn forbidden(caller: &Caller, need: Need<'_>) -> Reply {
    let role = need.role.map_or("any", Role::as_str);
    let place = need.place;
    let message = format!(
        "The token of {:?} has no grant for {role} at {}/{}/{}",
        caller.name(),
        place.tenant.unwrap_or("*"),
        place.database.unwrap_or("*"),
        place.collection.unwrap_or("*"),
    );
    reply::denied(&message)
}

/// The 32 bytes that were written so.
pub(crate) fn from_hexadecimal(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Bytes as they are written in files and headers.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Cannot fail: it is a string.
        let _written = write!(text, "{byte:02x}");
        text
    })
}
