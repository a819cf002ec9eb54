//! Reads that a follower carries out itself.
//!
//! It looks at its copy of the leader's view, asks one instance, and then asks the leader if the answer is one that
//! it could have given. Whatever is not plain goes to the leader: an instance that fails or is silent, an answer
//! that is not a success or may show a write under way, a client that is not let in. So nothing here judges instances
//! or refuses clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use achromat_core::{
    access::needs,
    fleet::{Copy, confirms},
    health::Standing,
    ids::InstanceIx,
    lookup::Lookup,
    planted::Planted,
    read::{Baseline, Exposure, Plan, ReadRules, Release, Strategy, Tried, Watched, plan, turn_of},
    reply::Reply,
    route::{Captures, Class, Method, Route, Target, find},
    view::{Scope, View},
    weight::heavy_read_time,
};
use bytes::Bytes;
use http::{HeaderMap, header};
use pingora_core::protocols::http::ServerSession;
use tokio::time::timeout;

use super::super::{
    cors::Origins, intake::Intake, read::SMALL_BYTES_MAX, respond::give, stream::stream,
    taking::Taking,
};
use crate::{
    access::{Access, hide_token},
    fleet::Mirror,
    instances::{Exchange, ExchangeError, Instances, Request},
    leave,
};

/// Time for the body of a small answer to come.
const BODY_PATIENCE: Duration = Duration::from_millis(500);

/// Time for which an instance is not asked that has failed here.
const AVOIDED_FOR: Duration = Duration::from_secs(1);

/// Number of times that a read is carried out here: the second time by the view that did not confirm the first.
const ROUNDS_MAX: usize = 2;

/// A follower's means to read.
pub struct Reader {
    /// The instances, by this proxy's own connections.
    pub instances: Instances,
    /// The copy of the leader's view.
    pub mirror: Mirror,
    /// Distribution of reads over the instances.
    pub strategy: Strategy,
    /// Timing of reads.
    pub rules: ReadRules,
    /// Origins of pages that may use Chroma's interface.
    pub origins: Origins,
    /// Number of reads so far.
    pub turns: AtomicU64,
    /// The times until which the instances are not asked, by place.
    pub avoided: Vec<AtomicU64>,
}

/// An answer for the client.
enum Given<'a> {
    Whole(Reply),
    Stream(Box<Exchange<'a>>),
}

/// A read that may be carried out here.
struct Read<'a, 't> {
    reader: &'a Reader,
    intake: &'a Intake,
    headers: HeaderMap,
    route: &'static Route,
    captures: Captures<'t>,
    target: &'a Target<'t>,
    body: &'a Bytes,
    turn: u64,
}

