//! A body that comes in chunks (RFC 9112, 7.1), decoded strictly: what is not a size, an extension or a
//! trailer field as the grammar has them is refused.

use bytes::{Buf as _, BytesMut};

use crate::head::is_field_line;

/// Bytes of a line with a chunk's size and its extensions.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// Bytes of all trailer fields, which are read and forgotten.
const TRAILERS_BYTES_MAX: usize = 8 * 1024;

/// Reason why chunks are refused. The connection is closed after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// A line that is no size.
    #[error("a chunk does not begin with its size in hexadecimal digits")]
    Size,
    /// The bytes of a chunk are not followed by CR LF.
    #[error("a chunk is longer or shorter than its size")]
    End,
    /// A field after the last chunk that is none.
    #[error("a trailer field is not valid")]
    Trailer,
    /// A line, or all trailers, are too long.
    #[error("a chunk's size line or the trailer fields are too long")]
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A size line follows.
    Size,
    /// So many bytes follow.
    Data(u64),
    /// The CR LF behind the bytes follows.
    End,
    /// Trailer fields follow, of which there were so many bytes.
    Trailers(usize),
    /// All is read.
    Done,
}

/// Position of a reader in a chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Chunks(State);

impl Default for Chunks {
    fn default() -> Self {
        Self(State::Size)
    }
}

impl Chunks {
    /// Moves what is decoded from `input` to `body`. True when the body is whole; what `input` has left
    /// then is not the body's. A body may get at most `body_bytes_max` bytes: with more it stops there,
    /// and the caller sees that its length is above the limit.
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        body: &mut BytesMut,
        body_bytes_max: usize,
    ) -> Result<bool, ChunkError> {
        loop {
            self.0 = match self.0 {
                State::Size => match line(input, SIZE_LINE_BYTES_MAX)? {
                    None => return Ok(false),
                    Some(line) => match size(&line)? {
                        0 => State::Trailers(0),
                        bytes => State::Data(bytes),
                    },
                },
                State::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    if here == 0 || body.len() > body_bytes_max {
                        return Ok(false);
                    }
                    body.extend_from_slice(&input.split_to(here));
                    match left - u64::try_from(here).unwrap_or(left) {
                        0 => State::End,
                        left => State::Data(left),
                    }
                }
                State::End => match input.as_ref() {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        State::Size
                    }
                    [] | [b'\r'] => return Ok(false),
                    _ => return Err(ChunkError::End),
                },
                State::Trailers(before) => match line(input, TRAILERS_BYTES_MAX)? {
                    None => return Ok(false),
                    Some(line) if line.is_empty() => State::Done,
                    Some(line) => State::Trailers(trailer(&line, before)?),
                },
                State::Done => return Ok(true),
            };
        }
    }
}

/// The next line, without its end; `None` when it is not whole yet.
fn line(input: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, ChunkError> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() > bytes_max {
            Err(ChunkError::TooLong)
        } else {
            Ok(None)
        };
    };
    if end > bytes_max {
        return Err(ChunkError::TooLong);
    }
    let mut line = input.split_to(end + 1);
    line.truncate(end);
    if line.last() != Some(&b'\r') {
        return Err(ChunkError::Size);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// The size in a chunk's first line. Extensions mean nothing here.
fn size(line: &[u8]) -> Result<u64, ChunkError> {
    let end = line.iter().position(|byte| *byte == b';');
    let (digits, extensions) = line.split_at(end.unwrap_or(line.len()));
    let is_plain = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    if !is_number || !extensions.iter().all(is_plain) {
        return Err(ChunkError::Size);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| ChunkError::Size)?;
    u64::from_str_radix(digits, 16).map_err(|_| ChunkError::Size)
}

fn trailer(line: &[u8], before: usize) -> Result<usize, ChunkError> {
    let bytes = before + line.len() + 2;
    if bytes > TRAILERS_BYTES_MAX {
        return Err(ChunkError::TooLong);
    }
    if !is_field_line(line) {
        return Err(ChunkError::Trailer);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes bytes at once, and one at a time. Returns the body, and the bytes that are left.
    fn decoded(bytes: &[u8]) -> Result<Option<(String, String)>, ChunkError> {
        let text = |bytes: &BytesMut| String::from_utf8_lossy(bytes).into_owned();
        let (mut input, mut body) = (BytesMut::from(bytes), BytesMut::new());
        let at_once = Chunks::default()
            .decode(&mut input, &mut body, 1 << 20)
            .map(|whole| whole.then(|| (text(&body), text(&input))));
        let (mut input, mut body, mut chunks) =
            (BytesMut::new(), BytesMut::new(), Chunks::default());
        let mut slowly = Ok(None);
        for (at, byte) in bytes.iter().enumerate() {
            input.extend_from_slice(&[*byte]);
            match chunks.decode(&mut input, &mut body, 1 << 20) {
                Ok(false) => {}
                Ok(true) => {
                    let left = String::from_utf8_lossy(&bytes[at + 1..]).into_owned();
                    slowly = Ok(Some((text(&body), left)));
                    break;
                }
                Err(error) => {
                    slowly = Err(error);
                    break;
                }
            }
        }
        assert_eq!(at_once, slowly, "{bytes:?}");
        at_once
    }

    #[test]
    fn chunks_are_decoded() {
        for (bytes, body, left) in [
            ("0\r\n\r\n", "", ""),
            ("3\r\nabc\r\n0\r\n\r\nGET", "abc", "GET"),
            (
                "00000000000000000003;a=\"b\"\r\nabc\r\n1\r\nd\r\n000\r\nA: b\r\nC:\r\n\r\nX",
                "abcd",
                "X",
            ),
        ] {
            let expected = Some((body.to_owned(), left.to_owned()));
            assert_eq!(decoded(bytes.as_bytes()), Ok(expected), "{bytes:?}");
        }
        assert_eq!(decoded(b"3\r\nab"), Ok(None));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        let long = format!("1;{}\r\n", "a".repeat(300));
        let trailers = format!("0\r\n{}\r\n", "A: b\r\n".repeat(2000));
        for (bytes, error) in [
            ("\r\n", ChunkError::Size),
            ("x\r\n", ChunkError::Size),
            ("0x3\r\nabc", ChunkError::Size),
            ("3 \r\nabc", ChunkError::Size),
            ("+3\r\nabc", ChunkError::Size),
            ("-1\r\n", ChunkError::Size),
            ("3\nabc", ChunkError::Size),
            (";a\r\n", ChunkError::Size),
            ("3;\u{1}\r\nabc", ChunkError::Size),
            ("10000000000000000\r\n", ChunkError::Size),
            ("3\r\nabcd\r\n", ChunkError::End),
            ("3\r\nabc\n", ChunkError::End),
            ("0\r\nA b\r\n\r\n", ChunkError::Trailer),
            ("0\r\n folded: x\r\n\r\n", ChunkError::Trailer),
            ("0\r\nA: b\nC: d\r\n\r\n", ChunkError::Size),
            (&long, ChunkError::TooLong),
            (&trailers, ChunkError::TooLong),
        ] {
            assert_eq!(decoded(bytes.as_bytes()), Err(error), "{bytes:?}");
        }
    }
}
