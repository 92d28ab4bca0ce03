//! The types by name, OID, category, and their Arrow shape.

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// A type that an expression or column can have. Type modifiers (`varchar(10)`) travel beside it as PostgreSQL's
/// `typmod`: −1 for none, see [`PgType::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Varchar,
    /// `char(n)`, blank-padded.
    Bpchar,
    Name,
    /// The one-byte `"char"` of the catalogs.
    Char,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    Timestamptz,
    Interval,
    Oid,
    Regclass,
    Regtype,
    Regproc,
    /// Numbers of columns, as the catalogs keep them; counted from 0.
    Int2vector,
    Oidvector,
    /// Text that was checked to be JSON.
    Json,
    /// An array of one dimension.
    Array(Element),
    /// A string literal or parameter whose type nothing has decided yet.
    Unknown,
    /// What a function without a result returns.
    Void,
}

/// The type of an array's elements: never itself an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element(u8);

/// `pg_type.typcategory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Category {
    Array,
    Boolean,
    Numeric,
    String,
    DateTime,
    Timespan,
    UserDefined,
    Unknown,
    Internal,
    Pseudo,
}

struct Facts {
    ty: PgType,
    oid: u32,
    array_oid: u32,
    /// `pg_type.typname`.
    name: &'static str,
    /// As `format_type` and every error text show it.
    sql_name: &'static str,
    /// `pg_type.typlen`; −1 for variable length.
    len: i16,
    category: Category,
    preferred: bool,
}

#[expect(clippy::too_many_arguments, reason = "one line of the table for each type")]
const fn facts(
    ty: PgType,
    oid: u32,
    array_oid: u32,
    name: &'static str,
    sql_name: &'static str,
    len: i16,
    category: Category,
    preferred: bool,
) -> Facts {
    Facts { ty, oid, array_oid, name, sql_name, len, category, preferred }
}

/// All but the arrays.
static FACTS: &[Facts] = {
    use Category as C;
    use PgType as T;
    &[
        facts(T::Bool, 16, 1000, "bool", "boolean", 1, C::Boolean, true),
        facts(T::Int2, 21, 1005, "int2", "smallint", 2, C::Numeric, false),
        facts(T::Int4, 23, 1007, "int4", "integer", 4, C::Numeric, false),
        facts(T::Int8, 20, 1016, "int8", "bigint", 8, C::Numeric, false),
        facts(T::Float4, 700, 1021, "float4", "real", 4, C::Numeric, false),
        facts(T::Float8, 701, 1022, "float8", "double precision", 8, C::Numeric, true),
        facts(T::Numeric, 1700, 1231, "numeric", "numeric", -1, C::Numeric, false),
        facts(T::Text, 25, 1009, "text", "text", -1, C::String, true),
        facts(T::Varchar, 1043, 1015, "varchar", "character varying", -1, C::String, false),
        facts(T::Bpchar, 1042, 1014, "bpchar", "character", -1, C::String, false),
        facts(T::Name, 19, 1003, "name", "name", 64, C::String, false),
        facts(T::Char, 18, 1002, "char", "\"char\"", 1, C::Internal, false),
        facts(T::Bytea, 17, 1001, "bytea", "bytea", -1, C::UserDefined, false),
        facts(T::Uuid, 2950, 2951, "uuid", "uuid", 16, C::UserDefined, false),
        facts(T::Date, 1082, 1182, "date", "date", 4, C::DateTime, false),
        facts(T::Time, 1083, 1183, "time", "time without time zone", 8, C::DateTime, false),
        facts(T::Timestamp, 1114, 1115, "timestamp", "timestamp without time zone", 8, C::DateTime, false),
        facts(T::Timestamptz, 1184, 1185, "timestamptz", "timestamp with time zone", 8, C::DateTime, true),
        facts(T::Interval, 1186, 1187, "interval", "interval", 16, C::Timespan, true),
        facts(T::Oid, 26, 1028, "oid", "oid", 4, C::Numeric, true),
        facts(T::Regclass, 2205, 2210, "regclass", "regclass", 4, C::Numeric, false),
        facts(T::Regtype, 2206, 2211, "regtype", "regtype", 4, C::Numeric, false),
        facts(T::Regproc, 24, 1008, "regproc", "regproc", 4, C::Numeric, false),
        facts(T::Int2vector, 22, 1006, "int2vector", "int2vector", -1, C::Array, false),
        facts(T::Oidvector, 30, 1013, "oidvector", "oidvector", -1, C::Array, false),
        facts(T::Unknown, 705, 0, "unknown", "unknown", -2, C::Unknown, false),
        facts(T::Json, 114, 199, "json", "json", -1, C::UserDefined, false),
        facts(T::Void, 2278, 0, "void", "void", 4, C::Pseudo, false),
    ]
};

