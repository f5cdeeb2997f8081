//! Identifiers. Each is a number with its own type, so that a fragment cannot be
//! mistaken for a job.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A catalog object: source, view, materialized view or sink. Never reused.
    ObjectId(u32), "object "
);
id!(
    /// A running plan: one per materialized view or sink. Never reused.
    JobId(u32), "job "
);
id!(
    /// A job group: the jobs that share barriers, checkpoints and recovery.
    GroupId(u32), "group "
);
id!(
    /// A fragment of one job's plan: the operators between two exchanges.
    FragmentId(u32), "fragment "
);
id!(
    /// An exchange of one job's plan.
    ExchangeId(u32), "exchange "
);
id!(
    /// An operator of one job's plan, unique within the job.
    OperatorId(u32), "operator "
);
id!(
    /// The position of a worker among the workers that run a job, from 0.
    WorkerIndex(u32), "worker "
);
id!(
    /// A table of operator state: one keyed collection of one operator. Never
    /// reused: it is the first part of every stored key.
    TableId(u32), "table "
);
