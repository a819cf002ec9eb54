//! Plugins from an OCI registry, by digest: the manifest's is in the reference, the component's in the
//! manifest. So it does not matter who answers: what is not what was named is not taken.
//!
//! Two requests are all that is needed, with the HTTP client that the commands use anyway; a client
//! for registries would bring another one. Registries that ask for it are shown a token that they give
//! to anybody; where a login is needed, a file does it.

use std::{fmt, io::Read as _, net::IpAddr, str::FromStr, time::Duration};

use achromat_core::policy::Digest;
use serde::Deserialize;
use ureq::{
    Agent,
    http::{Response, StatusCode, Uri, header},
};

use crate::policy::limits::COMPONENT_BYTES_MAX;

/// The prefix of a reference to a registry.
pub const SCHEME: &str = "oci://";

/// Bytes of a manifest.
const MANIFEST_BYTES_MAX: u64 = 1024 * 1024;

/// For one request, with the whole answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Characters of a host's or a repository's name.
const NAME_CHARS_MAX: usize = 255;

/// Media types of manifests.
const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// Media types of components in a manifest.
const COMPONENTS: [&str; 2] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
];

/// A component in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    host: String,
    repository: String,
    manifest: Digest,
}

/// The error for a text that is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names nothing in a registry: it is oci://HOST/REPOSITORY@sha256:…, with the digest of the manifest; a tag will not do, for it moves"
)]
pub struct WrongReference(String);

impl FromStr for Reference {
    type Err = WrongReference;

    fn from_str(text: &str) -> Result<Self, WrongReference> {
        Self::parse(text).ok_or_else(|| WrongReference(text.to_owned()))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host,
            repository,
            manifest,
        } = self;
        write!(f, "{SCHEME}{host}/{repository}@sha256:{manifest}")
    }
}

impl Reference {
    fn parse(text: &str) -> Option<Self> {
        let (name, digest) = text.strip_prefix(SCHEME)?.split_once('@')?;
        let (host, repository) = name.split_once('/')?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let fits = |text: &str| (1..=NAME_CHARS_MAX).contains(&text.len());
        let is_segment =
            |text: &str| !text.is_empty() && text.chars().all(is_plain) && text != "..";
        let is_host = fits(host) && host.chars().all(|c| is_plain(c) || ":[]".contains(c));
        if !is_host || !fits(repository) || !repository.split('/').all(is_segment) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            manifest: digest.parse().ok()?,
        })
    }

    /// The last part of the repository's name, and the digest.
    pub fn name(&self) -> String {
        let last = self.repository.rsplit('/').next().unwrap_or_default();
        format!("{last}@sha256:{}", self.manifest)
    }

    /// Registries on this machine are asked in the clear, as everywhere; all others are not.
    fn base(&self) -> String {
        let uri = format!("http://{}", self.host).parse::<Uri>();
        let host = uri.ok().and_then(|uri| Some(uri.host()?.to_owned()));
        let scheme = if host.is_some_and(|host| is_this_machine(&host)) {
            "http"
        } else {
            "https"
        };
        format!("{scheme}://{}/v2/{}", self.host, self.repository)
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The failure of a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// It can't be asked.
    #[error("{url}: {why}")]
    Silent {
        /// The URL of the request.
        url: String,
        /// The reason.
        why: String,
    },
    /// It refuses to give it.
    #[error("{url}: it answers {status}{}", mend(*.status))]
    Refused {
        /// The URL of the request.
        url: String,
        /// Its answer.
        status: u16,
    },
    /// It gives other bytes than the ones that were named.
    #[error("{url}: what it gives is sha256:{found}")]
    OtherBytes {
        /// The URL of the request.
        url: String,
        /// The digest of the answer.
        found: Digest,
    },
    /// The registry's manifest describes no component.
    #[error(
        "{url}: it has no layer of the type application/wasm ({found}): `oras push REPOSITORY:TAG plugin.wasm:application/wasm` makes one"
    )]
    NoComponent {
        /// The manifest.
        url: String,
        /// The types of its layers, or its fault.
        found: String,
    },
}

