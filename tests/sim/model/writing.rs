//! Writes of records: what is checked, in Chroma's order, and what is changed.

use std::sync::Arc;

use super::{
    Server,
    answers::{Answer, Deleted, Handled, Refused},
    bodies::{
        self, AddRecords, DeleteRecords, Embedding, SomeEmbeddings, UpdateRecords, UpsertRecords,
        WriteRecords,
    },
    fields::{Changes, are_names},
    filter,
    records::{Change, Records},
    schema::{Collection, Place, changed, size},
};

/// A write whose body was read.
struct Write {
    ids: Vec<Arc<str>>,
    embeddings: Option<Vec<Option<Embedding>>>,
    documents: Option<Vec<Option<Arc<str>>>>,
    uris: Option<Vec<Option<Arc<str>>>>,
    metadatas: Option<Vec<Option<Changes>>>,
}

impl From<UpsertRecords> for Write {
    fn from(body: UpsertRecords) -> Self {
        UpdateRecords {
            ids: body.ids,
            embeddings: Some(SomeEmbeddings(
                body.embeddings.0.into_iter().map(Some).collect(),
            )),
            documents: body.documents,
            uris: body.uris,
            metadatas: body.metadatas,
        }
        .into()
    }
}

impl From<AddRecords> for Write {
    fn from(body: AddRecords) -> Self {
        let set = |fields: super::Fields| -> Changes {
            let fields = fields.into_iter();
            fields.map(|(name, value)| (name, Some(value))).collect()
        };
        let metadatas = body.metadatas.map(|metadatas| {
            let metadatas = metadatas.into_iter();
            metadatas.map(|fields| fields.map(set)).collect()
        });
        WriteRecords {
            ids: body.ids,
            embeddings: body.embeddings,
            documents: body.documents,
            uris: body.uris,
            metadatas,
        }
        .into()
    }
}

impl From<UpdateRecords> for Write {
    fn from(body: UpdateRecords) -> Self {
        Self {
            ids: body.ids,
            embeddings: body.embeddings.map(|embeddings| embeddings.0),
            documents: body.documents,
            uris: body.uris,
            metadatas: body.metadatas,
        }
    }
}

impl Server {
    pub(super) fn add(&mut self, place: Place<'_>, id: &str, body: &[u8]) -> Handled {
        let write = bodies::read::<AddRecords>(body)?.into();
        self.write(place, id, write, Records::add)?;
        Ok(Answer::done(201))
    }

    pub(super) fn upsert(&mut self, place: Place<'_>, id: &str, body: &[u8]) -> Handled {
        let write = bodies::read::<UpsertRecords>(body)?.into();
        self.write(place, id, write, Records::upsert)?;
        Ok(Answer::done(200))
    }

    pub(super) fn update(&mut self, place: Place<'_>, id: &str, body: &[u8]) -> Handled {
        let write = bodies::read::<UpdateRecords>(body)?.into();
        self.write(place, id, write, |records, id, change| {
            records.update(id, change);
        })?;
        Ok(Answer::done(200))
    }

    fn write(
        &mut self,
        place: Place<'_>,
        id: &str,
        write: Write,
        take: fn(&mut Records, &Arc<str>, Change),
    ) -> Result<(), Refused> {
        place.check()?;
        let collection = self.collection_mut(id)?;
        let changes = Changed::read(write)?;
        changes.check_values()?;
        if let Some(dimension) = changes.dimension()? {
            changed(collection).expect_dimension(dimension)?;
        }
        // The dimension stays set when what follows refuses the write.
        changes.check_ids()?;
        let collection = changed(collection);
        for (id, change) in changes.each() {
            take(&mut collection.records, &id, change);
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, place: Place<'_>, id: &str, body: &[u8]) -> Handled {
        let DeleteRecords { ids, filter, limit } = bodies::read(body)?;
        place.check()?;
        let collection = self.collection_mut(id)?;
        let filter = filter::read(&filter)?;
        if filter.is_none() && limit.is_some() {
            return Err(Refused::invalid(
                "Validation error: limit, where: limit can only be specified when a where clause is provided",
            ));
        }
        let gone: Vec<Arc<str>> = match (ids, filter) {
            (Some(ids), None) if ids.is_empty() => {
                return Err(Refused::invalid(
                    "Validation error: ids, where: Either ids or where must be specified",
                ));
            }
            // Ids that do not exist count as well, and so do those that stand there twice.
            (ids, None) => ids.unwrap_or_default(),
            (ids, Some(filter)) => {
                filter.check_indexed()?;
                let found = collection.records.among(ids.as_deref());
                let met = found.filter(|(_, record)| filter.takes(record));
                met.take(size(limit.unwrap_or(u32::MAX)))
                    .map(|(id, _)| Arc::clone(id))
                    .collect()
            }
        };
        for id in &gone {
            changed(collection).records.remove(id);
        }
        let deleted = gone.len();
        Ok(Answer::json(200, &Deleted { deleted }))
    }
}

impl Collection {
    /// The first write sets the dimension.
    fn expect_dimension(&mut self, got: usize) -> Result<(), Refused> {
        let expected = *self.dimension.get_or_insert(got);
        check_dimension(expected, got)
    }
}

pub(super) fn check_dimension(expected: usize, got: usize) -> Result<(), Refused> {
    if expected != got {
        return Err(Refused::invalid(format!(
            "Collection expecting embedding with dimension of {expected}, got {got}"
        )));
    }
    Ok(())
}

/// The one length of some embeddings, if there is any.
pub(super) fn one_length<'a>(
    embeddings: impl Iterator<Item = &'a [f32]>,
) -> Result<Option<usize>, Refused> {
    let mut lengths = embeddings.map(<[f32]>::len);
    let first = lengths.next();
    if !lengths.all(|length| Some(length) == first) {
        return Err(Refused::invalid(
            "Inconsistent dimensions in provided embeddings",
        ));
    }
    Ok(first)
}

