//! Quotas of each client: requests and bytes in a second, and requests at once.
//!
//! A client is a token where there are tokens, and a tenant otherwise. Tenants that do not exist share one
//! quota, so that nobody gets more by making up names.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use achromat_core::{
    ids::DEFAULT_TENANT,
    reply::{self, Reply},
};
use governor::{
    DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};
use parking_lot::Mutex;

use super::{
    App,
    intake::Intake,
    space::{Space, SpaceLimits},
};
use crate::access::Caller;

/// Quotas of one client; none where there is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Requests in a second.
    pub requests_per_s: Option<NonZeroU32>,
    /// Bytes of bodies in a second, and how many may come at once.
    pub bytes_per_s: Option<(NonZeroU32, NonZeroU32)>,
    /// Requests at once.
    pub concurrent_max: Option<NonZeroU32>,
}

/// A client, by a digest of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Client(pub(super) u64);

/// Everybody's quota.
pub struct Quotas {
    /// Quotas of space.
    pub space: Space,
    limits: QuotaLimits,
    requests: Option<DefaultKeyedRateLimiter<Client>>,
    bytes: Option<DefaultKeyedRateLimiter<Client>>,
    at_once: Arc<Mutex<BTreeMap<Client, u32>>>,
    clock: DefaultClock,
    refused: AtomicU64,
}

/// A request that counts among those at once, until it is dropped.
struct Counted {
    client: Client,
    at_once: Arc<Mutex<BTreeMap<Client, u32>>>,
}

/// A request with the quota that it is counted in.
pub(super) struct Share<'a> {
    quotas: &'a Quotas,
    client: Client,
    _counted: Option<Counted>,
}

impl Share<'_> {
    /// Counts the bytes of the request's body, or refuses it.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Reply> {
        self.quotas.take(self.client, bytes)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut at_once = self.at_once.lock();
        if let Entry::Occupied(mut count) = at_once.entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Quotas {
    /// Nobody has asked for anything yet.
    pub fn new(limits: QuotaLimits, space: SpaceLimits) -> Self {
        let keyed = |rate: NonZeroU32, burst: NonZeroU32| {
            RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))
        };
        Self {
            requests: limits.requests_per_s.map(|rate| keyed(rate, rate)),
            bytes: limits.bytes_per_s.map(|(rate, burst)| keyed(rate, burst)),
            space: Space::new(space),
            limits,
            at_once: Arc::default(),
            clock: DefaultClock::default(),
            refused: AtomicU64::new(0),
        }
    }

    /// Returns true when reads count in any quota.
    pub(super) fn counts_requests(&self) -> bool {
        self.limits != QuotaLimits::default()
    }

    /// Requests that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Counts a request that begins, or refuses it.
    fn begin(&self, client: Client) -> Result<Option<Counted>, Reply> {
        if let Some(requests) = &self.requests
            && let Err(early) = requests.check_key(&client)
        {
            let wait = early.wait_time_from(self.clock.now());
            return Err(self.refuse(
                "requests in a second than quotas.requests_per_s allows",
                wait,
            ));
        }
        let Some(most) = self.limits.concurrent_max else {
            return Ok(None);
        };
        let mut at_once = self.at_once.lock();
        let count = at_once.entry(client).or_default();
        if *count >= most.get() {
            drop(at_once);
            let what = "requests at once than quotas.concurrent_max allows";
            return Err(self.refuse(what, Duration::from_secs(1)));
        }
        *count += 1;
        Ok(Some(Counted {
            client,
            at_once: Arc::clone(&self.at_once),
        }))
    }

    /// Counts the bytes of a body, or refuses it.
    fn take(&self, client: Client, bytes: usize) -> Result<(), Reply> {
        let Some(limiter) = &self.bytes else {
            return Ok(());
        };
        let count = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Some(count) = NonZeroU32::new(count) else {
            return Ok(());
        };
        match limiter.check_key_n(&client, count) {
            // The largest body that there may be always fits: another bound refuses what is larger.
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(early)) => {
                let wait = early.wait_time_from(self.clock.now());
                Err(self.refuse("bytes in a second than quotas.bytes_per_s allows", wait))
            }
        }
    }

    fn refuse(&self, what: &str, wait: Duration) -> Reply {
        self.refused.fetch_add(1, Relaxed);
        let message = format!("This token or tenant asks for more {what}; come again later");
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        reply::over_quota(&message, u32::try_from(seconds).unwrap_or(u32::MAX))
    }
}

