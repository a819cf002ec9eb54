//! Which faults come when: expected occurrences per two minutes for each kind, and a plan that
//! follows from a seed alone.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use super::relay::{Link, Moment, Way};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// kill -9 of an instance; its connections are refused until it is started again.
    Crash,
    /// The same behind something that goes on accepting connections and then resets them.
    CrashBehindProxy,
    /// SIGSTOP, and later SIGCONT.
    Freeze,
    /// Its files can't grow any more.
    FullDisk,
    /// Its data folder is emptied while it is down.
    Wipe,
    Slow,
    Drip,
    Refuse,
    Dumb,
    ResetBefore,
    ResetAfter,
    ResetWithin,
    LoseThere,
    LoseBack,
    HoldThere,
    HoldBack,
    /// kill -9 of an Achromat.
    AchromatCrash,
    /// SIGSTOP, and later SIGCONT, of an Achromat of a fleet.
    AchromatFreeze,
    /// An operator has another Achromat of the fleet lead.
    HandOver,
    /// kill -9 of the fleet's database.
    DatabaseCrash,
}

/// How often a kind of fault is expected, and how long it lasts.
struct Rate {
    kind: Kind,
    per_two_minutes: f64,
    lasts_ms: (u32, u32),
}

const fn rate(kind: Kind, per_two_minutes: f64, least_ms: u32, most_ms: u32) -> Rate {
    Rate {
        kind,
        per_two_minutes,
        lasts_ms: (least_ms, most_ms),
    }
}

/// Faults that leave requests which may still be carried out end within the time that Achromat is
/// told to let such requests settle in (`super::ATTEMPT_MS` and `super::SETTLE_MS`).
const RATES: [Rate; 16] = [
    rate(Kind::Crash, 4.0, 100, 4000),
    rate(Kind::CrashBehindProxy, 2.0, 100, 3000),
    rate(Kind::Freeze, 3.0, 300, 5000),
    rate(Kind::FullDisk, 1.5, 1000, 4000),
    rate(Kind::Slow, 2.0, 1000, 4000),
    rate(Kind::Drip, 1.5, 1000, 4000),
    rate(Kind::Refuse, 2.0, 100, 3000),
    rate(Kind::Dumb, 2.0, 500, 4000),
    rate(Kind::ResetBefore, 2.0, 500, 3000),
    rate(Kind::ResetAfter, 3.0, 500, 3000),
    rate(Kind::ResetWithin, 3.0, 500, 3000),
    rate(Kind::LoseThere, 1.5, 200, 2000),
    rate(Kind::LoseBack, 1.5, 200, 2000),
    rate(Kind::HoldThere, 2.0, 200, 3000),
    rate(Kind::HoldBack, 1.5, 200, 3000),
    rate(Kind::AchromatCrash, 4.0, 0, 1000),
];

/// Only when wiping is asked for.
const WIPES: Rate = rate(Kind::Wipe, 2.0, 200, 2000);

/// Only in a fleet. Half of the freezes outlast the lease.
const FLEET: [Rate; 4] = [
    rate(Kind::AchromatCrash, 4.0, 0, 4000),
    rate(Kind::AchromatFreeze, 6.0, 100, 5000),
    rate(Kind::HandOver, 4.0, 0, 0),
    rate(Kind::DatabaseCrash, 2.0, 0, 3000),
];

/// Only when they are asked for: these last longer than Achromat waits.
const LATE: [Rate; 2] = [
    rate(Kind::Freeze, 4.0, 8500, 11_000),
    rate(Kind::HoldThere, 4.0, 8500, 11_000),
];

/// A fault that shall happen.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    /// When, at the earliest.
    pub at: Duration,
    pub kind: Kind,
    /// The instance that suffers it.
    pub instance: usize,
    /// The Achromat that suffers it, when one does.
    pub proxy: usize,
    pub lasts: Duration,
    /// How the link is meanwhile, when it is a fault of the link.
    pub link: Option<Link>,
}

impl Planned {
    /// Returns true when a fault of an Achromat and another fault can't be at once: of one Achromat there is one
    /// at a time, and none starts without the database.
    pub fn excludes(&self, other: &Self) -> bool {
        if !(self.kind.breaks_achromat() && other.kind.breaks_achromat()) {
            return false;
        }
        let of_database = [self, other].map(|fault| fault.kind == Kind::DatabaseCrash);
        match of_database {
            [false, false] => self.proxy == other.proxy,
            [true, true] => true,
            [true, false] => other.kind == Kind::AchromatCrash,
            [false, true] => self.kind == Kind::AchromatCrash,
        }
    }
}

