//! From messages to changes.

use std::sync::Arc;

use prost::Message;
use tidemill_planner::catalog::{
    CatalogObject, ColumnOrigin, MaterializedViewObject, ObjectKind, QualifiedName, SinkObject,
    SourceColumn, SourceObject, SourceWatermark, ViewObject,
};
use tidemill_types::{JobId, ObjectId, OnError, OperatorId, TableId};

use super::types::{to_field, to_schema, to_type};
use super::{CatalogRecord, Change, FORMAT_VERSION, JobDefinition, RecordError, messages as m};
use crate::catalog::skeleton::{Skeleton, StatefulOperator};

type Result<T> = std::result::Result<T, RecordError>;

/// The version alone, so that a record of another version is told as that,
/// whatever else has changed in it.
#[derive(Clone, PartialEq, Message)]
struct Version {
    #[prost(uint32, tag = "1")]
    format_version: u32,
}

pub(super) fn record(bytes: &[u8]) -> Result<CatalogRecord> {
    let found = Version::decode(bytes)?.format_version;
    if found != FORMAT_VERSION {
        return Err(RecordError::Version { found });
    }
    let changes = m::Record::decode(bytes)?.changes.into_iter().map(change);
    Ok(CatalogRecord { changes: changes.collect::<Result<_>>()? })
}

pub(super) fn skeleton(bytes: &[u8]) -> Result<Skeleton> {
    let found = Version::decode(bytes)?.format_version;
    if found != FORMAT_VERSION {
        return Err(RecordError::Version { found });
    }
    let operators = m::Skeleton::decode(bytes)?.operators.into_iter().map(stateful);
    Ok(Skeleton(operators.collect::<Result<_>>()?))
}

fn change(change: m::Change) -> Result<Change> {
    let kind = change.kind.ok_or(RecordError::Invalid("a change of an unknown kind"))?;
    Ok(match kind {
        m::ChangeKind::Create(o) => object(o)?,
        m::ChangeKind::Feed(f) => Change::Feed {
            sink: ObjectId(f.sink),
            depends_on: ids(f.depends_on),
            job: required_job(f.job)?,
        },
        m::ChangeKind::Drop(dropped) => Change::Drop { ids: ids(dropped.ids) },
        m::ChangeKind::SetParallelism(m::SetParallelism { object, parallelism }) => {
            Change::SetParallelism { object: ObjectId(object), parallelism }
        }
        m::ChangeKind::CreateSchema(name) => Change::CreateSchema { name },
        m::ChangeKind::DropSchema(name) => Change::DropSchema { name },
    })
}

fn object(object: m::Object) -> Result<Change> {
    let mut job = None;
    let kind = object.kind.ok_or(RecordError::Invalid("an object of an unknown kind"))?;
    let kind = match kind {
        m::ObjectKind::Source(s) => ObjectKind::Source(source(s)?),
        m::ObjectKind::View(v) => ObjectKind::View(ViewObject {
            schema: to_schema(v.schema)?,
            query: v.query,
            search_path: v.search_path,
        }),
        m::ObjectKind::MaterializedView(v) => {
            let definition = required_job(v.job)?;
            let stored = to_schema(v.stored)?;
            let inside = |k: &u32| (*k as usize) < stored.fields().len();
            if v.visible as usize > stored.fields().len() || !v.key.iter().all(inside) {
                return Err(RecordError::Invalid("a view's key is not among its columns"));
            }
            let view = MaterializedViewObject {
                job: definition.job,
                visible: v.visible as usize,
                key: v.key.iter().map(|k| *k as usize).collect(),
                stored,
            };
            job = Some(definition);
            ObjectKind::MaterializedView(view)
        }
        m::ObjectKind::Sink(s) => {
            job = s.job.map(self::job).transpose()?.map(Arc::new);
            ObjectKind::Sink(SinkObject {
                job: job.as_ref().map(|j| j.job),
                connector: s.connector,
                options: s.options,
                incarnation: s.incarnation,
                schema: to_schema(s.schema)?,
            })
        }
    };
    let object = CatalogObject {
        id: ObjectId(object.id),
        name: QualifiedName { schema: object.schema, name: object.name },
        sql: object.sql,
        depends_on: ids(object.depends_on),
        kind,
    };
    Ok(Change::Create { object: Arc::new(object), job })
}

fn source(source: m::Source) -> Result<SourceObject> {
    Ok(SourceObject {
        connector: source.connector,
        options: source.options,
        columns: source.columns.into_iter().map(source_column).collect::<Result<_>>()?,
        watermark: source
            .watermark
            .map(|w| SourceWatermark { column: w.column, expression: w.expression }),
        bounded: source.bounded,
        on_error: match m::OnError::try_from(source.on_error) {
            Ok(m::OnError::Drop) => OnError::Drop,
            Ok(m::OnError::Fail) => OnError::Fail,
            _ => return Err(RecordError::Invalid("a source without its way with errors")),
        },
        loose_names: source.loose_names,
    })
}

fn source_column(column: m::SourceColumn) -> Result<SourceColumn> {
    let missing = RecordError::Invalid("a source's column without type or origin");
    let (Some(field), Some(origin)) = (column.field, column.origin) else { return Err(missing) };
    Ok(SourceColumn {
        field: to_field(field)?,
        origin: match origin {
            m::Origin::Connector(physical_name) => ColumnOrigin::Connector { physical_name },
            m::Origin::Generated(expression) => ColumnOrigin::Generated { expression },
        },
    })
}

fn required_job(job: Option<m::Job>) -> Result<Arc<JobDefinition>> {
    let job = job.ok_or(RecordError::Invalid("a job is missing"))?;
    Ok(Arc::new(self::job(job)?))
}

fn job(job: m::Job) -> Result<JobDefinition> {
    if job.first_table.checked_add(job.tables).is_none() {
        return Err(RecordError::Invalid("state tables out of range"));
    }
    let skeleton = job.skeleton.into_iter().map(stateful).collect::<Result<_>>()?;
    Ok(JobDefinition {
        job: JobId(job.id),
        sql: job.sql,
        settings: job.settings,
        first_table: TableId(job.first_table),
        tables: job.tables,
        skeleton: Skeleton(skeleton),
    })
}

fn stateful(operator: m::SkeletonOperator) -> Result<StatefulOperator> {
    Ok(StatefulOperator {
        operator: OperatorId(operator.operator),
        kind: operator.kind,
        keys: operator.keys.into_iter().map(to_type).collect::<Result<_>>()?,
        values: operator.values.into_iter().map(to_type).collect::<Result<_>>()?,
        distribution: operator.distribution,
        tables: operator.tables,
        detail: operator.detail,
        source: operator.source.map(ObjectId),
    })
}

fn ids(ids: Vec<u32>) -> Vec<ObjectId> {
    ids.into_iter().map(ObjectId).collect()
}
