//! Locking what a query finds does not change what it finds.

use crate::{script::Script, scripts, world::World};

/// Forms of a query with and without locks that have the same answer.
fn forms(sql: &str) -> [(String, String); 3] {
    [
        (sql.to_string(), format!("{sql} FOR UPDATE")),
        (
            format!("SELECT * FROM ({sql}) x ORDER BY 1 DESC"),
            format!("SELECT * FROM ({sql} FOR UPDATE) x ORDER BY 1 DESC"),
        ),
        (
            format!("SELECT * FROM ({sql}) x ORDER BY 1 DESC LIMIT 3"),
            format!("SELECT * FROM ({sql}) x ORDER BY 1 DESC LIMIT 3 FOR UPDATE"),
        ),
    ]
}

/// Sorted where the query does not say how; of a cut that is not determined, how many rows there are.
fn arranged(sql: &str, mut rows: Vec<String>) -> Vec<String> {
    let refused = rows.first().is_some_and(|row| row.starts_with("ERROR"));
    if sql.contains(") x ORDER BY 1 DESC LIMIT") && !refused {
        // Ties are broken as it comes.
        return vec![rows.len().to_string()];
    }
    if !sql.contains("ORDER BY") || sql.contains(") x ORDER BY") {
        rows.sort();
    }
    rows
}

/// Every query of the scripts is asked with and without locks, also with each row looked at again.
#[tokio::test]
async fn locks_change_no_answer() {
    let (mut asked, mut wrong) = (0, Vec::new());
    for path in scripts() {
        let script = Script::read(&path);
        let (mut plain, mut doubt) = (World::new(), World::in_doubt());
        for block in script.blocks.iter().filter(|b| !b.sql.is_empty()) {
            let expected = block.arrange(plain.run(&block.sql).await);
            let again = block.arrange(doubt.run(&block.sql).await);
            let volatile = block.sql.contains("random") || block.sql.starts_with("EXPLAIN");
            if again != expected && !volatile {
                wrong.push(format!("{}\n---- found\n{expected:?}\n---- again\n{again:?}", block.sql));
            }
            if volatile || !(block.sql.starts_with("SELECT") || block.sql.starts_with("WITH")) {
                continue;
            }
            // What is endless but for a limit would be made whole; and a limit without an order takes any rows.
            let endless = ["generate_series", "RECURSIVE"].iter().any(|word| block.sql.contains(word));
            let any = block.sql.contains("LIMIT") && !block.sql.contains("ORDER BY");
            let forms = forms(&block.sql).into_iter().take(if endless || any { 1 } else { 3 });
            for (free, locked) in forms {
                let expected = arranged(&free, plain.run(&free).await);
                for world in [&mut plain, &mut doubt] {
                    let got = arranged(&locked, world.run(&locked).await);
                    let first = got.first().map(String::as_str).unwrap_or_default();
                    // Aggregates and the like cannot be locked. Where positions differ, so do the texts.
                    let elsewhere = first.starts_with("ERROR")
                        && expected.first().is_some_and(|e| e.starts_with("ERROR"));
                    if first.starts_with("ERROR 0A000 -: FOR UPDATE is not allowed") || elsewhere {
                        continue;
                    }
                    asked += 1;
                    if got != expected {
                        wrong.push(format!("{locked}\n---- without\n{expected:?}\n---- with\n{got:?}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(asked > 700, "only {asked} queries were asked");
}