impl Kind {
    /// Whether it breaks the instance's process, and not the link to it.
    pub fn breaks_process(self) -> bool {
        matches!(
            self,
            Self::Crash | Self::CrashBehindProxy | Self::Freeze | Self::FullDisk | Self::Wipe
        )
    }

    /// Returns true for a fault of an Achromat or of its database.
    pub fn breaks_achromat(self) -> bool {
        matches!(
            self,
            Self::AchromatCrash | Self::AchromatFreeze | Self::HandOver | Self::DatabaseCrash
        )
    }

    fn link(self, random: &mut SmallRng) -> Option<Link> {
        let ms = |ms| Duration::from_millis(ms);
        let resetting = |moment| Some(Link::Resetting { moment, one_in: 4 });
        match self {
            Self::Slow => {
                let least = ms(random.random_range(1..200));
                // Half of the time the latency is always the same.
                let most = least + ms(random.random_range(0..2) * 300);
                Some(Link::Slow { least, most })
            }
            Self::Drip => Some(Link::Drip {
                bytes: random.random_range(1..64),
                pause: ms(3),
            }),
            Self::Refuse => Some(Link::Refusing),
            Self::Dumb => Some(Link::Dumb),
            Self::ResetBefore => resetting(Moment::Before),
            Self::ResetAfter => resetting(Moment::After),
            Self::ResetWithin => resetting(Moment::Within),
            Self::LoseThere => Some(Link::Losing(Way::There)),
            Self::LoseBack => Some(Link::Losing(Way::Back)),
            Self::HoldThere => Some(Link::Holding(Way::There)),
            Self::HoldBack => Some(Link::Holding(Way::Back)),
            _ => None,
        }
    }
}

/// Which faults there are beside the usual ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// Instances lose their data.
    pub wipes: bool,
    /// Requests are carried out later than Achromat waits for them to settle.
    pub late: bool,
    /// Number of Achromats; more than one are a fleet.
    pub proxies: usize,
}

/// The faults of a run, in the order of their times.
pub fn plan(seed: u64, length: Duration, instances: usize, extras: Extras) -> Vec<Planned> {
    let mut planned = Vec::new();
    let wipes = extras.wipes.then_some(&WIPES);
    let late = LATE.iter().filter(|_| extras.late);
    let fleet = FLEET.iter().filter(|_| extras.proxies > 1);
    let rates = RATES.iter().chain(wipes).chain(late).chain(fleet);
    for (number, rate) in (0..).zip(rates) {
        // A stream of its own for each kind: a changed rate leaves the others as they were.
        let mut random = SmallRng::seed_from_u64(seed.wrapping_mul(31).wrapping_add(number));
        let mut at = gap(rate, &mut random);
        while at < length {
            let (least, most) = rate.lasts_ms;
            planned.push(Planned {
                at,
                kind: rate.kind,
                instance: random.random_range(0..instances),
                lasts: Duration::from_millis(random.random_range(least..=most).into()),
                link: rate.kind.link(&mut random),
                proxy: random.random_range(0..extras.proxies.max(1)),
            });
            at += gap(rate, &mut random);
        }
    }
    planned.sort_by_key(|fault| fault.at);
    planned
}

/// The time to the next fault of a kind, when they come by chance.
fn gap(rate: &Rate, random: &mut SmallRng) -> Duration {
    let mean = 120.0 / rate.per_two_minutes;
    let chance: f64 = random.random_range(f64::EPSILON..1.0);
    Duration::from_secs_f64(-chance.ln() * mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same seed gives the same plan, another seed another, and each kind comes as often as
    /// its rate says.
    #[test]
    fn a_plan_follows_from_its_seed() {
        let hours = |seed| plan(seed, Duration::from_secs(20 * 3600), 3, Extras::default());
        let shown = |seed| format!("{:?}", hours(seed));
        assert_eq!(shown(1), shown(1));
        assert_ne!(shown(1), shown(2));
        for rate in &RATES {
            let of_kind = hours(3).iter().filter(|f| f.kind == rate.kind).count();
            let expected = rate.per_two_minutes * 600.0;
            let found = f64::from(u32::try_from(of_kind).expect("not that many"));
            assert!((found - expected).abs() < 0.2 * expected, "{:?}", rate.kind);
        }
        assert!(hours(1).iter().all(|fault| fault.kind != Kind::Wipe));
    }
}
