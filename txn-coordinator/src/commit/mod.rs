//! The commit: its pure core and what drives it.
