//! Credentials between Achromat and one instance: the authorities that its certificate must be from, and the
//! certificate and the token that Achromat shows. They come from files, and are taken in again when those change.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use http::{HeaderName, HeaderValue};
use pingora_core::{
    protocols::tls::CaType,
    upstreams::peer::HttpPeer,
    utils::tls::{CertKey, WrappedX509},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    files::{follow, read_regular, stamps},
    pem::{PemError, certificates, private_key},
};

/// Bytes that a file with a token may have.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Files of the credentials of one instance; none of them is needed.
#[derive(Clone, Debug, Default)]
pub struct CredentialFiles {
    /// Authorities that the server's certificate must be from; without them, those of the system.
    pub authorities: Option<PathBuf>,
    /// Achromat's own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// A token, and the header that it goes in.
    pub token: Option<(PathBuf, TokenHeader)>,
}

/// The header that shows a token to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenHeader {
    /// `Authorization: Bearer TOKEN`.
    Authorization,
    /// `X-Chroma-Token: TOKEN`.
    ChromaToken,
}

/// Failure to use an instance's credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file has no certificate or key that can be used.
    #[error(transparent)]
    File(#[from] PemError),
    /// The certificate does not belong to the key, or can't be used.
    #[error("{path}: the certificate can't be used: {reason}")]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// Its fault.
        reason: rustls::Error,
    },
    /// The token can't be read, or can't stand in a header.
    #[error("{path}: {message}")]
    Token {
        /// The token's file.
        path: PathBuf,
        /// Its fault.
        message: String,
    },
}

/// The credentials of one instance.
#[derive(Debug)]
pub struct Credentials {
    /// Name of the instance.
    name: Arc<str>,
    files: CredentialFiles,
    shown: ArcSwap<Shown>,
}

/// The contents of the files.
#[derive(Debug, Default)]
pub(super) struct Shown {
    authorities: Option<Arc<CaType>>,
    identity: Option<Arc<CertKey>>,
    token: Option<(HeaderName, HeaderValue)>,
}

impl Credentials {
    /// Reads the files, and goes on looking at them.
    pub fn start(name: Arc<str>, files: CredentialFiles) -> Result<Arc<Self>, CredentialError> {
        let followed = files.all();
        let read_at = stamps(&followed);
        let shown = ArcSwap::from_pointee(Shown::read(&files)?);
        let credentials = Arc::new(Self { name, files, shown });
        if !followed.is_empty() {
            follow((followed, read_at), &credentials, Self::take_in);
        }
        Ok(credentials)
    }

    /// Reads the files only to find out what is wrong with them.
    pub fn check(files: &CredentialFiles) -> Result<(), CredentialError> {
        Shown::read(files).map(|_| ())
    }

    /// Takes in the files. Connections that are there go on as they are.
    fn take_in(&self) {
        let instance = self.name.as_ref();
        match Shown::read(&self.files) {
            Ok(shown) => {
                tracing::info!(instance, "the credentials of an instance were read again");
                self.shown.store(Arc::new(shown));
            }
            Err(error) => {
                tracing::error!(instance, %error, "the credentials of an instance can't be read again; those of before are used on");
            }
        }
    }

    pub(super) fn shown(&self) -> arc_swap::Guard<Arc<Shown>> {
        self.shown.load()
    }
}

impl CredentialFiles {
    fn all(&self) -> Vec<PathBuf> {
        let (certificate, key) = self.identity.clone().unzip();
        let token = self.token.clone().map(|(path, _)| path);
        let all = [self.authorities.clone(), certificate, key, token];
        all.into_iter().flatten().collect()
    }
}

impl Shown {
    fn read(files: &CredentialFiles) -> Result<Self, CredentialError> {
        let authorities = files.authorities.as_deref().map(authorities).transpose()?;
        let identity = files.identity.as_ref().map(identity).transpose()?;
        let token = files.token.as_ref().map(token).transpose()?;
        Ok(Self {
            authorities,
            identity,
            token,
        })
    }

    /// Has a connection made with these credentials.
    pub(super) fn equip(&self, peer: &mut HttpPeer) {
        peer.options.ca.clone_from(&self.authorities);
        peer.client_cert_key.clone_from(&self.identity);
    }

    /// The header that shows the token; the client's own header of that name is not passed on.
    pub(super) fn token(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.token.as_ref()
    }
}

