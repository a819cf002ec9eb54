//! Reads of records: counting, getting, and searching by comparing with every record.

use std::sync::Arc;

use super::{
    Server,
    answers::{Answer, Columns, GetAnswer, Handled, QueryAnswer, Refused},
    bodies::{self, GetRecords, Include, QueryRecords},
    filter::{self, Filter},
    records::Record,
    schema::{Collection, Page, Place, size},
    writing::{check_dimension, one_length},
};

/// How many records a search finds when the request does not say.
const RESULTS: u32 = 10;

/// A record that was found.
type Found<'a> = (&'a Arc<str>, &'a Arc<Record>);

impl Server {
    pub(super) fn count(&self, place: Place<'_>, id: &str) -> Handled {
        place.check()?;
        Ok(Answer::json(200, &self.collection(id)?.records.len()))
    }

    pub(super) fn get(&self, place: Place<'_>, id: &str, body: &[u8]) -> Handled {
        let request: GetRecords = bodies::read(body)?;
        place.check()?;
        let collection = self.collection(id)?;
        let filter = filter::read(&request.filter)?;
        filter.as_ref().map_or(Ok(()), Filter::check_indexed)?;
        let page = Page {
            limit: request.limit,
            offset: request.offset,
        };
        let found = collection.records.among(request.ids.as_deref());
        let is_met = |(_, record): &Found<'_>| {
            let filter = filter.as_ref();
            filter.is_none_or(|filter| filter.takes(record))
        };
        let found = page.of(found.filter(is_met));
        let answer = GetAnswer {
            found: Columns::of(&found, &request.include),
            include: &request.include,
        };
        Ok(Answer::json(200, &answer))
    }

    pub(super) fn query(&self, place: Place<'_>, id: &str, body: &[u8]) -> Handled {
        let request: QueryRecords = bodies::read(body)?;
        place.check()?;
        let collection = self.collection(id)?;
        let filter = filter::read(&request.filter)?;
        let embeddings = request.query_embeddings.iter().map(Vec::as_slice);
        if let Some(dimension) = one_length(embeddings.clone())? {
            check_dimension(collection.dimension.unwrap_or(dimension), dimension)?;
        }
        let ids = request.ids.as_deref();
        match &filter {
            Some(filter) => filter.check_indexed()?,
            None => collection.check_searched(ids.unwrap_or_default())?,
        }
        let candidates: Vec<Found<'_>> = collection
            .records
            .among(ids)
            .filter(|(_, record)| filter.as_ref().is_none_or(|filter| filter.takes(record)))
            .collect();
        let results_max = size(request.n_results.unwrap_or(RESULTS));
        let nearest = embeddings.map(|wanted| nearest(&candidates, wanted, results_max));
        let answer = QueryAnswer::of(nearest, &request.include);
        Ok(Answer::json(200, &answer))
    }
}

impl Collection {
    /// Chroma's index fails when it is to search among ids that it does not have, unless there is
    /// no index yet or a filter has sorted them out before.
    fn check_searched(&self, ids: &[Arc<str>]) -> Result<(), Refused> {
        if self.dimension.is_some() && ids.iter().any(|id| !self.records.has(id)) {
            return Err(Refused::internal(
                "Error executing plan: Internal error: Error finding id",
            ));
        }
        Ok(())
    }
}

/// The nearest candidates, and how far they are.
fn nearest<'a>(
    candidates: &[Found<'a>],
    wanted: &[f32],
    results_max: usize,
) -> Vec<(f32, Found<'a>)> {
    let far = |found: &Found<'a>| (distance(&found.1.embedding, wanted), *found);
    let mut results: Vec<_> = candidates.iter().map(far).collect();
    results.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    results.truncate(results_max);
    results
}

/// The square of the Euclidean distance: Chroma's `l2`.
fn distance(one: &[f32], other: &[f32]) -> f32 {
    let pairs = one.iter().zip(other);
    pairs.map(|(a, b)| (a - b) * (a - b)).sum()
}

impl<'a> Columns<'a> {
    fn of(found: &[Found<'a>], include: &[Include]) -> Self {
        let records = || found.iter().map(|&(_, record)| record);
        let has = |part| include.contains(&part);
        Self {
            ids: found.iter().map(|&(id, _)| id.as_ref()).collect(),
            embeddings: has(Include::Embeddings)
                .then(|| records().map(|record| record.embedding.as_ref()).collect()),
            documents: has(Include::Documents)
                .then(|| records().map(|record| record.document.as_deref()).collect()),
            uris: has(Include::Uris)
                .then(|| records().map(|record| record.uri.as_deref()).collect()),
            metadatas: has(Include::Metadatas)
                .then(|| records().map(|record| record.shown_metadata()).collect()),
        }
    }
}

impl<'a> QueryAnswer<'a> {
    fn of(results: impl Iterator<Item = Vec<(f32, Found<'a>)>>, include: &'a [Include]) -> Self {
        let wants = |part| include.contains(&part);
        let mut answer = Self {
            ids: Vec::new(),
            embeddings: wants(Include::Embeddings).then(Vec::new),
            documents: wants(Include::Documents).then(Vec::new),
            uris: wants(Include::Uris).then(Vec::new),
            metadatas: wants(Include::Metadatas).then(Vec::new),
            distances: wants(Include::Distances).then(Vec::new),
            include,
        };
        for result in results {
            let found: Vec<_> = result.iter().map(|(_, found)| *found).collect();
            let columns = Columns::of(&found, include);
            answer.ids.push(columns.ids);
            append(&mut answer.embeddings, columns.embeddings);
            append(&mut answer.documents, columns.documents);
            append(&mut answer.uris, columns.uris);
            append(&mut answer.metadatas, columns.metadatas);
            let distances = result.iter().map(|(distance, _)| *distance).collect();
            append(&mut answer.distances, Some(distances));
        }
        answer
    }
}

/// Appends a column where that column was asked for.
fn append<T>(columns: &mut Option<Vec<T>>, column: Option<T>) {
    if let (Some(columns), Some(column)) = (columns, column) {
        columns.push(column);
    }
}