impl Reader {
    /// Carries a read out and answers it. Returns whether the connection may be used again, and nothing when the
    /// leader shall have the request.
    pub(super) async fn serve(
        &self,
        (session, taking): (&mut ServerSession, &mut Taking<'_>),
        access: &Access,
        (intake, target, body): (&Intake, &Target<'_>, &Bytes),
    ) -> Option<bool> {
        let (route, captures) = find(Method::of(&intake.method), target).ok()?;
        let latest = self.mirror.latest()?;
        if route.class != Class::Read || !is_open(&latest, access) {
            return None;
        }
        let read = Read {
            reader: self,
            intake,
            headers: let_in(access, intake, (route, &captures), &latest.view)?,
            route,
            captures,
            target,
            body,
            turn: self.turns.fetch_add(1, Relaxed),
        };
        let given = read.carry_out(latest).await?;
        self.mirror.count_read();
        let allowed = self.origins.headers(intake.headers.get(header::ORIGIN));
        Some(match given {
            Given::Whole(reply) => {
                taking.hold(reply.body.len(), None);
                give(session, &reply, (&allowed, taking)).await
            }
            Given::Stream(exchange) => stream(session, *exchange, (&allowed, taking)).await,
        })
    }

    fn is_avoided(&self, instance: InstanceIx) -> bool {
        let until = self.avoided.get(instance.at());
        until.is_some_and(|until| leave::now().0 < until.load(Relaxed))
    }

    fn avoid(&self, instance: InstanceIx) {
        if let Some(until) = self.avoided.get(instance.at()) {
            until.store((leave::now() + AVOIDED_FOR).0, Relaxed);
        }
    }
}

/// Returns true when the leader keeps no reads for itself.
fn is_open(latest: &Copy, access: &Access) -> bool {
    let reserve = latest.reserve;
    let is_unguarded = reserve.needs_token && !access.is_required();
    !reserve.is_routed && !reserve.has_quotas && !is_unguarded
}

/// The headers for an instance, when the client is let in: without what shows who it is.
fn let_in(
    access: &Access,
    intake: &Intake,
    (route, captures): (&Route, &Captures<'_>),
    view: &View,
) -> Option<HeaderMap> {
    let caller = access.caller(&intake.headers);
    if access.is_required() {
        let caller = caller.as_ref().ok()?;
        let mut needs = needs(route, captures, &view.catalog).into_iter();
        needs.all(|need| caller.may(need)).then_some(())?;
    }
    let mut headers = intake.headers.clone();
    if access.keeps_token(&caller) {
        hide_token(&mut headers);
    }
    Some(headers)
}

impl<'a> Read<'a, '_> {
    async fn carry_out(&self, latest: Arc<Copy>) -> Option<Given<'a>> {
        let mut seen = latest;
        for _ in 0..ROUNDS_MAX {
            let (given, later) = self.read_by(&seen).await?;
            if let Some(given) = given {
                return Some(given);
            }
            if !later.is_of_same_leader(&seen) {
                return None;
            }
            seen = later;
        }
        None
    }

    /// Reads by a view. The answer comes only when a later view confirms it; nothing at all comes when the leader
    /// shall have the read.
    async fn read_by(&self, seen: &Copy) -> Option<(Option<Given<'a>>, Arc<Copy>)> {
        let view = &seen.view;
        let captures = self.captures.clone();
        if !view.has_looked_for(captures.tenant.as_deref().unwrap_or_default()) {
            return None;
        }
        let lookup = Lookup::new(&view.catalog, self.route, captures, self.target).ok()?;
        let lookup = lookup.knowing(&view.abilities);
        let instance = self.choose(view, &lookup)?;
        let exchange = self.ask(instance, &lookup).await?;
        let collection = lookup.collection();
        let baseline = Baseline::new(view, collection.map(|collection| collection.id));
        let (given, later) = tokio::join!(take(exchange, &lookup), self.reader.mirror.now());
        let (given, later) = (given?, later?);
        if later.reserve != seen.reserve {
            return None;
        }
        let watched = Watched::new(self.route.action, collection, instance);
        let exposure = Exposure::new(&later.view, instance, watched, baseline);
        let is_confirmed = later.is_of_same_leader(seen)
            && confirms(view, &later.view, (instance, lookup.scope()), Planted::NONE)
            && exposure.release(&later.view) == Release::Give;
        if !is_confirmed {
            return Some((None, later));
        }
        let given = match given {
            Given::Whole(reply) => {
                let judged = lookup.judge(&later.view.catalog, instance, reply).ok()?;
                judged.is_success().then_some(Given::Whole(judged))?
            }
            stream @ Given::Stream(_) => stream,
        };
        Some((Some(given), later))
    }

    /// The instance that the leader would ask, when its answer can be given at once.
    fn choose(&self, view: &View, lookup: &Lookup<'_>) -> Option<InstanceIx> {
        let scope = lookup.scope();
        if matches!(scope, Scope::Any) {
            return None;
        }
        let strategy = lookup.strategy(self.reader.strategy);
        let turn = turn_of(self.route.action, lookup.collection(), self.body, self.turn);
        let Plan::Go(order) = plan(view, scope, strategy, turn, Tried::default()) else {
            return None;
        };
        let first = *order.first()?;
        let is_good = view.is_settled_on(first, scope) && !self.reader.is_avoided(first);
        is_good.then_some(first)
    }

    /// Asks an instance, and returns its answer when that is a success.
    async fn ask(&self, instance: InstanceIx, lookup: &Lookup<'_>) -> Option<Exchange<'a>> {
        let method = Method::of(&self.intake.method).unwrap_or(Method::Get);
        let target = lookup.target(instance);
        let request = Request {
            method: method.as_str(),
            target: &target,
            headers: Some(&self.headers),
            content_type: None,
            body: (method != Method::Get).then(|| self.body.clone()),
            is_probe: false,
            leave: None,
        };
        let deadline = self.reader.rules.deadline + heavy_read_time(self.body.len());
        let asked = self.reader.instances.read(instance, request, deadline);
        match self.patiently(instance, asked).await? {
            Ok(exchange) => (200..300).contains(&exchange.status()).then_some(exchange),
            Err(ExchangeError::Busy | ExchangeError::Closed { reused: true }) => None,
            Err(error) => {
                tracing::debug!(%error, instance = instance.0, "an instance did not answer a follower's read");
                self.reader.avoid(instance);
                None
            }
        }
    }
}

impl Read<'_, '_> {
    /// Waits for the head of an answer. The leader hears of a silence as of one that it meets itself, and has the
    /// instance probed; when that says nothing either, it is not waited for any longer. Nothing comes when there is
    /// no leader to hear it.
    async fn patiently<T>(
        &self,
        instance: InstanceIx,
        asked: impl Future<Output = Result<T, ExchangeError>>,
    ) -> Option<Result<T, ExchangeError>> {
        let mut asked = std::pin::pin!(asked);
        loop {
            if let Ok(answered) = timeout(self.reader.rules.hedge, &mut asked).await {
                return Some(answered);
            }
            let later = self.reader.mirror.now_in_silence_of(instance).await?;
            if later.view.standing(instance) != Standing::Up {
                return Some(Err(ExchangeError::Silent));
            }
        }
    }
}

/// Takes in a small answer as a whole; a large one is passed on as it comes.
async fn take<'a>(exchange: Exchange<'a>, lookup: &Lookup<'_>) -> Option<Given<'a>> {
    let length = exchange.content_length();
    if length.is_some_and(|length| length <= SMALL_BYTES_MAX) {
        let whole = timeout(BODY_PATIENCE, exchange.whole(SMALL_BYTES_MAX))
            .await
            .ok()?;
        return Some(Given::Whole(whole.ok()?));
    }
    lookup.streams().then(|| Given::Stream(Box::new(exchange)))
}
