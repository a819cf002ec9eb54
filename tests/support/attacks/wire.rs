//! The bytes of attackers.

use super::Kind;
use crate::{
    api::DATABASE,
    frames::{self, Frame},
};

/// Streams that a connection of HTTP/2 opens.
const STREAMS: u32 = 10;

/// Streams of a connection whose answers are not taken.
const READERS: u32 = 2;

/// Streams that a connection opens and takes back at once: more than are taken from one connection (Rapid Reset,
/// CVE-2023-44487).
const RESETS: u32 = 50;

/// The bytes that a connection begins with.
pub(super) fn opening(kind: Kind, large: &str) -> Vec<u8> {
    let path = format!("{DATABASE}/collections/{large}/get");
    match kind {
        Kind::Silent => Vec::new(),
        Kind::SlowHead => b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ".to_vec(),
        Kind::SlowBody => {
            let head = "HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n{";
            format!("POST {path} {head}").into_bytes()
        }
        Kind::Chunks => {
            let head = "HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n";
            format!("POST {path} {head}").into_bytes()
        }
        Kind::SlowReader => {
            let (body, head) = (r#"{"include":["documents"]}"#, "HTTP/1.1\r\nHost: x");
            let length = body.len();
            format!("POST {path} {head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        }
        Kind::HeldReader => {
            format!("GET {DATABASE}/collections HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
        }
        Kind::Streams | Kind::StreamReaders | Kind::Resets => streams(kind, &path),
    }
}

/// The bytes that follow after each pause.
pub(super) fn drip(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Silent | Kind::SlowReader | Kind::HeldReader => b"",
        Kind::SlowHead | Kind::SlowBody => b"a",
        Kind::Chunks => b"1\r\na\r\n",
        Kind::Streams => &frames::ONE_BYTE,
        Kind::StreamReaders | Kind::Resets => &frames::PING,
    }
}

fn streams(kind: Kind, path: &str) -> Vec<u8> {
    let mut bytes = frames::PREFACE.to_vec();
    // No byte of an answer may be sent.
    let window = (kind == Kind::StreamReaders).then_some(0);
    Frame::settings(window).write(&mut bytes);
    let count = match kind {
        Kind::Resets => RESETS,
        Kind::StreamReaders => READERS,
        _ => STREAMS,
    };
    for stream in (0..count).map(|n| 2 * n + 1) {
        let list = format!("{DATABASE}/collections");
        let (method, ends, path) = match kind {
            Kind::Streams => ("POST", false, path),
            Kind::StreamReaders => ("GET", true, list.as_str()),
            _ => ("GET", true, "/api/v2/version"),
        };
        Frame::request(stream, (method, path), ends).write(&mut bytes);
        if kind == Kind::Resets {
            Frame::reset(stream).write(&mut bytes);
        }
    }
    bytes
}
