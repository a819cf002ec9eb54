//! Which pages browsers may let use Chroma's interface here (CORS), answered as Chroma's own server
//! answers with its `cors_allow_origins`: any method, any header, these origins. Where clients need tokens, the
//! header of these too.

use achromat_core::reply::Reply;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

/// The origins of pages that may use Chroma's interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// None: nothing is said of origins.
    #[default]
    None,
    /// Any.
    Any,
    /// These, compared byte by byte.
    These(Vec<HeaderValue>),
}

/// Request headers on which an answer depends, for caches.
const VARY: &str = "origin, access-control-request-method, access-control-request-headers";

impl Origins {
    /// Reads origins as they are configured: `*` alone, or each as browsers write it. Says what is wrong
    /// with the first that is not one.
    pub fn new(texts: &[String]) -> Result<Self, String> {
        match texts {
            [] => Ok(Self::None),
            [any] if any == "*" => Ok(Self::Any),
            these => these
                .iter()
                .map(|text| origin(text))
                .collect::<Result<_, _>>()
                .map(Self::These),
        }
    }

    /// Returns true when at least one origin is allowed.
    pub(super) fn is_any_allowed(&self) -> bool {
        *self != Self::None
    }

    /// The headers of each answer to a page of this origin.
    pub(super) fn headers(&self, page: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let allowed = match self {
            Self::None => return headers,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::These(origins) => page.filter(|page| origins.contains(page)).cloned(),
        };
        headers.insert(header::VARY, HeaderValue::from_static(VARY));
        if let Some(allowed) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        }
        headers
    }
}

/// The answer to a browser that asks what a page may do; `allow` has the methods of the path. Where clients need
/// tokens, their header is named: the star does not cover it (Fetch, "CORS non-wildcard request-header name").
pub(super) fn preflight(allow: Option<String>, are_tokens_needed: bool) -> Reply {
    let any = HeaderValue::from_static("*");
    let headers = if are_tokens_needed {
        HeaderValue::from_static("*, authorization")
    } else {
        any.clone()
    };
    Reply {
        status: 200,
        content_type: None,
        body: Bytes::new(),
        retry_after_s: None,
        allow,
        headers: vec![
            (header::ACCESS_CONTROL_ALLOW_METHODS, any),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, headers),
        ],
    }
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || {
        format!(
            "{text:?} is not an origin such as https://app.example, in lower case and without a path; `*` stands alone"
        )
    };
    let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
    let is_host = |c: char| !c.is_ascii_uppercase() && !c.is_whitespace() && !"/?#@*".contains(c);
    if scheme.is_empty() || host.is_empty() || !host.chars().all(is_host) {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &[&str], page: &str) -> Option<String> {
        let texts: Vec<_> = origins.iter().map(|text| (*text).to_owned()).collect();
        let page = HeaderValue::from_str(page).unwrap();
        let headers = Origins::new(&texts).unwrap().headers(Some(&page));
        let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        Some(allowed.to_str().unwrap().to_owned())
    }

    /// An origin is allowed as it is written, and no other; a star allows any.
    #[test]
    fn origins_are_compared_as_they_are_written() {
        let two = ["https://a.example", "http://b.example:81"];
        assert_eq!(allowed(&two, two[1]).as_deref(), Some(two[1]));
        for other in [
            "http://a.example",
            "https://A.example",
            "https://a.example.evil",
            "null",
        ] {
            assert_eq!(allowed(&two, other), None, "{other}");
        }
        assert_eq!(allowed(&["*"], "https://x").as_deref(), Some("*"));
        assert_eq!(allowed(&[], "https://x"), None);
    }

    /// A text that could never equal a browser's origin is refused at the start.
    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "",
            "a.example",
            "https://",
            "https://a/",
            "https://A",
            "https://a b",
            "https://*.a",
        ] {
            assert!(Origins::new(&[text.to_owned()]).is_err(), "{text}");
        }
        let both = ["*".to_owned(), "https://a".to_owned()];
        assert!(Origins::new(&both).is_err());
    }
}
