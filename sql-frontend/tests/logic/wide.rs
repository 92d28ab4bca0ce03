//! Conditions of very many or very deep parts: planned in time that grows with their length.

use crate::world::World;

async fn world() -> World {
    let mut world = World::new();
    world.run("create table w (id int primary key, a int)").await;
    world.run("insert into w values (1, 0), (2, 1), (3, 5)").await;
    world
}

fn chain(op: &str, count: usize, part: impl Fn(usize) -> String) -> String {
    (0..count).map(part).collect::<Vec<_>>().join(op)
}

#[tokio::test]
async fn disjuncts_that_can_fail() {
    let mut world = world().await;
    for count in [200, 900] {
        let or = chain(" or ", count, |i| format!("a + {i} = {}", i + 5));
        assert_eq!(world.run(&format!("select id from w where {or}")).await, ["3"]);
        assert_eq!(world.run(&format!("select id, {or} from w order by id")).await, ["1|f", "2|f", "3|t"]);
        let and = chain(" and ", count, |i| format!("a + {i} <> {}", i + 5));
        assert_eq!(world.run(&format!("select id from w where {and} order by id")).await, ["1", "2"]);
        assert_eq!(world.run(&format!("select not ({and}) from w order by id")).await, ["f", "f", "t"]);
    }
}

#[tokio::test]
async fn conditions_that_alternate() {
    let mut world = world().await;
    let mut condition = "a + 1 = 6".to_string();
    for i in 0..20 {
        let op = if i % 2 == 0 { "or" } else { "and" };
        let test = if i % 2 == 0 { "=" } else { "<>" };
        condition = format!("({condition} {op} a + {i} {test} {})", i + 7);
    }
    assert_eq!(world.run(&format!("select id from w where {condition}")).await, ["3"]);
    assert_eq!(world.run(&format!("select id from w where not {condition} order by id")).await, ["1", "2"]);
}

#[tokio::test]
async fn parts_that_multiply_are_refused() {
    let mut world = world().await;
    let mut value = "a + 1".to_string();
    for _ in 0..40 {
        value = format!("case when {value} between 0 and 10 then 1 else 2 end");
    }
    let answer = world.run(&format!("select {value} from w")).await;
    assert!(answer[0].starts_with("ERROR 54001"), "{answer:?}");
}

#[tokio::test]
async fn guards_keep_three_values() {
    let mut world = world().await;
    let answer = world.run("select (a <> 0 and 10 / a > 1), (a = 0 or 10 / a > 1), (null and 10 / (a + 1) > 1) from w order by id");
    assert_eq!(answer.await, ["f|t|NULL", "t|t|NULL", "t|t|f"]);
    let answer =
        world.run("select not (null or 10 / (a + 1) > 1), (10 / (a + 1) > 1 or null) from w order by id");
    assert_eq!(answer.await, ["f|t", "f|t", "NULL|NULL"]);
}