impl App {
    /// Counts a request among those of its client, for as long as what is returned is kept. Without quotas
    /// nothing is counted, and the client is not looked for.
    pub(super) fn count_request(
        &self,
        intake: &Intake,
        tenant: Option<&str>,
    ) -> Result<Option<Share<'_>>, Reply> {
        let quotas = self.edge.quotas.as_ref();
        if quotas.limits == QuotaLimits::default() {
            return Ok(None);
        }
        let client = self.client_of(intake, tenant);
        let counted = quotas.begin(client)?;
        Ok(Some(Share {
            quotas,
            client,
            _counted: counted,
        }))
    }

    /// The client that a request counts for: its token, or its tenant where there are no tokens.
    pub(super) fn client_of(&self, intake: &Intake, tenant: Option<&str>) -> Client {
        let mut digest = DefaultHasher::new();
        if let Ok(Caller::Known(identity)) = &intake.caller {
            ("token", &*identity.name).hash(&mut digest);
        } else {
            let tenant = tenant.unwrap_or(DEFAULT_TENANT);
            let view = self.replicator.view();
            let known = Some(tenant).filter(|tenant| view.catalog.knows_tenant(tenant));
            ("tenant", known).hash(&mut digest);
        }
        Client(digest.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Client = Client(1);
    const OTHER: Client = Client(2);

    fn limits(requests: u32, bytes: (u32, u32), at_once: u32) -> QuotaLimits {
        QuotaLimits {
            requests_per_s: NonZeroU32::new(requests),
            bytes_per_s: NonZeroU32::new(bytes.0).zip(NonZeroU32::new(bytes.1)),
            concurrent_max: NonZeroU32::new(at_once),
        }
    }

    fn with(limits: QuotaLimits) -> Quotas {
        Quotas::new(limits, SpaceLimits::default())
    }

    fn refusal<T>(result: Result<T, Reply>) -> String {
        let reply = result.err().expect("a refusal");
        assert_eq!(reply.status, 429);
        assert!(reply.retry_after_s.is_some_and(|seconds| seconds > 0));
        String::from_utf8_lossy(&reply.body).into_owned()
    }

    /// Without bounds nothing is refused.
    #[test]
    fn nothing_is_bounded_by_default() {
        let quotas = with(QuotaLimits::default());
        for _ in 0..1000 {
            assert!(quotas.begin(ONE).is_ok());
            assert!(quotas.take(ONE, usize::MAX).is_ok());
        }
        assert_eq!(quotas.refused(), 0);
    }

    /// One who asks too often is refused, and nobody else.
    #[test]
    fn requests_are_counted_for_each_client() {
        let quotas = with(limits(3, (0, 0), 0));
        for _ in 0..3 {
            assert!(quotas.begin(ONE).is_ok());
        }
        assert!(refusal(quotas.begin(ONE)).contains("quotas.requests_per_s"));
        assert!(quotas.begin(OTHER).is_ok());
        assert_eq!(quotas.refused(), 1);
    }

    /// Bytes come back with time, here at one in a second; a body as large as the burst fits at first.
    #[test]
    fn bytes_are_counted() {
        let quotas = with(limits(0, (1, 100), 0));
        assert!(quotas.take(ONE, 0).is_ok());
        assert!(quotas.take(ONE, 100).is_ok());
        assert!(refusal(quotas.take(ONE, 50)).contains("quotas.bytes_per_s"));
        assert!(quotas.take(OTHER, 100).is_ok());
    }

    /// A place among those at once is free again when its request ends, however it ends.
    #[test]
    fn requests_at_once_are_counted() {
        let quotas = with(limits(0, (0, 0), 2));
        let first = quotas.begin(ONE).expect("a place");
        let second = quotas.begin(ONE).expect("a place");
        assert!(refusal(quotas.begin(ONE)).contains("quotas.concurrent_max"));
        assert!(quotas.begin(OTHER).is_ok());
        drop(first);
        let third = quotas.begin(ONE).expect("a place");
        assert!(quotas.begin(ONE).is_err());
        drop((second, third));
        assert!(
            quotas.at_once.lock().is_empty(),
            "nothing is kept of who asks for nothing"
        );
    }
}
