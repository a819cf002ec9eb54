//! Signatures as minisign makes them: Ed25519, detached, in a file of text.

use std::str::FromStr;

use minisign_verify::{PublicKey, Signature};

/// A key whose signatures are good, as minisign writes public keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedKey(String);

/// The error for a text that is no public key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no public key: it is the second line of minisign.pub, and begins with RW")]
pub struct WrongKey(String);

impl FromStr for TrustedKey {
    type Err = WrongKey;

    fn from_str(text: &str) -> Result<Self, WrongKey> {
        let text = text.trim();
        match PublicKey::from_base64(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(WrongKey(text.to_owned())),
        }
    }
}

/// Checks that a signature is good for these bytes under one of the keys. Returns the reason when it isn't.
pub(super) fn judge(bytes: &[u8], text: &str, keys: &[TrustedKey]) -> Result<(), String> {
    let signature = Signature::decode(text).map_err(|error| error.to_string())?;
    let mut why = "there is no key".to_owned();
    for TrustedKey(key) in keys {
        let key = PublicKey::from_base64(key).map_err(|error| error.to_string())?;
        // Only signatures of digests: the old ones of whole files are not made any more.
        match key.verify(bytes, &signature, false) {
            Ok(()) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}
