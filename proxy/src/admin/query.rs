//! Parameters of a query.

use std::str::FromStr;

use achromat_core::{
    ids::DEFAULT_TENANT,
    route::{Target, decode},
};

/// The tenant whose key is asked for: `?tenant=NAME`, or the default one.
pub(super) fn tenant_asked(target: &Target<'_>) -> String {
    parameter(target, "tenant").unwrap_or_else(|| DEFAULT_TENANT.to_owned())
}

/// A number of the query. Fails with a description of the mistake.
pub(super) fn number<T: FromStr>(target: &Target<'_>, name: &str) -> Result<Option<T>, String> {
    let parse = |text: String| {
        let parsed = text.parse();
        parsed.map_err(|_| format!("{name} is a whole number, and not {text:?}"))
    };
    parameter(target, name).map(parse).transpose()
}

/// A parameter of the query.
pub(super) fn parameter(target: &Target<'_>, name: &str) -> Option<String> {
    let query = target.query.unwrap_or_default();
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(named, _)| *named == name)?;
    let decoded = decode(value).ok()?;
    Some(decoded.into_owned())
}
