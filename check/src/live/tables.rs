//! The tables of one check, in a schema of their own, each over several shards.

use super::{host, run::Plan, session::Session};
use anyhow::{Context, Result};

pub struct Tables {
    schema: String,
}

impl Tables {
    /// # Errors
    /// When the schema cannot be created.
    pub async fn create(session: &Session) -> Result<Self> {
        let tables = Tables { schema: format!("quorate_check_{:016x}", host::unique()) };
        session.one(&format!("CREATE SCHEMA {}", tables.schema)).await.context("creating a schema")?;
        Ok(tables)
    }

    /// A table split at these keys, its shards led by several nodes where there are; returns its name.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn table(
        &self,
        session: &Session,
        name: String,
        columns: &str,
        splits: impl Iterator<Item = i64>,
    ) -> Result<String> {
        let name = format!("{}.{name}", self.schema);
        let at: Vec<String> = splits.map(|at| format!("({at})")).collect();
        let mut statements = vec![format!("CREATE TABLE {name} ({columns})")];
        if !at.is_empty() {
            statements.push(format!("ALTER TABLE {name} SPLIT AT VALUES {}", at.join(", ")));
            statements.push(format!("ALTER TABLE {name} SCATTER"));
        }
        for statement in statements {
            session.one(&statement).await.with_context(|| statement.clone())?;
        }
        Ok(name)
    }

    /// Removes them all, by whichever gateway answers.
    pub async fn drop(self, plan: &Plan) {
        let statement = format!("DROP SCHEMA {} CASCADE", self.schema);
        let dropped = plan.settled(async |session| match session.one(&statement).await {
            Ok(_) => Ok(()),
            // It stands, and nodes use it once transactions elsewhere have ended; or an earlier attempt has done it.
            Err(broken) if matches!(broken.state.as_deref(), Some("55000" | "3F000")) => Ok(()),
            Err(broken) => Err(broken.into()),
        });
        if let Err(error) = dropped.await {
            eprintln!("the schema {} stays: {error:#}", self.schema);
        }
    }
}

/// Whether every gateway says that its answers follow real time.
///
/// # Errors
/// When one of them does not say.
pub async fn strict(urls: &[String], table: &str) -> Result<bool> {
    let mut strict = true;
    for url in urls {
        let session = Session::patient(url).await?;
        let asked = format!("SELECT count(*) FROM {table}; SHOW guarantee");
        let answers = session.run(&asked).await.with_context(|| url.clone())?;
        let told = answers.last().and_then(|answer| answer.rows.first()?.first()?.clone());
        strict &= told.context("SHOW guarantee told nothing")?.contains("strict-serial");
    }
    Ok(strict)
}