/// Spellings the grammar accepts besides `pg_type.typname`.
static ALIASES: &[(&str, PgType)] = &[
    ("boolean", PgType::Bool),
    ("smallint", PgType::Int2),
    ("int", PgType::Int4),
    ("integer", PgType::Int4),
    ("bigint", PgType::Int8),
    ("real", PgType::Float4),
    ("float", PgType::Float8),
    ("double precision", PgType::Float8),
    ("decimal", PgType::Numeric),
    ("dec", PgType::Numeric),
    ("character varying", PgType::Varchar),
    ("character", PgType::Bpchar),
    ("\"char\"", PgType::Char),
    ("time without time zone", PgType::Time),
    ("timestamp without time zone", PgType::Timestamp),
    ("timestamp with time zone", PgType::Timestamptz),
];

/// Over each of [`FACTS`], in its order.
static ARRAYS: LazyLock<Vec<Facts>> = LazyLock::new(|| {
    let over = |(at, f): (usize, &Facts)| Facts {
        ty: PgType::Array(Element(at as u8)),
        oid: f.array_oid,
        array_oid: 0,
        name: format!("_{}", f.name).leak(),
        sql_name: format!("{}[]", f.sql_name).leak(),
        len: -1,
        category: Category::Array,
        preferred: false,
    };
    FACTS.iter().enumerate().map(over).collect()
});

static UTC: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("UTC"));

impl PgType {
    pub const INT2_ARRAY: PgType = PgType::Array(Element(1));
    pub const TEXT_ARRAY: PgType = PgType::Array(Element(7));
    pub const NAME_ARRAY: PgType = PgType::Array(Element(10));

