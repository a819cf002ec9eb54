//! Random values, of few kinds, so that they meet each other.

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};

const IDS: [&str; 8] = ["a", "b", "c", "d", "e", "id 6", "ü", "A"];
pub const NAMES: [&str; 3] = ["first", "second", "third.x"];
const BAD_NAMES: [&str; 6] = ["ab", "a b", "-abc", "a..b", "1.2.3.4", "abc_"];
const TEXTS: [&str; 7] = [
    "apple pie",
    "Apple",
    "banana",
    "a%b_c",
    "",
    "über apple",
    "pie",
];
const PARTS: [&str; 8] = ["apple", "Apple", "an", "a", "%", "_", "über", "nothing"];
const KEYS: [&str; 5] = ["k", "n", "s", "f", "chapter"];

/// A choice of some kind.
pub type Choice = fn(&mut Random) -> Value;

/// Where random choices come from.
pub struct Random {
    choices: SmallRng,
    /// Whether metadata has lists, in place of collections being deleted. Chroma 1.5.9 forgets the
    /// lists of a deleted collection in its tables, and shows them on later records, even of other
    /// tenants, that get the same row numbers. That is not modelled.
    pub has_lists: bool,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self {
            choices: SmallRng::seed_from_u64(seed),
            has_lists: seed % 2 == 1,
        }
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.choices.random_range(0..end)
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    pub fn list(&mut self, most: usize, mut item: impl FnMut(&mut Self) -> Value) -> Vec<Value> {
        let length = self.below(most + 1);
        (0..length).map(|_| item(self)).collect()
    }

    pub fn id(&mut self) -> Value {
        json!(self.of(&IDS))
    }

    /// Mostly a good one. A bad one stands alone: of several mistakes Chroma tells in no certain
    /// order.
    pub fn name(&mut self) -> &'static str {
        if self.once_in(15) {
            self.of(&BAD_NAMES)
        } else {
            self.of(&NAMES)
        }
    }

    /// Numbers whose squares and sums are exact, so that distances are, too.
    pub fn embedding(&mut self, length: usize) -> Value {
        let number = |random: &mut Self| f64::from(random.choices.random_range(-8..8)) / 2.0;
        let numbers: Vec<f64> = (0..length).map(|_| number(self)).collect();
        json!(numbers)
    }

    /// Mostly the usual length: the first write of a collection sets what it takes.
    pub fn length(&mut self) -> usize {
        if self.once_in(15) { self.below(4) } else { 2 }
    }

    pub fn scalar(&mut self) -> Value {
        let scalars = [
            json!(1),
            json!(2),
            json!(2.0),
            json!(1.5),
            json!(1.25),
            json!(-3),
            json!(-3.5),
            json!(9_007_199_254_740_993_i64),
            json!(u64::MAX),
            json!("x"),
            json!("y"),
            json!(""),
            json!(true),
            json!(false),
        ];
        self.of(&scalars)
    }

    pub fn field(&mut self) -> Value {
        let odd = [
            json!([1, 2]),
            json!(["x", "y"]),
            json!([1.5, 2]),
            json!([true]),
            json!([]),
            Value::Null,
            json!({}),
            json!([1, "x"]),
        ];
        if self.once_in(6) {
            let odd_end = if self.once_in(4) { odd.len() } else { 6 };
            let value = self.of(&odd[..odd_end]);
            if value.is_array() && !self.has_lists {
                return self.scalar();
            }
            value
        } else {
            self.scalar()
        }
    }

    pub fn fields(&mut self) -> Value {
        let mut fields = json!({});
        for _ in 0..self.below(4) {
            let key = if self.once_in(60) {
                self.of(&["", "#a", "$a"])
            } else {
                self.of(&KEYS)
            };
            fields[key] = self.field();
        }
        fields
    }

    /// Metadata of a collection has no lists here: they make a real server panic, now and then
    /// after it has changed something.
    pub fn own_fields(&mut self) -> Value {
        let mut fields = self.fields();
        if let Value::Object(fields) = &mut fields {
            fields.retain(|_, value| !value.is_array());
        }
        fields
    }

    pub fn optional(&mut self, value: Choice) -> Value {
        if self.once_in(3) {
            Value::Null
        } else {
            value(self)
        }
    }

    pub fn text(&mut self) -> Value {
        json!(self.of(&TEXTS))
    }

    pub fn uri(&mut self) -> Value {
        json!(self.of(&["file:///1", "file:///2"]))
    }

    pub fn condition(&mut self) -> Value {
        match self.below(12) {
            0 => json!({ "$and": self.list(2, Self::condition) }),
            1 => json!({ "$or": self.list(3, Self::condition) }),
            2 => json!({ "#document": self.document_condition() }),
            3 => self.of(&[
                json!({}),
                json!([]),
                json!({ "k": null }),
                json!({ "k": 1, "s": "x" }),
                json!({ "k": { "$eq": 1, "$ne": 2 } }),
                json!({ "$not": { "k": 1 } }),
                json!({ "k": { "$in": [] } }),
                json!({ "k": { "$in": [1, 2.5] } }),
                json!({ "#document": "x" }),
                json!({ "#document": 1 }),
                json!({ "#document": { "$in": ["x"] } }),
                json!({ "#document": { "$ne": "x" } }),
                json!({ "#document": { "$contains": 1 } }),
            ]),
            4 | 5 => json!({ self.of(&KEYS): self.scalar() }),
            6 => json!({ self.of(&KEYS): { self.of(&["$in", "$nin"]): [self.scalar()] } }),
            7 => json!({ self.of(&KEYS): { "$in": ["x", "y", "z"] } }),
            8 => json!({ self.of(&KEYS): { "$nin": [1.5, 2] } }),
            9 => {
                let operator = self.of(&["$contains", "$not_contains"]);
                json!({ self.of(&KEYS): { operator: self.scalar() } })
            }
            _ => {
                let operator = self.of(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]);
                json!({ self.of(&KEYS): { operator: self.scalar() } })
            }
        }
    }

    /// Regular expressions are not modelled.
    pub fn document_condition(&mut self) -> Value {
        match self.below(10) {
            0 => json!({ "$and": self.list(2, Self::document_condition) }),
            1 => json!({ "$or": self.list(2, Self::document_condition) }),
            2 => self.of(&[
                json!({}),
                json!([]),
                json!({ "$contains": 3 }),
                json!({ "k": "x" }),
            ]),
            3..6 => json!({ "$not_contains": self.of(&PARTS) }),
            _ => json!({ "$contains": self.of(&PARTS) }),
        }
    }

    /// Adds conditions to a request, or none.
    pub fn add_conditions(&mut self, body: &mut Value) {
        if self.once_in(2) {
            body["where"] = self.condition();
        }
        if self.once_in(4) {
            body["where_document"] = self.document_condition();
        }
    }

    pub fn include(&mut self, body: &mut Value) {
        let parts = ["documents", "metadatas", "embeddings", "uris", "distances"];
        match self.below(40) {
            0 => body["include"] = json!(["nothing"]),
            1..20 => body["include"] = json!(self.list(5, |random| json!(random.of(&parts)))),
            20..30 => body["include"] = json!(parts),
            _ => {}
        }
    }

    /// Breaks a body, or most often does not.
    pub fn broken(&mut self, body: &Value) -> String {
        let mut text = body.to_string();
        match self.below(80) {
            0 => text.truncate(text.floor_char_boundary(text.len() / 2)),
            1 => "[1]".clone_into(&mut text),
            2 => text = String::new(),
            3 => text.push('x'),
            _ => {}
        }
        text
    }
}
