//! The head of an HTTP/1 request, read strictly, before anything else looks at it.
//!
//! Every byte of a head is judged here: what two parsers could take for two things is refused, and the
//! connection is closed, because nobody knows where the next request would begin. The grammar is that of
//! RFC 9112 and RFC 9110, without what they only tolerate: no bare line feeds, no folded lines, no space
//! around a field's name, one `Content-Length` of digits alone, and `chunked` as the only coding.

use std::fmt;

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes, up to and with the empty line.
    pub bytes_max: usize,
    /// Fields.
    pub fields_max: usize,
}

/// Rule by which the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// It has so many bytes; a request without a body has none.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// Facts of a head about the connection and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Rule by which the end of the body is found.
    pub framing: Framing,
    /// True when the client would use the connection again.
    pub is_persistent: bool,
    /// True when the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// True when the client speaks HTTP/1.0.
    pub is_http_10: bool,
}

/// Reason why a head is refused. The connection is closed after each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not `METHOD SP TARGET SP VERSION`.
    #[error("the request line is not a method, a target and a version with one space between each")]
    RequestLine,
    /// Another version than 1.0 and 1.1.
    #[error("only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here")]
    Version,
    /// A line that ends with a line feed alone, or a carriage return that ends none.
    #[error("a line of the head does not end with CR LF")]
    LineEnd,
    /// A field without a name, or with a space or another illegal byte in it.
    #[error("a field of the head has no valid name")]
    FieldName,
    /// A control byte.
    #[error("a field of the head has a control byte in its value")]
    FieldValue,
    /// A line that goes on with the one before it.
    #[error("a field of the head is folded over several lines")]
    Folded,
    /// Not exactly one host in HTTP/1.1, or none at all.
    #[error("the request must have exactly one Host, with a valid value")]
    Host,
    /// An absolute target that names another server than `Host`.
    #[error("the request target names another server than Host")]
    OtherHost,
    /// Several lengths, or one that is no number.
    #[error("Content-Length must stand there once, and consist of digits")]
    ContentLength,
    /// A length beside a coding.
    #[error("the request has both Content-Length and Transfer-Encoding")]
    TwoFramings,
    /// A coding that is not `chunked`, or one in HTTP/1.0.
    #[error("the only Transfer-Encoding is chunked, once, and in HTTP/1.1")]
    TransferEncoding,
    /// An expectation that can't be met.
    #[error("the only expectation that can be met is 100-continue")]
    Expectation,
    /// Too many bytes.
    #[error("the head is larger than {0} bytes")]
    TooLarge(usize),
    /// Too many fields.
    #[error("the head has more than {0} fields")]
    TooManyFields(usize),
}

impl HeadError {
    /// The status that says so.
    pub fn status(self) -> u16 {
        match self {
            Self::Expectation => 417,
            Self::TooLarge(_) | Self::TooManyFields(_) => 431,
            _ => 400,
        }
    }
}

/// Looks for the end of a head in bytes that grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    looked_at: usize,
}

impl Scan {
    /// The length of the head, with its empty line, once it is whole. The bytes must begin as they did
    /// before. An empty line before the request line must have been taken away.
    pub fn end(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
        let new = bytes.get(self.looked_at..).unwrap_or_default();
        for found in memchr::memchr_iter(b'\n', new) {
            let at = self.looked_at + found;
            let line = bytes.get(..at).unwrap_or_default();
            if !line.ends_with(b"\r") {
                return Err(HeadError::LineEnd);
            }
            if line.ends_with(b"\r\n\r") || at == 1 {
                return within(at + 1, limits).map(Some);
            }
        }
        self.looked_at = bytes.len();
        within(bytes.len(), limits).map(|_| None)
    }
}

fn within(bytes: usize, limits: &HeadLimits) -> Result<usize, HeadError> {
    if bytes > limits.bytes_max {
        return Err(HeadError::TooLarge(limits.bytes_max));
    }
    Ok(bytes)
}

