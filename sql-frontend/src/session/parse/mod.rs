//! From the client's text to commands. Statements on data and schema are sqlparser's; what only concerns the session, and our
//! own statements, are read here, strictly.

mod command;
mod copy;
mod cursor;
mod dialect;
mod grammar;
mod inner;
mod limits;
mod locking;
mod names;
mod past;
mod place;
mod placement;
mod reader;
mod refused;
mod sequence;
mod settings;
mod source;
mod tokens;

pub use command::{
    AlterSequence, AsOf, Command, Copy, CopyOptions, CopySource, Declare, Direction, Discard, Fetch, Level,
    Modes, Parsed, PlacementOption,
};

pub use dialect::Dialect;
pub use grammar::SYMMETRIC;

use crate::{
    error::{SqlError, SqlState},
    session::stack::is_deep,
};
use limits::MAX_NESTING;
pub(super) use place::lower_first;
use place::{Lines, near, syntax_error};
use reader::Reader;
use sqlparser::{
    ast::{DataType, Expr, Ident},
    parser::Parser,
    tokenizer::{Token, Tokenizer},
};

/// Parses a whole text; an error anywhere means that nothing of it runs, as in PostgreSQL.
pub fn parse(sql: &str) -> Result<Vec<Parsed>, SqlError> {
    parse_noting(sql, &mut Vec::new())
}

/// The same, with what the client is to be told.
pub fn parse_noting(sql: &str, notices: &mut Vec<SqlError>) -> Result<Vec<Parsed>, SqlError> {
    let dialect = Dialect;
    let lines = Lines::new(sql);
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location().map_err(|error| {
        let position = lines.char_at(error.location.line, error.location.column);
        SqlError::new(SqlState::SYNTAX_ERROR, lower_first(&error.message)).at(position)
    })?;
    limits::limit_chains(&tokens, &lines)?;
    limits::limit_special(&tokens, &lines)?;
    let tokens = source::plain_sources(tokens::rewrite(tokens, notices));
    let (mut tokens, clauses) = past::take_clauses(tokens, sql, &lines)?;
    let mut clauses = clauses.into_iter().peekable();
    locking::limits_first(&mut tokens);
    let tokens = locking::one_name_each(tokens, &lines)?;
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(MAX_NESTING).with_tokens_with_locations(tokens);
    let mut all = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        let first = parser.peek_token();
        if first.token == Token::EOF {
            return Ok(all);
        }
        let start = lines.byte_at(first.span.start.line, first.span.start.column);
        let (refused, begun) = (refused::called(&parser), parser.index());
        let mut reader = Reader { parser: &mut parser, sql, lines: &lines };
        let mut command = reader.command();
        if (command.is_err() || !reader.at_end())
            && let Some(what) =
                refused.or_else(|| refused::part(reader.parser, begun).map(ToString::to_string))
        {
            command = reader.refuse(what);
        }
        let command = command.map_err(|error| syntax_error(error, sql, &lines))?;
        if let Some(wrong) = names::reserved(&command, is_deep(sql)) {
            return Err(near(&wrong, sql, &lines));
        }
        let next = parser.peek_token();
        let end = match next.token {
            Token::EOF => sql.len(),
            Token::SemiColon => lines.byte_at(next.span.start.line, next.span.start.column),
            _ => return Err(near(&next, sql, &lines)),
        };
        let own = std::iter::from_fn(|| clauses.next_if(|clause| clause.at < end)).collect();
        all.push(Parsed { command: past::attach(command, own)?, range: start..end });
    }
}

/// Parses one expression from the catalog (a default, a condition).
pub fn parse_expression(sql: &str) -> Result<Expr, SqlError> {
    let dialect = Dialect;
    let parsed = Parser::new(&dialect)
        .with_recursion_limit(MAX_NESTING)
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr());
    parsed.map_err(|error| SqlError::internal(format!("malformed expression in the catalog: {sql}: {error}")))
}

/// Parses the name of a type.
pub fn parse_type(text: &str) -> Result<DataType, SqlError> {
    let dialect = Dialect;
    let parsed =
        Parser::new(&dialect).with_recursion_limit(MAX_NESTING).try_with_sql(text).and_then(|mut parser| {
            let ty = parser.parse_data_type()?;
            parser.expect_token(&Token::EOF).map(|_| ty)
        });
    parsed.map_err(|_| {
        SqlError::new(SqlState::SYNTAX_ERROR, "syntax error in the name of a type")
            .with_fields(|fields| fields.context = Some(format!("invalid type name \"{text}\"")))
    })
}

