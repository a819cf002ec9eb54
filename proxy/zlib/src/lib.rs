//! Stands in for `libz-ng-sys` so that pingora builds without cmake.
//!
//! pingora asks flate2 for zlib-ng, whose C sources want cmake; this crate gives flate2 the same
//! names over zlib-rs, which is Rust. Achromat itself never compresses. The only difference is
//! that zlib-rs says `Option<fn>` where flate2 says `fn` for the two allocator fields: the layouts
//! are equal (a null function pointer is `None`), so pointers are cast and nothing is copied.
#![allow(non_camel_case_types, non_snake_case, reason = "zlib's names")]

use std::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

pub use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_DATA_ERROR, Z_DEFAULT_STRATEGY, Z_DEFLATED, Z_FINISH, Z_FULL_FLUSH,
    Z_MEM_ERROR, Z_NEED_DICT, Z_NO_FLUSH, Z_OK, Z_PARTIAL_FLUSH, Z_STREAM_END, Z_STREAM_ERROR,
    Z_SYNC_FLUSH, zlibVersion,
};

pub type uInt = c_uint;

#[repr(C)]
pub struct z_stream {
    pub next_in: *mut u8,
    pub avail_in: c_uint,
    pub total_in: c_ulong,
    pub next_out: *mut u8,
    pub avail_out: c_uint,
    pub total_out: c_ulong,
    pub msg: *mut c_char,
    pub state: *mut c_void,
    pub zalloc: extern "C" fn(*mut c_void, c_uint, c_uint) -> *mut c_void,
    pub zfree: extern "C" fn(*mut c_void, *mut c_void),
    pub opaque: *mut c_void,
    pub data_type: c_int,
    pub adler: c_ulong,
    pub reserved: c_ulong,
}

const _: () = assert!(size_of::<z_stream>() == size_of::<libz_rs_sys::z_stream>());

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        /// # Safety
        /// As zlib's function of this name.
        pub unsafe extern "C" fn $name(stream: *mut z_stream, $($arg: $type),*) -> c_int {
            // SAFETY: the caller keeps zlib's contract, and the two structs have one layout.
            unsafe { libz_rs_sys::$name(stream.cast(), $($arg),*) }
        }
    )*};
}

forward! {
    deflate(flush: c_int);
    deflateEnd();
    deflateReset();
    deflateParams(level: c_int, strategy: c_int);
    deflateSetDictionary(dictionary: *const u8, length: c_uint);
    deflateInit2_(level: c_int, method: c_int, window_bits: c_int, memory: c_int, strategy: c_int, version: *const c_char, size: c_int);
    inflate(flush: c_int);
    inflateEnd();
    inflateReset2(window_bits: c_int);
    inflateSetDictionary(dictionary: *const u8, length: c_uint);
    inflateInit2_(window_bits: c_int, version: *const c_char, size: c_int);
}
