//! Standing of an instance, judged from what requests met and what probes found.
//!
//! These are rules for two instances: there is no crowd to compare one with, so nothing is
//! judged by being slower than the others.
//!
//! - What a request met makes an instance *suspect* at once and asks for a probe at once. A suspect
//!   instance is still used, but last; that is all that failover needs. One that could not be reached is
//!   not used before that probe is answered: it may come back with other data.
//! - Only probes make it *down*: one that is refused, or silence several times in a row. A down
//!   instance is sent nothing.
//! - Busy is not down: a silent probe counts for nothing when the instance has answered anything else
//!   since it was sent, and silence while it works on a heavy body makes it down only after the time
//!   that such a body may take ([`silence_max`]). Until then it is suspect.
//! - One probe that is answered makes it *up*.
//! - A connection that closes without an answer is the request's own failure, until a probe fails
//!   too: some requests panic Chroma's handler while the server lives on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    awake::Awake,
    catalog::Marker,
    limits::{FIRST_PROBES_INTERVAL, ORPHANS_SETTLE},
    marker::{MARKER, OWN, Shown},
    reply::Reply,
    time::Instant,
    weight::{Vitals, silence_max},
};

/// Standing of an instance: how far it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In service.
    Up,
    /// Used after the others.
    Suspect,
    /// Not used.
    Down,
}

impl Standing {
    /// The word in the operator's interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// Sign of trouble that a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nobody listens, or the connection could not be made in time.
    Refused,
    /// No answer within the hedge delay.
    Silent,
    /// The connection closed without an answer.
    Closed,
}

/// Result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The heartbeat was answered.
    Answered,
    /// Nobody listens.
    Refused,
    /// No answer in time.
    Silent,
    /// Something else was answered.
    Odd,
    /// Its heartbeat is fine, but its marker is gone or is another one: its data was lost, or was
    /// put there from elsewhere.
    Lost,
    /// Its marker shows a token that is older than the last one it had: its data is from the past.
    Past,
}

impl Probe {
    /// Returns true when a Chroma server has answered, whatever its data.
    pub fn shows_a_server(self) -> bool {
        matches!(self, Self::Answered | Self::Lost | Self::Past)
    }
}

/// Target of a probe: the collection of ours that tells an instance's data from any other, or the heartbeat
/// as long as there is no such collection. Chroma's heartbeat is green whatever has become of the data.
pub fn probe_target(marker: Option<Marker>) -> String {
    match marker.filter(|marker| !marker.is_to_be_made()) {
        None => "/api/v2/heartbeat".to_owned(),
        Some(_) => format!("/api/v2/tenants/{OWN}/databases/{OWN}/collections/{MARKER}"),
    }
}

/// Judges the answer to a probe.
pub fn judge_probe(marker: Option<Marker>, reply: &Reply) -> Probe {
    let marker = marker.filter(|marker| !marker.is_to_be_made());
    match (marker, reply.status) {
        (None, 200..=299) => Probe::Answered,
        (Some(_), 404) => Probe::Lost,
        (Some(marker), 200..=299) => match Shown::parse(&reply.body) {
            Some(shown) if shown.id != marker.id => Probe::Lost,
            Some(shown) if shown.token < marker.token => Probe::Past,
            Some(_) => Probe::Answered,
            None => Probe::Odd,
        },
        _ => Probe::Odd,
    }
}

/// Timing of probes, and their bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRules {
    /// From one probe to the next.
    pub interval: Duration,
    /// Silent probes in a row that make an instance down.
    pub silent_max: u32,
}

/// State of one instance, as far as it is known.
#[derive(Clone, Debug)]
pub struct Health {
    observed: Standing,
    forced: Option<(Standing, Instant)>,
    /// Time of the last change of standing.
    pub since: Instant,
    /// True when a probe was answered since the instance was last out of reach, so that it is known whose
    /// data it holds.
    is_known: bool,
    silence: Option<Silence>,
    was_refused: bool,
    under_way: Option<UnderWay>,
    next_probe: Instant,
    /// True when a connection closed while a probe was under way: that probe says nothing of the closing,
    /// and another one follows.
    probes_again: bool,
    lived: Lived,
    awake: Awake,
}

/// A probe that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    sent_at: Instant,
    /// True when the instance was out of reach since the probe was sent: its result says nothing.
    is_outdated: bool,
}

/// The latest signs of an instance's life and death.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lived {
    /// Time at which the last probe was sent that the instance answered.
    answered: Option<Instant>,
    /// Time of the last refused connection to the instance.
    refused: Option<Instant>,
}

