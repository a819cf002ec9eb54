//! HTTP/2 as bytes (RFC 9113), for clients that no library would be.

use std::io::{Read, Result};

/// Bytes that a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame with one byte of the body of the first stream.
pub const ONE_BYTE: [u8; 10] = [0, 0, 1, DATA, 0, 0, 0, 0, 1, b'a'];

/// A frame that asks for a sign of life.
pub const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Type of a frame with a part of a body.
pub const DATA: u8 = 0;

/// Type of a frame with the fields of a head.
pub const HEADERS: u8 = 1;

/// Type of a frame that takes a stream back.
pub const RESET: u8 = 3;

/// Type of a frame with settings.
pub const SETTINGS: u8 = 4;

/// Type of a frame after which no stream is begun.
pub const GO_AWAY: u8 = 7;

/// Type of a frame that gives room for more bytes.
const WINDOW: u8 = 8;

/// Flag of the last frame of a stream.
pub const ENDS_STREAM: u8 = 1;

/// Flag of the last frame of a head.
const ENDS_HEAD: u8 = 4;

/// The setting of the bytes that a stream may send at first.
const INITIAL_WINDOW: u16 = 4;

/// Bytes before a frame's contents.
const HEAD_BYTES: usize = 9;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Its contents.
    pub contents: Vec<u8>,
}

impl Frame {
    /// The settings of a client, with the bytes that a stream may send it at first.
    pub fn settings(window: Option<u32>) -> Self {
        let mut contents = Vec::new();
        if let Some(window) = window {
            contents.extend_from_slice(&INITIAL_WINDOW.to_be_bytes());
            contents.extend_from_slice(&window.to_be_bytes());
        }
        Self::of(SETTINGS, 0, 0, contents)
    }

    /// The head of a request, with its method and path; it may be all of the request.
    pub fn request(stream: u32, (method, path): (&str, &str), ends: bool) -> Self {
        // Names by their numbers in the static table (RFC 7541), values as they are.
        let mut fields = Vec::new();
        for (name, value) in [(1, "x"), (2, method), (4, path), (6, "http")] {
            fields.push(name);
            // Seven bits of the length, and the rest after them.
            let rest = value.len().checked_sub(127);
            fields.push(u8::try_from(value.len().min(127)).expect("seven bits"));
            if let Some(mut rest) = rest {
                while rest >= 128 {
                    fields.push(u8::try_from(rest % 128).expect("seven bits") | 128);
                    rest /= 128;
                }
                fields.push(u8::try_from(rest).expect("seven bits"));
            }
            fields.extend_from_slice(value.as_bytes());
        }
        let flags = ENDS_HEAD | if ends { ENDS_STREAM } else { 0 };
        Self::of(HEADERS, flags, stream, fields)
    }

    /// Room for more bytes of answers, on the whole connection.
    pub fn room(bytes: u32) -> Self {
        Self::of(WINDOW, 0, 0, bytes.to_be_bytes().to_vec())
    }

    /// A frame that takes a stream back.
    pub fn reset(stream: u32) -> Self {
        // CANCEL
        Self::of(RESET, 0, stream, vec![0, 0, 0, 8])
    }

    fn of(kind: u8, flags: u8, stream: u32, contents: Vec<u8>) -> Self {
        Self {
            kind,
            flags,
            stream,
            contents,
        }
    }

    /// True for the last frame of a stream.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & ENDS_STREAM != 0
    }

    /// Writes it.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let length = u32::try_from(self.contents.len()).expect("a small frame");
        bytes.extend_from_slice(&length.to_be_bytes()[1..]);
        bytes.extend_from_slice(&[self.kind, self.flags]);
        bytes.extend_from_slice(&self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.contents);
    }

    /// Reads the next one.
    pub fn read(from: &mut impl Read) -> Result<Self> {
        let mut head = [0; HEAD_BYTES];
        from.read_exact(&mut head)?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).expect("24 bits");
        let mut contents = vec![0; length];
        from.read_exact(&mut contents)?;
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Ok(Self::of(kind, flags, stream, contents))
    }
}
