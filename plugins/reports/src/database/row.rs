//! Values into a query and out of a row, for both kinds of database.

use std::any::type_name;

use sqlx::mysql::MySqlRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, MySql, Row as _, Sqlite, Type};

/// The value of one `?` of a query.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// A text, or null.
    Text(Option<&'a str>),
    /// A whole number.
    Number(i64),
}

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    MySql(MySqlRow),
}

impl Row {
    /// A text that is not null.
    ///
    /// # Errors
    /// The column is not there, or something else.
    pub(crate) fn text(&self, column: &str) -> sqlx::Result<String> {
        self.value(column)
    }

    /// A whole number.
    ///
    /// # Errors
    /// The column is not there, or something else, or its number does not fit.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &str) -> sqlx::Result<T> {
        narrow(column, self.value(column)?)
    }

    /// A whole number, or null.
    ///
    /// # Errors
    /// As [`Row::number`].
    pub(crate) fn number_or_null<T: TryFrom<i64>>(&self, column: &str) -> sqlx::Result<Option<T>> {
        let number: Option<i64> = self.value(column)?;
        number.map(|number| narrow(column, number)).transpose()
    }

    fn value<T>(&self, column: &str) -> sqlx::Result<T>
    where
        for<'r> T: Decode<'r, Sqlite> + Decode<'r, MySql> + Type<Sqlite> + Type<MySql>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::MySql(row) => row.try_get(column),
        }
    }
}

fn narrow<T: TryFrom<i64>>(column: &str, number: i64) -> sqlx::Result<T> {
    T::try_from(number).map_err(|_| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("{number} does not fit into {}", type_name::<T>()).into(),
    })
}