    fn facts(self) -> &'static Facts {
        if let PgType::Array(element) = self {
            return &ARRAYS[usize::from(element.0)];
        }
        FACTS.iter().find(|f| f.ty == self).expect("every type has its facts")
    }

    /// Every type but the arrays, in a fixed order.
    pub fn all() -> impl Iterator<Item = PgType> {
        FACTS.iter().map(|f| f.ty)
    }

    pub fn oid(self) -> u32 {
        self.facts().oid
    }

    /// OID of the array type over it; 0 where PostgreSQL has none.
    pub fn array_oid(self) -> u32 {
        self.facts().array_oid
    }

    pub fn from_oid(oid: u32) -> Option<PgType> {
        let known = FACTS.iter().find(|f| f.oid == oid).map(|f| f.ty);
        known.or_else(|| PgType::arrays().find(|ty| ty.oid() == oid))
    }

    /// Every array type.
    pub fn arrays() -> impl Iterator<Item = PgType> {
        PgType::all().filter_map(PgType::array)
    }

    /// The array type over it; `None` where there is none.
    pub fn array(self) -> Option<PgType> {
        let at = FACTS.iter().position(|f| f.ty == self && f.array_oid != 0 && !self.is_vector())?;
        Some(PgType::Array(Element(u8::try_from(at).ok()?)))
    }

    /// Of an array (or a vector of the catalogs): what it holds.
    pub fn element(self) -> Option<PgType> {
        match self {
            PgType::Array(element) => Some(FACTS[usize::from(element.0)].ty),
            PgType::Int2vector => Some(PgType::Int2),
            PgType::Oidvector => Some(PgType::Oid),
            _ => None,
        }
    }

    pub fn is_array(self) -> bool {
        matches!(self, PgType::Array(_))
    }

    /// Whether it is one of the catalogs' vectors: elements between blanks, counted from 0.
    pub fn is_vector(self) -> bool {
        matches!(self, PgType::Int2vector | PgType::Oidvector)
    }

    /// By `pg_type.typname` or an SQL spelling, already folded to lower case. `"char"` needs its quotes, since bare `char` is
    /// `character(1)` to the grammar; look a quoted identifier `"char"` up with them.
    pub fn from_name(name: &str) -> Option<PgType> {
        if name == "char" {
            return Some(PgType::Bpchar);
        }
        if let Some(element) = name.strip_suffix("[]") {
            return PgType::from_name(element.trim_end())?.array();
        }
        if let Some(element) = name.strip_prefix('_') {
            return FACTS.iter().find(|f| f.name == element)?.ty.array();
        }
        let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, ty)| *ty);
        alias.or_else(|| {
            FACTS
                .iter()
                .find(|f| f.name == name && !matches!(f.ty, PgType::Unknown | PgType::Void))
                .map(|f| f.ty)
        })
    }

    /// `pg_type.typname`: also the column name that a cast or function of it yields.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// As error texts show it: `integer`, `character varying`.
    pub fn sql_name(self) -> &'static str {
        self.facts().sql_name
    }

    /// `pg_type.typlen`: bytes, −1 for variable length, −2 for a C string.
    #[expect(clippy::len_without_is_empty, reason = "no type is empty")]
    pub fn len(self) -> i16 {
        self.facts().len
    }

    pub fn category(self) -> Category {
        self.facts().category
    }

    /// `pg_type.typispreferred`.
    pub fn is_preferred(self) -> bool {
        self.facts().preferred
    }

    pub fn is_string(self) -> bool {
        self.category() == Category::String
    }

    pub fn is_integer(self) -> bool {
        matches!(self, PgType::Int2 | PgType::Int4 | PgType::Int8)
    }

    /// How a column or expression of this type looks in Arrow.
    pub fn arrow(self) -> DataType {
        match self {
            PgType::Bool => DataType::Boolean,
            PgType::Int2 => DataType::Int16,
            PgType::Int4 => DataType::Int32,
            PgType::Int8 => DataType::Int64,
            PgType::Float4 => DataType::Float32,
            PgType::Float8 => DataType::Float64,
            PgType::Numeric | PgType::Bytea | PgType::Int2vector | PgType::Oidvector | PgType::Array(_) => {
                DataType::Binary
            }
            PgType::Text
            | PgType::Varchar
            | PgType::Bpchar
            | PgType::Name
            | PgType::Char
            | PgType::Json
            | PgType::Unknown
            | PgType::Void => DataType::Utf8,
            PgType::Uuid => DataType::FixedSizeBinary(16),
            PgType::Date => DataType::Date32,
            PgType::Time => DataType::Time64(TimeUnit::Microsecond),
            PgType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            PgType::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.clone())),
            PgType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            PgType::Oid | PgType::Regclass | PgType::Regtype | PgType::Regproc => DataType::UInt32,
        }
    }

    /// Whether two values are equal, and ordered, exactly as their Arrow values are. Where not, [`crate::func::key`] gives what is.
    pub fn has_plain_equality(self) -> bool {
        self.element().is_none()
            && !matches!(
                self,
                PgType::Numeric | PgType::Float4 | PgType::Float8 | PgType::Bpchar | PgType::Interval
            )
    }

    /// Checks and encodes the modifiers written behind the type's name, as PostgreSQL's `typmodin` does.
    pub fn typmod(self, modifiers: &[i64]) -> crate::Result<i32> {
        super::typmod::encode(self, modifiers)
    }

    /// `format_type(oid, typmod)`: `numeric(10,2)`, `character varying(5)`.
    pub fn format(self, typmod: i32) -> String {
        super::typmod::format(self, typmod)
    }
}

impl fmt::Display for PgType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_found_by_oid_and_name() {
        for ty in PgType::all().chain(PgType::arrays()) {
            assert_eq!(PgType::from_oid(ty.oid()), Some(ty));
            assert_eq!(ty.facts().ty, ty);
        }
        let array = PgType::Int4.array().unwrap();
        assert_eq!((array.sql_name(), array.element()), ("integer[]", Some(PgType::Int4)));
        assert_eq!(PgType::INT2_ARRAY.element(), Some(PgType::Int2));
        assert_eq!(PgType::TEXT_ARRAY.element(), Some(PgType::Text));
        assert_eq!(PgType::NAME_ARRAY.element(), Some(PgType::Name));
        assert_eq!(PgType::from_name("int[]"), Some(array));
        assert_eq!(PgType::from_name("_int4"), Some(array));
        assert_eq!((array.array(), PgType::Unknown.array()), (None, None));
        assert_eq!(PgType::from_name("int"), Some(PgType::Int4));
        assert_eq!(PgType::from_name("char"), Some(PgType::Bpchar));
        assert_eq!(PgType::from_name("unknown"), None);
    }
}
