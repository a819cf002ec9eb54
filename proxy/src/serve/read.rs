//! A read: sent to one eligible instance after the other until one answers, and streamed through.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use achromat_core::{
    health::Sign,
    ids::InstanceIx,
    limits::REPLY_BYTES_MAX,
    lookup::Lookup,
    read::{Dispatch, Order, ReadEvent, ReadFailure, ReadStep, order},
    reply::{self, Reply},
    route::{Captures, Method, Route, Target},
    view::View,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Version, header};
use pingora_core::protocols::http::ServerSession;

use super::{App, intake::Intake, respond::respond};
use crate::instances::{Exchange, ExchangeError, Request};

/// Connections from the pool that may turn out to be dead before a fresh one is tried.
const STALE_CONNECTIONS_MAX: usize = 8;

/// For the next part of an answer to come.
const PART_DEADLINE: Duration = Duration::from_secs(30);

/// An answer of this size is taken in whole before its first byte is passed on, so that a read
/// survives an instance that dies in the middle of it.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// An answer for the client.
enum Answer<'a> {
    Stream(Box<Exchange<'a>>),
    Whole(Reply),
}

/// One attempt of a read.
struct Attempt<'a, 'l> {
    app: &'a App,
    lookup: &'l Lookup<'l>,
    intake: &'l Intake,
    body: &'l Bytes,
}

impl App {
    /// Serves a read. Returns whether the connection may be used again.
    pub(super) async fn read<'t>(
        &self,
        session: &mut ServerSession,
        intake: &Intake,
        route: &'static Route,
        captures: Captures<'t>,
        target: &Target<'t>,
        body: Bytes,
    ) -> bool {
        let turn = self.reads.fetch_add(1, Relaxed);
        let plan = |view: &View| {
            let lookup = Lookup::new(&view.catalog, route, captures.clone(), target);
            match lookup {
                Err(reply) => Some(Err(reply)),
                Ok(lookup) => {
                    let order = order(view, lookup.scope(), self.settings.strategy, turn);
                    (!order.is_empty()).then_some(Ok((lookup, order)))
                }
            }
        };
        let ready = plan(&self.replicator.view());
        let plan = match ready {
            Some(plan) => Some(plan),
            None => {
                let wait = self.settings.reads.eligible_wait;
                self.replicator.wait_for(wait, plan).await
            }
        };
        let answer = match plan {
            None => Answer::Whole(nobody_eligible()),
            Some(Err(reply)) => Answer::Whole(reply),
            Some(Ok((lookup, order))) => {
                let attempt = Attempt {
                    app: self,
                    lookup: &lookup,
                    intake,
                    body: &body,
                };
                attempt.dispatch(order).await
            }
        };
        match answer {
            Answer::Whole(reply) => respond(session, &reply, false).await,
            Answer::Stream(exchange) => stream(session, *exchange).await,
        }
    }
}

fn nobody_eligible() -> Reply {
    let message = "No instance in service has every acknowledged write that this read could see";
    reply::unavailable(message, 1)
}

