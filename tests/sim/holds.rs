//! Answers that are held, as the shell's `serve` holds them: `core` says which, and when they may be
//! given.

use achromat_core::{
    ids::InstanceIx,
    read::{Exposure, ReadFailure, ReadStep, Release},
    reply::Reply,
};

use super::{
    marks::Mark,
    proxy::Proxy,
    reads::Read,
    world::{Happening, World},
};

/// An answer that may show a write whose outcome is not known yet.
#[derive(Debug)]
pub struct Held {
    instance: InstanceIx,
    reply: Reply,
    exposure: Exposure,
    /// When it is thrown away.
    until: u64,
}

impl World {
    /// Gives an answer to its client, unless it may show a write whose outcome is not known yet.
    pub(super) fn give(
        &mut self,
        proxy: &mut Proxy,
        mut read: Read,
        instance: InstanceIx,
        reply: Reply,
    ) {
        let Some(exposure) = read.exposure(&proxy.view, instance) else {
            self.answer_read(read.operation, reply);
            return;
        };
        let exposure = exposure.with(self.plan.settings.lanes.planted);
        match exposure.release(&proxy.view) {
            Release::Give => self.answer_read(read.operation, reply),
            Release::ReadAgain => self.fail_held(proxy, read, (instance, ReadFailure::Outdated)),
            Release::Hold => {
                self.mark(Mark::ReadHeld);
                read.dispatch.hold(instance);
                let deadline = self.plan.reads.deadline;
                read.held.push(Held {
                    instance,
                    reply,
                    exposure,
                    until: self.now + u64::try_from(deadline.as_micros()).expect("a span"),
                });
                let happening = Happening::HeldTooLong {
                    proxy: proxy.number,
                    operation: read.operation,
                };
                self.after(deadline, happening);
                self.go_on_reading(proxy, read, ReadStep::Wait);
            }
        }
    }

    fn fail_held(
        &mut self,
        proxy: &mut Proxy,
        mut read: Read,
        (instance, failure): (InstanceIx, ReadFailure),
    ) {
        self.mark(Mark::ReadAgain);
        let step = read.dispatch.failed(instance, failure);
        self.go_on_reading(proxy, read, step);
    }

    /// A view was published: some of the held answers may be given, others never will be.
    pub(super) fn release_held(&mut self, proxy: &mut Proxy) {
        while let Some((read, held)) = take_released(proxy) {
            match held.exposure.release(&proxy.view) {
                Release::ReadAgain => {
                    self.fail_held(proxy, read, (held.instance, ReadFailure::Outdated));
                }
                Release::Give | Release::Hold => self.answer_read(read.operation, held.reply),
            }
        }
    }

    /// A held answer may have been held for as long as it may be.
    pub(super) fn end_hold(&mut self, number: u32, operation: usize) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        let now = self.now;
        let held = proxy.reads.get_mut(&operation).and_then(|read| {
            let at = read.held.iter().position(|held| held.until <= now)?;
            Some(read.held.remove(at))
        });
        if let Some(held) = held
            && let Some(read) = proxy.reads.remove(&operation)
        {
            self.fail_held(&mut proxy, read, (held.instance, ReadFailure::Undecided));
        }
        self.proxies.insert(number, proxy);
    }
}

/// The first read with an answer that needs to be held no longer, and the answer.
fn take_released(proxy: &mut Proxy) -> Option<(Read, Held)> {
    let view = &proxy.view;
    let (operation, held) = proxy.reads.iter_mut().find_map(|(operation, read)| {
        let is_released = |held: &Held| held.exposure.release(view) != Release::Hold;
        let at = read.held.iter().position(is_released)?;
        Some((*operation, read.held.remove(at)))
    })?;
    Some((proxy.reads.remove(&operation)?, held))
}
