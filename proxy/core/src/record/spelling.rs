//! Numbers written so that Chroma keeps them as they are.
//!
//! Chroma parses JSON with `serde_json` and without its feature `float_roundtrip`: the digits are read as
//! one integer, made a float (rounded), and divided by a power of ten (rounded again). A float in metadata
//! is read so twice: from the request, and from Chroma's own log, where it is written as its shortest text.
//! So a number of 16 or 17 digits that a server answers is kept as a neighbour when it is added anew (5 of
//! 300 random numbers; of 299 numbers of 1e-9, 74; each came out as [`kept`] computes it; 1.5.9). A copy
//! must have the same number, so another text is looked for that is kept as it. 32-bit numbers of
//! embeddings have at most nine digits and are always read right.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// Digits that are added to those of the shortest text, at most, as long as the integer has 64 bits.
const DIGITS_ADDED_MAX: u32 = 19;

/// Floats that are tried for the integer on each side of the nearest one.
const NEIGHBOURS: usize = 3;

/// Values of a record's metadata as they must be written.
pub(super) fn as_read_by_chroma(metadata: &RawValue) -> Cow<'_, RawValue> {
    match respell(metadata.get()) {
        None => Cow::Borrowed(metadata),
        Some(text) => RawValue::from_string(text).map_or(Cow::Borrowed(metadata), Cow::Owned),
    }
}

/// The same JSON with other spellings of the numbers that need one; `None` when none does.
fn respell(json: &str) -> Option<String> {
    let mut respelled: Option<String> = None;
    let mut copied = 0;
    for (start, number) in floats(json) {
        if let Some(other) = spelling(number) {
            let text = respelled.get_or_insert_default();
            text.push_str(json.get(copied..start)?);
            text.push_str(&other);
            copied = start + number.len();
        }
    }
    let mut text = respelled?;
    text.push_str(json.get(copied..)?);
    Some(text)
}

/// The numbers with a fraction or an exponent in valid JSON, and where they begin.
fn floats(json: &str) -> impl Iterator<Item = (usize, &str)> {
    let bytes = json.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => at = end_of_string(bytes, at),
                b'-' | b'0'..=b'9' => {
                    let start = at;
                    let is_part =
                        |b: &u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    at += bytes.iter().skip(start).take_while(|b| is_part(b)).count();
                    let number = json.get(start..at)?;
                    if number.contains(['.', 'e', 'E']) {
                        return Some((start, number));
                    }
                }
                _ => at += 1,
            }
        }
        None
    })
}

/// The index behind a string that begins at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

fn is_kept_exactly(number: &str) -> bool {
    let kept = parts(number).and_then(|(digits, exponent)| kept(digits, exponent));
    kept.is_some() && kept == number.parse::<f64>().ok().map(f64::abs)
}

/// Another text for a number that Chroma would keep as another one, where there is one.
fn spelling(number: &str) -> Option<String> {
    if is_kept_exactly(number) {
        return None;
    }
    let exact: f64 = number.parse().ok()?;
    let (digits, exponent) = parts(number)?;
    let sign = if exact.is_sign_negative() { "-" } else { "" };
    (0..=DIGITS_ADDED_MAX)
        .map_while(|added| Some((digits.checked_mul(10_u64.checked_pow(added)?)?, added)))
        .find_map(|(digits, added)| {
            let exponent = exponent.checked_sub_unsigned(added)?;
            let is_it = |integer: &u64| kept(*integer, exponent) == Some(exact.abs());
            let integer = neighbours(digits).find(is_it)?;
            Some(format!("{sign}{integer}e{exponent}"))
        })
}

/// The float that Chroma keeps of an integer with an exponent.
fn kept(integer: u64, exponent: i32) -> Option<f64> {
    let read_once = read(integer, exponent)?;
    let (integer, exponent) = parts(&serde_json::to_string(&read_once).ok()?)?;
    read(integer, exponent)
}

/// Integers near this one that are different floats.
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "floats that are whole numbers from 0 to 2^64, or saturate there"
)]
fn neighbours(integer: u64) -> impl Iterator<Item = u64> {
    let float = integer as f64;
    let above = std::iter::successors(Some(float), |f| Some(f.next_up())).take(NEIGHBOURS + 1);
    let below = std::iter::successors(Some(float), |f| Some(f.next_down())).take(NEIGHBOURS + 1);
    above.chain(below).map(|float| float as u64)
}

/// The digits of a number as one integer, and the power of ten it is multiplied by; `None` for one with
/// more digits than an integer of 64 bits has, which Chroma never answers.
fn parts(number: &str) -> Option<(u64, i32)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
    let places = i32::try_from(fraction.len()).ok()?;
    let exponent = exponent.parse::<i32>().ok()?;
    Some((digits.parse().ok()?, exponent.checked_sub(places)?))
}

/// The float that `serde_json` without `float_roundtrip` makes of an integer with an exponent (its function
/// `f64_from_parts`).
#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "the rounding is what is computed here"
)]
fn read(integer: u64, exponent: i32) -> Option<f64> {
    const LARGEST: i32 = 308;
    let mut float = integer as f64;
    let mut exponent = exponent;
    while exponent < -LARGEST {
        float /= 1e308;
        exponent += LARGEST;
    }
    let power: f64 = format!("1e{}", exponent.unsigned_abs()).parse().ok()?;
    let float = if exponent < 0 {
        float / power
    } else {
        float * power
    };
    float.is_finite().then_some(float)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The float that Chroma keeps of a text. This crate's `serde_json` is built like Chroma's.
    fn kept_by_chroma(text: &str) -> f64 {
        let read = |text: &str| serde_json::from_str::<f64>(text).expect("a number");
        read(&serde_json::to_string(&read(text)).expect("a text"))
    }

    /// Random floats of all sizes, by a linear congruential generator.
    fn floats_of_all_sizes(count: usize) -> impl Iterator<Item = f64> {
        let mut state = 7_u64;
        std::iter::repeat_with(move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(state ^ (state >> 29))
        })
        .filter(|float| float.is_normal())
        .take(count)
    }

    /// Every number that a server has came from a text, so that there is one for it.
    #[test]
    fn numbers_are_written_so_that_they_are_kept() {
        let times = (0..50_000).map(|n| 1_732_800_000.123_456_7 + f64::from(n) * 0.000_001_7);
        let (mut respelled, mut lost) = (0, 0);
        for float in times.chain(floats_of_all_sizes(50_000)) {
            let float = kept_by_chroma(&float.to_string());
            let text = serde_json::to_string(&float).expect("a text");
            let written = spelling(&text);
            let copy = kept_by_chroma(written.as_deref().unwrap_or(&text));
            respelled += usize::from(written.is_some());
            if copy.to_bits() != float.to_bits() {
                lost += 1;
            }
        }
        assert!(respelled > 2_000, "{respelled}");
        assert!(lost <= 1, "{lost}: one, of 1e-177, was not found");
    }

    #[test]
    fn numbers_alone_are_respelled() {
        let json = r#"{"8.647197611666497e-10":"8.647197611666497e-10 \" 1.5","n":8.647197611666497e-10,"i":12,"f":1.50,"l":[1e3,-8.647197611666497e-10]}"#;
        let other = spelling("8.647197611666497e-10").expect("a spelling");
        let expected = json
            .replace(":8.647197611666497e-10,", &format!(":{other},"))
            .replace("-8.647197611666497e-10]", &format!("-{other}]"));
        assert_eq!(respell(json).as_deref(), Some(expected.as_str()));
        assert_eq!(respell(r#"{"a":1.5,"b":"x"}"#), None);
    }
}