/// Judges a whole head, which ends with its empty line.
pub fn judge(head: &[u8], limits: &HeadLimits) -> Result<Head, HeadError> {
    let lines = head.strip_suffix(b"\r\n\r\n").ok_or(HeadError::LineEnd)?;
    let mut lines = Lines(Some(lines));
    let line = lines.next().ok_or(HeadError::RequestLine)?;
    let request = RequestLine::parse(line)?;
    let mut fields = Fields::default();
    let mut count = 0;
    for line in lines {
        count += 1;
        if count > limits.fields_max {
            return Err(HeadError::TooManyFields(limits.fields_max));
        }
        fields.take(line)?;
    }
    fields.judge(&request)
}

/// The lines of a head, without their ends.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let Some(end) = memchr::memchr(b'\n', rest) else {
            self.0 = None;
            return Some(rest);
        };
        let (line, later) = rest.split_at(end);
        self.0 = later.get(1..);
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

struct RequestLine<'a> {
    target: &'a [u8],
    is_http_10: bool,
}

impl<'a> RequestLine<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, HeadError> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(HeadError::RequestLine);
        };
        let is_visible = |byte: &u8| byte.is_ascii_graphic();
        if !is_token(method) || target.is_empty() || !target.iter().all(is_visible) {
            return Err(HeadError::RequestLine);
        }
        let is_http_10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ if version.starts_with(b"HTTP/") => return Err(HeadError::Version),
            _ => return Err(HeadError::RequestLine),
        };
        Ok(Self { target, is_http_10 })
    }

    /// The server that an absolute target names.
    fn authority(&self) -> Option<&'a [u8]> {
        let rest = after_scheme(self.target)?;
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        rest.get(..end.unwrap_or(rest.len()))
    }
}

/// Part of an absolute target behind its scheme.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    schemes.into_iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// The path and query of a target that also names the server, as requests to proxies do.
pub fn origin_form(target: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    let Some(rest) = after_scheme(target) else {
        return target.into();
    };
    let at = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
    match at.map(|at| rest.split_at(at).1) {
        None => b"/".into(),
        Some(path) if path.starts_with(b"/") => path.into(),
        Some(query) => [b"/", query].concat().into(),
    }
}

/// Values of the fields that concern the message itself.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is the word of one field"
)]
struct Fields<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    is_chunked: bool,
    closes: bool,
    keeps_alive: bool,
    expects_continue: bool,
}

/// The name and the value of a field.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(HeadError::Folded);
    }
    let colon = memchr::memchr(b':', line).ok_or(HeadError::FieldName)?;
    let (name, rest) = line.split_at(colon);
    let value = rest.get(1..).unwrap_or_default();
    if !is_token(name) {
        return Err(HeadError::FieldName);
    }
    if value.iter().any(|byte| is_control(*byte)) {
        return Err(HeadError::FieldValue);
    }
    Ok((name, trim(value)))
}

/// True for a line that is a field, of a head or of a trailer.
pub fn is_field_line(line: &[u8]) -> bool {
    field(line).is_ok()
}

impl<'a> Fields<'a> {
    fn take(&mut self, line: &'a [u8]) -> Result<(), HeadError> {
        let (name, value) = field(line)?;
        self.note(name, value)
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), HeadError> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        if is("host") {
            let is_second = self.host.replace(value).is_some();
            if is_second || !is_host(value) {
                return Err(HeadError::Host);
            }
        } else if is("content-length") {
            let is_second = self.length.replace(number(value)?).is_some();
            if is_second {
                return Err(HeadError::ContentLength);
            }
        } else if is("transfer-encoding") {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::TransferEncoding);
            }
            self.is_chunked = true;
        } else if is("connection") {
            for option in value.split(|byte| *byte == b',').map(trim) {
                self.closes |= option.eq_ignore_ascii_case(b"close");
                self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if is("expect") {
            if !value.eq_ignore_ascii_case(b"100-continue") {
                return Err(HeadError::Expectation);
            }
            self.expects_continue = true;
        }
        Ok(())
    }

    fn judge(self, request: &RequestLine<'_>) -> Result<Head, HeadError> {
        let is_http_10 = request.is_http_10;
        let framing = match (self.length, self.is_chunked) {
            (Some(_), true) => return Err(HeadError::TwoFramings),
            (None, true) if is_http_10 => return Err(HeadError::TransferEncoding),
            (None, true) => Framing::Chunked,
            (length, false) => Framing::Length(length.unwrap_or(0)),
        };
        if self.host.is_none() && !is_http_10 {
            return Err(HeadError::Host);
        }
        match (request.authority(), self.host) {
            (Some(authority), _) if !is_host(authority) || authority.is_empty() => {
                return Err(HeadError::Host);
            }
            (Some(authority), Some(host)) if authority != host => {
                return Err(HeadError::OtherHost);
            }
            _ => {}
        }
        Ok(Head {
            framing,
            is_persistent: !self.closes && (!is_http_10 || self.keeps_alive),
            // An HTTP/1.0 client does not know what it would be waiting for (RFC 9110, 10.1.1).
            expects_continue: self.expects_continue && !is_http_10,
            is_http_10,
        })
    }
}

