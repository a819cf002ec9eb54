//! Achromat as a whole, against real Chroma servers.

mod faults;
