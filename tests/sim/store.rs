//! The store: `core`'s ledger behind flushes that take time and can fail in every way that the
//! contract of the real one allows. What a proxy has ordered and not seen committed is lost with
//! it, or comes through all the same.

use std::{collections::BTreeSet, time::Duration};

use achromat_core::{
    durable::{Appended, Ledger, Write},
    engine::Event,
    ids::{EntryId, Position},
    limits::LINGER_MAX,
    writing::{Commit, Step},
};

use super::{
    bugs::Planting,
    faults::Fault,
    marks::Mark,
    proxy::{Message, Proxy},
    world::{Happening, World},
};

/// Pause before a store that failed is tried again: the shell's own.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The store.
#[derive(Debug, Default)]
pub struct Store {
    /// What is durable.
    pub ledger: Ledger,
    /// Whose it is: the number of the newest proxy.
    pub epoch: u32,
    /// Until when it fails.
    pub down_until: u64,
    /// Until when there is no room for entries.
    pub full_until: u64,
    /// Flushes that died with their proxies.
    cancelled: BTreeSet<u64>,
    flushes: u64,
}

/// A group on its way to the disk.
#[derive(Debug)]
pub struct Flush {
    number: u64,
    proxy: u32,
    writes: Vec<Write>,
}

/// What a writer hears.
#[derive(Debug)]
pub enum Told {
    /// How its commit ended.
    Committed(Commit),
    /// Another proxy has taken over.
    Deposed,
    /// Ask now where this entry stands.
    Seek(EntryId),
    /// Where the entry stands that it asked for.
    Found(Option<Position>),
    /// It has rested.
    Rested,
    /// It has waited for long enough for something else to write.
    Lingered,
}

impl World {
    /// Lets a proxy's writer go on, if it is not waiting for the store.
    pub(super) fn go_on_writing(&mut self, proxy: &mut Proxy) {
        for event in proxy.writing.events() {
            if let Event::AppendFailed { .. } = event {
                self.mark(Mark::AppendFailed);
            }
            self.put(proxy, Message::Event(event));
        }
        if proxy.flush.is_some() {
            return;
        }
        match proxy.writing.step() {
            Step::Wait => {}
            Step::Linger if proxy.lingers => {}
            Step::Linger => {
                proxy.lingers = true;
                self.after(LINGER_MAX, Happening::Tell(proxy.number, Told::Lingered));
            }
            Step::Commit => {
                self.store.flushes += 1;
                let flush = Flush {
                    number: self.store.flushes,
                    proxy: proxy.number,
                    writes: proxy.writing.writes(),
                };
                proxy.flush = Some(flush.number);
                let latency = self.flush_latency();
                self.after(latency, Happening::Apply(flush));
            }
            Step::Find(entry) => {
                proxy.flush = Some(0);
                let latency = self.flush_latency();
                self.after(latency, Happening::Tell(proxy.number, Told::Seek(entry)));
            }
            Step::Rest => {
                proxy.flush = Some(0);
                self.after(RETRY_PAUSE, Happening::Tell(proxy.number, Told::Rested));
            }
        }
    }

    pub(super) fn flush_latency(&mut self) -> Duration {
        let max = u64::try_from(self.plan.flush_max.as_micros()).expect("a span");
        Duration::from_micros(self.of_store.between(50, max))
    }

    pub(super) fn apply_flush(&mut self, flush: &Flush) {
        if self.store.cancelled.remove(&flush.number) {
            return;
        }
        let told = self.commit(flush);
        if !self.proxies.contains_key(&flush.proxy) {
            if matches!(told, Told::Committed(Commit::Done(_))) {
                self.mark(Mark::CommitSurvived);
            }
            return;
        }
        let latency = self.flush_latency();
        self.after(latency, Happening::Tell(flush.proxy, told));
    }

