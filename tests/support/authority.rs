//! Certificates of the tests' own making.

use std::path::Path;

/// An authority, and certificates of it.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// The authority's own certificate.
    pub pem: String,
}

/// The way in which a certificate is not what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It ended in 2001.
    Expired,
    /// It is for another name.
    Misnamed,
}

impl Authority {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut about = rcgen::CertificateParams::default();
        about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        about
            .distinguished_name
            .push(rcgen::DnType::CommonName, "authority of the tests");
        about.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        let pem = about.self_signed(&key).expect("a certificate").pem();
        Self {
            issuer: rcgen::Issuer::new(about, key),
            pem,
        }
    }

    /// Puts a new certificate and its key into a folder, as `certificate.pem` and `key.pem`, and returns the
    /// certificate.
    pub fn renew(&self, folder: &Path) -> String {
        self.put(folder, None)
    }

    /// The same with a fault.
    pub fn spoil(&self, folder: &Path, fault: Fault) -> String {
        self.put(folder, Some(fault))
    }

    fn put(&self, folder: &Path, fault: Option<Fault>) -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = match fault {
            Some(Fault::Misnamed) => vec!["elsewhere.example".to_owned()],
            _ => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let mut about = rcgen::CertificateParams::new(names).expect("names");
        if fault == Some(Fault::Expired) {
            about.not_before = rcgen::date_time_ymd(2000, 1, 1);
            about.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let certificate = about.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("a certificate").pem();
        replace(&folder.join("key.pem"), &key.serialize_pem());
        replace(&folder.join("certificate.pem"), &certificate);
        certificate
    }
}

/// Puts a file in the place of another at once, so that nobody reads half of it.
pub fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, path).expect("it is renamed");
}
