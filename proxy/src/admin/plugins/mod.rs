//! Versions of policy plugins, as operators see and change them.

mod documents;

use achromat_core::{
    policy::{Digest, Origin, Rules, Share, Slot, Trial, TrialKind},
    reply::Reply,
};
use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};

pub(super) use self::documents::OneTrial;
use self::documents::{All, Comparison, Done, OneSlot};
use super::{Admin, json, problem};
use crate::plugins::{LifeError, Offer, Swapped, is_name};

/// Characters of who does something.
const WHO_CHARS_MAX: usize = 128;

/// Change that an operator makes to a slot's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Push,
    Swap,
    RollBack,
    Shadow,
    Canary,
    EndTrial,
}

/// Description of a pushed component: the first line of the body, when the body begins with a brace.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Label {
    name: Option<String>,
    digest: Option<String>,
    /// Contents of the signature file that minisign made for the component.
    signature: Option<String>,
    config: String,
    swap: bool,
    again: bool,
    who: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedSwap {
    to: String,
    who: Option<String>,
    /// True to put a version into service that was taken out for its troubles.
    #[serde(default)]
    again: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    who: Option<String>,
}

/// A trial that is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    version: String,
    /// The version on trial that this one takes the place of.
    replaces: Option<String>,
    share: Option<f64>,
    tenant: Option<String>,
    collection: Option<String>,
    troubles_max: Option<u64>,
    divergence_max: Option<f64>,
    decisions_min: Option<u64>,
    promote: Option<bool>,
}

impl Wanted {
    fn trial(self, kind: TrialKind) -> Result<(String, Trial), Reply> {
        let shares = [
            self.share.map(Share::Of),
            self.tenant.map(Share::Tenant),
            self.collection.map(Share::Collection),
        ];
        let mut shares = shares.into_iter().flatten();
        let share = match (shares.next(), shares.next(), kind) {
            (Some(share), None, _) => share,
            (None, _, TrialKind::Shadow) => Share::Of(1.0),
            _ => {
                let detail = "Say one of share (above 0, up to 1), tenant and collection";
                return Err(problem(400, "Bad trial", detail));
            }
        };
        let usual = Rules::default();
        let rules = Rules {
            troubles_max: self.troubles_max.unwrap_or(usual.troubles_max),
            divergence_max: self.divergence_max.unwrap_or(usual.divergence_max),
            decisions_min: self.decisions_min.unwrap_or(usual.decisions_min),
            promotes: self.promote.unwrap_or(usual.promotes),
        };
        Ok((self.version, Trial { kind, share, rules }))
    }
}

fn parse<T: DeserializeOwned>(body: &[u8], like: &str) -> Result<T, Reply> {
    serde_json::from_slice(body).map_err(|error| {
        let detail = format!("The body must be like {like}: {error}");
        problem(400, "Bad body", &detail)
    })
}

fn who(named: Option<String>) -> Result<String, Reply> {
    let who = named.unwrap_or_else(|| "operator".to_owned());
    let is_plain = !who.chars().any(char::is_control);
    if is_plain && (1..=WHO_CHARS_MAX).contains(&who.chars().count()) {
        return Ok(who);
    }
    let detail = format!("who is a name of 1 to {WHO_CHARS_MAX} characters");
    Err(problem(400, "Bad body", &detail))
}

fn refused(error: &LifeError) -> Reply {
    let (status, title) = match error {
        LifeError::Unfit { .. } | LifeError::OtherDigest { .. } => (422, "Unfit plugin"),
        LifeError::Supply { .. } => (422, "Not the plugin that is meant"),
        LifeError::Name { .. } | LifeError::Trial(_) => (400, "Bad request"),
        LifeError::NoVersion { .. } | LifeError::NoSlot { .. } => (404, "No such version"),
        LifeError::Several { .. }
        | LifeError::NothingBefore { .. }
        | LifeError::DecidesAlready(_)
        | LifeError::TakenOut { .. }
        | LifeError::OnTrial { .. }
        | LifeError::NotOnTrial { .. }
        | LifeError::Lost { .. } => (409, "Can't be done now"),
        LifeError::Store(_) => (503, "The store can't be reached"),
        LifeError::Engine(_)
        | LifeError::Configured { .. }
        | LifeError::Unreadable { .. }
        | LifeError::ConfigGone { .. }
        | LifeError::Compiler(_) => (500, "Plugins can't be run"),
    };
    problem(status, title, &error.to_string())
}