impl Lived {
    /// Returns true when the instance's process is known to have lived through something that happened at a
    /// time: it answered a probe that was sent later, and was not seen to be away since.
    pub fn survived(self, at: Instant) -> bool {
        self.answered.is_some_and(|answered| answered > at) && !self.was_away_since(at)
    }

    /// Returns true when the instance was seen neither alive nor away since a time.
    pub fn is_unknown_since(self, at: Instant) -> bool {
        self.answered.is_none_or(|answered| answered <= at) && !self.was_away_since(at)
    }

    fn was_away_since(self, at: Instant) -> bool {
        self.refused.is_some_and(|refused| refused >= at)
    }
}

/// State of an instance before something changes it.
#[derive(Clone, Copy, Debug)]
struct Before {
    standing: Standing,
    /// True when the instance is out of reach, and not only slow.
    was_away: bool,
    was_refused: bool,
}

/// Silent probes in a row, during which the instance has answered nothing else.
#[derive(Clone, Copy, Debug)]
struct Silence {
    probes: u32,
    /// Time at which the first of the probes was sent.
    since: Instant,
    /// Time at which the last of the probes was sent.
    last_sent_at: Instant,
}

/// A change of standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Standing before the change.
    pub from: Standing,
    /// Standing after the change.
    pub to: Standing,
    /// True when the instance was out of reach in between, and not only slow.
    pub was_away: bool,
    /// True when connections were refused in between: every request that was sent before is dead.
    pub restarted: bool,
}

impl Health {
    /// An instance of which nothing is known: suspect, and to be probed now.
    pub fn new(now: Instant) -> Self {
        Self {
            observed: Standing::Suspect,
            forced: None,
            since: now,
            is_known: false,
            silence: None,
            was_refused: false,
            under_way: None,
            next_probe: now,
            probes_again: false,
            lived: Lived::default(),
            awake: Awake::default(),
        }
    }

    /// Returns the standing that an operator has set, otherwise the observed one. An operator may take an
    /// instance out of service, or lift a suspicion. No operator's word replaces the probe that an instance
    /// must answer after it was out of reach.
    pub fn standing(&self) -> Standing {
        match self.forced {
            Some((Standing::Down, _)) => Standing::Down,
            Some((word, _)) if self.is_known && self.observed != Standing::Down => word,
            _ => self.observed,
        }
    }

    /// Returns the standing by which requests use the instance. It is down until the instance has answered
    /// a probe that was sent since it was last out of reach, because its data may have been exchanged
    /// unseen.
    pub fn usable(&self) -> Standing {
        if self.is_known && !self.was_refused {
            self.standing()
        } else {
            Standing::Down
        }
    }

    /// Returns true when the instance answered its last probe, and neither a refusal nor a silence was seen
    /// since: it has not been away.
    pub fn is_continuous(&self) -> bool {
        self.is_known && !self.was_refused && self.observed == Standing::Up
    }

    /// Returns true when the instance is known not to be there, or counts as down.
    pub fn is_down(&self) -> bool {
        self.was_refused || self.standing() == Standing::Down
    }

    /// Returns true when an operator has set the standing.
    pub fn is_forced(&self) -> bool {
        self.forced.is_some()
    }

    /// Takes in what a request met.
    pub fn noticed(&mut self, sign: Sign, now: Instant) -> Option<Transition> {
        let before = self.before();
        self.next_probe = now;
        match sign {
            Sign::Closed => {
                self.probes_again = self.under_way.is_some();
                return None;
            }
            Sign::Refused => {
                self.is_known = false;
                self.lived.refused = Some(now);
                if let Some(probe) = &mut self.under_way {
                    probe.is_outdated = true;
                }
                self.awake.missed();
            }
            Sign::Silent => {}
        }
        self.observed = self.observed.max(Standing::Suspect);
        self.transition(before, now)
    }

