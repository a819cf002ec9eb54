//! Just enough of HTTP/1.1 to know where a message ends, what it asks or answers, and to tell two
//! bodies apart. It changes nothing: bytes are passed on as they came.

use std::hash::{DefaultHasher, Hasher as _};

/// What is left to come of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Head,
    Bytes(usize),
    ChunkSize,
    /// The bytes of a chunk, and the line end after them.
    Chunk(usize),
    /// The lines after the last chunk, up to an empty one.
    Trailer,
    UntilClose,
    Nothing,
}

/// A request or an answer that comes in pieces.
#[derive(Debug)]
pub struct Message {
    is_answer: bool,
    /// The head, and later the line of the chunked coding that is being read.
    line: Vec<u8>,
    first_line: String,
    rest: Rest,
    body: DefaultHasher,
}

impl Message {
    /// A request of which nothing has come.
    pub fn request() -> Self {
        Self {
            is_answer: false,
            line: Vec::new(),
            first_line: String::new(),
            rest: Rest::Head,
            body: DefaultHasher::new(),
        }
    }

    /// An answer of which nothing has come.
    pub fn answer() -> Self {
        Self {
            is_answer: true,
            ..Self::request()
        }
    }

    /// Whether all of it has come.
    pub fn is_whole(&self) -> bool {
        self.rest == Rest::Nothing
    }

    /// A word of the first line: the method or version, the target or status.
    pub fn word(&self, at: usize) -> &str {
        self.first_line.split(' ').nth(at).unwrap_or_default()
    }

    /// The status of an answer whose head has come.
    pub fn status(&self) -> Option<u16> {
        self.word(1).parse().ok()
    }

    /// Whether it is an answer before the answer.
    pub fn is_informational(&self) -> bool {
        self.status().is_some_and(|status| status < 200)
    }

    /// Tells bodies apart.
    pub fn body_hash(&self) -> u64 {
        self.body.finish()
    }

    /// Takes in bytes; returns how many of them belong to this message.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() && self.rest != Rest::Nothing {
            used += self.feed_some(&bytes[used..]);
        }
        used
    }

    fn feed_some(&mut self, bytes: &[u8]) -> usize {
        match self.rest {
            Rest::Head | Rest::ChunkSize | Rest::Trailer => self.feed_line(bytes),
            Rest::Bytes(left) => {
                let taken = self.feed_body(bytes, left);
                self.rest = match left - taken {
                    0 => Rest::Nothing,
                    left => Rest::Bytes(left),
                };
                taken
            }
            Rest::Chunk(left) => {
                let taken = self.feed_body(bytes, left);
                self.rest = match left - taken {
                    0 => Rest::ChunkSize,
                    left => Rest::Chunk(left),
                };
                taken
            }
            Rest::UntilClose => self.feed_body(bytes, usize::MAX),
            Rest::Nothing => 0,
        }
    }

    fn feed_body(&mut self, bytes: &[u8], left: usize) -> usize {
        let taken = bytes.len().min(left);
        self.body.write(&bytes[..taken]);
        taken
    }

    /// Takes in one byte of a part that ends with a line.
    fn feed_line(&mut self, bytes: &[u8]) -> usize {
        self.line.push(bytes[0]);
        match self.rest {
            Rest::Head if self.line.ends_with(b"\r\n\r\n") => self.head_has_come(),
            Rest::ChunkSize if self.line.ends_with(b"\r\n") => self.chunk_begins(),
            Rest::Trailer if self.line.ends_with(b"\r\n") => {
                let is_last = self.line == b"\r\n";
                self.line.clear();
                if is_last {
                    self.rest = Rest::Nothing;
                }
            }
            _ => {}
        }
        1
    }

    fn head_has_come(&mut self) {
        let head = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let mut lines = head.split("\r\n");
        lines
            .next()
            .unwrap_or_default()
            .clone_into(&mut self.first_line);
        let headers: Vec<(String, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| *v);
        let length = header("content-length").and_then(|length| length.parse().ok());
        let is_chunked = header("transfer-encoding").is_some_and(|v| v.contains("chunked"));
        let has_none = self.is_answer && matches!(self.status(), Some(100..=199 | 204 | 304));
        self.rest = match length {
            _ if has_none => Rest::Nothing,
            _ if is_chunked => Rest::ChunkSize,
            Some(0) => Rest::Nothing,
            Some(length) => Rest::Bytes(length),
            None if self.is_answer => Rest::UntilClose,
            None => Rest::Nothing,
        };
    }

    fn chunk_begins(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let digits = line.trim().split(';').next().unwrap_or_default();
        self.rest = match usize::from_str_radix(digits, 16) {
            Ok(0) => Rest::Trailer,
            Ok(size) => Rest::Chunk(size + 2),
            Err(_) => Rest::UntilClose,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message ends where it ends, however it comes in pieces.
    #[test]
    fn ends_are_found() {
        let cases: [(bool, &[u8]); 5] = [
            (false, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"),
            (false, b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
            (true, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"),
            (true, b"HTTP/1.1 204 No Content\r\n\r\n"),
            (
                true,
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
        ];
        for (is_answer, text) in cases {
            for size in [1, 7, 1000] {
                let mut message = Message {
                    is_answer,
                    ..Message::request()
                };
                let with_more = [text, b"GET /next"].concat();
                let used: usize = with_more
                    .chunks(size)
                    .map(|piece| message.feed(piece))
                    .sum();
                assert_eq!(used, text.len());
                assert!(message.is_whole());
            }
        }
    }

    /// What a message says of itself.
    #[test]
    fn words_are_read() {
        let mut message = Message::request();
        message.feed(b"POST /a/b HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!((message.word(0), message.word(1)), ("POST", "/a/b"));
        let mut answer = Message::answer();
        answer.feed(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(answer.status(), Some(404));
    }
}