fn slot_named(name: &str) -> Result<Slot, Reply> {
    Slot::parse(name).ok_or_else(|| {
        let names: Vec<_> = Slot::ALL.iter().map(|slot| slot.as_str()).collect();
        let detail = format!("There is no slot {name:?}; there are {}", names.join(", "));
        problem(404, "No such slot", &detail)
    })
}

fn done(slot: Slot, swapped: Swapped, otherwise: &'static str) -> Reply {
    let status = match swapped.seq {
        Some(_) => "swapped",
        None => otherwise,
    };
    let done = Done {
        slot: slot.as_str(),
        status,
        swap: swapped.seq.map(|seq| seq.0),
        version: swapped.version.map(Into::into),
    };
    json(200, &done)
}

/// Takes what is pushed apart: a line of JSON, when it begins with a brace, and the component.
fn unwrap(body: &Bytes) -> Result<(Label, Bytes), Reply> {
    if body.first() != Some(&b'{') {
        return Ok((Label::default(), body.clone()));
    }
    let end = body.iter().position(|byte| *byte == b'\n');
    let end = end.unwrap_or(body.len());
    let line = body.slice(..end);
    let like = r#"one line {"name": "x", "digest": "…", "config": "…", "swap": true}, and the component after it"#;
    let label = parse(&line, like)?;
    Ok((label, body.slice(body.len().min(end + 1)..)))
}

impl Admin {
    pub(super) fn plugins(&self, name: Option<&str>) -> Reply {
        let lifecycle = &self.facts.lifecycle;
        let stands = |slot| lifecycle.stands(slot).map(OneSlot::from);
        let Some(name) = name else {
            let slots = lifecycle.slots().filter_map(|slot| stands(slot).ok());
            return json(
                200,
                &All {
                    slots: slots.collect(),
                },
            );
        };
        match slot_named(name) {
            Ok(slot) => stands(slot).map_or_else(|error| refused(&error), |slot| json(200, &slot)),
            Err(reply) => reply,
        }
    }

    pub(super) fn differences(&self, name: &str) -> Reply {
        let stands = slot_named(name).and_then(|slot| {
            let stands = self.facts.lifecycle.stands(slot);
            stands.map_err(|error| refused(&error))
        });
        match stands {
            Ok(stands) => {
                let ended = stands.ended.as_ref().filter(|_| stands.trial.is_none());
                let differences = ended.map_or(&stands.differences, |ended| &ended.differences);
                let differences = differences.iter().cloned().map(Into::into).collect();
                let is_over = ended.is_some();
                let slot = OneSlot::from(stands);
                let comparison = Comparison {
                    differences,
                    trial: slot.trial,
                    last_trial: slot.last_trial.filter(|_| is_over),
                };
                json(200, &comparison)
            }
            Err(reply) => reply,
        }
    }

    /// The recorded decisions, one line of JSON each.
    pub(super) fn decisions(&self, name: &str) -> Reply {
        let lines = slot_named(name).and_then(|slot| {
            let lines = self.facts.lifecycle.recorded(slot);
            lines.map_err(|error| refused(&error))
        });
        match lines {
            Ok(lines) => {
                let text: String = lines
                    .iter()
                    .flat_map(|line| [line.as_ref(), "\n"])
                    .collect();
                Reply {
                    content_type: Some("application/jsonl".to_owned()),
                    ..Reply::json(200, text.into_bytes())
                }
            }
            Err(reply) => reply,
        }
    }