fn number(digits: &[u8]) -> Result<u64, HeadError> {
    let text = std::str::from_utf8(digits).ok();
    let digits = text.filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or(HeadError::ContentLength)
}

/// Letters, digits and the signs of RFC 9110's `token`.
fn is_token(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_part)
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte));
    let end = value.iter().rposition(|byte| !is_space(byte));
    start.zip(end).map_or(&[], |(start, end)| {
        value.get(start..=end).unwrap_or_default()
    })
}

/// A name, an address or a bracketed address, with a port or without; or nothing, which a client may
/// send when its target has no authority.
fn is_host(value: &[u8]) -> bool {
    let (name, port) = match value.strip_prefix(b"[") {
        Some(rest) => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (
                rest.get(..end).unwrap_or_default(),
                rest.get(end + 1..).unwrap_or_default(),
            ),
            None => return false,
        },
        None => match memchr::memchr(b':', value) {
            Some(colon) => value.split_at(colon),
            None => (value, &[][..]),
        },
    };
    let is_bracketed = value.starts_with(b"[");
    let is_part = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || is_bracketed && matches!(byte, b':' | b'%')
    };
    let is_port = port.is_empty()
        || port
            .strip_prefix(b":")
            .is_some_and(|digits| digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit));
    name.iter().all(is_part) && is_port && !(is_bracketed && name.is_empty())
}

