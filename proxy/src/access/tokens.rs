//! The file of clients' tokens: names, digests, grants and ends, never the tokens themselves.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use achromat_core::{
    access::{Grant, GrantError, Identity, TokenDigest, Tokens, digest},
    time::WallTime,
};
use serde::{Deserialize, Serialize};

use super::{from_hexadecimal, hexadecimal, operator::random};

/// Bytes of the file, at most.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Failure to use the file of clients' tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// It is not as it should be.
    #[error("{path}: {message}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Description of the mistake.
        message: String,
    },
    /// A name is there already.
    #[error(
        "there is a token called {0:?} already; a client may have several, under different names"
    )]
    Taken(String),
    /// No token has this name.
    #[error("no token is called {0:?}")]
    Missing(String),
    /// A grant is not readable.
    #[error(transparent)]
    Grant(#[from] GrantError),
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    token: Vec<WrittenToken>,
}

/// A token as it stands in the file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenToken {
    /// A name of the operator's choice.
    pub name: String,
    /// SHA-256 of the token, in hexadecimal digits.
    pub sha256: String,
    /// Grants: `ROLE,ROLE TENANT/DATABASE/COLLECTION`.
    pub grants: Vec<String>,
    /// Expiry of the token, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
}

/// The file, read.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    written: Written,
}

impl TokenFile {
    /// Reads a file that must be there.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        let wrong = |source| TokenFileError::File {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new().read(true).open(path).map_err(wrong)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(wrong)?;
        let written = toml::from_str(&text).map_err(|error| TokenFileError::Form {
            path: path.to_owned(),
            message: error.message().to_owned(),
        })?;
        Ok(Self {
            path: path.to_owned(),
            written,
        })
    }

    /// Reads a file, or begins one.
    pub fn open(path: &Path) -> Result<Self, TokenFileError> {
        match Self::read(path) {
            Err(TokenFileError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(Self {
                    path: path.to_owned(),
                    written: Written::default(),
                })
            }
            read => read,
        }
    }

    /// The tokens in the file.
    pub fn list(&self) -> &[WrittenToken] {
        &self.written.token
    }

    /// The tokens, checked.
    pub fn tokens(&self) -> Result<Tokens, TokenFileError> {
        self.written
            .token
            .iter()
            .map(|token| self.meant(token))
            .collect()
    }

    fn meant(&self, token: &WrittenToken) -> Result<(TokenDigest, Identity), TokenFileError> {
        let wrong = |message: String| TokenFileError::Form {
            path: self.path.clone(),
            message: format!("the token {:?}: {message}", token.name),
        };
        let grants: Result<Vec<Grant>, GrantError> =
            token.grants.iter().map(|text| text.parse()).collect();
        let digest = from_hexadecimal(&token.sha256)
            .ok_or_else(|| wrong("sha256 is not 64 hexadecimal digits".to_owned()))?;
        let identity = Identity {
            name: token.name.as_str().into(),
            grants: grants.map_err(|error| wrong(error.to_string()))?,
            expires: token
                .expires
                .map(|seconds| WallTime(seconds.saturating_mul(1000))),
        };
        Ok((digest, identity))
    }

    /// Makes a token, and returns it: it is not kept.
    pub fn add(
        &mut self,
        name: &str,
        grants: Vec<String>,
        expires: Option<u64>,
    ) -> Result<String, TokenFileError> {
        if self.written.token.iter().any(|token| token.name == name) {
            return Err(TokenFileError::Taken(name.to_owned()));
        }
        for grant in &grants {
            let _readable: Grant = grant.parse()?;
        }
        let token = random();
        self.written.token.push(WrittenToken {
            name: name.to_owned(),
            sha256: hexadecimal(&digest(&token)),
            grants,
            expires,
        });
        self.write()?;
        Ok(token)
    }

    /// Takes a token away.
    pub fn revoke(&mut self, name: &str) -> Result<(), TokenFileError> {
        let before = self.written.token.len();
        self.written.token.retain(|token| token.name != name);
        if self.written.token.len() == before {
            return Err(TokenFileError::Missing(name.to_owned()));
        }
        self.write()
    }

    /// Puts a whole file in the place of the old one, so that nobody reads half of it.
    fn write(&self) -> Result<(), TokenFileError> {
        let wrong = |source| TokenFileError::File {
            path: self.path.clone(),
            source,
        };
        let text =
            toml::to_string(&self.written).map_err(|error| wrong(std::io::Error::other(error)))?;
        let new = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(wrong)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(wrong)?;
        std::fs::rename(&new, &self.path).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_made_listed_and_revoked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tokens.toml");
        let mut file = TokenFile::open(&path).expect("a new one");
        let grants = vec!["read,write acme/*/*".to_owned()];
        let token = file
            .add("cms", grants.clone(), Some(2_000_000_000))
            .expect("a token");
        let again = file
            .add("cms", grants, None)
            .expect_err("the name is taken");
        assert!(matches!(again, TokenFileError::Taken(_)));
        let wrong = file
            .add("x", vec!["sing acme/*/*".to_owned()], None)
            .expect_err("no role");
        assert!(matches!(wrong, TokenFileError::Grant(_)));
        let text = std::fs::read_to_string(&path).expect("the file");
        assert!(!text.contains(&token), "the token is not kept");
        let read = TokenFile::read(&path).expect("the file");
        let tokens = read.tokens().expect("tokens");
        let found = tokens
            .identify(Some(&token), WallTime(0))
            .expect("it is known");
        assert_eq!(found.name.as_ref(), "cms");
        let mut file = TokenFile::open(&path).expect("the file");
        file.revoke("cms").expect("it was there");
        let tokens = TokenFile::read(&path)
            .and_then(|file| file.tokens())
            .expect("none");
        assert!(tokens.is_empty());
        let missing = file.revoke("cms").expect_err("it is gone");
        assert!(matches!(missing, TokenFileError::Missing(_)));
    }
}
