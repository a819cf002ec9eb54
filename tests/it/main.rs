//! Achromat as a whole, against real Chroma servers.

mod admin;
mod adopt;
mod api;
mod authors;
mod chaos;
mod cli;
mod clients;
mod contract;
mod faults;
mod flush;
mod framing;
mod guard;
mod keys;
mod letters;
mod markers;
mod migrations;
mod model;
mod outages;
mod policy;
mod readme;
mod rebuild;
mod sim;
mod suite;
mod tidy;
mod verify;
