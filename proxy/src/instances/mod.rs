//! The way to the instances: addresses, pooled connections, one exchange at a time, probes.
//!
//! Of pingora this room uses the connector; the listener is `serve`'s. It sends what it is given
//! and says how that ended; what follows from it is decided in `core`.

mod address;
mod bulkhead;
mod credentials;
mod exchange;
mod figures;
mod pool;

use std::{sync::Arc, time::Duration};

use achromat_core::{
    abilities::{self, Abilities},
    catalog::Marker,
    engine::Wire,
    health::{self, Probe},
    ids::InstanceIx,
    limits::{REPLY_BYTES_MAX, STALE_CONNECTIONS_MAX},
    outcome::Sending,
    reply::Reply,
    route::{Action, Captures, Method, route_of},
    weight::{Vitals, heavy_time},
};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use pingora_core::connectors::TransportConnector;
use pingora_timeout::timeout;

pub use self::{
    address::{Address, AddressError},
    bulkhead::{Bounds, Passage, Room},
    credentials::{CredentialError, CredentialFiles, Credentials, TokenHeader},
    exchange::{Exchange, ExchangeError, Request},
    figures::{Figures, Snapshot as FiguresSnapshot},
};
use self::{bulkhead::Bulkhead, pool::Pool};
use crate::leave::Leave;

/// Words for what a proxy does not send that does not lead its fleet any more.
const NO_LEAVE: &str = "this proxy does not lead its fleet any more";

/// Timing of connections.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// For a connection to be made.
    pub connect: Duration,
    /// For a probe to be answered.
    pub probe: Duration,
    /// For an entry to be answered whose body is not heavy.
    pub write: Duration,
    /// Time for which an idle connection is kept.
    pub idle: Duration,
}

/// One Chroma server.
pub struct Instance {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its URL and socket addresses.
    pub address: Address,
    /// Counters of its requests and answers.
    pub figures: Figures,
    /// The failure of the last connection, until one is made again.
    pub unreachable: ArcSwapOption<String>,
    credentials: Arc<Credentials>,
    pool: Pool,
    bulkhead: Bulkhead,
}

impl Instance {
    /// Whoever connects next begins anew: the server may have moved.
    fn note_unreachable(&self, why: &str) {
        self.address.forget();
        self.pool.clear();
        self.unreachable.store(Some(Arc::new(why.to_owned())));
    }

    fn note_reached(&self) {
        if self.unreachable.load().is_some() {
            self.unreachable.store(None);
        }
    }
}

/// All of them, by place.
pub struct Instances {
    list: Vec<Instance>,
    connector: TransportConnector,
    timing: Timing,
    leave: Leave,
}

impl Instances {
    /// Nothing is connected yet.
    pub fn new(
        list: Vec<(Arc<str>, Address, Arc<Credentials>)>,
        timing: Timing,
        bounds: Bounds,
    ) -> Self {
        let list = list
            .into_iter()
            .map(|(name, address, credentials)| Instance {
                name,
                address,
                figures: Figures::default(),
                unreachable: ArcSwapOption::empty(),
                credentials,
                pool: Pool::default(),
                bulkhead: Bulkhead::new(bounds),
            })
            .collect();
        Self {
            list,
            connector: TransportConnector::new(None),
            timing,
            leave: Leave::always(),
        }
    }

    /// The same, which are sent writes only as long as there is leave.
    #[must_use]
    pub fn under(self, leave: Leave) -> Self {
        Self { leave, ..self }
    }

    /// Each with its place.
    pub fn iter(&self) -> impl Iterator<Item = (InstanceIx, &Instance)> {
        InstanceIx::all(self.list.len()).zip(&self.list)
    }

    /// The number of instances.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns true when there are no instances.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One of the instances.
    pub fn get(&self, instance: InstanceIx) -> Option<&Instance> {
        self.list.get(instance.at())
    }

    /// The place of a name.
    pub fn named(&self, name: &str) -> Option<InstanceIx> {
        self.iter()
            .find(|(_, instance)| *instance.name == *name)
            .map(|(place, _)| place)
    }

