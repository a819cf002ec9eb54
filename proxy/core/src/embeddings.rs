//! Embeddings as base64 strings, written as arrays for a server that does not take them so (Chroma
//! 1.0.0): the same numbers, to the last bit.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow, default)]
    embeddings: Option<&'a RawValue>,
}

/// A body with every base64 string among its embeddings written as an array of numbers. A body that has
/// none, or that can't be read, or whose strings are no numbers that JSON can show, stays as it is.
pub fn as_arrays(body: &Bytes) -> Bytes {
    rewritten(body).unwrap_or_else(|| body.clone())
}

fn rewritten(body: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(body).ok()?;
    let raw = serde_json::from_str::<Embeddings<'_>>(text)
        .ok()?
        .embeddings?;
    let list: Vec<Option<&RawValue>> = serde_json::from_str(raw.get()).ok()?;
    let is_string = |one: &RawValue| one.get().starts_with('"');
    if !list.iter().flatten().any(|one| is_string(one)) {
        return None;
    }
    let start = raw
        .get()
        .as_ptr()
        .addr()
        .checked_sub(text.as_ptr().addr())?;
    let (before, rest) = text.split_at_checked(start)?;
    let after = rest.get(raw.get().len()..)?;
    let mut arrays = String::with_capacity(text.len() * 2);
    arrays.push_str(before);
    arrays.push('[');
    for (at, one) in list.iter().enumerate() {
        if at > 0 {
            arrays.push(',');
        }
        match one {
            Some(one) if is_string(one) => push_array(&mut arrays, one.get())?,
            Some(one) => arrays.push_str(one.get()),
            None => arrays.push_str("null"),
        }
    }
    arrays.push(']');
    arrays.push_str(after);
    Some(arrays.into())
}

/// Appends the numbers of one base64 string: 32-bit floats, the lowest byte first.
fn push_array(arrays: &mut String, quoted: &str) -> Option<()> {
    let encoded: String = serde_json::from_str(quoted).ok()?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    arrays.push('[');
    for (at, number) in numbers.iter().enumerate() {
        if at > 0 {
            arrays.push(',');
        }
        push_number(arrays, f32::from_le_bytes(*number))?;
    }
    arrays.push(']');
    Some(())
}

/// Appends a number so that reading it as 64 bits and rounding that to 32 gives the same one again, which
/// is how Chroma reads: by its shortest digits, or by all of them where these would be rounded twice.
fn push_number(arrays: &mut String, number: f32) -> Option<()> {
    if !number.is_finite() {
        return None;
    }
    let from = arrays.len();
    write!(arrays, "{number:?}").ok()?;
    let read: f64 = arrays.get(from..)?.parse().ok()?;
    if rounded(read).to_bits() != number.to_bits() {
        arrays.truncate(from);
        write!(arrays, "{:?}", f64::from(number)).ok()?;
    }
    Some(())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::as_conversions,
    reason = "the one way to round to 32 bits, and rounding is what is asked for"
)]
fn rounded(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(numbers: &[f32]) -> String {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        STANDARD.encode(bytes)
    }

    /// Base64 from the Python client becomes the same numbers, be their shortest digits few, many or tiny.
    #[test]
    fn base64_becomes_the_same_numbers() {
        assert_eq!(encoded(&[0.1, 0.2]), "zczMPc3MTD4=");
        let numbers = [
            0.1,
            -0.0,
            1.0,
            16_777_217.0,
            f32::MIN_POSITIVE,
            f32::MAX,
            1e-45,
            -3.402_823e38,
            0.3,
        ];
        for count in 1..=numbers.len() {
            let numbers = &numbers[..count];
            let body = format!(
                r#"{{"ids":["a"],"embeddings": ["{}"] ,"documents":["\u00e9"]}}"#,
                encoded(numbers)
            );
            let plain = as_arrays(&Bytes::from(body));
            let text = std::str::from_utf8(&plain).unwrap();
            assert!(
                text.starts_with(r#"{"ids":["a"],"embeddings": [["#),
                "{text}"
            );
            assert!(text.ends_with(r#"]] ,"documents":["\u00e9"]}"#), "{text}");
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            let read = value["embeddings"][0].as_array().unwrap().iter();
            let read: Vec<u32> = read
                .map(|n| rounded(n.as_f64().unwrap()).to_bits())
                .collect();
            let sent: Vec<u32> = numbers.iter().map(|n| n.to_bits()).collect();
            assert_eq!(read, sent);
        }
    }

    /// Every 4,099th number there is, of both signs.
    #[test]
    fn no_number_is_rounded_twice() {
        for bits in (0..=u32::MAX).step_by(4_099 * 64) {
            let number = f32::from_bits(bits);
            let mut text = String::new();
            if push_number(&mut text, number).is_some() {
                let read: f64 = text.parse().unwrap();
                assert_eq!(rounded(read).to_bits(), bits, "{text}");
                let direct: f32 = text.parse().unwrap();
                assert_eq!(direct.to_bits(), bits, "{text}");
            }
        }
    }

    /// Bodies that can't be shown as numbers, or are none of ours to change, stay as they are.
    #[test]
    fn other_bodies_stay_as_they_are() {
        let nan = format!(r#"{{"embeddings":["{}"]}}"#, encoded(&[f32::NAN]));
        for body in [
            r#"{"ids":["a"],"embeddings":[[0.1,0.2]]}"#,
            r#"{"ids":["a"],"embeddings":null}"#,
            r#"{"ids":["a"]}"#,
            r#"{"embeddings":["zczMPc3MTD4"]}"#,
            r#"{"embeddings":["zczMPc3M"]}"#,
            r#"{"embeddings":["!!!!"]}"#,
            r#"{"embeddings":["===="]}"#,
            "nonsense",
            &nan,
        ] {
            assert_eq!(as_arrays(&Bytes::from(body.to_owned())), body);
        }
        let mixed = r#"{"embeddings":[null,[1],"AACAPw=="]}"#;
        let mixed = as_arrays(&Bytes::from(mixed));
        assert_eq!(mixed, r#"{"embeddings":[null,[1],[1.0]]}"#);
    }
}
