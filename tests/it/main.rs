//! Achromat as a whole, against real Chroma servers.

mod admin;
mod api;
mod chaos;
mod cli;
mod clients;
mod faults;
mod framing;
mod guard;
mod outages;
mod readme;
mod suite;
mod tidy;
