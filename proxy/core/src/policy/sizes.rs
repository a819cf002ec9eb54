//! Amounts that a request asks for, as its body says.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

/// Amounts that a request asks for; 0 where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Records that it names or carries.
    pub records: u32,
    /// Embeddings, or texts, to search for.
    pub queries: u32,
    /// Results that it wants for each.
    pub results: u32,
}

/// The length of a list that is not kept.
#[derive(Clone, Copy, Debug, Default)]
struct Length(u32);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Counting;
        impl<'de> Visitor<'de> for Counting {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Length, E> {
                Ok(Length(0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Length, A::Error> {
                let mut length = 0_u32;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    length = length.saturating_add(1);
                }
                Ok(Length(length))
            }
        }
        from.deserialize_any(Counting)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    ids: Length,
    query_embeddings: Length,
    query_texts: Length,
    searches: Length,
    n_results: Option<u32>,
    limit: Option<u32>,
}

impl Sizes {
    /// Of a body; nothing of one that can't be read, which Chroma refuses in its own words.
    pub fn of(body: &[u8]) -> Self {
        let body: Body = serde_json::from_slice(body).unwrap_or_default();
        let queries = body.query_embeddings.0.max(body.query_texts.0);
        Self {
            records: body.ids.0,
            queries: queries.max(body.searches.0),
            results: body.n_results.or(body.limit).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lists are counted, whatever is in them; what is not said is 0.
    #[test]
    fn sizes_are_what_the_body_says() {
        let sizes = |records, queries, results| Sizes {
            records,
            queries,
            results,
        };
        let query = br#"{"query_embeddings":[[1,2],[3,4]],"n_results":7,"where":{"a":[1]}}"#;
        assert_eq!(Sizes::of(query), sizes(0, 2, 7));
        assert_eq!(
            Sizes::of(br#"{"ids":["a","b","c"],"limit":2}"#),
            sizes(3, 0, 2)
        );
        assert_eq!(Sizes::of(br#"{"ids":null,"limit":null}"#), sizes(0, 0, 0));
        assert_eq!(Sizes::of(br#"{"searches":[{"limit":{}}]}"#), sizes(0, 1, 0));
        for unreadable in [&b""[..], b"{", b"[]", br#"{"ids":5}"#, br#"{"limit":-1}"#] {
            assert_eq!(Sizes::of(unreadable), Sizes::default());
        }
    }
}
