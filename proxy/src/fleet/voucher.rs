//! The word of a follower for what it passes on: from whom it came, and by which of its addresses.
//!
//! It is a header with a code (HMAC-SHA-256, RFC 2104) that only proxies of the same fleet can make: their secret
//! is in the store. The code is bound to the request's method and target. Who can read the link between two
//! proxies can repeat such a request; only TLS keeps readers away (`fleet.ca_file`).

use std::net::IpAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderName;
use sha2::Sha256;

use crate::access::{from_hexadecimal, hexadecimal};

/// Header with the word of the proxy that has passed a request on. Such a request is not passed on again.
pub const PASSED_ON: HeaderName = HeaderName::from_static("x-achromat-passed-on");

/// Version of the form, which comes first in the header.
const FORM: &str = "1";

/// Makes and judges the words of a fleet's proxies.
#[derive(Clone)]
pub struct Voucher(Hmac<Sha256>);

/// A follower's statement about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vouched {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Address to which it came.
    pub came_to: CameTo,
    /// True when it showed the follower's operator's token.
    pub is_operator: bool,
}

/// The address to which a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameTo {
    /// The one for clients.
    Clients,
    /// The one that is for operators alone.
    Operators,
    /// None: the follower itself asks.
    Nobody,
}

impl CameTo {
    /// Each with its word in the header.
    const WORDS: [(Self, &'static str); 3] = [
        (Self::Clients, "clients"),
        (Self::Operators, "operators"),
        (Self::Nobody, "fleet"),
    ];

    fn word(self) -> &'static str {
        let mut words = Self::WORDS.iter();
        words
            .find(|(it, _)| *it == self)
            .map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        let mut words = Self::WORDS.iter();
        words.find(|(_, its)| *its == word).map(|(it, _)| *it)
    }
}

/// A word that no proxy of this fleet has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not passed on by a proxy of this fleet")]
pub struct Unvouched;

impl Voucher {
    /// The maker for the fleet with this secret.
    pub fn new(secret: &str) -> Self {
        Self(Hmac::new_from_slice(secret.as_bytes()).unwrap_or_else(|_| {
            unreachable!("HMAC takes keys of any length");
        }))
    }

    /// The header of a request that is passed on.
    pub fn sign(&self, vouched: Vouched, method: &str, target: &str) -> String {
        let said = said(vouched);
        let code = self.over(&said, method, target).finalize().into_bytes();
        format!("{said} {}", hexadecimal(&code))
    }

    /// The statement in the header of a request, when a proxy of this fleet has made it.
    pub fn check(&self, header: &str, method: &str, target: &str) -> Result<Vouched, Unvouched> {
        let (said, code) = header.rsplit_once(' ').ok_or(Unvouched)?;
        let code = from_hexadecimal(code).ok_or(Unvouched)?;
        let right = self.over(said, method, target).verify_slice(&code);
        right.map_err(|_| Unvouched)?;
        parse(said).ok_or(Unvouched)
    }

    fn over(&self, said: &str, method: &str, target: &str) -> Hmac<Sha256> {
        let mut code = self.0.clone();
        // No part can have a line's end in it.
        for part in [said, "\n", method, "\n", target] {
            code.update(part.as_bytes());
        }
        code
    }
}

fn said(vouched: Vouched) -> String {
    let client = vouched
        .client
        .map_or_else(|| "-".to_owned(), |client| client.to_string());
    let came_to = vouched.came_to.word();
    let caller = if vouched.is_operator { "operator" } else { "-" };
    format!("{FORM} {client} {came_to} {caller}")
}

fn parse(said: &str) -> Option<Vouched> {
    let mut parts = said.split(' ');
    let (form, client, came_to, caller) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if form != FORM || parts.next().is_some() {
        return None;
    }
    let client = match client {
        "-" => None,
        address => Some(address.parse().ok()?),
    };
    Some(Vouched {
        client,
        came_to: CameTo::of(came_to)?,
        is_operator: caller == "operator",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Vouched> {
        let clients = [
            None,
            Some([10, 0, 0, 7].into()),
            Some("fe80::1".parse().unwrap()),
        ];
        clients.into_iter().flat_map(|client| {
            CameTo::WORDS.into_iter().flat_map(move |(came_to, _)| {
                [false, true].map(|is_operator| Vouched {
                    client,
                    came_to,
                    is_operator,
                })
            })
        })
    }

    /// A word is believed when this fleet's proxy has given it, for this request.
    #[test]
    fn a_word_is_for_one_request_of_one_fleet() {
        let (ours, theirs) = (Voucher::new("ours"), Voucher::new("theirs"));
        for vouched in all() {
            let header = ours.sign(vouched, "POST", "/admin/verify?x=1");
            let check = |voucher: &Voucher, method, target| voucher.check(&header, method, target);
            assert_eq!(check(&ours, "POST", "/admin/verify?x=1"), Ok(vouched));
            assert_eq!(check(&ours, "GET", "/admin/verify?x=1"), Err(Unvouched));
            assert_eq!(check(&ours, "POST", "/admin/verify"), Err(Unvouched));
            assert_eq!(check(&theirs, "POST", "/admin/verify?x=1"), Err(Unvouched));
        }
    }

    /// No character of it can be changed, and nothing else is believed.
    #[test]
    fn a_changed_word_is_not_believed() {
        let voucher = Voucher::new("secret");
        let vouched = all().next().unwrap();
        let header = voucher.sign(vouched, "GET", "/status");
        for at in 0..header.len() {
            let mut changed = header.clone().into_bytes();
            changed[at] ^= 1;
            if let Ok(changed) = String::from_utf8(changed) {
                assert_eq!(
                    voucher.check(&changed, "GET", "/status"),
                    Err(Unvouched),
                    "{at}"
                );
            }
        }
        for nonsense in [
            "",
            "1",
            " ",
            "1 - clients -",
            "1 - clients - 00",
            &"f".repeat(64),
        ] {
            assert_eq!(
                voucher.check(nonsense, "GET", "/status"),
                Err(Unvouched),
                "{nonsense}"
            );
        }
    }
}
