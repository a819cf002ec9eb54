//! Memory for plugins that are asked a million times: taking and giving back a piece is a few
//! instructions, where Rust's own allocator for WebAssembly takes some 150.
//!
//! Pieces have sizes that are powers of two, and those of one size that are not in use form a list
//! (segregated free lists: Wilson et al., Dynamic Storage Allocation, 1995, section 3.4). Memory never
//! goes from one size to another, and never back: a plugin does the same again and again, and an
//! instance has a bound of its own.

use core::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ptr::{self, NonNull},
};

/// WebAssembly's page: what memory grows by.
const PAGE: usize = 64 * 1024;

/// The smallest piece: room for the list's link, and what the canonical ABI aligns to at most.
const PIECE_MIN: usize = 16;

/// One list for each power of two that an address can have.
const SIZES: usize = 64;

/// A piece that is not in use: where the next one of its size is.
struct Free(Option<NonNull<Self>>);

struct Pool {
    free: [Option<NonNull<Free>>; SIZES],
    /// What was never in use: from here to `end`.
    fresh: usize,
    end: usize,
}

/// An allocator for components, which have one thread.
///
/// ```
/// #[cfg(target_arch = "wasm32")]
/// #[global_allocator]
/// static ALLOCATOR: achromat_plugin::Allocator = achromat_plugin::Allocator::new();
/// ```
pub struct Allocator(UnsafeCell<Pool>);

#[allow(
    unsafe_code,
    reason = "a component has one thread, and a pool is never entered twice: it calls nothing that allocates"
)]
unsafe impl Sync for Allocator {}

impl Allocator {
    /// One that has no memory yet.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(Pool {
            free: [None; SIZES],
            fresh: 0,
            end: 0,
        }))
    }
}

impl Default for Allocator {
    fn default() -> Self {
        Self::new()
    }
}

/// The place of a size's list.
#[inline]
fn list_of(size: usize) -> usize {
    usize::try_from(size.trailing_zeros()).unwrap_or(SIZES)
}

/// The size of the piece that holds this, as a power of two; none when there is no such number.
fn piece_of(layout: Layout) -> Option<usize> {
    let least = layout.size().max(layout.align()).max(PIECE_MIN);
    least.checked_next_power_of_two()
}

#[allow(unsafe_code, reason = "an allocator hands out raw memory")]
impl Pool {
    /// A piece of this size, aligned to it; none when there is no more memory.
    fn take(&mut self, size: usize) -> Option<NonNull<u8>> {
        let list = self.free.get_mut(list_of(size))?;
        let Some(first) = *list else {
            return self.cut(size);
        };
        // SAFETY: what is in a list was put there by `give`, and belongs to nobody else.
        *list = unsafe { first.read() }.0;
        Some(first.cast())
    }

    /// Takes a piece back.
    ///
    /// # Safety
    ///
    /// It came from [`take`](Self::take) with this size, and nobody uses it any more.
    unsafe fn give(&mut self, piece: NonNull<u8>, size: usize) {
        if let Some(list) = self.free.get_mut(list_of(size)) {
            let piece: NonNull<Free> = piece.cast();
            // SAFETY: it is as large as a link, aligned to its own size, and the caller's to give.
            unsafe { piece.write(Free(*list)) };
            *list = Some(piece);
        }
    }

    /// Cuts a piece from what was never in use.
    #[cold]
    fn cut(&mut self, size: usize) -> Option<NonNull<u8>> {
        let aligned = |from: usize| from.checked_next_multiple_of(size);
        let has_room = |from: usize, end: usize| from.checked_add(size).is_some_and(|to| to <= end);
        let mut from = aligned(self.fresh).filter(|from| *from > 0 && has_room(*from, self.end));
        if from.is_none() {
            let grown = grow(size.checked_add(size)?.div_ceil(PAGE))?;
            if grown.0 != self.end {
                self.fresh = grown.0;
            }
            self.end = grown.1;
            from = aligned(self.fresh).filter(|from| has_room(*from, self.end));
        }
        let from = from?;
        self.fresh = from + size;
        NonNull::new(ptr::with_exposed_provenance_mut(from))
    }
}

/// So many more pages: where they begin and end.
#[cfg(target_arch = "wasm32")]
fn grow(pages: usize) -> Option<(usize, usize)> {
    let before = core::arch::wasm32::memory_grow(0, pages);
    let begin = before.checked_mul(PAGE).filter(|_| before != usize::MAX)?;
    Some((begin, begin.checked_add(pages.checked_mul(PAGE)?)?))
}