    /// The name of a place, for people.
    pub fn name(&self, instance: InstanceIx) -> &str {
        self.get(instance).map_or("?", |instance| &instance.name)
    }

    /// Sends a client's read and waits for the head of its answer. The deadline is for both.
    pub async fn read(
        &self,
        instance: InstanceIx,
        request: Request<'_>,
        deadline: Duration,
    ) -> Result<Exchange<'_>, ExchangeError> {
        let passage = self
            .get(instance)
            .and_then(|target| target.bulkhead.for_read());
        let passage = passage.ok_or(ExchangeError::Busy)?;
        let exchange = self.exchange(instance, request, deadline).await?;
        Ok(exchange.under(passage))
    }

    /// Leave to send an instance a write, as soon as it has not too many.
    pub async fn passage(&self, instance: InstanceIx) -> Option<Passage> {
        self.get(instance)?.bulkhead.for_write().await
    }

    /// Leave to hold a body for an instance, as soon as there is room.
    pub async fn room(&self, instance: InstanceIx, bytes: usize) -> Option<Room> {
        self.get(instance)?.bulkhead.room(bytes).await
    }

    /// The same, if there is room now.
    pub fn room_now(&self, instance: InstanceIx, bytes: usize) -> Option<Room> {
        self.get(instance)?.bulkhead.room_now(bytes)
    }

    /// For how many bytes of bodies there is room.
    pub fn room_left(&self, instance: InstanceIx) -> usize {
        self.get(instance).map_or(0, |i| i.bulkhead.room_left())
    }

    async fn exchange(
        &self,
        instance: InstanceIx,
        request: Request<'_>,
        deadline: Duration,
    ) -> Result<Exchange<'_>, ExchangeError> {
        let Some(target) = self.get(instance) else {
            return Err(ExchangeError::NotSent(
                "there is no such instance".to_owned(),
            ));
        };
        let bytes = request.body.as_ref().map_or(0, Bytes::len);
        let under_way = target.figures.begin(request.is_probe, bytes);
        let begun = exchange::begin(&self.connector, target, request, self.timing);
        let result = match timeout(deadline, begun).await {
            Ok(result) => result,
            Err(_) => Err(ExchangeError::Silent),
        };
        match result {
            Ok(exchange) => {
                target.note_reached();
                Ok(exchange.counted(under_way))
            }
            Err(error) => {
                if let ExchangeError::Refused(why) | ExchangeError::NotSent(why) = &error {
                    target.note_unreachable(why);
                }
                Err(error)
            }
        }
    }

    /// Sends an entry and takes in the whole answer. The passage is held meanwhile; none means that there
    /// is no such instance.
    pub async fn send(
        &self,
        instance: InstanceIx,
        passage: Option<Passage>,
        wire: &Wire,
        body: Option<Bytes>,
    ) -> Sending {
        self.send_bounded(instance, passage, (wire, body), REPLY_BYTES_MAX)
            .await
    }

    /// The same for an answer that may have so many bytes. The deadline grows with the body.
    pub async fn send_bounded(
        &self,
        instance: InstanceIx,
        _passage: Option<Passage>,
        (wire, body): (&Wire, Option<Bytes>),
        reply_bytes_max: usize,
    ) -> Sending {
        if !self.leave.is_valid() {
            return Sending::Withheld(NO_LEAVE);
        }
        let deadline = self.timing.write + heavy_time(body.as_ref().map_or(0, Bytes::len));
        let request = Request {
            method: wire.method.as_str(),
            target: &wire.target,
            headers: None,
            content_type: wire.content_type.as_deref(),
            body,
            is_probe: false,
            leave: Some(&self.leave),
        };
        let whole = async {
            self.exchange(instance, request, deadline)
                .await?
                .whole(reply_bytes_max)
                .await
        };
        match timeout(deadline, whole).await {
            Ok(Ok(reply)) => Sending::Answered(reply),
            Ok(Err(error)) => error.into(),
            Err(_) => Sending::Silent,
        }
    }

    /// Asks something about an instance's copy of a collection, and takes in the whole answer. It
    /// changes nothing. A connection that was let go is the caller's matter: who was right to ask before
    /// may not be any more.
    pub async fn ask_about(
        &self,
        instance: InstanceIx,
        action: Action,
        copy: &Captures<'_>,
        body: Option<Bytes>,
        deadline: Duration,
    ) -> Result<Reply, ExchangeError> {
        let route =
            route_of(action).ok_or_else(|| ExchangeError::NotSent("no such route".to_owned()))?;
        let target = route.render(copy, "", None);
        self.ask(instance, route.method, &target, body, deadline)
            .await
    }

    async fn ask(
        &self,
        instance: InstanceIx,
        method: Method,
        target: &str,
        body: Option<Bytes>,
        deadline: Duration,
    ) -> Result<Reply, ExchangeError> {
        let request = Request {
            method: method.as_str(),
            target,
            headers: None,
            content_type: body.as_ref().map(|_| "application/json"),
            body,
            is_probe: true,
            leave: None,
        };
        let whole = async {
            self.exchange(instance, request, deadline)
                .await?
                .whole(REPLY_BYTES_MAX)
                .await
        };
        timeout(deadline, whole)
            .await
            .unwrap_or(Err(ExchangeError::Silent))
    }

    /// The signs of life that an instance has shown beside its probes.
    pub fn vitals(&self, instance: InstanceIx) -> Vitals {
        self.get(instance)
            .map_or_else(Vitals::default, |target| target.figures.vitals())
    }

    /// Asks for the marker, or for the heartbeat of an instance that has none yet.
    pub async fn probe(&self, instance: InstanceIx, marker: Option<Marker>) -> Probe {
        let target = health::probe_target(marker);
        let deadline = self.timing.probe;
        let ask = || self.ask(instance, Method::Get, &target, None, deadline);
        match past_stale(ask).await {
            Ok(reply) => health::judge_probe(marker, &reply),
            Err(ExchangeError::Refused(_)) => Probe::Refused,
            // It may be frozen, or out of reach, and go on with what it holds. (A probe needs no leave.)
            Err(
                ExchangeError::NotSent(_)
                | ExchangeError::NoLeave
                | ExchangeError::Silent
                | ExchangeError::Busy,
            ) => Probe::Silent,
            Err(
                ExchangeError::Closed { .. } | ExchangeError::Garbled(_) | ExchangeError::TooLarge,
            ) => Probe::Odd,
        }
    }
    /// Asks what an instance knows; nothing when it does not answer that.
    pub async fn abilities(&self, instance: InstanceIx) -> Option<Abilities> {
        let deadline = self.timing.probe;
        let by_id = abilities::by_id_target();
        let ask =
            |target| past_stale(move || self.ask(instance, Method::Get, target, None, deadline));
        let pre_flight = ask(abilities::PRE_FLIGHT).await.ok()?;
        let by_id = ask(&by_id).await.ok()?;
        Abilities::of(&pre_flight, &by_id)
    }
}

/// Asks again as long as connections from the pool turn out to be dead: that says nothing of the
/// server.
pub async fn past_stale<T, Asked>(mut ask: impl FnMut() -> Asked) -> Result<T, ExchangeError>
where
    Asked: Future<Output = Result<T, ExchangeError>>,
{
    for _ in 0..STALE_CONNECTIONS_MAX {
        match ask().await {
            Err(ExchangeError::Closed { reused: true }) => {}
            answer => return answer,
        }
    }
    ask().await
}

impl From<ExchangeError> for Sending {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(why) | ExchangeError::NotSent(why) => Self::NotSent(why),
            ExchangeError::NoLeave => Self::Withheld(NO_LEAVE),
            busy @ ExchangeError::Busy => Self::NotSent(busy.to_string()),
            ExchangeError::Closed { reused } => Self::Closed { reused },
            ExchangeError::Garbled(_) => Self::Closed { reused: false },
            ExchangeError::TooLarge => Self::TooLarge,
            ExchangeError::Silent => Self::Silent,
        }
    }
}

#[cfg(test)]
mod tests;
