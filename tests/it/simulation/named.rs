//! Named cases: plans that once showed a bug. They stay.
