//! The address of an instance: its URL, and the socket addresses behind it.

use std::{fmt, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwapOption;

/// Socket addresses that are tried for one connection.
const SOCKETS_MAX: usize = 4;

/// An instance's URL, and what it was resolved to.
#[derive(Debug)]
pub struct Address {
    host: String,
    port: u16,
    /// Both of them.
    authority: String,
    tls: bool,
    resolved: ArcSwapOption<Vec<SocketAddr>>,
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
    /// A path, a query or a user.
    #[error(
        "it has more than a host and a port; Chroma serves at the root, and credentials are not sent"
    )]
    TooMuch,
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
        let has_path = !matches!(uri.path(), "" | "/");
        if has_path || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(AddressError::TooMuch);
        }
        let (host, default) = (authority.host(), if tls { 443 } else { 80 });
        let port = authority.port_u16().unwrap_or(default);
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: format!("{host}:{port}"),
            tls,
            resolved: ArcSwapOption::empty(),
        })
    }

    /// The value of `Host`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host without brackets, for TLS.
    pub(super) fn server_name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns true when connections are encrypted.
    pub(super) fn is_tls(&self) -> bool {
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
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A URL names a server and nothing more.
    #[test]
    fn urls_name_servers() {
        let shown = |url| Address::parse(url).map(|address| address.to_string());
        assert_eq!(
            shown("http://127.0.0.1:8001").unwrap(),
            "http://127.0.0.1:8001"
        );
        assert_eq!(shown("http://chroma-a/").unwrap(), "http://chroma-a:80");
        assert_eq!(shown("https://[::1]").unwrap(), "https://[::1]:443");
        assert_eq!(shown("ftp://a"), Err(AddressError::Scheme));
        assert_eq!(shown("a:1"), Err(AddressError::Scheme));
        assert_eq!(shown("http://a/api"), Err(AddressError::TooMuch));
        assert_eq!(shown("http://u:p@a"), Err(AddressError::TooMuch));
        assert_eq!(shown("http://"), Err(AddressError::NotAUrl));
    }
}
