//! The questions that an instance is asked before a delete is logged, as the shell's resolver puts
//! them.

use std::{borrow::Cow, time::Duration};

use achromat_core::{
    engine::{Event, Question},
    ids::{InstanceIx, Ticket},
    outcome::Sending,
    reply::Reply,
    resolve::{Resolution, Unresolved, resolution},
    route::{Action, Captures, route_of},
};
use bytes::Bytes;

use super::{
    marks::Mark,
    proxy::{Message, Proxy},
    wire::Sender,
    world::World,
};

/// For each of the two questions: the shell's own.
const DEADLINE: Duration = Duration::from_secs(10);

/// A question that has been put.
#[derive(Debug)]
pub struct Asking {
    instance: InstanceIx,
    question: Question,
    resolution: Resolution,
    found: Option<Reply>,
}

impl World {
    pub(super) fn ask(
        &mut self,
        proxy: &mut Proxy,
        ticket: Ticket,
        instance: InstanceIx,
        question: Question,
    ) {
        let (name, body) = (&question.name, &question.body);
        let Some(resolution) = resolution(&proxy.guard, name, body, question.needs_ids) else {
            let found = Ok(question.body);
            self.put_found(proxy, ticket, instance, found);
            return;
        };
        let asking = Asking {
            instance,
            question,
            resolution,
            found: None,
        };
        self.put_question(proxy.number, ticket, &asking, Action::Get);
        proxy.questions.insert((ticket, instance), asking);
    }

    fn put_question(&mut self, proxy: u32, ticket: Ticket, asking: &Asking, action: Action) {
        let question = &asking.question;
        let captures = Captures {
            tenant: Some(Cow::Borrowed(&question.tenant)),
            database: Some(Cow::Borrowed(&question.database)),
            collection: Some(Cow::Owned(question.id.to_string())),
            name: None,
        };
        let route = route_of(action).expect("a route");
        let target = route.render(&captures, "", None);
        let body = match action {
            Action::Get => asking.resolution.find.clone(),
            _ => Bytes::new(),
        };
        let sender = Sender::Question {
            proxy,
            ticket,
            instance: asking.instance,
        };
        let what = (route.method, target, body);
        self.send(sender, asking.instance, what, DEADLINE);
    }

    pub(super) fn question_answered(
        &mut self,
        number: u32,
        (ticket, instance): (Ticket, InstanceIx),
        sending: Sending,
    ) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        if let Some(asking) = proxy.questions.remove(&(ticket, instance)) {
            self.take_answer(&mut proxy, ticket, asking, sending);
        }
        self.proxies.insert(number, proxy);
    }

    fn take_answer(
        &mut self,
        proxy: &mut Proxy,
        ticket: Ticket,
        mut asking: Asking,
        sending: Sending,
    ) {
        let instance = asking.instance;
        let found = match sending {
            Sending::Answered(reply) if asking.found.is_none() => {
                asking.found = Some(reply);
                if asking.resolution.needs_count {
                    self.put_question(proxy.number, ticket, &asking, Action::Count);
                    proxy.questions.insert((ticket, asking.instance), asking);
                    return;
                }
                settle(proxy, asking, None)
            }
            Sending::Answered(reply) => {
                let count = std::str::from_utf8(&reply.body).ok();
                let count = count.and_then(|count| count.trim().parse().ok());
                settle(proxy, asking, count)
            }
            other => Err(Unresolved::of(&other)),
        };
        self.mark(Mark::Resolved);
        self.put_found(proxy, ticket, instance, found);
    }

    fn put_found(
        &mut self,
        proxy: &mut Proxy,
        ticket: Ticket,
        instance: InstanceIx,
        found: Result<Bytes, Unresolved>,
    ) {
        let event = Event::Resolved {
            ticket,
            instance,
            found,
        };
        self.put(proxy, Message::Event(event));
    }
}

fn settle(proxy: &Proxy, asking: Asking, count: Option<u64>) -> Result<Bytes, Unresolved> {
    let Asking {
        question,
        resolution,
        found,
        ..
    } = asking;
    let nothing = || Unresolved::of(&Sending::Silent);
    let found = found.ok_or_else(nothing)?;
    resolution.settle(&proxy.guard, &question.name, &question.body, found, count)
}
