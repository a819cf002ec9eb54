//! The page of figures as it is written: made for one answer, and thrown away.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use achromat_core::reply::Reply;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use crate::admin::{Meter, problem};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;
type Counters = Family<Labels, Counter<f64, AtomicU64>>;

/// A page.
#[derive(Default)]
pub(super) struct Page {
    registry: Registry,
    gauges: BTreeMap<&'static str, Gauges>,
    counters: BTreeMap<&'static str, Counters>,
}

#[allow(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures beyond 2^53 are not met"
)]
pub(super) fn float(figure: u64) -> f64 {
    figure as f64
}

pub(in crate::admin) fn count(figure: usize) -> f64 {
    float(u64::try_from(figure).unwrap_or(u64::MAX))
}

impl Page {
    /// An empty page.
    pub(super) fn new() -> Self {
        Self {
            registry: Registry::with_prefix("achromat"),
            ..Self::default()
        }
    }

    /// The page as an answer.
    pub(super) fn written(&self) -> Reply {
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => Reply {
                content_type: Some(CONTENT_TYPE.to_owned()),
                ..Reply::json(200, text)
            },
            Err(error) => problem(500, "Can't be written", &error.to_string()),
        }
    }

    /// Tells if this proxy leads its fleet.
    pub(super) fn leads(&mut self, leads: bool) {
        let what = ("fleet_leads", "Whether this proxy leads its fleet");
        self.gauge(what, &Labels::new(), f64::from(u8::from(leads)));
    }

    /// Something that goes up and down.
    pub(super) fn gauge(
        &mut self,
        (name, help): (&'static str, &str),
        labels: &Labels,
        value: f64,
    ) {
        let registry = &mut self.registry;
        let family = self.gauges.entry(name).or_insert_with(|| {
            let family = Gauges::default();
            registry.register(name, help, family.clone());
            family
        });
        family.get_or_create(labels).set(value);
    }

    /// Something that only goes up.
    pub(super) fn counter(
        &mut self,
        (name, help): (&'static str, &str),
        labels: &Labels,
        value: f64,
    ) {
        let registry = &mut self.registry;
        let family = self.counters.entry(name).or_insert_with(|| {
            let family = Counters::default();
            match name.strip_suffix("_seconds") {
                Some(name) => {
                    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
                }
                None => registry.register(name, help, family.clone()),
            }
            family
        });
        family.get_or_create(labels).inc_by(value);
    }

    /// Tells what the process takes of the machine.
    pub(super) fn process(&mut self) {
        let none = Labels::new();
        for (what, value) in [
            (
                ("resident_memory_bytes", "Memory that the process has"),
                Meter::resident_bytes(),
            ),
            (
                (
                    "cpu_seconds",
                    "The processor's time that the process has taken",
                ),
                Meter::cpu_s(),
            ),
        ] {
            if let Some(value) = value {
                self.gauge(what, &none, value);
            }
        }
    }
}
