//! Settings that applications make up: their names have a dot. They are texts, and nothing here looks at them.

use crate::error::{SqlError, SqlState};
use std::collections::BTreeMap;

/// What belongs to us; such names must be known.
const OURS: &str = "quorate.";

#[derive(Clone, Debug, Default)]
pub struct Custom {
    /// By name in lower case; the start's value and the present one.
    values: BTreeMap<String, (String, String)>,
}

impl Custom {
    /// Whether it is a name of this kind. 42602 for one that has a dot and is none.
    pub fn takes(name: &str) -> Result<bool, SqlError> {
        if !name.contains('.') || name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
        {
            return Ok(false);
        }
        let word = |part: &str| {
            part.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
        };
        if name.split('.').all(word) {
            return Ok(true);
        }
        Err(SqlError::new(SqlState::INVALID_NAME, format!("invalid configuration parameter name \"{name}\""))
            .detail("Custom parameter names must be two or more simple identifiers separated by dots."))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_lowercase()).map(|(_, now)| now.as_str())
    }

    pub fn set(&mut self, name: &str, value: String) {
        self.values.entry(name.to_lowercase()).or_default().1 = value;
    }

    pub fn set_initial(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_lowercase(), (value.to_string(), value.to_string()));
    }

    /// False if it was never set.
    pub fn reset(&mut self, name: &str) -> bool {
        let Some((initial, now)) = self.values.get_mut(&name.to_lowercase()) else { return false };
        now.clone_from(initial);
        true
    }

    pub fn reset_all(&mut self) {
        for (initial, now) in self.values.values_mut() {
            now.clone_from(initial);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, (_, now))| (name.as_str(), now.as_str()))
    }
}
