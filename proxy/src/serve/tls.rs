//! Encryption of the clients' connections: certificate and key from files, taken in again when they change.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use pingora_core::{
    listeners::tls::Acceptor,
    protocols::{Stream, l4::stream::Stream as L4},
};
use pingora_timeout::timeout;
use rustls::{
    RootCertStore, ServerConfig, crypto::ring::default_provider, server::WebPkiClientVerifier,
};

use crate::{
    config::TlsFiles,
    files::{follow, stamps},
    pem::{PemError, certificates, private_key},
};

/// Protocols that are offered to clients, HTTP/2 first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Failure to set up the encryption of connections.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or has no certificate or key.
    #[error(transparent)]
    File(#[from] PemError),
    /// Certificate and key don't belong together, or can't be used.
    #[error("the certificate can't be used: {0}")]
    Unfit(#[from] rustls::Error),
    /// The authorities can't be used.
    #[error("tls.client_ca can't be used: {0}")]
    Authorities(String),
}

/// Certificates for the encryption of connections.
pub struct Encryption {
    files: TlsFiles,
    acceptor: ArcSwap<Acceptor>,
}

impl Encryption {
    /// Reads the files, and goes on looking at them.
    pub fn start(files: &TlsFiles) -> Result<Arc<Self>, TlsError> {
        let TlsFiles {
            certificate,
            key,
            client_ca,
        } = files.clone();
        let followed: Vec<PathBuf> = [certificate, key].into_iter().chain(client_ca).collect();
        let read_at = stamps(&followed);
        let acceptor = ArcSwap::from_pointee(acceptor(files)?);
        let encryption = Arc::new(Self {
            files: files.clone(),
            acceptor,
        });
        follow((followed, read_at), &encryption, Self::take_in);
        Ok(encryption)
    }

    /// Takes in the files. Connections that are there go on as they are.
    fn take_in(&self) {
        match acceptor(&self.files) {
            Ok(acceptor) => {
                tracing::info!("the certificate was read again");
                self.acceptor.store(Arc::new(acceptor));
            }
            Err(error) => {
                tracing::error!(%error, "the certificate can't be read again; that of before is used on");
            }
        }
    }

    /// Settles a connection's encryption, within a deadline; none when the client does not come to it.
    pub(super) async fn settle(&self, stream: L4, deadline: Duration) -> Option<Stream> {
        let acceptor = self.acceptor.load_full();
        match timeout(deadline, Box::pin(acceptor.tls_handshake(stream))).await {
            Ok(Ok(stream)) => Some(Box::new(stream)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection could not be encrypted");
                None
            }
            Err(_) => None,
        }
    }
}

fn acceptor(files: &TlsFiles) -> Result<Acceptor, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::new(default_provider()),
            )
            .build()
            .map_err(|error| TlsError::Authorities(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = private_key(&files.key)?;
    let mut config = builder.with_single_cert(certificates(&files.certificate)?, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Acceptor::from_server_config(Arc::new(config)))
}
