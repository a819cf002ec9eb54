//! Comparison of two stores, table by table: number of rows, and a digest that no order changes.

use futures_util::TryStreamExt as _;
use setsum::Setsum;

use super::{
    super::StoreError,
    side::{Cell, Row, Side},
    tables::Table,
};

/// Number of rows of a table, and the digest of all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) rows: u64,
    digest: Setsum,
}

impl Sum {
    /// The rows of a table, read from one of the stores. Each is told.
    pub(super) async fn of(
        side: &mut dyn Side,
        table: &'static Table,
        mut tell: impl FnMut(u64) + Send,
    ) -> Result<Self, StoreError> {
        let mut sum = Self::default();
        let mut rows = side.rows(table);
        while let Some(row) = rows.try_next().await? {
            sum.add(&row);
            tell(sum.rows);
        }
        Ok(sum)
    }

    /// Each value goes in with its type and its length: no two rows read the same.
    fn add(&mut self, row: &Row) {
        self.rows += 1;
        let heads: Vec<_> = row.iter().map(head).collect();
        let parts = heads.iter().zip(row).flat_map(|(head, cell)| {
            let content: &[u8] = match cell {
                Cell::Null | Cell::Number(_) => &[],
                Cell::Text(text) => text.as_bytes(),
                Cell::Bytes(bytes) => bytes,
                Cell::Id(id) => id.as_bytes(),
            };
            [head.as_slice(), content]
        });
        self.digest.insert_vectored(&parts.collect::<Vec<_>>());
    }
}

/// The type of a value, and its length or the number that it is.
fn head(cell: &Cell) -> [u8; 9] {
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
    let (tag, number) = match cell {
        Cell::Null => (0, [0; 8]),
        Cell::Number(number) => (1, number.to_le_bytes()),
        Cell::Text(text) => (2, length(text.as_bytes())),
        Cell::Bytes(bytes) => (3, length(bytes)),
        Cell::Id(_) => (4, [0; 8]),
    };
    let mut head = [0; 9];
    let (first, rest) = head.split_at_mut(1);
    first.copy_from_slice(&[tag]);
    rest.copy_from_slice(&number);
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[Row]) -> Sum {
        let mut sum = Sum::default();
        rows.iter().for_each(|row| sum.add(row));
        sum
    }

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    /// The order of rows does not count; everything else does: null, empty, type, place, repetition.
    #[test]
    fn only_equal_rows_have_equal_sums() {
        let (one, two) = (vec![text("a"), Cell::Null], vec![Cell::Null, text("a")]);
        assert_eq!(
            sum(&[one.clone(), two.clone()]),
            sum(&[two.clone(), one.clone()])
        );
        let different = [
            vec![],
            vec![vec![Cell::Null]],
            vec![vec![text("")]],
            vec![vec![Cell::Bytes(bytes::Bytes::new())]],
            vec![vec![Cell::Number(0)]],
            vec![vec![text("ab"), text("c")]],
            vec![vec![text("a"), text("bc")]],
            vec![one.clone()],
            vec![two],
            vec![one.clone(), one],
        ];
        for (at, left) in different.iter().enumerate() {
            for right in &different[at + 1..] {
                assert_ne!(sum(left), sum(right), "{left:?} {right:?}");
            }
        }
    }
}