    /// Takes in what a probe found, and which other signs of life there are.
    pub fn probed(
        &mut self,
        probe: Probe,
        vitals: Vitals,
        rules: &HealthRules,
        now: Instant,
    ) -> Option<Transition> {
        let under_way = self.under_way.take();
        if under_way.is_some_and(|sent| sent.is_outdated) && probe != Probe::Refused {
            self.next_probe = now;
            return None;
        }
        let sent_at = under_way.map_or(now, |sent| sent.sent_at);
        if matches!(probe, Probe::Answered | Probe::Lost | Probe::Past) {
            self.awake.answered(sent_at, now);
            self.lived.answered = self.lived.answered.max(Some(sent_at));
        } else {
            self.awake.missed();
        }
        self.next_probe = match probe {
            _ if std::mem::take(&mut self.probes_again) => now,
            // The time that a silent probe took is part of the interval: probes of a silent instance
            // follow one another, so that they meet a restart and do not miss it.
            Probe::Silent => now.max(sent_at + self.interval(rules)),
            _ => now + self.interval(rules),
        };
        self.silence = match probe {
            Probe::Silent => self.silence_after(sent_at, vitals, now),
            _ => None,
        };
        let before = self.before();
        self.observed = match probe {
            Probe::Answered | Probe::Lost | Probe::Past => {
                (self.is_known, self.was_refused) = (true, false);
                Standing::Up
            }
            Probe::Refused => {
                self.was_refused = true;
                self.lived.refused = Some(now);
                Standing::Down
            }
            Probe::Silent if self.is_silent_for_too_long(vitals, rules, now) => Standing::Down,
            Probe::Silent | Probe::Odd => self.observed.max(Standing::Suspect),
        };
        self.transition(before, now)
    }

    /// The silence with one more probe in it, if the instance was silent to everything else as well.
    fn silence_after(&self, sent_at: Instant, vitals: Vitals, now: Instant) -> Option<Silence> {
        let has_answered_since =
            |at: Instant| vitals.answered_ago.is_some_and(|ago| ago < now.since(at));
        if has_answered_since(sent_at) {
            return None;
        }
        let before = self
            .silence
            .filter(|silence| !has_answered_since(silence.last_sent_at));
        Some(Silence {
            probes: before.map_or(0, |silence| silence.probes).saturating_add(1),
            since: before.map_or(sent_at, |silence| silence.since),
            last_sent_at: sent_at,
        })
    }

    fn is_silent_for_too_long(&self, vitals: Vitals, rules: &HealthRules, now: Instant) -> bool {
        self.silence.is_some_and(|silence| {
            let is_over = now.since(silence.since) >= silence_max(vitals.heavy_bytes);
            silence.probes >= rules.silent_max && is_over
        })
    }

    /// An operator's word, until `until`.
    pub fn force(
        &mut self,
        standing: Standing,
        until: Instant,
        now: Instant,
    ) -> Option<Transition> {
        let before = self.before();
        self.forced = Some((standing, until));
        self.transition(before, now)
    }

    /// Lets time pass: an operator's word ends. Returns whether a probe is due, which is then held
    /// to be under way.
    pub fn tick(&mut self, now: Instant) -> (bool, Option<Transition>) {
        let before = self.before();
        self.forced = self.forced.filter(|(_, until)| *until > now);
        let due = self.under_way.is_none() && self.next_probe <= now;
        if due {
            self.under_way = Some(UnderWay {
                sent_at: now,
                is_outdated: false,
            });
        }
        (due, self.transition(before, now))
    }

    /// The latest signs of its life and death.
    pub fn lived(&self) -> Lived {
        self.lived
    }

    /// Time that the instance has been awake.
    pub fn awake(&self) -> &Awake {
        &self.awake
    }

    /// A proxy that has just started probes often, until no request of the previous proxy can be left: the
    /// shorter the time between two probes, the shorter a freeze that neither of them sees.
    fn interval(&self, rules: &HealthRules) -> Duration {
        if self.may_have_orphans() {
            rules.interval.min(FIRST_PROBES_INTERVAL)
        } else {
            rules.interval
        }
    }

    /// Returns true when a request of the previous proxy may still be on its way. That proxy may not know
    /// for a moment that there is another one. Until then it sends as before, to an instance that has
    /// restarted as well.
    fn may_have_orphans(&self) -> bool {
        self.awake.shown() < ORPHANS_SETTLE
    }

    /// Time at which [`Self::tick`] has something to do next.
    pub fn wakes_at(&self) -> Option<Instant> {
        let probe = self.under_way.is_none().then_some(self.next_probe);
        let end = self.forced.map(|(_, until)| until);
        probe.into_iter().chain(end).min()
    }

    fn before(&self) -> Before {
        let standing = self.standing();
        Before {
            standing,
            was_away: standing == Standing::Down || !self.is_known || self.was_refused,
            was_refused: self.was_refused,
        }
    }

