//! Clients: each does one thing after the other, in the way in which the shell's `serve` takes it
//! in, and remembers what it was told.

use std::time::Duration;

use achromat_core::{
    ids::{CollectionId, DatabaseId, EntryId},
    reply::Reply,
    route::{Class, Target, find},
    time::WallTime,
    write::{Fresh, Permit, WriteRules, permit, permit_blindly},
};
use bytes::Bytes;

use super::{
    bugs::Planting,
    marks::Mark,
    proxy::{Message, Proxy},
    requests::{About, Draft, Known, draft, odd_draft},
    scopes::Next,
    world::{Happening, World},
};

/// A client.
#[derive(Debug, Default)]
pub struct Client {
    /// What it still has to ask for when everything is at rest.
    pub closing: Vec<Draft>,
}

/// Something that a client asks for, and what it was told.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Who.
    pub client: usize,
    /// What.
    pub draft: Draft,
    /// When.
    pub started: u64,
    /// When it was told.
    pub ended: Option<u64>,
    /// What it was told; nothing when the connection broke.
    pub reply: Option<Reply>,
    /// The entry that would be logged for it.
    pub entry: Option<EntryId>,
    /// The collection that it is about, and the entry that it would be, when policy keeps it out of the
    /// log.
    pub local: Option<(CollectionId, EntryId)>,
    /// True when policy puts collections into the trash in place of deleting them.
    pub is_for_trash: bool,
    /// Whether everything was at rest, so that it must succeed.
    pub is_closing: bool,
}

impl World {
    /// A client's turn: it asks for something, if a proxy serves.
    pub(super) fn client_turn(&mut self, client: usize) {
        if self.is_operator(client) && self.clients[client].closing.is_empty() {
            self.operator_turn(client);
            return;
        }
        let closing = self.clients[client].closing.pop();
        let is_closing = closing.is_some();
        if !is_closing && self.operations.len() >= self.plan.operations {
            return;
        }
        let Some(proxy) = self.serving() else {
            if let Some(draft) = closing {
                self.clients[client].closing.push(draft);
            }
            let pause = Duration::from_millis(self.of_clients.between(5, 100));
            self.after(pause, Happening::Turn(client));
            return;
        };
        let closing = match closing {
            Some(draft) => Some(draft),
            None => match self.next_in_scope(client) {
                None => None,
                Some(Next::Ask(draft)) => Some(draft),
                Some(Next::Wait) => {
                    self.after(Duration::from_millis(5), Happening::Turn(client));
                    return;
                }
                Some(Next::Nothing) => return,
            },
        };
        let draft = closing.unwrap_or_else(|| {
            let known: Vec<Known> = self.oracle.known().to_vec();
            let theme = self.plan.theme;
            let draft = draft(
                &mut self.of_clients,
                (theme, &known),
                self.operations.is_empty(),
            );
            let draft = self.made_odd(draft, &known);
            let draft = self.under_a_key(draft);
            self.made_heavy(draft)
        });
        let operation = self.operations.len();
        self.say(|| {
            let Draft {
                method,
                target,
                body,
                ..
            } = &draft;
            format!(
                "client {client} asks ({operation}): {method} {target} {}",
                body.trim_end()
            )
        });
        self.operations.push(Operation {
            client,
            draft,
            started: self.now,
            ended: None,
            reply: None,
            entry: None,
            local: None,
            is_for_trash: false,
            is_closing,
        });
        self.hand_in(proxy, operation);
    }

    /// Has some operations be odd ones, but for the first, which makes a collection.
    fn made_odd(&mut self, draft: Draft, known: &[Known]) -> Draft {
        if self.operations.is_empty() || !self.of_odd.chance(self.plan.odd) {
            return draft;
        }
        odd_draft(&mut self.of_odd, known)
    }

    /// Gives some writes a key, and makes some again under the key that they had.
    fn under_a_key(&mut self, draft: Draft) -> Draft {
        if draft.about != About::Write || !self.of_clients.chance(self.plan.keyed) {
            return draft;
        }
        let keyed = self.operations.iter().map(|operation| &operation.draft);
        let keyed: Vec<_> = keyed.filter(|draft| draft.key.is_some()).collect();
        if keyed.is_empty() || self.of_clients.chance(500) {
            let key = Some(format!("key-{}", self.operations.len()));
            return Draft { key, ..draft };
        }
        let last = keyed.len().saturating_sub(6);
        let again = (*self.of_clients.pick(&keyed[last..])).clone();
        if self.of_clients.chance(60) {
            let key = again.key;
            return Draft { key, ..draft };
        }
        again
    }

