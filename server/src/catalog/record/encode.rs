//! From changes to messages.

use prost::Message;
use tidemill_planner::catalog::{
    CatalogObject, ColumnOrigin, MaterializedViewObject, ObjectKind, SinkObject, SourceColumn,
    SourceObject, ViewObject,
};
use tidemill_types::{ObjectId, OnError};

use super::types::{data_type, field, fields};
use super::{CatalogRecord, Change, FORMAT_VERSION, JobDefinition, RecordError, messages as m};
use crate::catalog::skeleton::{Skeleton, StatefulOperator};

type Result<T> = std::result::Result<T, RecordError>;

pub(super) fn record(record: &CatalogRecord) -> Result<Vec<u8>> {
    let changes = record.changes.iter().map(change).collect::<Result<_>>()?;
    Ok(m::Record { format_version: FORMAT_VERSION, changes }.encode_to_vec())
}

pub(super) fn skeleton(skeleton: &Skeleton) -> Result<Vec<u8>> {
    let operators = skeleton.0.iter().map(stateful).collect::<Result<_>>()?;
    Ok(m::Skeleton { format_version: FORMAT_VERSION, operators }.encode_to_vec())
}

fn change(change: &Change) -> Result<m::Change> {
    let kind = match change {
        Change::Create { object, job } => {
            m::ChangeKind::Create(self::object(object, job.as_deref())?)
        }
        Change::Feed { sink, depends_on, job } => m::ChangeKind::Feed(m::Feed {
            sink: sink.0,
            depends_on: ids(depends_on),
            job: Some(self::job(job)?),
        }),
        Change::Drop { ids: dropped } => m::ChangeKind::Drop(m::Ids { ids: ids(dropped) }),
        Change::SetParallelism { object, parallelism } => {
            let (object, parallelism) = (object.0, *parallelism);
            m::ChangeKind::SetParallelism(m::SetParallelism { object, parallelism })
        }
        Change::CreateSchema { name } => m::ChangeKind::CreateSchema(name.clone()),
        Change::DropSchema { name } => m::ChangeKind::DropSchema(name.clone()),
    };
    Ok(m::Change { kind: Some(kind) })
}

fn object(object: &CatalogObject, job: Option<&JobDefinition>) -> Result<m::Object> {
    let job = job.map(self::job).transpose()?;
    let kind = match &object.kind {
        ObjectKind::Source(s) => m::ObjectKind::Source(source(s)?),
        ObjectKind::View(v) => m::ObjectKind::View(view(v)?),
        ObjectKind::MaterializedView(v) => {
            m::ObjectKind::MaterializedView(materialized_view(v, job)?)
        }
        ObjectKind::Sink(s) => m::ObjectKind::Sink(sink(s, job)?),
        ObjectKind::System { .. } => {
            return Err(RecordError::Invalid("a system relation is not stored"));
        }
    };
    Ok(m::Object {
        id: object.id.0,
        schema: object.name.schema.clone(),
        name: object.name.name.clone(),
        sql: object.sql.clone(),
        depends_on: ids(&object.depends_on),
        kind: Some(kind),
    })
}

fn source(source: &SourceObject) -> Result<m::Source> {
    Ok(m::Source {
        connector: source.connector.clone(),
        options: source.options.clone(),
        columns: source.columns.iter().map(source_column).collect::<Result<_>>()?,
        watermark: source
            .watermark
            .as_ref()
            .map(|w| m::Watermark { column: w.column.clone(), expression: w.expression.clone() }),
        bounded: source.bounded,
        on_error: match source.on_error {
            OnError::Drop => m::OnError::Drop,
            OnError::Fail => m::OnError::Fail,
        } as i32,
        loose_names: source.loose_names,
    })
}

fn source_column(column: &SourceColumn) -> Result<m::SourceColumn> {
    let origin = match &column.origin {
        ColumnOrigin::Connector { physical_name } => m::Origin::Connector(physical_name.clone()),
        ColumnOrigin::Generated { expression } => m::Origin::Generated(expression.clone()),
    };
    Ok(m::SourceColumn { field: Some(field(&column.field)?), origin: Some(origin) })
}

fn view(view: &ViewObject) -> Result<m::View> {
    Ok(m::View {
        schema: fields(&view.schema)?,
        query: view.query.clone(),
        search_path: view.search_path.clone(),
    })
}

fn materialized_view(
    view: &MaterializedViewObject,
    job: Option<m::Job>,
) -> Result<m::MaterializedView> {
    Ok(m::MaterializedView {
        job,
        stored: fields(&view.stored)?,
        visible: number(view.visible)?,
        key: view.key.iter().map(|k| number(*k)).collect::<Result<_>>()?,
    })
}

fn sink(sink: &SinkObject, job: Option<m::Job>) -> Result<m::Sink> {
    Ok(m::Sink {
        job,
        connector: sink.connector.clone(),
        options: sink.options.clone(),
        schema: fields(&sink.schema)?,
        incarnation: sink.incarnation,
    })
}

fn job(job: &JobDefinition) -> Result<m::Job> {
    Ok(m::Job {
        id: job.job.0,
        sql: job.sql.clone(),
        settings: job.settings.clone(),
        first_table: job.first_table.0,
        tables: job.tables,
        skeleton: job.skeleton.0.iter().map(stateful).collect::<Result<_>>()?,
    })
}

fn stateful(operator: &StatefulOperator) -> Result<m::SkeletonOperator> {
    Ok(m::SkeletonOperator {
        operator: operator.operator.0,
        kind: operator.kind.clone(),
        keys: operator.keys.iter().map(data_type).collect::<Result<_>>()?,
        values: operator.values.iter().map(data_type).collect::<Result<_>>()?,
        distribution: operator.distribution.clone(),
        tables: operator.tables,
        detail: operator.detail.clone(),
        source: operator.source.map(|source| source.0),
    })
}

fn ids(ids: &[ObjectId]) -> Vec<u32> {
    ids.iter().map(|id| id.0).collect()
}

fn number(value: usize) -> Result<u32> {
    u32::try_from(value).map_err(|_| RecordError::Invalid("a position out of range"))
}