/// A write with its embeddings as numbers.
struct Changed {
    ids: Vec<Arc<str>>,
    embeddings: Option<Vec<Option<Arc<[f32]>>>>,
    documents: Option<Vec<Option<Arc<str>>>>,
    uris: Option<Vec<Option<Arc<str>>>>,
    metadatas: Option<Vec<Option<Changes>>>,
}

impl Changed {
    fn read(write: Write) -> Result<Self, Refused> {
        let numbers = |embedding: Option<Embedding>| embedding.map(bodies::numbers).transpose();
        let embeddings = write
            .embeddings
            .map(|embeddings| embeddings.into_iter().map(numbers).collect());
        Ok(Self {
            ids: write.ids,
            embeddings: embeddings.transpose()?,
            documents: write.documents,
            uris: write.uris,
            metadatas: write.metadatas,
        })
    }

    fn given_embeddings(&self) -> impl Iterator<Item = &[f32]> {
        self.embeddings
            .iter()
            .flatten()
            .flatten()
            .map(AsRef::as_ref)
    }

    fn dimension(&self) -> Result<Option<usize>, Refused> {
        one_length(self.given_embeddings())
    }

    fn check_values(&self) -> Result<(), Refused> {
        let mut complaints = Vec::new();
        let metadatas = self.metadatas.iter().flatten().enumerate();
        for (at, fields) in metadatas {
            let is_good = fields
                .as_ref()
                .is_none_or(|fields| are_names(fields.keys()));
            if !is_good {
                complaints.push(format!("metadatas: Invalid metadata at index {at}"));
                break;
            }
        }
        if self.given_embeddings().any(<[f32]>::is_empty) {
            let text = "embeddings: Each embedding must have at least 1 dimension";
            complaints.push(text.to_owned());
        } else if !self
            .given_embeddings()
            .flatten()
            .all(|number| number.is_finite())
        {
            let text = "embeddings: Embeddings must not contain NaN or Infinity values";
            complaints.push(text.to_owned());
        }
        if complaints.is_empty() {
            return Ok(());
        }
        let complaints = complaints.join("\n");
        Err(Refused::invalid(format!("Validation error: {complaints}")))
    }

    fn check_ids(&self) -> Result<(), Refused> {
        let lengths = [
            self.embeddings.as_ref().map(Vec::len),
            self.documents.as_ref().map(Vec::len),
            self.uris.as_ref().map(Vec::len),
            self.metadatas.as_ref().map(Vec::len),
        ];
        if lengths
            .iter()
            .flatten()
            .any(|length| *length != self.ids.len())
        {
            return Err(Refused::invalid(
                "Inconsistent number of IDs, embeddings, documents, URIs and metadatas",
            ));
        }
        if self.ids.iter().any(|id| id.is_empty()) {
            return Err(Refused::invalid(
                "Empty ID, ID must have at least one character",
            ));
        }
        Ok(())
    }

    fn each(self) -> impl Iterator<Item = (Arc<str>, Change)> {
        let mut embeddings = self.embeddings.into_iter().flatten();
        let mut documents = self.documents.into_iter().flatten();
        let mut uris = self.uris.into_iter().flatten();
        let mut metadatas = self.metadatas.into_iter().flatten();
        self.ids.into_iter().map(move |id| {
            let change = Change {
                embedding: embeddings.next().flatten(),
                document: documents.next().flatten(),
                uri: uris.next().flatten(),
                metadata: metadatas.next().flatten(),
            };
            (id, change)
        })
    }
}
