//! A proxy that does not lead its fleet: it carries reads out where it can (`reading`), and passes all else on to the
//! one that does.
//!
//! A write gets a key when it has none, so that it may be sent again to the next leader when the first one
//! dies with it: it is done once. While there is no leader, requests wait.

mod lost;
mod reading;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use achromat_core::{
    access::{Need, Place, Role},
    ids::InstanceIx,
    key::KEY_HEADERS,
    reply::{self, Reply},
    route::{Class, Method, Target, find},
    weight::heavy_time,
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use tokio::{
    sync::watch,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Door, Kind, Settings,
    admission::Admission,
    authorise::is_called_rightly,
    intake::{Body, Intake},
    is_chromas,
    quota::Client,
    read::SMALL_BYTES_MAX,
    respond::{give_whole, respond, speak_like_client},
    stream::pass_on,
    taking::Taking,
};
use crate::{
    access::{Access, Caller, hide_token},
    admin::{Following, wants_json},
    clock,
    fleet::{CameTo, Fleet, Leader, PASSED_ON, Unvouched, Vouched, Voucher},
    instances::{Exchange, ExchangeError, Request},
};

/// Pause before a leader that can't be reached is tried again.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) use self::lost::refusal;
pub use self::reading::Reader;

/// Time from one look to the next, while nobody leads, if that is because the database has gone back.
const LOSS_INTERVAL: Duration = Duration::from_millis(500);

/// Time for another proxy to lead, after one has said that it did not see the end of a request.
const SUCCESSION: Duration = Duration::from_secs(1);

/// A proxy that passes requests on.
pub struct Follower {
    pub(super) settings: Settings,
    pub(super) admission: Admission,
    trust: Trust,
    reader: Reader,
    leaders: watch::Receiver<Option<Arc<Leader>>>,
    door: Door,
    started: Instant,
    passed_on: AtomicU64,
}

/// Means by which a follower knows its clients and the other proxies.
pub struct Trust {
    /// Tokens; only the operator's is judged here, since each proxy may have made its own.
    pub access: Arc<Access>,
    /// Names by which the server may be called; none lets any pass.
    pub hosts: Vec<String>,
    /// Makes and judges the words of the fleet's proxies.
    pub voucher: Arc<Voucher>,
    /// The fleet, which knows when its database has gone back.
    pub fleet: Arc<Fleet>,
    /// True when operators are served on the clients' address.
    pub is_operated_on_main: bool,
}

/// A request as it is passed on.
struct Passed<'a> {
    method: &'static str,
    target: &'a str,
    intake: &'a Intake,
    body: Bytes,
    /// True when it may be sent again though it may have been carried out.
    is_repeatable: bool,
    /// True when an operator has sent it, to an address that is for operators.
    may_operate: bool,
    deadline: Instant,
}

/// An answer of the leader's.
enum Answer<'a> {
    /// A small one, whole.
    Small(ResponseHeader, Bytes),
    /// One that is passed on as it comes.
    Stream(ResponseHeader, Box<Exchange<'a>>),
}

impl Follower {
    /// Nothing is listened to yet.
    pub fn new(
        settings: Settings,
        trust: Trust,
        reader: Reader,
        leaders: watch::Receiver<Option<Arc<Leader>>>,
        door: Door,
    ) -> Self {
        Self {
            settings,
            admission: Admission::new(settings.limits, settings.patience),
            trust,
            reader,
            leaders,
            door,
            started: Instant::now(),
            passed_on: AtomicU64::new(0),
        }
    }

    /// One request, up to its answer. Returns whether the connection may be used again.
    pub(super) async fn serve(
        &self,
        session: &mut ServerSession,
        body: Body<'_>,
        kind: Kind,
    ) -> bool {
        let mut intake = match Intake::read_head_as_it_is(session) {
            Ok(intake) => intake,
            Err(reply) => return respond(session, &reply, true).await,
        };
        let text = std::mem::take(&mut intake.target);
        let Ok(text) = std::str::from_utf8(&text) else {
            return respond(session, &reply::malformed("the target is not text"), true).await;
        };
        let target = match Target::parse(text.as_bytes()) {
            Ok(target) => target,
            Err(error) => {
                return respond(session, &reply::malformed(&error.to_string()), true).await;
            }
        };
        if kind != Kind::Socket && !is_called_rightly(&self.trust.hosts, session) {
            return respond(session, &reply::misdirected(), true).await;
        }
        if let Some(reply) = self.health(target.path) {
            return respond(session, &reply, false).await;
        }
        if let Some(word) = intake.headers.get(&PASSED_ON) {
            let reply = self.turn_back(word, intake.method.as_str(), text);
            return respond(session, &reply, false).await;
        }
        if let Some(reply) = self.metrics(&intake, target.path) {
            return respond(session, &reply, false).await;
        }
        let Some(method) = method(&intake.method) else {
            let reply = reply::method_not_allowed(intake.method.as_str(), target.path, &[]);
            return respond(session, &reply, true).await;
        };
        let (body, _memory) = match intake.read_body(session, body, &self.admission).await {
            Ok(read) => read,
            Err(reply) => return respond(session, &reply, true).await,
        };
        let mut taking = match self.admission.enter(|| client_of(&intake)).await {
            Ok(place) => Taking::new(&self.admission, place),
            Err(reply) => return respond(session, &reply, false).await,
        };
        if kind == Kind::Clients && is_chromas(target.path) {
            let read = (&intake, &target, &body);
            let access = &self.trust.access;
            let served = self
                .reader
                .serve((session, &mut taking), access, read)
                .await;
            if let Some(is_reusable) = served {
                return is_reusable;
            }
        }
        let is_operator = self.vouch(&mut intake, (method, text), kind);
        let is_repeatable = give_key(&mut intake, &target);
        let patience = self
            .settings
            .write_deadline
            .max(self.settings.reads.deadline);
        let passed = Passed {
            method,
            target: text,
            intake: &intake,
            is_repeatable,
            may_operate: is_operator && (kind == Kind::Operators || self.trust.is_operated_on_main),
            deadline: Instant::now() + patience + heavy_time(body.len()),
            body,
        };
        self.pass((session, &mut taking), &passed).await
    }