    fn transition(&mut self, before: Before, now: Instant) -> Option<Transition> {
        let (from, to) = (before.standing, self.standing());
        (from != to).then(|| {
            self.since = now;
            Transition {
                from,
                to,
                was_away: before.was_away,
                restarted: to == Standing::Up && before.was_refused && !self.may_have_orphans(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{InstanceId, Token};

    const RULES: HealthRules = HealthRules {
        interval: Duration::from_secs(1),
        silent_max: 2,
    };

    const NONE: Vitals = Vitals {
        answered_ago: None,
        heavy_bytes: 0,
    };

    fn at(ms: u64) -> Instant {
        Instant(ms * 1000)
    }

    fn fresh() -> Health {
        let mut health = Health::new(at(0));
        health.probed(Probe::Answered, NONE, &RULES, at(0));
        health
    }

    /// An instance that has been up for so long that no request of the previous proxy is left.
    fn up() -> Health {
        let mut health = fresh();
        health.awake.answered(at(1_000), at(1_000));
        health.awake.answered(at(1_000), at(1_000));
        health
    }

    /// An instance must show the UUID that is known and a token no older than the one that is known:
    /// it is written there first.
    #[test]
    fn data_from_elsewhere_or_from_the_past_is_told_apart() {
        let [ours, other] = [7, 8].map(|n| InstanceId(uuid::Uuid::from_u128(n)));
        let marker = |id, token| {
            let token = Token(token);
            Some(Marker { id, token })
        };
        let shows = |id: InstanceId, metadata: &str| {
            let body = format!(r#"{{"id":"{id}","name":"marker","metadata":{metadata}}}"#);
            Reply::json(200, body)
        };
        let gone = Reply::json(404, "{}");
        let cases = [
            (
                marker(ours, 5),
                shows(ours, r#"{"token":5}"#),
                Probe::Answered,
            ),
            (
                marker(ours, 5),
                shows(ours, r#"{"token":6}"#),
                Probe::Answered,
            ),
            (marker(ours, 5), shows(ours, r#"{"token":4}"#), Probe::Past),
            (marker(ours, 5), shows(ours, "null"), Probe::Past),
            (marker(ours, 0), shows(ours, "null"), Probe::Answered),
            (marker(ours, 5), shows(other, r#"{"token":9}"#), Probe::Lost),
            (marker(ours, 5), gone, Probe::Lost),
            (None, Reply::json(200, "{}"), Probe::Answered),
            (
                Some(Marker::to_be_made(Token(5))),
                Reply::json(200, "{}"),
                Probe::Answered,
            ),
        ];
        for (marker, reply, probe) in cases {
            assert_eq!(judge_probe(marker, &reply), probe, "{marker:?} {reply:?}");
        }
    }

    /// Trouble that a request met makes an instance suspect, never down, and has it probed at once.
    #[test]
    fn signs_make_suspect_and_probes_make_down() {
        let mut health = up();
        for _ in 0..10 {
            health.noticed(Sign::Silent, at(10));
            health.noticed(Sign::Refused, at(10));
        }
        assert_eq!(health.standing(), Standing::Suspect);
        assert!(health.tick(at(10)).0, "a probe is due at once");
        assert!(!health.tick(at(10)).0, "but only one at a time");
        let down = health.probed(Probe::Refused, NONE, &RULES, at(11)).unwrap();
        assert_eq!((down.from, down.to), (Standing::Suspect, Standing::Down));
        let back = health
            .probed(Probe::Answered, NONE, &RULES, at(1011))
            .unwrap();
        assert!(back.restarted && back.to == Standing::Up);
    }

    /// Before the first probe is answered an instance is suspect, so that others wait for it, but no
    /// request uses it; later a suspect one is used last.
    #[test]
    fn nothing_is_used_before_it_is_known() {
        let mut health = Health::new(at(0));
        health.probed(Probe::Silent, NONE, &RULES, at(0));
        assert_eq!(health.standing(), Standing::Suspect);
        assert_eq!(health.usable(), Standing::Down);
        health.probed(Probe::Answered, NONE, &RULES, at(1));
        health.probed(Probe::Silent, NONE, &RULES, at(2));
        assert_eq!(health.usable(), Standing::Suspect);
    }

    /// Only a probe that nobody listens to shows that what an instance held is gone: a request that
    /// could not be sent may have met a full queue of connections.
    #[test]
    fn only_a_refused_probe_shows_a_restart() {
        for probe in [Probe::Silent, Probe::Refused] {
            let mut health = up();
            health.noticed(Sign::Refused, at(10));
            health.probed(probe, NONE, &RULES, at(20));
            let back = health
                .probed(Probe::Answered, NONE, &RULES, at(30))
                .unwrap();
            assert_eq!(back.restarted, probe == Probe::Refused);
        }
    }

    /// An instance that could not be reached may come back with other data. Nothing uses it before a probe
    /// that was sent since then is answered; the probe that is under way says nothing.
    #[test]
    fn who_was_out_of_reach_is_looked_at_again() {
        let mut health = up();
        assert!(health.tick(at(2_000)).0);
        health.noticed(Sign::Refused, at(2_001));
        assert_eq!(health.usable(), Standing::Down);
        assert_eq!(
            health.probed(Probe::Answered, NONE, &RULES, at(2_002)),
            None
        );
        assert_eq!(health.usable(), Standing::Down);
        assert!(health.tick(at(2_002)).0, "it is asked again at once");
        let back = health
            .probed(Probe::Answered, NONE, &RULES, at(2_003))
            .unwrap();
        assert_eq!((back.to, health.usable()), (Standing::Up, Standing::Up));
        assert!(!back.restarted, "it may have had too many connections");
    }

    /// An instance that was silent to a request, or to fewer probes than make it down, was not away.
    #[test]
    fn who_was_only_slow_was_not_away() {
        let mut health = up();
        health.noticed(Sign::Silent, at(10));
        let back = health
            .probed(Probe::Answered, NONE, &RULES, at(11))
            .unwrap();
        assert_eq!((back.to, back.was_away), (Standing::Up, false));
        for sign in [Sign::Refused, Sign::Silent] {
            health.noticed(sign, at(20));
            health.probed(Probe::Silent, NONE, &RULES, at(21));
            health.probed(Probe::Silent, NONE, &RULES, at(22));
            let back = health
                .probed(Probe::Answered, NONE, &RULES, at(23))
                .unwrap();
            assert_eq!((back.from, back.was_away), (Standing::Down, true));
        }
        health.noticed(Sign::Refused, at(30));
        let back = health
            .probed(Probe::Answered, NONE, &RULES, at(31))
            .unwrap();
        assert_eq!((back.from, back.was_away), (Standing::Suspect, true));
    }

    /// Before that a restart shows nothing: the proxy before may send something after it.
    #[test]
    fn a_restart_at_the_start_shows_nothing() {
        let mut health = fresh();
        health.probed(Probe::Refused, NONE, &RULES, at(20));
        let back = health
            .probed(Probe::Answered, NONE, &RULES, at(30))
            .unwrap();
        assert!(!back.restarted);
    }

    /// A frozen process accepts connections and says nothing: silence several times in a row.
    #[test]
    fn silence_makes_down_only_in_a_row() {
        let mut health = up();
        health.probed(Probe::Silent, NONE, &RULES, at(0));
        assert_eq!(health.standing(), Standing::Suspect);
        health.probed(Probe::Answered, NONE, &RULES, at(1));
        health.probed(Probe::Silent, NONE, &RULES, at(2));
        assert_eq!(health.standing(), Standing::Suspect);
        health.probed(Probe::Silent, NONE, &RULES, at(3));
        assert_eq!(health.standing(), Standing::Down);
        let back = health.probed(Probe::Answered, NONE, &RULES, at(4)).unwrap();
        assert!(
            !back.restarted,
            "a frozen server may still hold an old request"
        );
    }

    /// A probe that was silent for as long as the next one would have waited is followed at once: a
    /// server that is restarted while probes to it are lost is looked at before long.
    #[test]
    fn a_silent_probe_is_followed_without_a_pause() {
        let mut health = up();
        assert!(health.tick(at(2_000)).0);
        health.probed(Probe::Silent, NONE, &RULES, at(3_000));
        assert!(health.tick(at(3_000)).0, "an interval has passed already");
        health.probed(Probe::Silent, NONE, &RULES, at(3_001));
        assert!(!health.tick(at(3_999)).0, "what fails at once is paced");
        assert!(health.tick(at(4_000)).0);
        health.probed(Probe::Answered, NONE, &RULES, at(4_900));
        assert!(!health.tick(at(5_899)).0);
        assert!(health.tick(at(5_900)).0, "an answer begins an interval");
    }

    /// Sends so many silent probes, one a second from `from_s` on, each given up after a second, and
    /// returns the standing after the last.
    fn silent_probes(health: &mut Health, from_s: u64, count: u64, vitals: Vitals) -> Standing {
        for second in from_s..from_s + count {
            health.under_way = Some(UnderWay {
                sent_at: at(second * 1000),
                is_outdated: false,
            });
            health.probed(Probe::Silent, vitals, &RULES, at(second * 1000 + 999));
        }
        health.standing()
    }

    /// An instance that works on a heavy body answers no probe, and is suspect for the time that the body
    /// may take; then it is down like any other. Without such a body two silent probes are enough.
    #[test]
    fn a_busy_instance_is_suspect_and_not_down_for_a_bounded_time() {
        let busy = Vitals {
            heavy_bytes: 8 * 1024 * 1024,
            ..NONE
        };
        let bound = silence_max(busy.heavy_bytes).as_secs();
        let mut health = up();
        let standing = silent_probes(&mut health, 10, bound - 1, busy);
        assert_eq!(standing, Standing::Suspect);
        assert_eq!(
            silent_probes(&mut health, 9 + bound, 2, busy),
            Standing::Down
        );
        let mut idle = up();
        assert_eq!(silent_probes(&mut idle, 10, 1, NONE), Standing::Suspect);
        assert_eq!(silent_probes(&mut idle, 11, 1, NONE), Standing::Down);
    }

    /// An instance that answers other requests is not down, however late its probes are; and what it
    /// answered before it fell silent delays nothing.
    #[test]
    fn any_answer_is_a_sign_of_life() {
        let answered = |ms| Vitals {
            answered_ago: Some(Duration::from_millis(ms)),
            ..NONE
        };
        let mut alive = up();
        let standing = silent_probes(&mut alive, 10, 60, answered(500));
        assert_eq!(standing, Standing::Suspect);
        let mut between = up();
        assert_eq!(silent_probes(&mut between, 10, 1, NONE), Standing::Suspect);
        let standing = silent_probes(&mut between, 11, 1, answered(1_500));
        assert_eq!(standing, Standing::Suspect, "the row begins again");
        assert_eq!(
            silent_probes(&mut between, 12, 1, answered(2_500)),
            Standing::Down
        );
    }

    /// A request that ends without an answer asks for a probe and says nothing of the instance.
    #[test]
    fn a_closed_connection_is_the_requests_failure() {
        let mut health = up();
        assert_eq!(health.noticed(Sign::Closed, at(5)), None);
        assert_eq!(health.standing(), Standing::Up);
        assert!(health.tick(at(5)).0);
    }

    /// An operator's word brings no request to a server that is not there: when it is back, a probe
    /// looks at its data first.
    #[test]
    fn an_operators_word_makes_no_dead_instance_usable() {
        let mut health = up();
        health.probed(Probe::Refused, NONE, &RULES, at(10));
        health.force(Standing::Suspect, at(1000), at(20));
        assert_eq!(health.usable(), Standing::Down);
        health.probed(Probe::Past, NONE, &RULES, at(30));
        assert_eq!(health.usable(), Standing::Suspect);
    }

    /// An operator's word lifts a suspicion, but replaces no probe: neither at the start, nor after the
    /// instance was out of reach for a request, nor after it was silent for so long that it is down.
    #[test]
    fn an_operators_word_makes_no_unknown_instance_usable() {
        let until = at(100_000);
        let mut unknown = Health::new(at(0));
        let mut unreachable = up();
        unreachable.noticed(Sign::Refused, at(2_000));
        let mut silent = up();
        for _ in 0..RULES.silent_max {
            silent.probed(Probe::Silent, NONE, &RULES, at(2_000));
        }
        for health in [&mut unknown, &mut unreachable, &mut silent] {
            for word in [Standing::Up, Standing::Suspect] {
                health.force(word, until, at(2_001));
                assert_eq!(health.usable(), Standing::Down);
            }
            health.force(Standing::Up, until, at(2_002));
            health.probed(Probe::Answered, NONE, &RULES, at(2_003));
            assert_eq!(health.usable(), Standing::Up);
            health.probed(Probe::Silent, NONE, &RULES, at(2_004));
            assert_eq!(health.usable(), Standing::Up, "a suspicion is lifted");
            let down = health.probed(Probe::Refused, NONE, &RULES, at(2_005));
            assert_eq!(down.map(|down| down.to), Some(Standing::Down));
        }
    }

    /// An operator's word holds against probes, and ends.
    #[test]
    fn an_operators_word_holds_for_its_time() {
        let mut health = up();
        health.force(Standing::Down, at(100), at(0));
        health.probed(Probe::Answered, NONE, &RULES, at(50));
        assert_eq!(health.standing(), Standing::Down);
        let (_, back) = health.tick(at(100));
        assert_eq!(back.unwrap().to, Standing::Up);
    }
}
