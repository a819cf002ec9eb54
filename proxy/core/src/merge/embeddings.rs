//! The two forms of embeddings: arrays of numbers, and base64 of their bytes (32-bit floats, little
//! endian), which Python clients send since 1.0.20 and the npm client since 3.
//!
//! Chroma takes either form in a request, and refuses one with both (422). So where both meet, base64
//! is written as arrays. Nothing is lost: each number is written with all digits of the 64-bit float
//! that equals it, which Chroma reads back and cuts to the same 32 bits. The other way round would not
//! be safe: Chroma reads decimals by way of 64 bits, and this would have to round exactly as it does.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{between_brackets, push_elements};
use crate::limits::MERGED_REWRITTEN_NUMBERS_MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Arrays,
    Base64,
}

/// The embeddings of one body: one for each record, all of one dimension.
pub(super) struct Embeddings<'a> {
    /// Text between the brackets.
    elements: &'a str,
    form: Form,
    dimension: usize,
    count: usize,
}

impl<'a> Embeddings<'a> {
    /// Reads the field of a body with so many records; `None` when Chroma may refuse it.
    pub(super) fn parse(field: &'a RawValue, count: usize) -> Option<Self> {
        let elements = between_brackets(field)?;
        let (form, dimension) = if elements.trim_start().starts_with('"') {
            (Form::Base64, dimension_of_base64(field, count)?)
        } else {
            (Form::Arrays, dimension_of_arrays(field, count)?)
        };
        (dimension > 0).then_some(Self {
            elements,
            form,
            dimension,
            count,
        })
    }

    fn numbers(&self) -> usize {
        self.count.saturating_mul(self.dimension)
    }
}

fn dimension_of_arrays(field: &RawValue, count: usize) -> Option<usize> {
    let embeddings: Vec<Vec<IgnoredAny>> = serde_json::from_str(field.get()).ok()?;
    let first = embeddings.first()?.len();
    let is_same = embeddings.iter().all(|embedding| embedding.len() == first);
    (is_same && embeddings.len() == count).then_some(first)
}

fn dimension_of_base64(field: &RawValue, count: usize) -> Option<usize> {
    let embeddings: Vec<Packed<'_>> = serde_json::from_str(field.get()).ok()?;
    let mut bytes = Vec::new();
    let first = embeddings.first()?.unpack(&mut bytes)?.len();
    for embedding in embeddings.iter().skip(1) {
        if embedding.unpack(&mut bytes)?.len() != first {
            return None;
        }
    }
    (embeddings.len() == count).then_some(first)
}

/// One embedding in base64.
#[derive(Deserialize)]
struct Packed<'a>(#[serde(borrow)] Cow<'a, str>);

impl Packed<'_> {
    /// The bytes of its numbers; `None` when Chroma refuses it: it takes whole and finite numbers only.
    fn unpack<'b>(&self, bytes: &'b mut Vec<u8>) -> Option<&'b [[u8; 4]]> {
        bytes.clear();
        BASE64_STANDARD.decode_vec(self.0.as_ref(), bytes).ok()?;
        let (numbers, rest) = bytes.as_chunks::<4>();
        let is_finite = |number: &[u8; 4]| f32::from_le_bytes(*number).is_finite();
        (rest.is_empty() && numbers.iter().all(is_finite)).then_some(numbers)
    }
}

/// The embeddings of several bodies.
pub(super) struct MergedEmbeddings {
    dimension: usize,
    /// Elements in the order of the records, those of one form that follow one another together.
    parts: Vec<(Form, String)>,
    /// Count of the numbers that stand there as base64.
    packed: usize,
    has_arrays: bool,
}

impl MergedEmbeddings {
    /// None yet, but of the same dimension.
    pub(super) fn like(first: &Embeddings<'_>) -> Self {
        Self {
            dimension: first.dimension,
            parts: Vec::new(),
            packed: 0,
            has_arrays: false,
        }
    }

    /// Adds those of one more body. Returns whether they fit.
    pub(super) fn take(&mut self, more: &Embeddings<'_>) -> bool {
        let is_packed = more.form == Form::Base64;
        let packed = self.packed + if is_packed { more.numbers() } else { 0 };
        let has_arrays = self.has_arrays || !is_packed;
        let rewritten = if has_arrays { packed } else { 0 };
        if more.dimension != self.dimension || rewritten > MERGED_REWRITTEN_NUMBERS_MAX {
            return false;
        }
        (self.packed, self.has_arrays) = (packed, has_arrays);
        match self.parts.last_mut().filter(|(form, _)| *form == more.form) {
            Some((_, elements)) => push_elements(elements, more.elements),
            None => self.parts.push((more.form, more.elements.to_owned())),
        }
        true
    }

    /// The elements of all, in one form.
    pub(super) fn finish(self) -> String {
        let mut all = String::new();
        for (form, elements) in self.parts {
            match form {
                Form::Base64 if self.has_arrays => push_elements(&mut all, as_arrays(&elements)),
                Form::Base64 | Form::Arrays => push_elements(&mut all, elements),
            }
        }
        all
    }
}

/// Elements in base64, which were read before, as arrays.
fn as_arrays(elements: &str) -> String {
    let elements = format!("[{elements}]");
    let embeddings: Vec<Packed<'_>> = serde_json::from_str(&elements).unwrap_or_default();
    let mut bytes = Vec::new();
    let arrays = embeddings.iter().map(|embedding| {
        let numbers = embedding.unpack(&mut bytes).unwrap_or_default();
        let numbers = numbers.iter().map(|number| f32::from_le_bytes(*number));
        let numbers: Vec<f64> = numbers.map(f64::from).collect();
        serde_json::to_string(&numbers).unwrap_or_default()
    });
    arrays.collect::<Vec<_>>().join(",")
}