/// The same elsewhere, for tests.
#[cfg(not(target_arch = "wasm32"))]
#[allow(unsafe_code, reason = "an allocator hands out raw memory")]
fn grow(pages: usize) -> Option<(usize, usize)> {
    let bytes = pages.checked_mul(PAGE)?;
    let layout = Layout::from_size_align(bytes, PAGE).ok()?;
    // SAFETY: a layout of at least one page.
    let begin = unsafe { std::alloc::System.alloc(layout) }.expose_provenance();
    (begin != 0).then_some((begin, begin.checked_add(bytes)?))
}

#[allow(unsafe_code, reason = "an allocator hands out raw memory")]
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, and `take` does not come back here.
        let pool = unsafe { &mut *self.0.get() };
        let piece = piece_of(layout).and_then(|size| pool.take(size));
        piece.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: there is one thread, and `give` does not come back here.
        let pool = unsafe { &mut *self.0.get() };
        if let (Some(piece), Some(size)) = (NonNull::new(piece), piece_of(layout)) {
            // SAFETY: the caller's part of the bargain.
            unsafe { pool.give(piece, size) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new) = Layout::from_size_align(new_size, layout.align()) else {
            return ptr::null_mut();
        };
        if piece_of(layout) == piece_of(new) {
            return piece;
        }
        // SAFETY: the caller's part of the bargain; both pieces have room for the smaller of the two.
        unsafe {
            let moved = self.alloc(new);
            if !moved.is_null() {
                ptr::copy_nonoverlapping(piece, moved, layout.size().min(new_size));
                self.dealloc(piece, layout);
            }
            moved
        }
    }
}

#[cfg(test)]
#[allow(unsafe_code, reason = "an allocator hands out raw memory")]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// Pieces that are in use do not overlap, are aligned, and keep what is written into them, through
    /// thousands of them taken, resized and given back in no order.
    #[test]
    fn pieces_stand_apart() {
        let allocator = Allocator::new();
        let mut held: Vec<(*mut u8, Layout, u8)> = Vec::new();
        let mut random = 12_345_u32;
        let mut next = |below: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            usize::try_from(random >> 8).unwrap() % below
        };
        for round in 0..20_000_u32 {
            let mark = round.to_le_bytes()[0];
            if held.is_empty() || next(5) < 3 {
                let size = [1, 15, 16, 17, 100, 5_000, 70_000][next(7)];
                let wanted = layout(size, 1 << next(8));
                // SAFETY: not empty; what is taken is written to its size.
                unsafe {
                    let piece = allocator.alloc(wanted);
                    assert!(!piece.is_null() && piece.addr().is_multiple_of(wanted.align()));
                    piece.write_bytes(mark, size);
                    held.push((piece, wanted, mark));
                }
            } else {
                let (piece, had, mark) = held.swap_remove(next(held.len()));
                let size = 1 + next(2 * had.size());
                // SAFETY: it was taken with that layout, and is not used any more after its end.
                unsafe {
                    let piece = allocator.realloc(piece, had, size);
                    let kept = size.min(had.size());
                    assert!((0..kept).all(|at| *piece.add(at) == mark));
                    allocator.dealloc(piece, layout(size, had.align()));
                }
            }
            if held.len() > 300 {
                for (piece, had, mark) in held.drain(..) {
                    // SAFETY: it was taken with that layout.
                    unsafe {
                        assert!((0..had.size()).all(|at| *piece.add(at) == mark));
                        allocator.dealloc(piece, had);
                    }
                }
            }
        }
    }

    /// What was given back is taken again, so that doing the same over and over takes no more memory.
    #[test]
    fn memory_does_not_grow() {
        let allocator = Allocator::new();
        // SAFETY: not empty, and given back with the same layout.
        let turn = || unsafe {
            let pieces = [24, 200, 3_000].map(|size| (allocator.alloc(layout(size, 8)), size));
            pieces.map(|(piece, size)| {
                allocator.dealloc(piece, layout(size, 8));
                piece.addr()
            })
        };
        let first = turn();
        assert!((0..1_000).all(|_| turn() == first));
    }

    /// What nobody can have is refused, and not handed out.
    #[test]
    fn too_much_is_refused() {
        let allocator = Allocator::new();
        let too_much = layout(isize::MAX.unsigned_abs() - PAGE, 8);
        // SAFETY: not empty.
        assert!(unsafe { allocator.alloc(too_much) }.is_null());
    }
}
