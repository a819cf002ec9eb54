//! Giving an instance its marker, and renewing the marker's token.
//!
//! The instance is written to first, and what it then has is made durable: whenever this is cut
//! off, the instance shows at least what is known of it. A request that still arrives late carries
//! a token that is no lower, because the next try takes the same one.

use bytes::Bytes;
use serde_json::json;

use super::{
    Finding, Port, Stopped,
    chroma::{Address, unreadable},
};
use crate::{
    catalog::{Change, Marker},
    ids::{InstanceIx, LaneId, Token},
    marker::{MARKER, OWN, Shown, TOKEN},
    route::Action,
};

/// Gives an instance in service a token that it never had; and a marker, if a reset has taken it.
pub(crate) async fn renew(port: Port, instance: InstanceIx) -> Result<Finding, Stopped> {
    port.stage(|stage| stage.doing = "marking the instance");
    let Some(known) = port.catalog().instance(instance).marker else {
        return Err(Stopped::because("the instance is not known yet"));
    };
    if known.is_to_be_made() {
        return make(&port, instance).await;
    }
    let token = raise(&port, instance, known).await?;
    if port.catalog().instance(instance).marker != Some(known) {
        return Err(Stopped::because("the instance was reset meanwhile"));
    }
    let change = Change::Token { instance, token };
    port.settle(Vec::new(), vec![change]).await;
    Ok(Finding::Done)
}

/// Gives the instance its marker again; no other reset comes in between.
async fn make(port: &Port, instance: InstanceIx) -> Result<Finding, Stopped> {
    port.hold(LaneId::Schema, &[instance]).await;
    let marker = mark(port, instance).await?;
    let mut record = port.catalog().instance(instance);
    record.marker = Some(marker);
    port.settle(Vec::new(), vec![Change::Instance { instance, record }])
        .await;
    port.release(LaneId::Schema).await;
    Ok(Finding::Done)
}

/// Makes sure that the instance has its marker, with a token that neither it nor we have seen.
pub(crate) async fn mark(port: &Port, instance: InstanceIx) -> Result<Marker, Stopped> {
    let known = port.catalog().instance(instance).marker;
    port.ensure(instance, Action::CreateTenant, &Address::default(), OWN)
        .await?;
    port.ensure(instance, Action::CreateDatabase, &Address::tenant(OWN), OWN)
        .await?;
    let within = Address::database(OWN, OWN);
    port.ensure(instance, Action::CreateCollection, &within, MARKER)
        .await?;
    let shown = shown(port, instance).await?;
    let shown = shown.ok_or_else(|| unreadable("the marker"))?;
    let last = known.map_or(shown.token, |known| known.token.max(shown.token));
    let token = last.next();
    write(
        port,
        instance,
        Marker {
            id: shown.id,
            token,
        },
    )
    .await
}

/// Returns true when an instance has a marker, be it of another time.
pub(crate) async fn is_marked(port: &Port, instance: InstanceIx) -> Result<bool, Stopped> {
    Ok(shown(port, instance).await?.is_some())
}

/// The next token of an instance that shows its marker, and no token from the past.
async fn raise(port: &Port, instance: InstanceIx, known: Marker) -> Result<Token, Stopped> {
    let shown = shown(port, instance).await?;
    let is_known = |shown: &Shown| shown.id == known.id && shown.token >= known.token;
    let Some(shown) = shown.filter(is_known) else {
        return Err(Stopped::because("its marker is not the one that is known"));
    };
    let token = shown.token.next();
    let marker = write(port, instance, Marker { token, ..known }).await?;
    Ok(marker.token)
}

async fn shown(port: &Port, instance: InstanceIx) -> Result<Option<Shown>, Stopped> {
    let address = Address::named(OWN, OWN, MARKER);
    let reply = port
        .request(instance, Action::GetCollection, &address, None)
        .await?;
    match reply.status {
        404 => Ok(None),
        200..=299 => Shown::parse(&reply.body)
            .map(Some)
            .ok_or_else(|| unreadable("the marker")),
        status => Err(Stopped::because(format!(
            "the marker was answered {status}"
        ))),
    }
}

async fn write(port: &Port, instance: InstanceIx, marker: Marker) -> Result<Marker, Stopped> {
    let address = Address::named(OWN, OWN, &marker.id.to_string());
    let body = json!({ "new_metadata": { TOKEN: marker.token.0 } });
    let body = Bytes::from(body.to_string());
    port.must(instance, Action::UpdateCollection, &address, Some(body))
        .await?;
    Ok(marker)
}