/// The host of a `Host` without its port, as a page's address has it.
pub fn host_name(host: &str) -> &str {
    let end = if host.starts_with('[') {
        host.find(']').map(|end| end + 1)
    } else {
        host.find(':')
    };
    host.get(..end.unwrap_or(host.len())).unwrap_or(host)
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(f, "{bytes} bytes"),
            Self::Chunked => f.write_str("chunks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes_max: 200,
        fields_max: 5,
    };

    fn judged(head: &str) -> Result<Head, HeadError> {
        let head = format!("{head}\r\n\r\n");
        let mut scan = Scan::default();
        let end = scan.end(head.as_bytes(), &LIMITS)?.expect("it is whole");
        judge(&head.as_bytes()[..end], &LIMITS)
    }

    #[test]
    fn usual_heads_are_taken() {
        let get = judged("GET / HTTP/1.1\r\nHost: x:80\r\nAccept:  a b\t").expect("a head");
        let expected = Head {
            framing: Framing::Length(0),
            is_persistent: true,
            expects_continue: false,
            is_http_10: false,
        };
        assert_eq!(get, expected);
        let old = judged("OPTIONS / HTTP/1.0").expect("a head");
        assert!(!old.is_persistent && old.is_http_10);
        let kept = judged("GET / HTTP/1.0\r\nConnection: x, Keep-Alive").expect("a head");
        assert!(kept.is_persistent);
        let closed =
            judged("GET / HTTP/1.1\r\nHost: [::1]:8\r\nConnection: x\r\nConnection: Close");
        assert!(!closed.expect("a head").is_persistent);
        let post = judged("POST / HTTP/1.1\r\nHost:\r\ncontent-length: 12\r\nExpect: 100-Continue");
        let post = post.expect("a head");
        assert_eq!(
            (post.framing, post.expects_continue),
            (Framing::Length(12), true)
        );
        let chunked = judged("POST http://x/y HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked");
        assert_eq!(chunked.expect("a head").framing, Framing::Chunked);
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        use HeadError as E;
        for (head, error) in [
            ("GET /a b HTTP/1.1\r\nHost: x", E::RequestLine),
            ("GET  / HTTP/1.1\r\nHost: x", E::RequestLine),
            (" GET / HTTP/1.1\r\nHost: x", E::RequestLine),
            ("GET / HTTP/1.1 \r\nHost: x", E::RequestLine),
            ("GET /\t HTTP/1.1\r\nHost: x", E::RequestLine),
            ("GET /\u{e4} HTTP/1.1\r\nHost: x", E::RequestLine),
            ("G:T / HTTP/1.1\r\nHost: x", E::RequestLine),
            ("GET /", E::RequestLine),
            ("GET / http/1.1\r\nHost: x", E::RequestLine),
            ("GET / HTTP/2.0\r\nHost: x", E::Version),
            ("GET / HTTP/1.1\r\nHost: x\nA: b", E::LineEnd),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d", E::FieldValue),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\0", E::FieldValue),
            ("GET / HTTP/1.1\r\nHost: x\r\nA : b", E::FieldName),
            ("GET / HTTP/1.1\r\nHost: x\r\n: b", E::FieldName),
            ("GET / HTTP/1.1\r\nHost: x\r\nAb", E::FieldName),
            ("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c", E::Folded),
            ("GET / HTTP/1.1\r\n Host: x", E::Folded),
            ("GET / HTTP/1.1", E::Host),
            ("GET / HTTP/1.1\r\nHost: x\r\nHost: x", E::Host),
            ("GET / HTTP/1.1\r\nHost: x/y", E::Host),
            ("GET / HTTP/1.1\r\nHost: x, y", E::Host),
            ("GET / HTTP/1.1\r\nHost: a@b", E::Host),
            ("GET http:///x HTTP/1.1\r\nHost:", E::Host),
            ("GET http://x?/admin HTTP/1.1\r\nHost: y", E::OtherHost),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3",
                E::ContentLength,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3",
                E::ContentLength,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3",
                E::ContentLength,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:",
                E::ContentLength,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999",
                E::ContentLength,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
                E::TwoFramings,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked",
                E::TransferEncoding,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                E::TransferEncoding,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\u{b}chunked",
                E::FieldValue,
            ),
            (
                "POST / HTTP/1.0\r\nTransfer-Encoding: chunked",
                E::TransferEncoding,
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok",
                E::Expectation,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b",
                E::TooManyFields(5),
            ),
        ] {
            assert_eq!(judged(head), Err(error), "{head:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\nHost: x", "a".repeat(200));
        assert_eq!(judged(&long), Err(E::TooLarge(200)));
    }

    /// A head that comes a byte at a time ends where the same head ends at once.
    #[test]
    fn the_end_is_found_as_bytes_come() {
        let bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET";
        let mut scan = Scan::default();
        let ends: Vec<_> = (1..=bytes.len())
            .map(|count| scan.end(&bytes[..count], &LIMITS).expect("a head"))
            .collect();
        let first = ends.iter().position(Option::is_some).expect("an end");
        assert_eq!((first + 1, ends[first]), (27, Some(27)));
    }

    /// A target that names the server is the path on that server.
    #[test]
    fn absolute_targets_become_paths() {
        let path = |target: &str| String::from_utf8(origin_form(target.as_bytes()).into()).unwrap();
        assert_eq!(path("/api/v2"), "/api/v2");
        assert_eq!(path("http://host:1/api/v2?x=/"), "/api/v2?x=/");
        assert_eq!(path("HTTP://host"), "/");
        assert_eq!(path("http://x?/admin/instances"), "/?/admin/instances");
        assert_eq!(path("*"), "*");
        assert_eq!(
            ["a:1", "[::1]:2", "b", "[::1]"].map(host_name),
            ["a", "[::1]", "b", "[::1]"]
        );
    }
}
