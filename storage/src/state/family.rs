//! Column families: tables that are read alike lie together.

/// Where a table's entries are kept, by how they are read. The order of
/// [`Family::ALL`] and the names are part of the format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// Groups of aggregates: single keys, by hash.
    Aggregate,
    /// Anything that expires with time: slices, dropped whole.
    Window,
    /// Contents of materialized views: in key order, by ranges.
    View,
    /// Sides of joins: all entries of one key, by hash.
    Join,
    /// Ordered multisets (top-N, minima and maxima): short ranges in order.
    Ordered,
    /// Source positions, watermarks, timers: little, read once.
    Meta,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 6] = [
        Family::Aggregate,
        Family::Window,
        Family::View,
        Family::Join,
        Family::Ordered,
        Family::Meta,
    ];

    /// The stable name, in file names and manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Aggregate => "agg",
            Family::Window => "window",
            Family::View => "view",
            Family::Join => "join",
            Family::Ordered => "ordered",
            Family::Meta => "meta",
        }
    }

    /// The family of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Family> {
        Family::ALL.into_iter().find(|f| f.name() == name)
    }

    /// The position in [`Family::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_positions_are_pinned() {
        let names: Vec<_> = Family::ALL.iter().map(|f| f.name()).collect();
        assert_eq!(names, ["agg", "window", "view", "join", "ordered", "meta"]);
        for (position, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family.index(), position);
            assert_eq!(Family::from_name(family.name()), Some(family));
        }
        assert_eq!(Family::from_name("aggregate"), None);
    }
}