/// An identifier as the catalog knows it: in lower case unless quoted.
pub fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sql: &str) -> Command {
        let mut all = parse(sql).unwrap();
        assert_eq!(all.len(), 1, "{sql}");
        all.remove(0).command
    }

    #[test]
    fn weaker_locks_are_stronger_ones() {
        let lock = |sql: &str| match one(sql) {
            Command::Statement(statement) => match *statement {
                sqlparser::ast::Statement::Query(query) => query.locks[0].to_string(),
                other => panic!("{other}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(lock("select 1 from t for no  key update"), "FOR UPDATE");
        assert_eq!(lock("select 1 from t for key share skip locked"), "FOR SHARE SKIP LOCKED");
        assert!(parse("select 1 from t for no key").is_err());
    }

    #[test]
    fn limits_may_stand_behind_locks() {
        let same = |sql: &str| match one(sql) {
            Command::Statement(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        };
        let plain = same("select a from t, u order by a limit 1 offset 2 for update of t skip locked");
        assert_eq!(
            same("select a from t, u order by a for no key update of t skip locked limit 1 offset 2;"),
            plain
        );
        let inner = same("select (select 1 from t for share limit (1)) from u for update");
        assert_eq!(inner, same("select (select 1 from t limit (1) for share) from u for update"));
    }

    #[test]
    fn operators_bind_as_in_postgresql() {
        let expr = |sql: &str| parse_expression(sql).unwrap().to_string();
        for (sql, same) in [
            ("-2 ^ 2", "(-2) ^ 2"),
            ("- a::int", "-(a::int)"),
            ("a - -b", "a - (-b)"),
            ("-a * b", "(-a) * b"),
            ("not exists (select 1) is null", "not (exists (select 1) is null)"),
            ("a>-1", "a > -1"),
            ("a<>-1", "a <> -1"),
            ("1-+1", "1 - +1"),
            ("a->-1", "a -> -1"),
            ("a>/* x */1", "a > 1"),
        ] {
            let plain = |text: String| text.replace(['(', ')'], "");
            assert_eq!(plain(expr(sql)), plain(expr(same)), "{sql}");
        }
        let negated = parse_expression("not exists (select 1) is null").unwrap();
        assert!(matches!(negated, Expr::UnaryOp { .. }));
        let power = parse_expression("-2 ^ 2").unwrap();
        assert!(matches!(power, Expr::BinaryOp { .. }));
        for wrong in ["1 < 2 = true", "a = b = c"] {
            assert!(parse(&format!("select {wrong}")).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_means_nothing_without_inheritance() {
        for (with, without) in [
            ("update only p set a = 1", "update p set a = 1"),
            ("delete from only p", "delete from p"),
            ("select 1 from a join only p on true, only q", "select 1 from a join p on true, q"),
        ] {
            let (Command::Statement(with), Command::Statement(without)) = (one(with), one(without)) else {
                panic!()
            };
            assert_eq!(with, without);
        }
        assert!(parse("select 1 from p fetch first row only").is_ok());
        assert!(matches!(one("begin read only"), Command::Begin(..)));
    }

    #[test]
    fn what_is_not_carried_out_is_not_wrong() {
        let refused = |sql: &str| matches!(one(sql), Command::Refused(_));
        assert!(refused("create operator === (leftarg = int, function = f)"));
        assert!(refused("alter table only a.t attach partition p for values in (1)"));
        assert!(refused("security label on table t is 'x'"));
        assert!(refused("update t set a = 1 where current of c returning a"));
        assert!(refused("create table if not exists t of x (primary key (a))"));
        assert!(refused("create table t (a int, constraint e exclude (a with =)); "));
        assert!(refused("create table t (like p including all)"));
        assert!(refused("create table t (a int unique nulls not distinct)"));
        assert!(refused("insert into t (a) overriding system value values (1)"));
        assert!(refused("update t set a = 1, i[2] = 3"));
        assert!(refused(
            "select sum(a) over (order by a rows between 1 preceding and 1 following exclude current row) from t"
        ));
        for fine in [
            "select 1 from \"where\"",
            "select 1 from s.where",
            "select * from left('abc', 1)",
            "select 1 from t group by 1",
            "select current from t where current = 1",
            "create table t (exclude int)",
        ] {
            assert!(matches!(one(fine), Command::Statement(_)), "{fine}");
        }
        for wrong in [
            "alter table t add column",
            "create tabel t (a int)",
            "select 1 from t where",
            "select 1 from where",
            "select 1 from t, where",
            "select 1 from t join on true",
            "select (select 1 from group by 1)",
            "declare c cursor for select 1 from order by 1",
            "prepare p as select 1 from limit 1",
            "explain select 1 from union select 2",
            "insert into select 1",
            "update set a = 1",
            "delete from where a = 1",
            "create table where (a int)",
            "alter sequence s",
        ] {
            assert_eq!(parse(wrong).unwrap_err().sqlstate, SqlState::SYNTAX_ERROR, "{wrong}");
        }
    }

    #[test]
    fn long_names_are_cut_and_said() {
        let mut notices = Vec::new();
        let long = "x".repeat(70);
        parse_noting(&format!("select 1 as {long}, 2 as \"{long}\", '{long}'"), &mut notices).unwrap();
        assert_eq!(notices.len(), 2);
        assert_eq!(notices[0].sqlstate, SqlState("42622"));
    }

    #[test]
    fn statements_are_cut_apart() {
        let sql = " select 1 ;; select 'ä;b'; ";
        let all = parse(sql).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(sql[all[0].range.clone()].trim(), "select 1");
        assert_eq!(sql[all[1].range.clone()].trim(), "select 'ä;b'");
        assert!(parse(" -- nothing\n ; ").unwrap().is_empty());
    }

    #[test]
    fn session_commands() {
        let Command::Begin(modes, "BEGIN") = one("begin isolation level repeatable read, read only") else {
            panic!()
        };
        assert_eq!((modes.isolation, modes.read_only), (Some(Level::RepeatableRead), Some(true)));
        assert!(matches!(one("START TRANSACTION"), Command::Begin(_, "START TRANSACTION")));
        assert!(matches!(one("end"), Command::Commit { chain: false }));
        assert!(matches!(one("rollback to savepoint A"), Command::RollbackTo(name) if name == "a"));
        assert!(
            matches!(one("set search_path = a, \"B\""), Command::Set { value: Some(v), .. } if v == ["a", "B"])
        );
        assert!(matches!(one("SET TIME ZONE 'UTC'"), Command::Set { name, .. } if name == "timezone"));
        assert!(
            matches!(one("set extra_float_digits to -3"), Command::Set { value: Some(v), .. } if v == ["-3"])
        );
        assert!(
            matches!(one("show transaction isolation level"), Command::Show(n) if n == "transaction_isolation")
        );
        assert!(matches!(one("reset all"), Command::ResetAll));
        assert!(matches!(one("vacuum analyze pgbench_branches"), Command::Maintenance { vacuum: true, .. }));
        assert!(matches!(one("prepare p (int) as select $1"), Command::Prepare { .. }));
        assert!(
            matches!(one("alter table t split at values (1), (2)"), Command::SplitAt { rows, .. } if rows.len() == 2)
        );
        assert!(matches!(one("alter table t unsplit all"), Command::Unsplit { rows: None, .. }));
        assert!(
            matches!(one("alter table t unsplit at values (1), (2)"), Command::Unsplit { rows: Some(rows), .. } if rows.len() == 2)
        );
        assert!(matches!(one("alter table t add primary key (a)"), Command::Statement(_)));
    }

    #[test]
    fn errors_speak_like_postgres() {
        let error = parse("select 1; selec 2").unwrap_err();
        assert_eq!(error.sqlstate, SqlState::SYNTAX_ERROR);
        assert_eq!(error.message, "syntax error at or near \"selec\"");
        assert_eq!(error.position, Some(11));
        assert_eq!(parse("select (1").unwrap_err().message, "syntax error at end of input");
        assert_eq!(parse("select 1 1").unwrap_err().message, "syntax error at or near \"1\"");
        let unterminated = parse("select 'abc").unwrap_err();
        assert_eq!(unterminated.sqlstate, SqlState::SYNTAX_ERROR);
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("select {}1{}", "(".repeat(5000), ")".repeat(5000));
        assert_eq!(parse(&deep).unwrap_err().sqlstate, SqlState::STATEMENT_TOO_COMPLEX);
        let long = format!("select 1{}", "+1".repeat(100_000));
        assert_eq!(parse(&long).unwrap_err().sqlstate, SqlState::STATEMENT_TOO_COMPLEX);
        let not = format!("select {} true", "not ".repeat(100_000));
        assert_eq!(parse(&not).unwrap_err().sqlstate, SqlState::STATEMENT_TOO_COMPLEX);
        let nested = |open: &str, close: &str| format!("select {}1{}", open.repeat(127), close.repeat(127));
        for (open, close) in [
            ("case when true then ", " end"),
            ("case when ", " then 1 end"),
            ("case 1 when 1 then 1 else ", " end"),
            ("cast(", " as int)"),
            ("array[", "]"),
            ("array(select ", ")"),
            ("exists (select ", ")"),
            ("extract(year from ", ")"),
            ("substring(", " from 1)"),
            ("overlay(", " placing 1 from 1)"),
            ("position(1 in ", ")"),
            ("floor(", ")"),
            ("trim(", ")"),
            ("coalesce(", ")"),
            ("- ", ""),
            ("(", ")"),
            ("1 in (select ", ")"),
            ("1 in ((select ", "), 2)"),
            ("(values (", "))"),
            ("((select ", ") union select 1)"),
        ] {
            let error = parse(&nested(open, close)).unwrap_err();
            assert_eq!(error.sqlstate, SqlState::STATEMENT_TOO_COMPLEX, "{open}…{close}: {error:?}");
        }
        for open in ["ceil(", "extract(year from ", "overlay(", "substring("] {
            let wrong = format!("select {}1 1", open.repeat(10));
            assert_eq!(parse(&wrong).unwrap_err().sqlstate, SqlState::SYNTAX_ERROR);
        }
        // What is wrong deep inside is not read once more at each level.
        for open in ["1 in (select ", "1 in ((select ", "((select ", "(values ("] {
            let wrong = format!("select {}1 1", open.repeat(20));
            assert_eq!(parse(&wrong).unwrap_err().sqlstate, SqlState::SYNTAX_ERROR, "{open}");
        }
        let list = format!("select 1 in ({})", vec!["1"; 20_000].join(","));
        assert!(parse(&list).is_ok());
    }
}
