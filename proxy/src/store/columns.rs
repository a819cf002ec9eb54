//! Effects of changes of the catalog on the columns of copies.

use achromat_core::{catalog::Change, ids::InstanceId};

/// The fate of a column.
#[derive(Clone, Copy, Default)]
pub(super) enum Column<T> {
    #[default]
    Kept,
    Set(T),
    Emptied,
}

impl<T> Column<T> {
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, Self::Kept)
    }

    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Kept | Self::Emptied => None,
        }
    }
}

/// The fates of a copy's columns.
#[derive(Clone, Copy, Default)]
pub(super) struct Columns<'a> {
    pub(super) id: Column<InstanceId>,
    pub(super) quarantine: Column<&'a str>,
    pub(super) distrust: Column<&'a str>,
    pub(super) unsure: Column<&'a str>,
}

/// The effect of a change on the columns of its copy.
pub(super) fn columns_of(change: &Change) -> Columns<'_> {
    let kept = Columns::default();
    match change {
        Change::Copied { id, .. } => Columns {
            id: Column::Set(*id),
            unsure: Column::Emptied,
            ..kept
        },
        Change::Quarantined { reason, .. } => Columns {
            quarantine: Column::Set(reason),
            ..kept
        },
        Change::Distrusted { reason, .. } => Columns {
            distrust: Column::Set(reason),
            ..kept
        },
        Change::Unsure { name, .. } => Columns {
            id: Column::Emptied,
            unsure: Column::Set(name),
            ..kept
        },
        Change::Healed { .. } => Columns {
            quarantine: Column::Emptied,
            distrust: Column::Emptied,
            ..kept
        },
        Change::Lost { reason, .. } => Columns {
            id: Column::Emptied,
            quarantine: Column::Set(reason),
            distrust: Column::Emptied,
            unsure: Column::Emptied,
        },
        _ => kept,
    }
}