    pub(super) async fn change_plugins(&self, deed: Deed, name: &str, body: &Bytes) -> Reply {
        let changed = async {
            let slot = slot_named(name)?;
            match deed {
                Deed::Push => self.push_plugin(slot, body).await,
                Deed::Swap => self.swap_plugin(slot, body).await,
                Deed::RollBack => self.roll_back_plugin(slot, body).await,
                Deed::Shadow => self.try_plugin(slot, TrialKind::Shadow, body).await,
                Deed::Canary => self.try_plugin(slot, TrialKind::Canary, body).await,
                Deed::EndTrial => self.end_trial(slot).await,
            }
        };
        changed.await.unwrap_or_else(|reply| reply)
    }

    async fn push_plugin(&self, slot: Slot, body: &Bytes) -> Result<Reply, Reply> {
        let (label, bytes) = unwrap(body)?;
        let name = label.name.unwrap_or_else(|| "pushed".to_owned());
        if !is_name(&name) {
            return Err(refused(&LifeError::Name { name }));
        }
        if let Some(wanted) = label.digest {
            let is = Digest::of(&bytes);
            if !wanted.eq_ignore_ascii_case(&is.to_string()) {
                return Err(refused(&LifeError::OtherDigest { is, wanted }));
            }
        }
        let offer = Offer {
            name: name.into(),
            bytes,
            config: label.config.into(),
            origin: Origin::Operator,
            who: who(label.who)?.into(),
            swaps: label.swap,
            again: label.again,
            words: None,
            signature: label.signature.map(Into::into),
        };
        let otherwise = if label.swap { "unchanged" } else { "kept" };
        let pushed = self.facts.lifecycle.push(slot, offer).await;
        let swapped = pushed.map_err(|error| refused(&error))?;
        Ok(done(slot, swapped, otherwise))
    }

    async fn swap_plugin(&self, slot: Slot, body: &Bytes) -> Result<Reply, Reply> {
        let WantedSwap {
            to,
            who: named,
            again,
        } = parse(body, r#"{"to": "VERSION"}"#)?;
        let who = who(named)?;
        let swapped = self.facts.lifecycle.swap(slot, &to, &who, again).await;
        let swapped = swapped.map_err(|error| refused(&error))?;
        Ok(done(slot, swapped, "unchanged"))
    }

    async fn roll_back_plugin(&self, slot: Slot, body: &Bytes) -> Result<Reply, Reply> {
        let Who { who: named } = if body.is_empty() {
            Who::default()
        } else {
            parse(body, r#"{"who": "…"}, or empty"#)?
        };
        let swapped = self.facts.lifecycle.roll_back(slot, &who(named)?).await;
        let swapped = swapped.map_err(|error| refused(&error))?;
        Ok(done(slot, swapped, "unchanged"))
    }

    async fn try_plugin(&self, slot: Slot, kind: TrialKind, body: &Bytes) -> Result<Reply, Reply> {
        let like = r#"{"version": "VERSION", "share": 0.1}"#;
        let mut wanted: Wanted = parse(body, like)?;
        let replaces = wanted.replaces.take();
        let (word, trial) = wanted.trial(kind)?;
        let lifecycle = &self.facts.lifecycle;
        let tried = lifecycle.try_out(slot, &word, trial, replaces.as_deref());
        let tried = tried.await;
        tried.map_err(|error| refused(&error))?;
        Ok(self.plugins(Some(slot.as_str())))
    }

    async fn end_trial(&self, slot: Slot) -> Result<Reply, Reply> {
        let ended = self.facts.lifecycle.end_trial(slot, "operator").await;
        if !ended.map_err(|error| refused(&error))? {
            let detail = format!("Nothing is on trial in the slot {}", slot.as_str());
            return Err(problem(404, "No trial", &detail));
        }
        Ok(self.plugins(Some(slot.as_str())))
    }
}
