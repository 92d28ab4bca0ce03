//! Locking what a query finds does not change what it finds.

use crate::{script::Script, scripts, world::World};

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
            let locked = format!("{} FOR UPDATE", block.sql);
            for world in [&mut plain, &mut doubt] {
                let mut got = world.run(&locked).await;
                // Aggregates and the like cannot be locked.
                if got
                    .first()
                    .is_some_and(|answer| answer.starts_with("ERROR 0A000 -: FOR UPDATE is not allowed"))
                {
                    continue;
                }
                asked += 1;
                let mut expected = expected.clone();
                if !block.sql.contains("ORDER BY") {
                    expected.sort();
                    got.sort();
                }
                if got != expected {
                    wrong.push(format!("{locked}\n---- without\n{expected:?}\n---- with\n{got:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(asked > 400, "only {asked} queries were asked");
}
