//! The machinery of the igpt command.