    /// Answer to another proxy, which takes this one for the leader.
    fn turn_back(&self, word: &HeaderValue, method: &str, target: &str) -> Reply {
        let word = word.to_str().unwrap_or_default();
        if let Err(error) = self.trust.voucher.check(word, method, target) {
            return unvouched(error);
        }
        let mut reply = reply::unavailable("This proxy does not lead its fleet", 1);
        reply
            .headers
            .push((PASSED_ON, HeaderValue::from_static("0")));
        reply
    }

    /// Tells the leader whom a request comes from. An operator's token is not shown to it: it may have another.
    /// Returns true when it is an operator.
    fn vouch(&self, intake: &mut Intake, (method, target): (&str, &str), kind: Kind) -> bool {
        let caller = self.trust.access.caller(&intake.headers);
        let vouched = Vouched {
            client: intake.client,
            came_to: match kind {
                Kind::Operators | Kind::Socket => CameTo::Operators,
                Kind::Clients | Kind::Followers => CameTo::Clients,
            },
            is_operator: kind == Kind::Socket || matches!(caller, Ok(Caller::Operator)),
        };
        if vouched.is_operator {
            hide_token(&mut intake.headers);
        }
        let word = self.trust.voucher.sign(vouched, method, target);
        if let Ok(word) = HeaderValue::from_str(&word) {
            intake.headers.insert(PASSED_ON, word);
        }
        vouched.is_operator
    }

    /// Answer to a load balancer: the proxy lives, and is ready when it knows of one that leads. How the instances
    /// are, that one says.
    fn health(&self, path: &str) -> Option<Reply> {
        let has_leader = self.leaders.borrow().is_some();
        let (status, word) = match path {
            "/livez" => (200, "following"),
            "/readyz" if has_leader => (200, "following"),
            "/readyz" => (503, "no proxy leads"),
            _ => return None,
        };
        Some(Reply::json(status, format!("{{\"status\":\"{word}\"}}")))
    }

    /// Figures of this proxy alone, for whoever may see them. Anybody else the leader refuses.
    fn metrics(&self, intake: &Intake, path: &str) -> Option<Reply> {
        if path != "/metrics" || intake.method != http::Method::GET || wants_json(&intake.headers) {
            return None;
        }
        let access = &self.trust.access;
        let need = Need {
            role: Some(Role::Operate),
            place: Place::default(),
        };
        let may_see = || {
            access
                .caller(&intake.headers)
                .is_ok_and(|caller| caller.may(need))
        };
        if access.is_confidential() && !may_see() {
            return None;
        }
        let figures = Following {
            uptime: self.started.elapsed(),
            connections: self.door.counts(),
            reads: self.reader.mirror.reads(),
            passed_on: self.passed_on.load(Relaxed),
            has_leader: self.leaders.borrow().is_some(),
            has_view: self.reader.mirror.latest().is_some(),
        };
        Some(figures.metrics())
    }