fn authorities(path: &Path) -> Result<Arc<CaType>, CredentialError> {
    let mut roots = RootCertStore::empty();
    let mut parsed = Vec::new();
    for certificate in certificates(path)? {
        parsed.push(parse(path, &certificate)?);
        let unfit = |reason| CredentialError::Unfit {
            path: path.to_owned(),
            reason,
        };
        roots.add(certificate).map_err(unfit)?;
    }
    Ok(parsed.into())
}

fn identity((path, key): &(PathBuf, PathBuf)) -> Result<Arc<CertKey>, CredentialError> {
    let (chain, key) = (certificates(path)?, private_key(key)?);
    for certificate in &chain {
        parse(path, certificate)?;
    }
    belong_together(chain.clone(), key.clone_key()).map_err(|reason| CredentialError::Unfit {
        path: path.clone(),
        reason,
    })?;
    let chain = chain.iter().map(|certificate| certificate.to_vec());
    let key = CertKey::new(chain.collect(), key.secret_der().to_vec());
    Ok(Arc::new(key))
}

/// Makes sure that what pingora will do for each connection can be done.
fn belong_together(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(), rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain, key)?;
    Ok(())
}

/// A certificate as pingora wants it. (Pingora's own constructors panic at one that can't be parsed.)
fn parse(path: &Path, certificate: &CertificateDer<'_>) -> Result<WrappedX509, PemError> {
    WrappedX509::try_new(certificate.to_vec(), |der| {
        X509Certificate::from_der(der).map(|(_, certificate)| certificate)
    })
    .map_err(|error| PemError::new(path, &error))
}

fn token(
    (path, header): &(PathBuf, TokenHeader),
) -> Result<(HeaderName, HeaderValue), CredentialError> {
    let wrong = |message: &dyn ToString| CredentialError::Token {
        path: path.clone(),
        message: message.to_string(),
    };
    let contents = read_regular(path, TOKEN_BYTES_MAX).map_err(|error| wrong(&error))?;
    if u64::try_from(contents.len()).is_ok_and(|length| length > TOKEN_BYTES_MAX) {
        return Err(wrong(&format!("it has more than {TOKEN_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(contents).map_err(|_| wrong(&"it is not text"))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(wrong(&"it is empty"));
    }
    let (name, value) = match header {
        TokenHeader::Authorization => (http::header::AUTHORIZATION, format!("Bearer {text}")),
        TokenHeader::ChromaToken => (
            HeaderName::from_static(crate::access::TOKEN_HEADER),
            text.to_owned(),
        ),
    };
    let mut value = HeaderValue::from_str(&value)
        .map_err(|_| wrong(&"it has characters that can't stand in a header"))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(contents: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, contents).expect("a file");
        (folder, path)
    }

    fn fault_of_token(contents: &[u8]) -> String {
        let (_folder, path) = written(contents);
        let error = token(&(path, TokenHeader::Authorization)).expect_err("a fault");
        error
            .to_string()
            .rsplit(": ")
            .next()
            .unwrap_or("")
            .to_owned()
    }

    #[test]
    fn a_token_is_one_line_of_text() {
        let (_folder, path) = written(b"secret\n");
        let (name, value) = token(&(path, TokenHeader::Authorization)).expect("a token");
        assert_eq!(name, http::header::AUTHORIZATION);
        assert_eq!(value, "Bearer secret");
        assert!(!format!("{value:?}").contains("secret"), "{value:?}");
        assert_eq!(fault_of_token(b" \n"), "it is empty");
        assert_eq!(
            fault_of_token(b"a\nb"),
            "it has characters that can't stand in a header"
        );
        assert_eq!(fault_of_token(b"\xff"), "it is not text");
        assert_eq!(fault_of_token(&[b'a'; 5000]), "it has more than 4096 bytes");
    }

    /// A file that says that it has a certificate, and has none, is refused; it does not end the process.
    #[test]
    fn what_is_no_certificate_is_refused() {
        let (_folder, path) =
            written(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let files = CredentialFiles {
            authorities: Some(path.clone()),
            ..CredentialFiles::default()
        };
        let error = Credentials::check(&files).expect_err("a fault").to_string();
        assert!(error.starts_with(&path.display().to_string()), "{error}");
        let (_folder, empty) = written(b"");
        let files = CredentialFiles {
            authorities: Some(empty),
            ..CredentialFiles::default()
        };
        let error = Credentials::check(&files).expect_err("a fault").to_string();
        assert!(error.ends_with("there is no certificate in it"), "{error}");
    }
}
