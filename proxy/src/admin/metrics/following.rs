//! Figures of a proxy that follows: its own alone. What instances owe, and what becomes of collections, its leader
//! tells, so that figures of a whole fleet can be added up.

use std::time::Duration;

use achromat_core::reply::Reply;

use super::page::{Labels, Page, count, float};

/// Figures of a proxy that follows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Following {
    /// Time since the start.
    pub uptime: Duration,
    /// Connections of clients, and how many were turned away.
    pub connections: (usize, u64),
    /// Reads that it has carried out itself.
    pub reads: u64,
    /// Requests that it has passed on.
    pub passed_on: u64,
    /// True when it knows who leads.
    pub has_leader: bool,
    /// True when it has a copy of the leader's view.
    pub has_view: bool,
}

impl Following {
    /// The page.
    pub fn metrics(&self) -> Reply {
        let (mut page, none) = (Page::new(), Labels::new());
        let flag = |is_so: bool| f64::from(u8::from(is_so));
        page.process();
        page.leads(false);
        let (connections, refused) = self.connections;
        for (what, value) in [
            (
                ("uptime_seconds", "Time since the start"),
                self.uptime.as_secs_f64(),
            ),
            (
                ("connections", "Connections of clients"),
                count(connections),
            ),
            (
                ("fleet_has_leader", "Whether it is known who leads"),
                flag(self.has_leader),
            ),
            (
                (
                    "fleet_has_view",
                    "Whether there is a copy of the leader's view, without which all reads are passed on",
                ),
                flag(self.has_view),
            ),
        ] {
            page.gauge(what, &none, value);
        }
        for (what, value) in [
            (
                (
                    "refused_connections",
                    "Connections that were turned away because there were too many",
                ),
                refused,
            ),
            (
                (
                    "fleet_reads",
                    "Reads that this proxy has carried out itself while another one led",
                ),
                self.reads,
            ),
            (
                (
                    "fleet_passed_on",
                    "Requests that were passed on to the proxy that leads",
                ),
                self.passed_on,
            ),
        ] {
            page.counter(what, &none, float(value));
        }
        page.written()
    }
}