    fn commit(&mut self, flush: &Flush) -> Told {
        let is_deposed = flush.proxy != self.store.epoch;
        if is_deposed && self.options.planting == Some(Planting::DeposedCursors) {
            let cursors: Vec<_> = flush
                .writes
                .iter()
                .filter(|w| !is_append(w))
                .cloned()
                .collect();
            self.write_through(flush.proxy, &cursors);
        }
        if is_deposed {
            self.mark(Mark::Deposed);
            self.say(|| format!("proxy {} is deposed", flush.proxy));
            return Told::Deposed;
        }
        let appends = flush.writes.iter().any(is_append);
        let is_full = appends && self.store.full_until > self.now;
        if self.store.down_until > self.now || is_full {
            return Told::Committed(Commit::NotDone);
        }
        let mut fault = None;
        for one in Fault::OF_COMMITS {
            if self.befalls(*one) {
                fault.get_or_insert(*one);
            }
        }
        if let Some(fault) = fault {
            self.count(fault);
            self.say(|| format!("proxy {}'s flush: {fault}", flush.proxy));
        }
        Told::Committed(match fault {
            Some(Fault::StoreNotDone) => Commit::NotDone,
            Some(Fault::StoreUnknownNot) => Commit::Unknown,
            Some(_) => {
                self.write_through(flush.proxy, &flush.writes);
                Commit::Unknown
            }
            None => Commit::Done(self.write_through(flush.proxy, &flush.writes)),
        })
    }

    fn write_through(&mut self, proxy: u32, writes: &[Write]) -> Vec<Appended> {
        let mut all = Vec::new();
        for write in writes {
            let appended = self.store.ledger.write(write);
            all.extend(appended);
            if appended == Some(Appended::Known) {
                self.mark(Mark::KeyRace);
                continue;
            }
            let position = appended.and_then(|appended| match appended {
                Appended::At(position) => Some(position),
                Appended::Known => None,
            });
            self.say(|| format!("proxy {proxy} writes {}", shown(write, position)));
            let is_new = proxy == self.store.epoch;
            let servers: Vec<_> = self.processes.iter().map(|p| &p.server).collect();
            self.oracle.check_evidence(write, &servers);
            let marks = self.oracle.written(write, position, is_new, self.now);
            self.oracle.note_altered_homes(write, &servers, self.now);
            for mark in marks {
                self.mark(mark);
            }
            if let Write::Append(entry) = write {
                self.may_be_poison(entry.id);
            }
        }
        all
    }

    pub(super) fn tell_writer(&mut self, number: u32, told: Told) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        if !matches!(told, Told::Lingered) {
            proxy.flush = None;
        }
        match told {
            Told::Lingered => {
                proxy.lingers = false;
                proxy.writing.lingered();
            }
            Told::Committed(commit) => proxy.writing.committed(commit),
            Told::Rested => proxy.writing.rested(),
            Told::Seek(entry) if self.store.down_until > self.now => {
                proxy.flush = Some(0);
                self.after(RETRY_PAUSE, Happening::Tell(number, Told::Seek(entry)));
            }
            Told::Seek(entry) => {
                proxy.flush = Some(0);
                let found = self.store.ledger.find(entry);
                self.mark(match found {
                    Some(_) => Mark::AppendUnknownDone,
                    None => Mark::AppendUnknownNot,
                });
                let latency = self.flush_latency();
                self.after(latency, Happening::Tell(number, Told::Found(found)));
            }
            Told::Found(position) => proxy.writing.found(position),
            Told::Deposed => {
                self.depose(proxy);
                return;
            }
        }
        self.go_on_writing(&mut proxy);
        self.proxies.insert(number, proxy);
    }

    /// The proxy dies with a flush under way: that comes through, or it does not.
    pub(super) fn abandon_flush(&mut self, proxy: &Proxy) {
        let Some(number) = proxy.flush.filter(|number| *number > 0) else {
            return;
        };
        let is_lost = self.of_chaos.chance(500);
        if self.chosen_end(2).map_or(is_lost, |end| end == 1) {
            self.store.cancelled.insert(number);
        }
    }
}

fn is_append(write: &Write) -> bool {
    matches!(write, Write::Append(_))
}

fn shown(write: &Write, position: Option<Position>) -> String {
    match write {
        Write::Append(entry) => {
            let body = String::from_utf8_lossy(&entry.body);
            let body: String = body.chars().take(200).collect();
            let at = position.unwrap_or_default();
            format!("{} {at}: {:?} {body}", entry.verb.lane(), entry.verb)
        }
        other => format!("{other:?}"),
    }
}
