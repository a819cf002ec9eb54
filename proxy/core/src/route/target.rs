//! Strict reading of a request's target, and the writing of one for an instance.
//!
//! Chroma 1.5.9 splits a path at its slashes first and decodes each segment then, so `org%2Frepo` is one
//! name, and its tenants may have such names. Here it is the same: a segment is judged decoded, and sent
//! encoded anew, so that a slash or a backslash within a name never parts a path. What no name may hold
//! is a control character: it would break lines in logs, and NUL can't be stored everywhere.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::limits::{NAME_IN_TARGET_BYTES_MAX, TARGET_BYTES_MAX};

/// A canonical target in origin form: decoded path segments and the query as it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The path as it stood, for what is passed on whole.
    pub path: &'a str,
    /// The segments, decoded; a trailing slash gives an empty last one. One that had no percent sign is
    /// borrowed.
    pub segments: SmallVec<[Cow<'a, str>; 10]>,
    /// Text behind the first question mark.
    pub query: Option<&'a str>,
}

/// Reason why a target is refused. Each is the client's fault and nothing has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`TARGET_BYTES_MAX`].
    #[error("the request target is longer than {TARGET_BYTES_MAX} bytes")]
    TooLong,
    /// `*`, an authority, or a path without its slash.
    #[error("the request target is not an absolute path")]
    NotAbsolute,
    /// A space, a control byte or a byte above ASCII, raw or percent-encoded where it can't stand.
    #[error("the request target contains a control byte or a byte that must be percent-encoded")]
    IllegalByte,
    /// A percent sign without two hexadecimal digits.
    #[error("the request target contains an incomplete percent-encoding")]
    BadEscape,
    /// A backslash that is not percent-encoded: servers disagree about what it means.
    #[error("the request target contains a backslash that is not percent-encoded")]
    Backslash,
    /// `.` or `..`, raw or encoded.
    #[error("the request target contains a dot segment")]
    DotSegment,
    /// Percent-encoded bytes that are not UTF-8.
    #[error("the request target is not UTF-8")]
    NotUtf8,
    /// A fragment, which never travels in a request.
    #[error("the request target contains a fragment")]
    Fragment,
}

impl<'a> Target<'a> {
    /// Reads the target of a request line.
    pub fn parse(raw: &'a [u8]) -> Result<Self, TargetError> {
        if raw.len() > TARGET_BYTES_MAX {
            return Err(TargetError::TooLong);
        }
        if let Some(bad) = raw.iter().find(|byte| !is_plain(**byte)) {
            return Err(match bad {
                b'#' => TargetError::Fragment,
                b'\\' => TargetError::Backslash,
                _ => TargetError::IllegalByte,
            });
        }
        let text = std::str::from_utf8(raw).map_err(|_| TargetError::NotUtf8)?;
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let inner = path.strip_prefix('/').ok_or(TargetError::NotAbsolute)?;
        let segments = inner
            .split('/')
            .map(decode)
            .collect::<Result<SmallVec<_>, _>>()?;
        Ok(Self {
            path,
            segments,
            query,
        })
    }

    /// True when a segment encodes what needs none, such as `%61dmin`. A rule about paths in a server before
    /// this one would not see what is meant.
    pub fn is_disguised(&self) -> bool {
        let is_disguised = |segment: &Cow<'_, str>| match segment {
            Cow::Borrowed(_) => false,
            Cow::Owned(decoded) => decoded.bytes().all(is_unreserved),
        };
        self.segments.iter().any(is_disguised)
    }
}

/// Visible ASCII that may stand in a target.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\')
}

/// Reads a segment of a path; one without percent signs is borrowed.
pub fn decode(segment: &str) -> Result<Cow<'_, str>, TargetError> {
    let has_escapes = memchr::memchr(b'%', segment.as_bytes()).is_some();
    let decoded = if has_escapes {
        Cow::Owned(unescape(segment)?)
    } else {
        Cow::Borrowed(segment)
    };
    if matches!(decoded.as_ref(), "." | "..") {
        return Err(TargetError::DotSegment);
    }
    if has_escapes && decoded.contains(char::is_control) {
        return Err(TargetError::IllegalByte);
    }
    Ok(decoded)
}

fn unescape(segment: &str) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            match (
                rest.next().and_then(hex_digit),
                rest.next().and_then(hex_digit),
            ) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(TargetError::BadEscape),
            }
        } else {
            byte
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| TargetError::NotUtf8)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Returns true when a path can reach a tenant or a database of this name.
pub fn is_reachable(name: &str) -> bool {
    let mut written = String::new();
    push_segment(&mut written, name);
    let is_short = written.len() <= NAME_IN_TARGET_BYTES_MAX;
    is_short && !name.is_empty() && decode(&written).is_ok_and(|decoded| decoded == name)
}

/// Appends one path segment, percent-encoding all but RFC 3986's unreserved characters.
pub fn push_segment(target: &mut String, segment: &str) {
    if segment.bytes().all(is_unreserved) {
        target.push_str(segment);
        return;
    }
    for byte in segment.bytes() {
        if is_unreserved(byte) {
            target.push(char::from(byte));
        } else {
            target.push('%');
            for digit in [byte >> 4, byte & 15] {
                target.push(
                    char::from_digit(u32::from(digit), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase(),
                );
            }
        }
    }
}

/// Returns true for a byte that stands for itself in a URL (RFC 3986, 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
