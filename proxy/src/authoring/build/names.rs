//! Takes the data for debuggers out of a module, and leaves the names of its functions: they say where a
//! plugin got stuck, and take a kilobyte, where the rest takes hundreds.

/// Bytes before a module's first section.
const HEAD: usize = 8;

/// The module without its sections for debuggers. One that can't be read is left as it is.
pub(super) fn only_names(module: Vec<u8>) -> Vec<u8> {
    slim(&module).unwrap_or(module)
}

fn slim(module: &[u8]) -> Option<Vec<u8>> {
    let (head, mut rest) = module.split_at_checked(HEAD)?;
    let mut kept = head.to_vec();
    while let Some((id, after)) = rest.split_first() {
        let (length, content) = number(after)?;
        let (content, next) = content.split_at_checked(length)?;
        if *id != 0 || !is_for_debuggers(content)? {
            let section = rest.get(..rest.len() - next.len())?;
            kept.extend(section);
        }
        rest = next;
    }
    Some(kept)
}

/// Returns true for a custom section whose name says that it is for debuggers.
fn is_for_debuggers(content: &[u8]) -> Option<bool> {
    let (length, name) = number(content)?;
    Some(name.get(..length)?.starts_with(b".debug"))
}

/// An unsigned number in LEB128, and what follows it.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        value |= usize::from(byte & 127) << (7 * at);
        if byte & 128 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sections for debuggers go; names, code and other custom sections stay; what is no module stays as it is.
    #[test]
    fn names_stay() {
        let with = wat::parse_str(
            r#"(module (func $spin (loop br 0)) (@custom ".debug_info" "xyz") (@custom "other" "abc"))"#,
        )
        .unwrap();
        let without =
            wat::parse_str(r#"(module (func $spin (loop br 0)) (@custom "other" "abc"))"#).unwrap();
        assert_eq!(only_names(with), without);
        for broken in [&b"\0asm"[..], b"\0asm\x01\0\0\0\x01\xff", b""] {
            assert_eq!(only_names(broken.to_vec()), broken);
        }
    }
}