impl<'a> Attempt<'a, '_> {
    /// Tries instances in their order, a second one beside the first when that is silent.
    async fn dispatch(&self, order: Order) -> Answer<'a> {
        let Some((mut dispatch, first)) = Dispatch::new(order) else {
            return Answer::Whole(nobody_eligible());
        };
        let hedge = self.app.settings.reads.hedge;
        let mut under_way = FuturesUnordered::new();
        let mut latest = first;
        under_way.push(self.attempt(first));
        loop {
            let event = tokio::select! {
                biased;
                Some((instance, result)) = under_way.next() => match result {
                    Ok(answer) => return answer,
                    Err(failure) => {
                        self.notice(instance, &failure);
                        ReadEvent::Failed(instance, failure)
                    }
                },
                () = tokio::time::sleep(hedge), if dispatch.can_hedge() => {
                    self.app.replicator.notice(latest, Sign::Silent);
                    ReadEvent::HedgeDue
                }
            };
            match dispatch.step(event) {
                ReadStep::Try(next) => {
                    latest = next;
                    under_way.push(self.attempt(next));
                }
                ReadStep::Wait => {}
                ReadStep::GiveUp(reply) => return Answer::Whole(reply),
            }
        }
    }

    fn notice(&self, instance: InstanceIx, failure: &ReadFailure) {
        let sign = match failure {
            ReadFailure::Refused => Sign::Refused,
            ReadFailure::Silent => Sign::Silent,
            ReadFailure::Closed => Sign::Closed,
            ReadFailure::ServerError(_) | ReadFailure::Missing(_) => return,
        };
        self.app.replicator.notice(instance, sign);
    }

    async fn attempt(&self, instance: InstanceIx) -> (InstanceIx, Result<Answer<'a>, ReadFailure>) {
        (instance, self.ask(instance).await)
    }

    async fn ask(&self, instance: InstanceIx) -> Result<Answer<'a>, ReadFailure> {
        let exchange = self.exchange(instance).await?;
        let status = exchange.status();
        let is_success = (200..300).contains(&status);
        let is_small = exchange
            .content_length()
            .is_some_and(|length| length <= SMALL_BYTES_MAX);
        if is_success && self.lookup.streams() && !is_small {
            return Ok(Answer::Stream(Box::new(exchange)));
        }
        let whole = exchange.whole(REPLY_BYTES_MAX);
        let deadline = self.app.settings.reads.deadline;
        let whole = tokio::time::timeout(deadline, whole)
            .await
            .map_err(|_| ReadFailure::Silent)?
            .map_err(|error| failure(&error))?;
        let reply = {
            let view = self.app.replicator.view();
            self.lookup.rewrite(&view.catalog, instance, whole)
        };
        if Lookup::is_server_error(status) {
            Err(ReadFailure::ServerError(reply))
        } else if self.lookup.is_missing(status) {
            Err(ReadFailure::Missing(reply))
        } else {
            Ok(Answer::Whole(reply))
        }
    }

    async fn exchange(&self, instance: InstanceIx) -> Result<Exchange<'a>, ReadFailure> {
        let target = self.lookup.target(instance);
        let method = Method::of(&self.intake.method).unwrap_or(Method::Get);
        let deadline = self.app.settings.reads.deadline;
        let mut stale = 0;
        loop {
            let has_body = method != Method::Get;
            let request = Request {
                method,
                target: &target,
                headers: Some(&self.intake.headers),
                content_type: None,
                body: has_body.then(|| self.body.clone()),
            };
            match self
                .app
                .instances
                .exchange(instance, request, deadline)
                .await
            {
                Ok(exchange) => return Ok(exchange),
                Err(ExchangeError::Closed { reused: true }) if stale < STALE_CONNECTIONS_MAX => {
                    stale += 1;
                }
                Err(error) => return Err(failure(&error)),
            }
        }
    }
}

fn failure(error: &ExchangeError) -> ReadFailure {
    match error {
        ExchangeError::NotSent(_) => ReadFailure::Refused,
        ExchangeError::Silent => ReadFailure::Silent,
        ExchangeError::Closed { .. } | ExchangeError::Garbled(_) => ReadFailure::Closed,
    }
}

/// Passes an answer on as it comes. When it breaks off, so does the client's connection: half an
/// answer must not look like a whole one.
async fn stream(session: &mut ServerSession, mut exchange: Exchange<'_>) -> bool {
    let Some(mut head) = exchange.head() else {
        return false;
    };
    let is_old = session.req_header().version < Version::HTTP_11;
    if !head.headers.contains_key(header::CONTENT_LENGTH) && !session.is_http2() && !is_old {
        // Cannot fail: the value is a constant.
        let _inserted = head.insert_header(header::TRANSFER_ENCODING, "chunked");
    }
    if session.write_response_header(Box::new(head)).await.is_err() {
        return false;
    }
    loop {
        match tokio::time::timeout(PART_DEADLINE, exchange.next()).await {
            Ok(Ok(Some(part))) => {
                if session.write_response_body(part, false).await.is_err() {
                    return false;
                }
            }
            Ok(Ok(None)) => break,
            Ok(Err(_)) | Err(_) => {
                tracing::debug!("an answer broke off");
                return false;
            }
        }
    }
    exchange.release().await;
    session
        .write_response_body(Bytes::new(), true)
        .await
        .is_ok()
}