    /// Passes a request on until it is answered, or its time is over.
    async fn pass(
        &self,
        (session, taking): (&mut ServerSession, &mut Taking<'_>),
        passed: &Passed<'_>,
    ) -> bool {
        self.passed_on.fetch_add(1, Relaxed);
        let mut leaders = self.leaders.clone();
        while Instant::now() < passed.deadline {
            let leader = leaders.borrow_and_update().clone();
            let Some(leader) = leader else {
                if let Some(reply) = self.answer_without_leader(passed).await {
                    return respond(session, &reply, false).await;
                }
                let again = passed.deadline.min(Instant::now() + LOSS_INTERVAL);
                let _changed = timeout_at(again, changed(&mut leaders)).await;
                continue;
            };
            // One that does not lead any more may be frozen, and never answer.
            let asked = tokio::select! {
                biased;
                asked = ask(&leader, passed) => asked,
                () = changed(&mut leaders) => Err(ExchangeError::Silent),
            };
            match asked {
                // It may have lost its lease with the request in its hands. With its key the request is done once.
                Ok(Answer::Small(head, _))
                    if head.status == StatusCode::GATEWAY_TIMEOUT
                        && passed.is_repeatable
                        && timeout(SUCCESSION, changed(&mut leaders)).await.is_ok() =>
                {
                    tracing::debug!("the leader did not see the end of a request");
                }
                Ok(Answer::Small(head, body)) => {
                    return answer(session, (head, body), taking).await;
                }
                Ok(Answer::Stream(head, exchange)) => {
                    return pass_on(session, *exchange, head, taking).await;
                }
                Err(error) if may_ask_again(&error, passed.is_repeatable) => {
                    tracing::debug!(%error, "the leader did not answer");
                    if let Some(reply) = self.answer_without_leader(passed).await {
                        return respond(session, &reply, false).await;
                    }
                    // Another proxy leads soon, or this one was only away for a moment.
                    let _changed = timeout(PAUSE, changed(&mut leaders)).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the leader did not answer");
                    return respond(session, &reply::no_answer_from_leader(), false).await;
                }
            }
        }
        let reply = reply::unavailable("No proxy of the fleet leads", 1);
        respond(session, &reply, false).await
    }
}

/// Refusal of what no proxy of this fleet has passed on.
pub(super) fn unvouched(error: Unvouched) -> Reply {
    reply::denied(&format!(
        "The header {PASSED_ON} can't be believed: {error}"
    ))
}

/// Gives a write its key. Returns true when the request may be sent again though it may have been carried out.
fn give_key(intake: &mut Intake, target: &Target<'_>) -> bool {
    if !is_chromas(target.path) {
        return intake.method == http::Method::GET;
    }
    let Ok((route, _)) = find(Method::of(&intake.method), target) else {
        // It is refused by whoever gets it.
        return true;
    };
    if matches!(route.class, Class::System | Class::Read) {
        return true;
    }
    let has_key = KEY_HEADERS
        .iter()
        .any(|name| intake.headers.contains_key(*name));
    if !has_key && let Ok(key) = HeaderValue::from_str(&format!("fleet-{}", clock::trace_id())) {
        intake
            .headers
            .insert(HeaderName::from_static("idempotency-key"), key);
    }
    true
}

/// Waits until another proxy leads. Once this one leads itself, nothing more is told.
async fn changed(leaders: &mut watch::Receiver<Option<Arc<Leader>>>) {
    if leaders.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Sends a request to the leader once.
async fn ask<'a>(leader: &'a Leader, passed: &Passed<'_>) -> Result<Answer<'a>, ExchangeError> {
    let request = Request {
        method: passed.method,
        target: passed.target,
        headers: Some(&passed.intake.headers),
        content_type: None,
        body: (passed.method != "GET").then(|| passed.body.clone()),
        is_probe: false,
        leave: None,
    };
    let left = passed.deadline.saturating_duration_since(Instant::now());
    let exchange = leader.link.read(InstanceIx(0), request, left).await?;
    let head = exchange.head();
    let head = head.ok_or(ExchangeError::Closed { reused: false })?;
    if head.headers.contains_key(&PASSED_ON) {
        return Err(ExchangeError::NotSent(
            "it does not lead any more, or not yet".to_owned(),
        ));
    }
    let length = exchange.content_length();
    if length.is_none_or(|length| length > SMALL_BYTES_MAX) {
        return Ok(Answer::Stream(head, Box::new(exchange)));
    }
    let body = timeout(left, exchange.body(SMALL_BYTES_MAX)).await;
    Ok(Answer::Small(
        head,
        body.unwrap_or(Err(ExchangeError::Silent))?,
    ))
}

fn may_ask_again(error: &ExchangeError, is_repeatable: bool) -> bool {
    let was_not_sent = matches!(
        error,
        ExchangeError::Refused(_) | ExchangeError::NotSent(_) | ExchangeError::Busy
    );
    is_repeatable || was_not_sent
}

async fn answer(
    session: &mut ServerSession,
    (mut head, body): (ResponseHeader, Bytes),
    taking: &mut Taking<'_>,
) -> bool {
    speak_like_client(session, &mut head);
    taking.hold(body.len(), None);
    give_whole(session, head, body, taking).await
}

/// The method's word; HEAD is asked as GET, and answered without its body.
fn method(method: &http::Method) -> Option<&'static str> {
    if *method == http::Method::OPTIONS {
        return Some("OPTIONS");
    }
    Method::of(method).map(Method::as_str)
}

/// Clients take turns by their addresses: whom a token names, the leader knows.
fn client_of(intake: &Intake) -> Client {
    let mut digest = DefaultHasher::new();
    intake.client.hash(&mut digest);
    Client(digest.finish())
}
