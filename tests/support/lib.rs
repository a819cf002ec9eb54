//! What the tests are made of: real Chroma servers, Achromat as a process, clients, and readers
//! that look at each instance's own data.

pub mod api;
pub mod asked;
pub mod attacks;
pub mod authority;
#[path = "../chaos/mod.rs"]
pub mod chaos;
pub mod chroma;
pub mod cluster;
pub mod deploy;
pub mod ends;
pub mod frames;
pub mod heavy;
pub mod load;
pub mod pooler;
pub mod postgres;
pub mod proxy;
pub mod raw;
pub mod records;
pub mod registers;
pub mod tools;
pub mod versions;
pub mod wait;

pub use achromat_sim as sim;