fn mend(status: u16) -> &'static str {
    match status {
        401 | 403 => "; where a login is needed, fetch the plugin to a file, and pin its digest",
        404 => "; is the digest that of the manifest?",
        _ => "",
    }
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

/// Fetches a component. It waits for the network: not for a thread that serves.
pub(super) fn fetch(reference: &Reference) -> Result<Vec<u8>, RegistryError> {
    let registry = Registry::new();
    let base = reference.base();
    let url = format!("{base}/manifests/sha256:{}", reference.manifest);
    let (text, token) = registry.get(&url, None, MANIFEST_BYTES_MAX)?;
    check(&url, &text, reference.manifest)?;
    let digest = component(&url, &text)?;
    let url = format!("{base}/blobs/sha256:{digest}");
    let bytes_max = u64::try_from(COMPONENT_BYTES_MAX).unwrap_or(u64::MAX);
    let (bytes, _token) = registry.get(&url, token, bytes_max)?;
    check(&url, &bytes, digest)?;
    Ok(bytes)
}

fn check(url: &str, bytes: &[u8], wanted: Digest) -> Result<(), RegistryError> {
    let found = Digest::of(bytes);
    if found == wanted {
        return Ok(());
    }
    let url = url.to_owned();
    Err(RegistryError::OtherBytes { url, found })
}

/// The digest of the component that a manifest describes.
fn component(url: &str, manifest: &[u8]) -> Result<Digest, RegistryError> {
    let none = |found: String| RegistryError::NoComponent {
        url: url.to_owned(),
        found,
    };
    let manifest = serde_json::from_slice::<Manifest>(manifest);
    let manifest = manifest.map_err(|error| none(error.to_string()))?;
    let mut layers = manifest.layers.iter();
    let found = layers.find(|layer| COMPONENTS.contains(&layer.media_type.as_str()));
    let Some(layer) = found else {
        let types = manifest.layers.iter().take(8);
        let types: Vec<_> = types.map(|layer| layer.media_type.as_str()).collect();
        return Err(none(format!("only {types:?}")));
    };
    layer
        .digest
        .parse()
        .map_err(|wrong: crate::policy::WrongDigest| none(wrong.to_string()))
}

/// A client.
struct Registry(Agent);

impl Registry {
    fn new() -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build();
        Self(config.into())
    }

    /// Fetches a URL, with a token if the registry wants one. Returns the content and the token
    /// that was used.
    fn get(
        &self,
        url: &str,
        token: Option<String>,
        bytes_max: u64,
    ) -> Result<(Vec<u8>, Option<String>), RegistryError> {
        let answer = self.ask(url, token.as_deref())?;
        let challenge = challenge(&answer);
        let (answer, token) = match challenge {
            Some(challenge) if answer.status() == StatusCode::UNAUTHORIZED && token.is_none() => {
                let token = self.token(&challenge)?;
                (self.ask(url, Some(&token))?, Some(token))
            }
            _ => (answer, token),
        };
        let status = answer.status().as_u16();
        if status != 200 {
            let url = url.to_owned();
            return Err(RegistryError::Refused { url, status });
        }
        Ok((read(url, answer, bytes_max)?, token))
    }

    fn ask(&self, url: &str, token: Option<&str>) -> Result<Response<ureq::Body>, RegistryError> {
        let mut request = self.0.get(url).header(header::ACCEPT, MANIFESTS);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| RegistryError::Silent {
            url: url.to_owned(),
            why: error.to_string(),
        })
    }

    /// A token that is given to anybody.
    fn token(&self, challenge: &Challenge) -> Result<String, RegistryError> {
        let mut request = self.0.get(&challenge.realm);
        for (name, value) in [("service", &challenge.service), ("scope", &challenge.scope)] {
            if let Some(value) = value {
                request = request.query(name, value);
            }
        }
        let url = challenge.realm.clone();
        let silent = |why: String| RegistryError::Silent {
            url: url.clone(),
            why,
        };
        let answer = request.call().map_err(|error| silent(error.to_string()))?;
        let text = read(&url, answer, MANIFEST_BYTES_MAX)?;
        let given: Given =
            serde_json::from_slice(&text).map_err(|error| silent(error.to_string()))?;
        let token = given.token.or(given.access_token);
        token.ok_or_else(|| silent("it gives no token to anybody".to_owned()))
    }
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

