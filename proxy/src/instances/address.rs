//! The address of an instance: its URL, and the socket addresses behind it.

use std::{fmt, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;

/// Socket addresses that are tried for one connection.
const SOCKETS_MAX: usize = 4;

/// An instance's URL, and what it was resolved to.
#[derive(Clone, Debug)]
pub struct Address {
    host: String,
    port: u16,
    /// Both of them.
    authority: String,
    /// Path that stands before every target; empty for a server at the root.
    prefix: String,
    tls: bool,
    resolved: Arc<ArcSwapOption<Vec<SocketAddr>>>,
}

/// The reason why a URL can't be an instance's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL at all.
    #[error("it is not a URL such as http://127.0.0.1:8001")]
    NotAUrl,
    /// Neither http nor https.
    #[error("it begins with neither http:// nor https://")]
    Scheme,
    /// A query or a user.
    #[error(
        "it has more than a host, a port and a path; credentials come from files, see token_file"
    )]
    TooMuch,
    /// A path with something that servers read in several ways.
    #[error("its path may have letters, digits, '-', '_', '.', '~' and single slashes")]
    Path,
}

impl Address {
    /// Reads a URL.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let uri: http::Uri = url.trim().parse().map_err(|_| AddressError::NotAUrl)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(AddressError::Scheme),
        };
        let authority = uri.authority().ok_or(AddressError::NotAUrl)?;
        if uri.query().is_some() || url.contains('#') || authority.as_str().contains('@') {
            return Err(AddressError::TooMuch);
        }
        let prefix = uri.path().trim_end_matches('/');
        if !prefix.split('/').skip(1).all(is_plain_segment) {
            return Err(AddressError::Path);
        }
        let (host, default) = (authority.host(), if tls { 443 } else { 80 });
        let port = authority.port_u16().unwrap_or(default);
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: format!("{host}:{port}"),
            prefix: prefix.to_owned(),
            tls,
            resolved: Arc::default(),
        })
    }

    /// The value of `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path that stands before every target.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The host without brackets, for TLS.
    pub(super) fn server_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns true when connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The socket addresses, looked up again after a connection has failed.
    pub(super) async fn sockets(&self) -> std::io::Result<Arc<Vec<SocketAddr>>> {
        if let Some(known) = self.resolved.load_full() {
            return Ok(known);
        }
        let found = tokio::net::lookup_host((self.server_name(), self.port)).await?;
        let found = Arc::new(found.take(SOCKETS_MAX).collect::<Vec<_>>());
        self.resolved.store(Some(Arc::clone(&found)));
        Ok(found)
    }

    /// Forgets what was looked up: the instance may have moved.
    pub(super) fn forget(&self) {
        self.resolved.store(None);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.prefix)
    }
}

/// True for a part of a path that every server reads in the same way.
fn is_plain_segment(segment: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    !matches!(segment, "" | "." | "..") && segment.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A URL names a server, and a path on it.
    #[test]
    fn urls_name_servers() {
        let shown = |url: &str| Address::parse(url).map(|address| address.to_string());
        assert_eq!(
            shown("http://127.0.0.1:8001").unwrap(),
            "http://127.0.0.1:8001"
        );
        assert_eq!(shown("http://chroma-a/").unwrap(), "http://chroma-a:80");
        assert_eq!(shown("https://[::1]").unwrap(), "https://[::1]:443");
        assert_eq!(shown("ftp://a"), Err(AddressError::Scheme));
        assert_eq!(shown("a:1"), Err(AddressError::Scheme));
        assert_eq!(shown("http://a/b/c-1/").unwrap(), "http://a:80/b/c-1");
        for path in ["/a//b", "/../a", "/.", "/a%2fb", "/a;b"] {
            let url = format!("http://a{path}");
            assert_eq!(shown(&url), Err(AddressError::Path), "{path}");
        }
        assert_eq!(shown("http://a/?b"), Err(AddressError::TooMuch));
        assert_eq!(shown("http://a/#b"), Err(AddressError::TooMuch));
        assert_eq!(shown("http://u:p@a"), Err(AddressError::TooMuch));
        assert_eq!(shown("http://"), Err(AddressError::NotAUrl));
    }
}