    /// What `serve` does with a request that has come in.
    fn hand_in(&mut self, proxy: u32, operation: usize) {
        let draft = &self.operations[operation].draft;
        match class_of(draft) {
            Class::System | Class::Read => {
                assert_ne!(draft.about, About::Write, "{}", draft.target);
                let (target, body) = (draft.target.clone(), Bytes::from(draft.body.clone()));
                self.start_read(proxy, operation, (draft.method, target, body));
            }
            Class::Write | Class::Destructive if draft.key.is_some() => {
                self.begin_under_key(proxy, operation);
            }
            Class::Write | Class::Destructive => self.write_plainly(proxy, operation),
        }
    }

    fn write_plainly(&mut self, number: u32, operation: usize) {
        let Some(mut proxy) = self.proxies.remove(&number) else {
            return;
        };
        let judged = self
            .permit(&proxy, operation)
            .map(|permit| self.judge_locally(&proxy, operation, permit));
        let answer_by = self.answered_by(operation);
        match judged {
            Ok(Ok(local)) => self.put_locally(&mut proxy, local, operation, answer_by),
            Ok(Err(permit)) => {
                let message = Message::Submit {
                    permit: Box::new(permit),
                    operation,
                    answer_by,
                };
                self.put(&mut proxy, message);
            }
            Err(reply) => self.answer_read(operation, reply),
        }
        self.proxies.insert(number, proxy);
    }

    pub(super) fn permit(&mut self, proxy: &Proxy, operation: usize) -> Result<Permit, Reply> {
        let Draft {
            method,
            target,
            body,
            ..
        } = self.operations[operation].draft.clone();
        let target = Target::parse(target.as_bytes()).expect("a canonical target");
        let (route, captures) = find(Some(method), &target).expect("a route");
        let fresh = Fresh {
            entry: EntryId(self.of_clients.uuid()),
            collection: CollectionId(self.of_clients.uuid()),
            database: DatabaseId(self.of_clients.uuid()),
            logged_at: WallTime(u64::try_from(operation).expect("a number")),
        };
        let rules = WriteRules {
            catalog: &proxy.view.catalog,
            guard: &proxy.guard,
            levels: self.plan.levels,
        };
        let content_type = Some("application/json");
        let is_blind = self.options.planting == Some(Planting::BlindToPositions);
        let judge = if is_blind && self.operations[operation].draft.is_positional() {
            permit_blindly
        } else {
            permit
        };
        let permit = judge(
            rules,
            route.action,
            &captures,
            content_type,
            body.into(),
            fresh,
        );
        if permit.as_ref().is_err_and(|reply| reply.status == 403) {
            self.mark(Mark::GuardDenied);
        }
        let permit = self.may_be_trash(proxy, operation, permit?)?;
        self.operations[operation].entry = Some(permit.entry().id);
        Ok(permit)
    }

    /// A client hears.
    pub(super) fn client_answered(&mut self, operation: usize, reply: Option<Reply>) {
        if self.operations[operation].ended.is_some() {
            self.violate(format!("operation {operation} was answered twice"));
            return;
        }
        self.say(|| match &reply {
            Some(reply) => {
                let body = String::from_utf8_lossy(&reply.body);
                let body: String = body.chars().take(300).collect();
                format!("operation {operation} is answered {} {body}", reply.status)
            }
            None => format!("operation {operation}'s connection broke"),
        });
        let now = self.now;
        let done = &mut self.operations[operation];
        done.ended = Some(now);
        done.reply = reply;
        let client = done.client;
        for mark in self.oracle.heard(&self.operations[operation]) {
            self.mark(mark);
        }
        let most = u64::try_from(self.plan.pause_max.as_micros()).expect("a span");
        let pause = Duration::from_micros(self.of_clients.between(10, most));
        self.after(pause, Happening::Turn(client));
    }
}

fn class_of(draft: &Draft) -> Class {
    let target = Target::parse(draft.target.as_bytes()).expect("a canonical target");
    let (route, _) = find(Some(draft.method), &target).expect("a route");
    route.class
}