/// The address that issues tokens, and the service and scope to ask for.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: Option<String>,
    scope: Option<String>,
}

fn challenge(answer: &Response<ureq::Body>) -> Option<Challenge> {
    let value = answer.headers().get(header::WWW_AUTHENTICATE)?;
    Challenge::parse(value.to_str().ok()?)
}

impl Challenge {
    /// `Bearer realm="…",service="…",scope="…"`
    fn parse(text: &str) -> Option<Self> {
        let parameters = text.strip_prefix("Bearer ")?;
        let value = |name: &str| {
            let (_, rest) = parameters.split_once(&format!("{name}=\""))?;
            let (value, _) = rest.split_once('"')?;
            Some(value.to_owned())
        };
        let realm = value("realm")?;
        let uri = realm.parse::<Uri>().ok()?;
        let is_safe = uri.scheme_str() == Some("https") || is_this_machine(uri.host()?);
        is_safe.then_some(Self {
            realm,
            service: value("service"),
            scope: value("scope"),
        })
    }
}

fn read(url: &str, answer: Response<ureq::Body>, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
    let silent = |why: String| RegistryError::Silent {
        url: url.to_owned(),
        why,
    };
    let mut bytes = Vec::new();
    let mut body = answer.into_body().into_reader().take(bytes_max + 1);
    body.read_to_end(&mut bytes)
        .map_err(|error| silent(error.to_string()))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        return Err(silent(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    /// A host, a repository and a digest; no tag, and no way out of the repository.
    #[test]
    fn references_are_read() {
        let parse = |name: &str| format!("{SCHEME}{name}@{DIGEST}").parse::<Reference>();
        let base = |name: &str| parse(name).unwrap().base();
        assert_eq!(base("r.example/team/big"), "https://r.example/v2/team/big");
        assert_eq!(base("127.0.0.1:5000/big"), "http://127.0.0.1:5000/v2/big");
        assert_eq!(base("[::1]:5000/big"), "http://[::1]:5000/v2/big");
        assert_eq!(base("localhost/big"), "http://localhost/v2/big");
        assert_eq!(
            parse("r.example/team/big").unwrap().name(),
            format!("big@{DIGEST}")
        );
        for name in [
            "",
            "r.example",
            "r.example/",
            "/big",
            "r/a//b",
            "r/../b",
            "r/a b",
            "u@r/a",
            "r/a:1",
        ] {
            assert!(parse(name).is_err(), "{name}");
        }
        for text in [
            "oci://r.example/big",
            "oci://r.example/big:1",
            "big.wasm",
            "oci://r/big@sha256:12",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    /// A token is only fetched where nobody listens.
    #[test]
    fn challenges_are_read() {
        let text = r#"Bearer realm="https://r.example/token",service="r.example",scope="repository:a:pull""#;
        let challenge = Challenge::parse(text).unwrap();
        assert_eq!(challenge.realm, "https://r.example/token");
        assert_eq!(challenge.scope.as_deref(), Some("repository:a:pull"));
        assert_eq!(
            Challenge::parse(r#"Bearer realm="http://r.example/token""#),
            None
        );
        assert_eq!(Challenge::parse(r#"Basic realm="https://r.example""#), None);
    }
}
