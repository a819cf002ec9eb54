//! Statements that are sent at once, with their values in them.
//!
//! PostgreSQL carries out a whole message of its simple protocol as one transaction: so a group of writes
//! costs one round trip, nobody can stop in the middle of it with rows locked, and a pooler in transaction
//! mode, which has no place for prepared statements, passes it on like any other. Values stand in the text
//! in a form that no setting of the server reads otherwise.

use std::fmt::Write as _;

use uuid::Uuid;

/// A value of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Null,
    Number(i64),
    Flag(bool),
    Text(&'a str),
    Bytes(&'a [u8]),
    Id(Uuid),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Statements, one after the other.
#[derive(Debug, Default)]
pub(super) struct Script(String);

impl Script {
    /// A single statement.
    pub(super) fn of(sql: &'static str, values: &[Value<'_>]) -> Self {
        let mut script = Self::default();
        script.add(sql, values);
        script
    }

    /// Adds a statement, with the values in the places of its question marks.
    pub(super) fn add(&mut self, sql: &'static str, values: &[Value<'_>]) {
        debug_assert_eq!(sql.matches('?').count(), values.len(), "{sql}");
        let mut values = values.iter();
        for (number, part) in sql.split('?').enumerate() {
            if number > 0 {
                self.push(*values.next().unwrap_or(&Value::Null));
            }
            self.0.push_str(part);
        }
        self.0.push_str(";\n");
    }

    /// Adds a statement that ends with rows of values, unless there is none.
    pub(super) fn add_rows<'a>(&mut self, sql: &str, rows: impl Iterator<Item = Vec<Value<'a>>>) {
        let mut separator = sql;
        for row in rows {
            self.0.push_str(separator);
            separator = ",";
            let mut before = " (";
            for value in row {
                self.0.push_str(before);
                before = ", ";
                self.push(value);
            }
            self.0.push(')');
        }
        if separator == "," {
            self.0.push_str(";\n");
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.len()
    }

    pub(super) fn into_sql(self) -> String {
        self.0
    }

    fn push(&mut self, value: Value<'_>) {
        match value {
            Value::Null => self.0.push_str("NULL"),
            // A bare negative number would be read as an operator and a number.
            Value::Number(number) => self.put(format_args!("({number})::bigint")),
            Value::Flag(flag) => self.0.push_str(if flag { "true" } else { "false" }),
            Value::Text(text) => self.push_text(text),
            Value::Bytes(bytes) => self.push_hex(bytes),
            Value::Id(id) => self.put(format_args!("'{id}'::uuid")),
        }
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _infallible = self.0.write_fmt(what);
    }

    fn push_text(&mut self, text: &str) {
        let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'\'' | b'\\');
        if text.bytes().all(is_plain) {
            self.put(format_args!("'{text}'::text"));
            return;
        }
        self.0.push_str("convert_from(");
        self.push_hex(kept(text).as_bytes());
        self.0.push_str(", 'UTF8')");
    }

    fn push_hex(&mut self, bytes: &[u8]) {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble & 15), 16).unwrap_or_default();
        self.0.push_str("decode('");
        self.0.reserve(bytes.len() * 2);
        for byte in bytes {
            self.0.push(digit(byte >> 4));
            self.0.push(digit(*byte));
        }
        self.0.push_str("', 'hex')");
    }
}

/// The character that stands for another one, which follows it.
const SHIFT: char = '\u{f8ff}';

/// Text as it is kept: PostgreSQL's has no U+0000, and clients' names may.
fn kept(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['\0', SHIFT]) {
        return text.into();
    }
    let shifted = text.replace(SHIFT, "\u{f8ff}1");
    shifted.replace('\0', "\u{f8ff}0").into()
}

/// Text as it was before it was kept.
pub(super) fn plain(text: &str) -> String {
    if !text.contains(SHIFT) {
        return text.to_owned();
    }
    text.replace("\u{f8ff}0", "\0")
        .replace("\u{f8ff}1", "\u{f8ff}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever text is kept is read as it was, and none of it has U+0000 meanwhile.
    #[test]
    fn any_text_is_kept() {
        for text in [
            "",
            "a",
            "\0",
            "a\0b",
            "\u{f8ff}",
            "\u{f8ff}0\0",
            "\u{f8ff}\u{f8ff}1",
            "\0\u{f8ff}0",
        ] {
            assert!(!kept(text).contains('\0'));
            assert_eq!(plain(&kept(text)), text);
        }
    }

    /// No value ends its literal.
    #[test]
    fn values_stand_in_the_text() {
        let mut script = Script::of(
            "SELECT ?, ?, ?, ?",
            &[
                "it's".into(),
                (-1).into(),
                [0xab_u8, 1].as_slice().into(),
                Value::from(None::<i64>),
            ],
        );
        let rows = [vec![1.into(), "a\\".into()], vec![true.into(), "b".into()]];
        script.add_rows("INSERT INTO t VALUES", rows.into_iter());
        script.add_rows("INSERT INTO u VALUES", std::iter::empty());
        let expected = "SELECT convert_from(decode('69742773', 'hex'), 'UTF8'), (-1)::bigint, decode('ab01', 'hex'), NULL;\n\
            INSERT INTO t VALUES ((1)::bigint, convert_from(decode('615c', 'hex'), 'UTF8')), (true, 'b'::text);\n";
        assert_eq!(script.into_sql(), expected);
    }
}
