//! Keys asked for by integers of other widths, as drivers bind them.

use crate::{session::run, standin::Node};
use tokio_postgres::types::Type;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_by_integers_of_any_width() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v int); insert into t values (1, 10), (-7, 70)").await;
    let find = c.prepare_typed("select v from t where id = $1", &[Type::INT8]).await.unwrap();
    let change = c.prepare_typed("update t set v = v + 1 where id = $1", &[Type::INT8]).await.unwrap();
    let small = c.prepare_typed("select v from t where id = $1", &[Type::INT2]).await.unwrap();
    for (id, found) in [(1i64, Some(10)), (-7, Some(70)), (3_000_000_000, None), (i64::MIN, None)] {
        let rows = c.query(&find, &[&id]).await.unwrap();
        assert_eq!(rows.first().map(|row| row.get::<_, i32>(0)), found, "{id}");
        let changed = c.execute(&change, &[&id]).await.unwrap();
        assert_eq!(changed, u64::from(found.is_some()), "{id}");
    }
    assert_eq!(c.query_one(&small, &[&-7i16]).await.unwrap().get::<_, i32>(0), 71);
    assert!(c.query(&find, &[&None::<i64>]).await.unwrap().is_empty());
}
